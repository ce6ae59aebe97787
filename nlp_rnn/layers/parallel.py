"""Recurrent layers whose gates do not read the state, so that all steps run in parallel: minGRU, minLSTM, SRU, QRNN,
RG-LRU.

The products of all steps are one matrix product; `scan.py` does the rest. They are called as Keras's recurrent layers
are, and give one step at a time what they give at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers import native
from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.projection import projected, read_weight
from nlp_rnn.layers.scan import KINDS, Scanned, ScanKind, last_real_step, linear_scan, scan
from nlp_rnn.machine import has_gpu


class ScanLayer(SequenceLayer):
    """What these layers share.

    Args:
        units: size of the state and of the output.
        return_sequences: whether to give the outputs of all steps, or the last one.
        return_state: whether to give the state after the last step too.
        go_backwards: whether to read from the last step to the first; the outputs then come in the order in which they
            were made, as Keras's do.
        kernel_initializer: of the matrix of each gate; an integer seed counts up from gate to gate.
        bias_initializer: of the biases of all gates, `[gates × units]`; see `Chrono`.

    Call arguments:
        sequence: `[batch, time, features]`.
        initial_state: a list as returned, or None for zeros.
        mask: boolean `[batch, time]`; steps at which it is False are left out, and give 0.
        training: whether a gradient will be taken.

    Returns:
        `[batch, units]`, or with `return_sequences` `[batch, time, units]`; with `return_state` a list of it and of the
        states `[batch, units]`, c or h first, no less than float32.
    """

    KIND: ClassVar[ScanKind]
    stateful = False  # Keras's Bidirectional asks
    OPTIONS = ("units", "return_sequences", "return_state", "go_backwards", "kernel_initializer", "bias_initializer")

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1; it is {units}.")
        self.units, self.return_sequences, self.return_state = units, return_sequences, return_state
        self.go_backwards = go_backwards
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.use_native = True

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("kernel_initializer", "bias_initializer"):
            config[name] = keras.initializers.serialize(config[name])
        return config

    @property
    def kernel_and_reason(self) -> tuple[str, str]:
        """Which kernel serves it now, "native" or "scan", and why."""
        reason = "a GPU is visible" if has_gpu() else native.unavailable()
        if not self.use_native:
            reason = "use_native is False"
        return ("scan", reason) if reason else ("native", "the compiled scan serves")

    @property
    def state_sizes(self) -> list[int]:
        """Sizes of the states."""
        return [self.units]

    def get_initial_state(self, batch_size: Any) -> list[Tensor]:
        """States of zeros."""
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        return [ops.zeros((batch_size, size), dtype) for size in self.state_sizes]

    def build(self, sequence_shape: Shape) -> None:
        self._add_gates(sequence_shape[-1], KINDS[self.KIND].gates)
        self.built = True
        if self.kernel_and_reason[0] == "native":
            self.supports_jit = False  # Keras then leaves XLA aside, as it does for cuDNN

    def _add_gates(self, features: int, gates: int, taps: int = 1) -> None:
        """The kernel `[features, taps × gates × units]` and the bias `[gates × units]`."""
        initializer = of_each_gate(self.kernel_initializer, self.units, gates * taps)
        shape = (features, taps * gates * self.units)
        self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(gates * self.units,), initializer=self.bias_initializer, name="bias")

    def call(
        self, sequence: Tensor, initial_state: Nest = None, mask: Tensor | None = None, training: bool = False
    ) -> Any:
        sequence = ops.cast(sequence, self.compute_dtype)
        states = None
        if initial_state is not None:
            states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        outputs, last, after = self.run(sequence, states, mask, training, self.go_backwards)
        if self.return_sequences:
            result = tf.reverse(outputs, [1]) if self.go_backwards else outputs
        else:
            result = tf.cast(last, self.compute_dtype)
        return [result, *after] if self.return_state else result

    def compute_mask(self, sequence: Tensor, mask: Tensor | None = None, **kwargs: Any) -> Any:
        """The mask of the outputs, as Keras's recurrent layers pass it on."""
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if not self.return_sequences or mask is None:
            mask = None
        elif self.go_backwards:
            mask = ops.flip(mask, axis=1)
        return [mask, *(None for _ in self.state_sizes)] if self.return_state else mask

    def run(
        self,
        sequence: Tensor,
        states: Sequence[Tensor] | None,
        mask: Tensor | None = None,
        training: bool = False,
        backwards: bool = False,
        padded: bool = False,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Runs it over all steps.

        Args:
            sequence: `[batch, time, features]` in the layer's compute type.
            states: before the first step, of the sizes `state_sizes`; None for zeros.
            mask: boolean `[batch, time]`, or None.
            training: whether a gradient will be taken.
            backwards: whether it runs from the last step to the first.
            padded: whether rows are masked at their ends only.

        Returns:
            The outputs, each where its step is; the last one; and the states after the last step.
        """
        found = self._scan(self._read(sequence), states, mask, training, backwards)
        return found.output, found.last_output, [found.last_state]

    def _read(self, sequence: Tensor) -> dict[str, Tensor]:
        """What `scan` reads: the gates, and of some cells more."""
        return {"projected": projected(sequence, read_weight(self.kernel)), "parameters": read_weight(self.bias)}

    def _scan(
        self, read: dict[str, Tensor], states: Sequence[Tensor] | None, mask: Tensor, training: bool, backwards: bool
    ) -> Scanned:
        state = self.get_initial_state(tf.shape(read["projected"])[0])[0] if states is None else states[0]
        use_native = self.kernel_and_reason[0] == "native"
        options = {"mask": mask, "backwards": backwards, "training": training, "use_native": use_native}
        return scan(self.KIND, state=state, **read, **options)


def of_each_gate(initializer: Any, units: int, gates: int) -> Any:
    """An initializer of `[features, gates × units]` that fills the matrix of each gate by itself."""

    def fill(shape: Shape, dtype: Any = None) -> Tensor:
        config = initializer.get_config()
        seed = config.get("seed")
        parts = []
        for gate in range(gates):
            one = initializer
            if "seed" in config:  # the same instance gives the same values
                one = type(initializer).from_config(
                    {**config, "seed": seed + gate if isinstance(seed, int) else None}
                )
            parts.append(one((shape[0], units), dtype=dtype))
        return ops.concatenate(parts, axis=-1)

    return fill


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
        if self.window == 1:
            return super().run(sequence, states, mask, training, backwards, padded)
        kernel, before = read_weight(self.kernel), read_weight(self.kernel_before)
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
        found = self._scan({"projected": gates, "parameters": read_weight(self.bias)}, states, mask, training, backwards)
        after = tf.split(tf.cast(last, found.last_state.dtype), 3, -1)
        return found.output, found.last_output, [found.last_state, *after]

    def _delayed(
        self, sequence: Tensor, mask: Tensor | None, backwards: bool, padded: bool
    ) -> tuple[Tensor, Tensor]:
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

    def _read(self, sequence: Tensor) -> dict[str, Tensor]:
        return {**super()._read(sequence), "skip": self._again(sequence)}


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

    def _add_gates(self, features: int, gates: int, taps: int = 1) -> None:
        super()._add_gates(self.units, gates, taps)  # which read x as it is, or its projection

    def _first_decay(self, shape: Shape, dtype: Any = None) -> Tensor:
        """Λ with σ(Λ)^8 = u, u drawn evenly."""
        drawn = ops.cast(keras.random.uniform(shape, 0.9, 0.999), dtype)
        root = drawn ** (1 / self.POWER)
        return ops.log(root) - ops.log(1 - root)

    def _read(self, sequence: Tensor) -> dict[str, Tensor]:
        again = self._again(sequence)
        read = super()._read(again)
        decay = self.POWER * tf.nn.softplus(-tf.convert_to_tensor(self.decay))  # -log of the least a
        parameters = tf.concat([tf.cast(read["parameters"], decay.dtype), decay], 0)
        return {**read, "parameters": parameters, "skip": again}


SCAN_CELLS = {"mingru": MinGRU, "minlstm": MinLSTM, "sru": SRU, "qrnn": QRNN, "rglru": RGLRU}
