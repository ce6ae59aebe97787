"""Recurrent layers: Keras's own classes over faster kernels, with weight-drop.

Weights, configuration and results are Keras's, so that models and layers can be exchanged with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from nlp_rnn.layers.base import Nest, Shape, Tensor
from nlp_rnn.layers.chrono import Chrono
from nlp_rnn.layers.cudnn import run_cudnn
from nlp_rnn.layers.kernels import kernel_of, kind_of
from nlp_rnn.layers.normalized import normalized, wide, with_normalized_cell
from nlp_rnn.layers.projection import dropped_entries, projected, read_weight, seed_of_drops
from nlp_rnn.layers.recurrence import Recurrence


class _Recurrent:
    """Runs a Keras recurrent layer on the fastest kernel that can serve it, with DropConnect on the recurrent kernel.

    The mask of weight-drop (Merity et al. 2018, AWD-LSTM) is drawn once per call and whichever loop serves sees the
    masked kernel. Graphs for XLA and in SavedModels get TensorFlow's operations alone; `use_native = False` keeps the
    compiled ones out anywhere.
    """

    def __init__(self, units: int, *args: Any, weight_drop: float = 0.0, **kwargs: Any) -> None:
        super().__init__(units, *args, **kwargs)  # type: ignore[call-arg]
        self.use_native = True
        self.weight_drop, self.weight_drop_seed = weight_drop, seed_of_drops(weight_drop, kwargs.get("seed"))

    def build(self, sequences_shape: Shape, initial_state_shape: Shape | None = None) -> None:
        super().build(sequences_shape, initial_state_shape)  # type: ignore[misc]
        chrono = isinstance(self.cell.bias_initializer, Chrono)  # type: ignore[attr-defined]
        if chrono and getattr(self, "unit_forget_bias", False):
            raise ValueError("Chrono sets the bias of the forget gate: give unit_forget_bias=False beside it.")
        if kernel_of(self)[0] == "native":
            self.supports_jit = False  # Keras then leaves XLA aside, as it does for cuDNN

    def inner_loop(self, sequences: Tensor, initial_state: Nest, mask: Tensor, training: bool = False) -> Nest:
        kernel, _ = kernel_of(self)
        sequences = tf.cast(sequences, self.compute_dtype)  # type: ignore[attr-defined]  # Keras casts floats alone
        if kernel == "cudnn" and mask is None:
            try:
                return self._on_cudnn(sequences, initial_state, training)
            except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):  # placed on a device without it
                kernel = "loop"
        if kernel in ("native", "loop"):
            return self._fused_loop(sequences, initial_state, mask, training)
        arguments = {"sequences": sequences, "initial_state": initial_state, "mask": mask, "training": training}
        if not (training and self.weight_drop):
            return super().inner_loop(**arguments)  # type: ignore[misc]
        dropped = [(self.cell.recurrent_kernel, self.recurrent_weights(training))]  # type: ignore[attr-defined]
        with keras.StatelessScope(state_mapping=dropped):
            return super().inner_loop(**arguments)  # type: ignore[misc]

    def _on_cudnn(self: Any, sequences: Tensor, initial_state: Nest, training: bool) -> Nest:
        sequences = _dropped(self, sequences, training)
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
        outputs, (states,) = run_cudnn([[self]], sequences, [list(initial_state)], None, training)
        last = outputs[:, -1]
        return last, outputs if self.return_sequences else last[:, None], states

    def _fused_loop(self: Any, sequences: Tensor, initial_state: Nest, mask: Tensor, training: bool) -> Nest:
        hold = not self.zero_output_for_mask
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        backwards = (self.go_backwards,)
        outputs, states = run_fused([self], sequences, states, mask, training, backwards, hold)
        if self.go_backwards:
            outputs = tf.reverse(outputs, [1])
        last = outputs[:, -1]
        return last, outputs if self.return_sequences else last[:, None], states

    def recurrent_weights(self, training: bool) -> Tensor:
        """The recurrent kernel U, while training with some of its entries dropped."""
        kernel = read_weight(self.cell.recurrent_kernel)  # type: ignore[attr-defined]
        return dropped_entries(kernel, self.weight_drop if training else 0.0, self.weight_drop_seed)

    @property
    def state_sizes(self: Any) -> list[int]:
        """Sizes of the states."""
        sizes = self.cell.state_size
        return list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_drop": self.weight_drop}  # type: ignore[misc]


Operator: TypeAlias = Callable[[Sequence[Any], Any, Sequence[Any], Any, tuple[bool, ...]], tuple[Any, list[Any]] | None]
_OPERATOR: ContextVar[Operator | None] = ContextVar("operator", default=None)


@contextmanager
def replaced_loops(operator: Operator) -> Iterator[None]:
    """While a graph is traced for another runtime: `operator(layers, sequences, states, mask, backwards)` stands where
    a loop would run, and gives what `run_fused` gives, or None for the loop. Rows are right-padded then."""
    token = _OPERATOR.set(operator)
    try:
        yield
    finally:
        _OPERATOR.reset(token)


def run_fused(
    layers: Sequence[Tensor],
    sequences: Tensor,
    states: Sequence[Tensor],
    mask: Tensor,
    training: bool,
    backwards: tuple[bool, ...],
    hold: bool,
) -> tuple[Any, list[Tensor]]:
    """Runs layers of one kind over the same sequences in one loop, each in its own direction.

    Args:
        layers: one or two recurrent layers whose kernel is "native" or "loop".
        sequences: `[batch, time, features]`.
        states: of all layers side by side, `[batch, layers × units]`.
        mask: boolean `[batch, time]`, or None.
        training: whether to drop.
        backwards: which layers run from the last step to the first.
        hold: whether a masked step repeats the output before it, instead of giving 0.

    Returns:
        Outputs `[batch, time, layers × units]`, each where its step is, and the states after the last step.
    """
    operator = _OPERATOR.get()
    if operator is not None and (found := operator(layers, sequences, states, mask, backwards)) is not None:
        return found
    kind = kind_of(layers[0])
    inputs, kernels, inner = [], [], []
    for layer in layers:
        cell = layer.cell
        bias = read_weight(cell.bias) if cell.use_bias else None
        if kind == "gru" and bias is not None:
            of_gates, of_candidate = tf.split(bias[1], [2 * layer.units, layer.units])
            bias = bias[0] + tf.concat([of_gates, tf.zeros_like(of_candidate)], 0)
            inner.append(of_candidate)
        given = _dropped(layer, sequences, training)
        if kind == "layernorm_lstm":
            inner.append(cell.inner_weights())
            read = tf.cast(given, tf.float32) if given.dtype == tf.float16 else given  # whose products may overflow
            product = normalized(projected(read, read_weight(cell.kernel))) * wide(cell.input_gain)
            inputs.append(tf.cast(product if bias is None else product + wide(bias), given.dtype))
        else:
            inputs.append(projected(given, read_weight(cell.kernel), bias))
        kernels.append(layer.recurrent_weights(training))
    native_serves = kernel_of(layers[0])[0] == "native"
    recurrence = Recurrence(kind, backwards, hold, native_serves)
    return recurrence(inputs, kernels, states, mask, inner or None, training)


def _dropped(layer: keras.layers.RNN, sequences: Tensor, training: bool) -> Tensor:
    """The inputs of a layer after Keras's `dropout`: one mask for all steps."""
    if not (training and layer.dropout):
        return sequences
    mask = layer.cell.get_dropout_mask(sequences[:, 0, :])
    mask = mask[0] if isinstance(mask, list) else mask  # one serves all gates where they are one product
    return sequences * mask[:, None]


