"""Recurrent layers on top of each other, in one or both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.chrono import Chrono
from nlp_rnn.layers.cudnn import run_cudnn
from nlp_rnn.layers.feedforward import FeedForward, normalization_of
from nlp_rnn.layers.kernels import kernel_of
from nlp_rnn.layers.parallel import SCAN_CELLS
from nlp_rnn.layers.recurrent import RECURRENT_CELLS, run_fused
from nlp_rnn.layers.scan import last_real_step
from nlp_rnn.layers.transformer import TransformerStack

CELLS = {**RECURRENT_CELLS, **SCAN_CELLS}
Observer: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], None]


@keras.saving.register_keras_serializable("nlp_rnn")
class RecurrentStack(SequenceLayer):
    """A stack of recurrent layers, with residuals and the dropout family that suits them.

    Rows are right-padded. Both directions run in one fused loop; cuDNN, where it serves, runs them in one call, with
    all layers that have nothing between them.

    Args:
        cell: "simple_rnn", "gru", "lstm" or "layernorm_lstm"; or, without a product of the state, so that all steps run
            in parallel, "mingru", "minlstm", "sru", "qrnn" or "rglru".
        units: state size per direction.
        layers: depth.
        bidirectional: whether each layer reads in both directions, its outputs side by side.
        residual: add a layer's input to its output where their sizes agree.
        dropout: variational dropout (Gal and Ghahramani 2016, arXiv:1512.05287), one mask per sequence, on
            what each layer passes on.
        weight_drop: DropConnect on the recurrent kernels (Merity et al. 2018, arXiv:1708.02182); of cells without
            them, on the kernels of the gates (as Merity et al. 2018, arXiv:1803.08240, do with QRNNs).
        activation: activation of the simple RNN, "tanh" or "relu".
        normalization: what each layer's input, and the output of the last, goes through: "layer" (Ba et al. 2016,
            arXiv:1607.06450), "rms" (Zhang and Sennrich 2019, arXiv:1910.07467) or "none". Residuals go around it and
            around the dropout (pre-norm).
        feedforward: units of a `FeedForward` after each layer; 0 for none.
        chrono: steps over which the layers should remember, for `Chrono`; 0 for Keras's biases.

    Call arguments:
        sequence: `[batch, time, features]`.
        mask: boolean `[batch, time]`, True for tokens.
        initial_state: as returned, or None for zeros.
        training: whether to drop.

    Returns:
        The sequence `[batch, time, units × directions]`, in which padded steps are 0, and the final state: for
        each layer a list of `[batch, units]`, first the forward layer's states, then the backward layer's.

    Example:

    >>> stack = RecurrentStack("gru", 8, layers=2)
    >>> sequence, state = stack(keras.ops.ones((2, 5, 3)))
    >>> sequence.shape, len(state), len(state[0])
    (TensorShape([2, 5, 16]), 2, 2)
    """

    OPTIONS = (
        *("cell", "units", "layers", "bidirectional", "residual", "dropout", "weight_drop", "activation"),
        *("normalization", "feedforward", "chrono"),
    )

    def __init__(
        self,
        cell: str = "lstm",
        units: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        residual: bool = False,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        activation: str = "tanh",
        normalization: str = "none",
        feedforward: int = 0,
        chrono: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if cell not in CELLS:
            raise ValueError(f'cell is "{cell}"; it must be one of {", ".join(CELLS)}.')
        self.cell, self.units, self.layers, self.bidirectional = cell, units, layers, bidirectional
        self.residual, self.dropout = residual, dropout
        self.weight_drop, self.activation = weight_drop, activation
        self.normalization, self.feedforward, self.chrono = normalization, feedforward, chrono
        self.forward_layers = [self._layer(f"forward_{i}") for i in range(layers)]
        self.backward_layers = [self._layer(f"backward_{i}") for i in range(layers if bidirectional else 0)]
        self.dropouts = [
            keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name=f"dropout_{i}") for i in range(layers)
        ]
        self.norms = [
            normalization_of(normalization, self.dtype_policy, f"norm_{i}")
            for i in range(layers + 1 if normalization != "none" else 0)
        ]
        self.blocks = [
            FeedForward(feedforward, normalization, dropout, dtype=self.dtype_policy, name=f"feedforward_{i}")
            for i in range(layers if feedforward else 0)
        ]

    def _layer(self, name: str) -> keras.layers.Layer:
        options: dict[str, Any] = {"weight_drop": self.weight_drop}
        options |= {"activation": self.activation} if self.cell == "simple_rnn" else {}
        if self.chrono:
            options["bias_initializer"] = Chrono(self.chrono, self.cell)
            options |= {"unit_forget_bias": False} if self.cell in ("lstm", "layernorm_lstm") else {}
        return CELLS[self.cell](
            self.units,
            return_sequences=True,
            return_state=True,
            dtype=self.dtype_policy,
            name=name,
            **options,
        )

    @property
    def output_size(self) -> int:
        """Features of the output sequence."""
        return self.units * (2 if self.bidirectional else 1)

    @property
    def state_parts(self) -> int:
        """How many `[batch, units]` the state of a layer in one direction has."""
        return len(self.forward_layers[0].state_sizes)

    @property
    def state_size(self) -> int:
        """Numbers in a part of the state."""
        return self.units

    def build(self, sequence_shape: Shape) -> None:
        features = sequence_shape[-1]
        for index, layer in enumerate(self.forward_layers):
            layer.build((None, None, features))
            if self.bidirectional:
                self.backward_layers[index].build((None, None, features))
            for norm in self.norms[index : index + 1]:
                norm.build((None, None, features))
            features = self.output_size
            for block in self.blocks[index : index + 1]:
                block.build((None, None, features))
        for norm in self.norms[-1:]:
            norm.build((None, None, features))
        self.built = True

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, initial_state: Nest = None, training: bool = False
    ) -> tuple[Tensor, list[list[Tensor]]]:
        return self.run(sequence, mask, initial_state, training)

    def run(
        self,
        sequence: Tensor,
        mask: Tensor | None = None,
        initial_state: Nest = None,
        training: bool = False,
        observe: Observer | None = None,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The same; `observe` is told of each layer its number, what it reads, what it gives, and the sequence that
        goes on to the next."""
        sequence = ops.cast(sequence, self.compute_dtype)
        lengths = None if mask is None else ops.sum(ops.cast(mask, "int32"), axis=1)
        if initial_state is None and self.cell in RECURRENT_CELLS:
            initial_state = self.zero_state(ops.shape(sequence)[0])
        final_state: list[list[Tensor]] = []
        for indices in self._at_once(training):
            read = self.norms[indices[0]](sequence) if self.norms else sequence
            given, states = self._run(indices, read, mask, lengths, initial_state, training)
            outputs = given
            if self.norms:  # what goes around is never dropped
                outputs = self.dropouts[indices[-1]](outputs, training=training)
            if self.residual and outputs.shape[-1] == sequence.shape[-1]:
                outputs = outputs + sequence
            sequence = outputs if self.norms else self.dropouts[indices[-1]](outputs, training=training)
            for block in self.blocks[indices[-1] : indices[-1] + 1]:
                sequence = block(sequence, training=training)
            if observe is not None:
                observe(indices[-1], read, given, sequence)
            final_state += states
        sequence = self.norms[-1](sequence) if self.norms else sequence
        if mask is not None:
            sequence = sequence * ops.cast(ops.expand_dims(mask, -1), sequence.dtype)
        return sequence, final_state

    def _level(self, index: int) -> list[Tensor]:
        return [self.forward_layers[index], *self.backward_layers[index : index + 1]]

    def zero_state(self, batch: Tensor | int) -> list[list[Tensor]]:
        """The state at the beginning, of so many rows."""
        levels = [self._level(index) for index in range(self.layers)]
        return [[state for layer in level for state in layer.get_initial_state(batch)] for level in levels]

    def _at_once(self, training: bool) -> list[list[int]]:
        """The layers by what one call may run: cuDNN takes all that have nothing between them."""
        everything = list(range(self.layers))
        nothing_between = not self.residual and not self.norms and not self.blocks and not (training and self.dropout)
        if nothing_between and kernel_of(self.forward_layers[0])[0] == "cudnn":
            return [everything]
        return [[index] for index in everything]

    def _run(
        self, indices: list[int], sequence: Tensor, mask: Tensor, lengths: Tensor, given: Nest, training: bool
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The sequence of the last of these layers, and the states of each."""
        levels = [self._level(index) for index in indices]
        if self.cell in SCAN_CELLS:
            return self._all_steps_at_once(
                levels[0], sequence, mask, None if given is None else given[indices[0]], training
            )
        states = [list(given[index]) for index in indices]
        kernel = kernel_of(levels[0][0])[0]
        if kernel == "cudnn":
            try:
                return run_cudnn(levels, sequence, states, lengths, training)
            except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):  # placed on a device without it
                kernel = "loop"
        after = []
        run = self._in_one_loop if kernel in ("native", "loop") else self._one_by_one
        for layers, state in zip(levels, states, strict=True):
            sequence, state = run(layers, sequence, mask, lengths, state, training)
            after.append(state)
        return sequence, after

    def _one_by_one(
        self, layers: list[Tensor], sequence: Tensor, mask: Tensor, lengths: Tensor, given: list[Tensor], training: bool
    ) -> tuple[Any, list[Tensor]]:
        """By Keras's own loop."""
        arguments = {"mask": mask, "training": training}
        size = len(given) // len(layers)
        forward, *after = layers[0](sequence, initial_state=given[:size], **arguments)
        if not self.bidirectional:
            return forward, after
        backward, *backward_after = layers[1](_reversed(sequence, lengths), initial_state=given[size:], **arguments)
        return ops.concatenate([forward, _reversed(backward, lengths)], axis=-1), after + backward_after

    def _in_one_loop(
        self, layers: list[Tensor], sequence: Tensor, mask: Tensor, lengths: Tensor, given: list[Tensor], training: bool
    ) -> tuple[Any, list[Tensor]]:
        """All directions at once. The state stands still over padding, so that nothing need be reversed."""
        size = len(given) // len(layers)
        side_by_side = [ops.concatenate(given[i::size], axis=-1) for i in range(size)]
        backwards = (False, True)[: len(layers)]
        outputs, states = run_fused(layers, sequence, side_by_side, mask, training, backwards, hold=False)
        split = [tf.split(state, len(layers), axis=-1) for state in states]
        return outputs, [state[d] for d in range(len(layers)) for state in split]

    def _all_steps_at_once(
        self, layers: list[Tensor], sequence: Tensor, mask: Tensor, given: list[Tensor] | None, training: bool
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """By scans, in which masked steps are left out."""
        outputs, after, size = [], [], self.state_parts
        mask = None if mask is None else tf.cast(mask, tf.bool)
        for d, layer in enumerate(layers):
            states = None if given is None else given[d * size : (d + 1) * size]
            output, _, states = layer.run(sequence, states, mask, training, backwards=d == 1, padded=True)
            outputs.append(output)
            after += states
        return outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=-1), [after]

    def last_output(
        self, final_state: list[list[Tensor]], sequence: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The last layer's final states, h of an LSTM, of its directions side by side: `[batch, output_size]`.

        Where layers are normalised, their states are not what they give in the end: the sequence at the last real step,
        and of the backward direction at the first.
        """
        if self.norms and sequence is not None:
            forward = sequence[..., : self.units]
            forward = forward[:, -1] if mask is None else last_real_step(forward, mask, False)
            return ops.concatenate([forward, sequence[:, 0, self.units :]], axis=-1)
        outputs = final_state[-1][:: self.state_parts]
        return ops.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]


def stack_of(cell: str, **options: Any) -> RecurrentStack | TransformerStack:
    """The stack of a kind of layers: a `TransformerStack`, or a `RecurrentStack` of a cell.

    Args:
        cell: "transformer", or as `RecurrentStack` has it.
        **options: those of both; each takes its own, but that a transformer has no recurrent kernel to drop from.

    Example:

    >>> stack_of("transformer", units=8, layers=1, residual=False, heads=2).heads
    2
    """
    if cell != "transformer":
        own = {name: value for name, value in options.items() if name not in ("heads", "context")}
        return RecurrentStack(cell, **own)
    for name, lacks in (("weight_drop", "recurrent kernel"), ("chrono", "gates that remember")):
        if options.get(name):
            raise ValueError(f"{name} is {options[name]}, but a transformer has no {lacks}.")
    others = ("residual", "weight_drop", "activation", "chrono")  # of recurrent layers
    own = {name: value for name, value in options.items() if name not in others}
    if own.get("normalization") == "none":  # without which no deep one trains
        own["normalization"] = "layer"
    return TransformerStack(**own)


def _reversed(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Each row reversed within its length, padding left where it is."""
    if lengths is None:
        return ops.flip(sequence, axis=1)
    return tf.reverse_sequence(sequence, lengths, seq_axis=1, batch_axis=0)
