"""What the layers share whose gates do not read the state: called as Keras's recurrent layers are, run by scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers import native
from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.chrono import Chrono
from nlp_rnn.layers.projection import dropped_entries, projected, read_weight, seed_of_drops
from nlp_rnn.layers.scan import KINDS, ScanKind, Scanned, scan
from nlp_rnn.machine import has_gpu

if TYPE_CHECKING:
    from collections.abc import Callable


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
        weight_drop: probability that an entry of the gates' matrices is dropped for a whole batch while training
            (DropConnect, as Merity et al. 2018 regularise QRNNs, arXiv:1803.08240).

    Call arguments:
        sequence: `[batch, time, features]`.
        initial_state: a list as returned, or None for zeros.
        mask: boolean `[batch, time]`; steps at which it is False are left out, and give 0.
        training: whether to drop, and whether a gradient will be taken.

    Returns:
        `[batch, units]`, or with `return_sequences` `[batch, time, units]`; with `return_state` a tuple of it and of
        the states `[batch, units]`, c or h first, no less than float32.
    """

    KIND: ClassVar[ScanKind]
    stateful, states = False, None  # Keras's Bidirectional asks
    OPTIONS: ClassVar[tuple[str, ...]] = (
        "units",
        "return_sequences",
        "return_state",
        "go_backwards",
        "kernel_initializer",
        "bias_initializer",
        "weight_drop",
    )

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        weight_drop: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if int(units) != units or units < 1:
            raise ValueError(f"units must be a whole number, at least 1; it is {units}.")
        self.units, self.return_sequences, self.return_state = units, return_sequences, return_state
        self.go_backwards = go_backwards
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.use_native = True
        self.weight_drop, self.weight_drop_seed = weight_drop, seed_of_drops(weight_drop)
        if isinstance(self.bias_initializer, Chrono) and self.bias_initializer.cell != self.KIND:
            raise ValueError(f'The biases are those of Chrono for "{self.bias_initializer.cell}", not "{self.KIND}".')

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

    def get_initial_state(self, batch_size: Tensor | int) -> list[Tensor]:
        """States of zeros."""
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        return [ops.zeros((batch_size, size), dtype) for size in self.state_sizes]

    def build(self, sequence_shape: Shape) -> None:
        self._add_gates(sequence_shape[-1], KINDS[self.KIND].gates)
        self.built = True
        if self.kernel_and_reason[0] == "native":
            self.supports_jit = False  # Keras then leaves XLA aside, as it does for cuDNN

    def _add_gates(self, features: int, gates: int) -> None:
        """The kernel `[features, gates × units]` and the bias `[gates × units]`."""
        initializer = of_each_gate(self.kernel_initializer, self.units, gates)
        shape = (features, gates * self.units)
        self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(gates * self.units,), initializer=self.bias_initializer, name="bias")

    def call(
        self, sequence: Tensor, initial_state: Nest = None, mask: Tensor | None = None, training: bool = False
    ) -> Nest:
        sequence = ops.cast(sequence, self.compute_dtype)
        states = None
        if initial_state is not None:
            states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
            if len(states) != len(self.state_sizes):
                raise ValueError(f"{self.name} has {len(self.state_sizes)} states; {len(states)} were given.")
        mask = None if mask is None else tf.cast(mask, tf.bool)
        self._refuse_other_shapes(sequence, states, mask)
        outputs, last, after = self.run(sequence, states, mask, bool(training), self.go_backwards)
        if self.return_sequences:
            result = tf.reverse(outputs, [1]) if self.go_backwards else outputs
        else:
            result = tf.cast(last, self.compute_dtype)
        return (result, *after) if self.return_state else result

    def _refuse_other_shapes(self, sequence: Tensor, states: list[Tensor] | None, mask: Tensor | None) -> None:
        batch, time = sequence.shape[:2]
        for state, size in zip(states or [], self.state_sizes, strict=False):
            if not tf.TensorShape((batch, size)).is_compatible_with(state.shape):
                raise ValueError(f"A state of {self.name} must be {(batch, size)}; it is {tuple(state.shape)}.")
        if mask is not None and not tf.TensorShape((batch, time)).is_compatible_with(mask.shape):
            raise ValueError(f"The mask must be {(batch, time)} as the sequence is; it is {tuple(mask.shape)}.")

    def compute_output_shape(self, sequence_shape: Shape, initial_state_shape: Shape | None = None) -> Nest:
        """Those of the outputs, and with `return_state` of the states."""
        batch, time = sequence_shape[:2]
        outputs = (batch, time, self.units) if self.return_sequences else (batch, self.units)
        return (outputs, *((batch, size) for size in self.state_sizes)) if self.return_state else outputs

    def compute_mask(self, sequence: Tensor, mask: Tensor | None = None, **kwargs: Any) -> Nest:
        """The mask of the outputs, as Keras's recurrent layers pass it on."""
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if not self.return_sequences or mask is None:
            mask = None
        elif self.go_backwards:
            mask = ops.flip(mask, axis=1)
        return (mask, *(None for _ in self.state_sizes)) if self.return_state else mask

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
            training: whether to drop, and whether a gradient will be taken.
            backwards: whether it runs from the last step to the first.
            padded: whether rows are masked at their ends only.

        Returns:
            The outputs, each where its step is; the last one; and the states after the last step.
        """
        found = self._scan(self._read(sequence, training), states, mask, training, backwards)
        return found.output, found.last_output, [found.last_state]

    def _read(self, sequence: Tensor, training: bool) -> dict[str, Tensor]:
        """What `scan` reads: the gates, and of some cells more."""
        return {
            "projected": projected(sequence, self._weights(self.kernel, training)),
            "parameters": read_weight(self.bias),
        }

    def _weights(self, kernel: keras.Variable, training: bool) -> Tensor:
        """A kernel as the layer computes with it, while training with some of its entries dropped."""
        return dropped_entries(read_weight(kernel), self.weight_drop if training else 0.0, self.weight_drop_seed)

    def _scan(
        self, read: dict[str, Tensor], states: Sequence[Tensor] | None, mask: Tensor, training: bool, backwards: bool
    ) -> Scanned:
        state = self.get_initial_state(tf.shape(read["projected"])[0])[0] if states is None else states[0]
        use_native = self.kernel_and_reason[0] == "native"
        options = {"mask": mask, "backwards": backwards, "training": training, "use_native": use_native}
        return scan(self.KIND, state=state, **read, **options)


def of_each_gate(initializer: Any, units: int, gates: int) -> Callable[..., Tensor]:
    """An initializer of `[features, gates × units]` that fills the matrix of each gate by itself."""

    def fill(shape: Shape, dtype: str | None = None) -> Tensor:
        config = initializer.get_config()
        seed = config.get("seed")
        parts = []
        for gate in range(gates):
            one = initializer
            if "seed" in config:  # the same instance gives the same values
                one = type(initializer).from_config({**config, "seed": seed + gate if isinstance(seed, int) else None})
            parts.append(one((shape[0], units), dtype=dtype))
        return ops.concatenate(parts, axis=-1)

    return fill