@keras.saving.register_keras_serializable("nlp_rnn")
class SimpleRNN(_Recurrent, keras.layers.SimpleRNN):
    """The simple (Elman 1990) recurrent layer.

        h_t = f(x_t·W + h_{t-1}·U + b)        f: tanh, or ReLU (`activation="relu"`)

    Args:
        units: size of the state h.
        weight_drop: probability that an entry of U is dropped for a whole sequence while training.
        *args, **kwargs: those of `keras.layers.SimpleRNN`.

    Call arguments:
        sequences: `[batch, time, features]`.
        mask: boolean `[batch, time]`; the state stands still where it is False.
        initial_state: list of h `[batch, units]`.
        training: whether to drop.

    Returns:
        `[batch, units]`; `[batch, time, units]` with `return_sequences`; followed by h with `return_state`.

    Example:

    >>> SimpleRNN(8, activation="relu")(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 8])
    """


@keras.saving.register_keras_serializable("nlp_rnn")
class GRU(_Recurrent, keras.layers.GRU):
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

        z_t = σ(x_t·W_z + h_{t-1}·U_z + b_z)              update gate
        r_t = σ(x_t·W_r + h_{t-1}·U_r + b_r)              reset gate
        n_t = tanh(x_t·W_n + b_n + r_t ∘ (h_{t-1}·U_n + b'_n))     candidate, with `reset_after` (cuDNN's form)
        n_t = tanh(x_t·W_n + b_n + (r_t ∘ h_{t-1})·U_n)            candidate, without
        h_t = z_t ∘ h_{t-1} + (1 - z_t) ∘ n_t

    Args:
        units: size of the state h.
        weight_drop: probability that an entry of U is dropped for a whole sequence while training.
        *args, **kwargs: those of `keras.layers.GRU`; with `reset_after` z and r have two biases as well.

    Call arguments and returns: as `SimpleRNN`.

    Example:

    >>> GRU(8, return_sequences=True)(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 5, 8])
    """


@keras.saving.register_keras_serializable("nlp_rnn")
class LSTM(_Recurrent, keras.layers.LSTM):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000).

        i_t = σ(x_t·W_i + h_{t-1}·U_i + b_i)              input gate
        f_t = σ(x_t·W_f + h_{t-1}·U_f + b_f)              forget gate
        g_t = tanh(x_t·W_g + h_{t-1}·U_g + b_g)           candidate
        o_t = σ(x_t·W_o + h_{t-1}·U_o + b_o)              output gate
        c_t = f_t ∘ c_{t-1} + i_t ∘ g_t
        h_t = o_t ∘ tanh(c_t)

    Args:
        units: size of the states h and c.
        weight_drop: probability that an entry of U is dropped for a whole sequence while training.
        *args, **kwargs: those of `keras.layers.LSTM`.

    Call arguments and returns: as `SimpleRNN`, with the states h and c.

    Example:

    >>> LSTM(8, weight_drop=0.5)(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 8])
    """


