"""Recurrent layers: Keras's own classes, with weight-drop and a report of the kernel that serves them.

Weights and configuration are Keras's, so that models and layers can be exchanged with it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class _WeightDrop:
    """Adds DropConnect on the recurrent kernel to a Keras recurrent layer (Merity et al. 2018, AWD-LSTM).

    The mask is drawn once per call and the layer's own loop sees the masked kernel, be it cuDNN's or another.
    """

    def __init__(self, units: int, *args: Any, weight_drop: float = 0.0, **kwargs: Any) -> None:
        if not 0.0 <= weight_drop < 1.0:
            raise ValueError(f"weight_drop must be at least 0 and below 1; it is {weight_drop}.")
        super().__init__(units, *args, **kwargs)  # type: ignore[call-arg]
        self.weight_drop = weight_drop
        if weight_drop:
            self._weight_drop_seed = keras.random.SeedGenerator(kwargs.get("seed"))

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        arguments = {
            "sequences": sequences,
            "initial_state": initial_state,
            "mask": mask,
            "training": training,
        }
        if not (training and self.weight_drop):
            return super().inner_loop(**arguments)  # type: ignore[misc]
        kernel = self.cell.recurrent_kernel  # type: ignore[attr-defined]
        dropped = keras.random.dropout(kernel.value, self.weight_drop, seed=self._weight_drop_seed)
        with keras.StatelessScope(state_mapping=[(kernel, dropped)]):
            return super().inner_loop(**arguments)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_drop": self.weight_drop}  # type: ignore[misc]


@keras.saving.register_keras_serializable("nlp_rnn")
class SimpleRNN(_WeightDrop, keras.layers.SimpleRNN):
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
class GRU(_WeightDrop, keras.layers.GRU):
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
class LSTM(_WeightDrop, keras.layers.LSTM):
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


CELLS = {"simple_rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}


def kernel_of(layer: keras.layers.RNN) -> tuple[str, str]:
    """Which kernel serves a recurrent layer on this machine, and why not cuDNN if it does not.

    Returns:
        The kernel, "cudnn" or "loop", and the reason in words.

    Example:

    >>> kernel_of(SimpleRNN(4))
    ('loop', 'cuDNN is used for LSTM and GRU only')
    """
    if not isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)):
        return "loop", "cuDNN is used for LSTM and GRU only"
    reasons = {
        "its activation is not tanh": layer.activation is not keras.activations.tanh,
        "its recurrent activation is not sigmoid": layer.recurrent_activation is not keras.activations.sigmoid,
        "it has no bias": not layer.use_bias,
        "it is unrolled": layer.unroll,
        "it has recurrent dropout (use weight_drop instead)": layer.recurrent_dropout > 0,
        "it resets before the product": not getattr(layer, "reset_after", True),
        "use_cudnn is False": layer.use_cudnn is False,
        "no GPU is visible": not tf.config.list_physical_devices("GPU"),
    }
    for reason, applies in reasons.items():
        if applies:
            return "loop", reason
    return "cudnn", "all its conditions hold"
