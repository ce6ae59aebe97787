"""Recurrent layers whose gates do not read the state, so that all steps run in parallel: minGRU, minLSTM, SRU, QRNN,
RG-LRU.

The products of all steps are one matrix product; `scan.py` does the rest. They give one step at a time what they give
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Shape, Tensor
from nlp_rnn.layers.projection import projected, read_weight
from nlp_rnn.layers.scan import last_real_step, linear_scan
from nlp_rnn.layers.scan_layer import ScanLayer, of_each_gate


@keras.saving.register_keras_serializable("nlp_rnn")
class MinGRU(ScanLayer):
    """The minimal gated recurrent unit (Feng et al. 2024, "Were RNNs All We Needed?", arXiv:2410.01201).

        z_t = σ(x_t·W_z + b_z)                  update gate
        n_t = x_t·W_n + b_n                     candidate
        h_t = (1 - z_t) ∘ h_{t-1} + z_t ∘ n_t

    Arguments, call arguments and returns: those of `ScanLayer`; the state is h.

    Example:

    >>> MinGRU(8, return_sequences=True)(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 5, 8])
    """

    KIND = "mingru"


@keras.saving.register_keras_serializable("nlp_rnn")
class MinLSTM(ScanLayer):
    """The minimal LSTM (Feng et al. 2024, arXiv:2410.01201), whose gates sum to 1.

        f_t = σ(x_t·W_f + b_f)                  forget gate
        i_t = σ(x_t·W_i + b_i)                  input gate
        n_t = x_t·W_n + b_n                     candidate
        h_t = f_t / (f_t + i_t) ∘ h_{t-1} + i_t / (f_t + i_t) ∘ n_t

    Arguments, call arguments and returns: those of `ScanLayer`; the state is h.

    Example:

    >>> MinLSTM(8)(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 8])
    """

    KIND = "minlstm"


@keras.saving.register_keras_serializable("nlp_rnn")
class QRNN(ScanLayer):
    """The quasi-recurrent network with fo-pooling (Bradbury et al. 2017, arXiv:1611.01576): its gates are a convolution
    over this step and the one before.

        z_t = tanh(x_t·W_z + x_{t-1}·V_z + b_z)     candidate
        f_t = σ(x_t·W_f + x_{t-1}·V_f + b_f)        forget gate
        o_t = σ(x_t·W_o + x_{t-1}·V_o + b_o)        output gate
        c_t = f_t ∘ c_{t-1} + (1 - f_t) ∘ z_t
        h_t = o_t ∘ c_t

    Arguments, call arguments and returns: those of `ScanLayer`. The states are c, and with a window of 2 x_t·V of the
    three gates.

    Args:
        window: steps that the gates read, 2, or 1 to leave out V.

    Example:

    >>> layer = QRNN(8, return_state=True)
    >>> h, *states = layer(keras.ops.ones((2, 5, 3)))
    >>> h.shape, len(states)
    (TensorShape([2, 8]), 4)
    """

    KIND = "qrnn"
    OPTIONS = (*ScanLayer.OPTIONS, "window")

    def __init__(self, units: int, *args: Any, window: int = 2, **kwargs: Any) -> None:
        super().__init__(units, *args, **kwargs)
        if window not in (1, 2):
            raise ValueError(f"window must be 1 or 2; it is {window}.")
        self.window = window

    @property
    def state_sizes(self) -> list[int]:
        return [self.units] * (1 if self.window == 1 else 4)

    def build(self, sequence_shape: Shape) -> None:
        super().build(sequence_shape)
        if self.window == 2:
            initializer = of_each_gate(self.kernel_initializer, self.units, 3)
            self.kernel_before = self.add_weight(
                shape=(sequence_shape[-1], 3 * self.units), initializer=initializer, name="kernel_before"
            )

    def run(
        self,
        sequence: Tensor,
        states: Sequence[Tensor] | None,
        mask: Tensor | None = None,
        training: bool = False,
        backwards: bool = False,
        padded: bool = False,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        if self.window == 1 or sequence.shape[1] == 0:
            found, last, after = super().run(sequence, states, mask, training, backwards, padded)
            return found, last, [*after, *(states or self.get_initial_state(tf.shape(sequence)[0]))[1:]]
        kernel, before = self._weights(self.kernel, training), self._weights(self.kernel_before, training)
        delayed, held = self._delayed(sequence, mask, backwards, padded)
        if sequence.shape[1] == 1:
            gates = projected(sequence, kernel)
        else:
            gates = projected(tf.concat([sequence, delayed], -1), tf.concat([kernel, before], 0))
        last = projected(held[:, :1] if backwards else held[:, -1:], before)[:, 0]
        if mask is not None and padded and not backwards:
            last = projected(last_real_step(sequence, mask, False)[:, None], before)[:, 0]
        if states is not None:
            given = tf.concat(states[1:], -1)
            gates = add_at_first(gates, tf.cast(given, gates.dtype), mask, backwards)
            if mask is not None:  # a row without a step keeps what it had
                last = tf.where(tf.reduce_any(mask, 1)[:, None], last, tf.cast(given, last.dtype))
        found = self._scan(
            {"projected": gates, "parameters": read_weight(self.bias)}, states, mask, training, backwards
        )
        after = tf.split(tf.cast(last, found.last_state.dtype), 3, -1)
        return found.output, found.last_output, [found.last_state, *after]

    def _delayed(self, sequence: Tensor, mask: Tensor | None, backwards: bool, padded: bool) -> tuple[Tensor, Tensor]:
        """What stood one step before, where masked steps count for nothing; and what stood last, at each step."""
        held = sequence
        if mask is not None:
            held = tf.cast(mask, sequence.dtype)[:, :, None] * sequence
            if not padded:
                gone = tf.cast(tf.logical_not(mask), sequence.dtype)[:, :, None] * tf.ones_like(sequence)
                held = linear_scan(gone, held, None, None, backwards, self.kernel_and_reason[0] == "native")
        none = tf.zeros_like(sequence[:, :1])
        delayed = tf.concat([held[:, 1:], none], 1) if backwards else tf.concat([none, held[:, :-1]], 1)
        return delayed, held


def add_at_first(values: Tensor, added: Tensor, mask: Tensor | None, backwards: bool) -> Tensor:
    """`[batch, time, …]` with `[batch, …]` added at the first step of each row that is not masked, in the direction of
    reading."""
    if values.shape[1] == 1:
        return values + added[:, None]
    time = tf.shape(values)[1]
    place = tf.fill(tf.shape(values)[:1], time - 1 if backwards else 0)
    if mask is not None:
        real = tf.cast(mask, tf.int32)
        place = time - 1 - tf.argmax(real[:, ::-1], 1, tf.int32) if backwards else tf.argmax(real, 1, tf.int32)
    rows = tf.range(tf.shape(values)[0])
    return tf.tensor_scatter_nd_add(values, tf.stack([rows, place], -1), added)


class _ReadsAgain(ScanLayer):
    """Layers that read x beside their gates; where it has other features than units, it is x·W_x."""

    def build(self, sequence_shape: Shape) -> None:
        features = sequence_shape[-1]
        self.input_kernel = None
        if features != self.units:
            shape = (features, self.units)
            self.input_kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="input_kernel")
        super().build(sequence_shape)

    def _again(self, sequence: Tensor) -> Tensor:
        return sequence if self.input_kernel is None else projected(sequence, read_weight(self.input_kernel))


@keras.saving.register_keras_serializable("nlp_rnn")
class SRU(_ReadsAgain):
    """The simple recurrent unit (Lei et al. 2018, arXiv:1709.02755) without the terms v ∘ c_{t-1} inside its gates,
    which would keep its steps from running in parallel (the paper's first version has none).

        n_t = x_t·W_n + b_n                     candidate
        f_t = σ(x_t·W_f + b_f)                  forget gate
        r_t = σ(x_t·W_r + b_r)                  reset gate
        c_t = f_t ∘ c_{t-1} + (1 - f_t) ∘ n_t
        h_t = r_t ∘ c_t + (1 - r_t) ∘ x_t       x_t·W_x where x_t is of another size

    Arguments, call arguments and returns: those of `ScanLayer`; the state is c.

    Example:

    >>> SRU(8, return_sequences=True)(keras.ops.ones((2, 5, 8))).shape
    TensorShape([2, 5, 8])
    """

    KIND = "sru"

    def _read(self, sequence: Tensor, training: bool) -> dict[str, Tensor]:
        return {**super()._read(sequence, training), "skip": self._again(sequence)}


@keras.saving.register_keras_serializable("nlp_rnn")
class RGLRU(_ReadsAgain):
    """The real-gated linear recurrent unit of Griffin (De et al. 2024, arXiv:2402.19427).

        r_t = σ(x_t·W_r + b_r)                  recurrence gate
        i_t = σ(x_t·W_i + b_i)                  input gate
        a_t = σ(Λ)^(8·r_t)
        h_t = a_t ∘ h_{t-1} + √(1 - a_t²) ∘ (i_t ∘ x_t)

    x is the layer's input, or, where that has other features than units, its product with a matrix. Λ begins so that
    σ(Λ)^8 lies evenly between 0.9 and 0.999; it stays float32.

    Arguments, call arguments and returns: those of `ScanLayer`; the state is h.

    Example:

    >>> RGLRU(8)(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 8])
    """

    KIND = "rglru"
    POWER = 8.0

    def build(self, sequence_shape: Shape) -> None:
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        self.decay = self.add_weight(
            shape=(self.units,), initializer=self._first_decay, name="decay", dtype=dtype, autocast=False
        )
        super().build(sequence_shape)

    def _add_gates(self, features: int, gates: int) -> None:
        super()._add_gates(self.units, gates)  # which read x as it is, or its projection

    def _first_decay(self, shape: Shape, dtype: str | None = None) -> Tensor:
        """Λ with σ(Λ)^8 = u, u drawn evenly."""
        drawn = ops.cast(keras.random.uniform(shape, 0.9, 0.999), dtype)
        root = drawn ** (1 / self.POWER)
        return ops.log(root) - ops.log(1 - root)

    def _read(self, sequence: Tensor, training: bool) -> dict[str, Tensor]:
        again = self._again(sequence)
        read = super()._read(again, training)
        decay = self.POWER * tf.nn.softplus(-tf.convert_to_tensor(self.decay))  # -log of the least a
        parameters = tf.concat([tf.cast(read["parameters"], decay.dtype), decay], 0)
        return {**read, "parameters": parameters, "skip": again}


SCAN_CELLS = {"mingru": MinGRU, "minlstm": MinLSTM, "sru": SRU, "qrnn": QRNN, "rglru": RGLRU}