@keras.saving.register_keras_serializable("nlp_rnn")
class LayerNormLSTM(LSTM):
    """The LSTM with layer normalisation (Ba et al. 2016, arXiv:1607.06450, equations 20 to 22).

        [i f g o]_t = LN(x_t·W)∘α + LN(h_{t-1}·U)∘β + b   LN: mean 0 and variance 1 over the 4 × units
        c_t = σ(f_t) ∘ c_{t-1} + σ(i_t) ∘ tanh(g_t)
        h_t = σ(o_t) ∘ tanh(LN(c_t)∘γ + δ)

    Each step needs means over the units, so that neither cuDNN nor the compiled kernels serve: TensorFlow's loop does.

    Args:
        units: size of the states h and c.
        weight_drop: probability that an entry of U is dropped for a whole sequence while training.
        *args, **kwargs: those of `keras.layers.LSTM`.

    Call arguments and returns: as `LSTM`.

    Example:

    >>> LayerNormLSTM(8, return_sequences=True)(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 5, 8])
    """

    def __init__(self, units: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(units, *args, **kwargs)
        with_normalized_cell(self)


RECURRENT_CELLS = {"simple_rnn": SimpleRNN, "gru": GRU, "lstm": LSTM, "layernorm_lstm": LayerNormLSTM}
