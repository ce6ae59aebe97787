"""Recurrences as one fused time loop, with gradients derived by hand.

What does not depend on the state, x·W for all steps, is one matrix product before the loop; the backward loop yields
only the gradients of the gates, and those of the kernels and inputs are one product each after it. Both directions of
a bidirectional layer run in one loop over the same batch-major tensors: nothing is reversed or concatenated.

Two implementations serve: compiled operations (`native/`) and loops of TensorFlow's own operations (`loop.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record

from nlp_rnn.layers import native
from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.layers.loop import (
    BY_HAND,
    Kind,
    Spec,
    differentiable_gradient,
    forward_loop,
    kernel_gradient,
    loop_with_gradient,
    split_arguments,
    state_type,
)

NATIVE_KINDS: tuple[Kind, ...] = ("tanh", "relu", "gru", "lstm")


@dataclass(frozen=True)
class Recurrence(Spec):
    """A recurrence that can be run; its cell, directions and masks are those of `Spec`.

    Args:
        native: whether the compiled operations may serve.
    """

    native: bool = True

    def __call__(
        self,
        projected: Sequence[Tensor],
        kernels: Sequence[Tensor],
        states: Sequence[Tensor],
        mask: Tensor | None = None,
        biases: Sequence[Tensor] | None = None,
        training: bool = False,
    ) -> tuple[Any, list[Tensor]]:
        """Runs it.

        Args:
            projected: for each direction x·W + b of all steps, `[batch, time, gates × units]`.
            kernels: for each direction U, `[units, gates × units]`.
            states: h, and c of an LSTM, before the first step: `[batch, directions × units]`.
            mask: boolean `[batch, time]`; the state stands still where it is False.
            biases: for each direction the GRU's bias inside the reset, `[units]`, None for 0; or the gains and the bias
                of a normalised LSTM, `[6 × units]`.
            training: whether to keep what the gradient needs, rather than to compute it anew should one be asked for.

        Returns:
            The outputs `[batch, time, directions × units]` and the states after the last step, which under mixed
            precision stay float32. Steps stay where they are, also in a direction that is reversed.
        """
        units = kernels[0].shape[0]
        dtype = projected[0].dtype
        if biases is None:
            biases = [tf.zeros([units if self.kind == "gru" else 0], dtype) for _ in kernels]
        # Variables are read here: the gradient must not find what is assigned to them later.
        arguments = [tf.convert_to_tensor(x) for x in (*projected, *kernels, *biases, *states)]
        serves = self.native and self.kind in NATIVE_KINDS and not native.unavailable()
        serves &= training or projected[0].shape[1] != 1  # one step is done before a kernel would be packed
        if not serves and training and self.kind in BY_HAND:
            output, *last = loop_with_gradient(self, mask)(*arguments)
        elif not serves:
            output, last, _ = forward_loop(self, arguments, mask, for_gradient=False)
        else:
            output, *last = self._native(arguments, len(states), mask, training)
            output = tf.cast(output, dtype)
        batch, time = projected[0].shape[:2]
        output.set_shape([batch, time, units * len(kernels)])
        for state in last:
            state.set_shape([batch, units * len(kernels)])
        return output, last

    def _native(self, arguments: list[Tensor], states: int, mask: Tensor, training: bool) -> list[Tensor]:
        projected, kernels, biases, given = split_arguments(arguments, len(self.reversed))
        stored = projected[0].dtype
        if stored not in (tf.float32, tf.float64, tf.bfloat16):
            stored = tf.float32
        projected, kernels, biases = ([tf.cast(x, stored) for x in part] for part in (projected, kernels, biases))
        given = [tf.cast(state, state_type(stored)) for state in given]
        empty = tf.zeros([0, 0], state_type(stored))
        results = native.library().operations.nlp_rnn_recurrent_forward(
            projected,
            kernels,
            biases,
            given[0],
            given[1] if states == 2 else empty,
            tf.zeros([0, 0], tf.bool) if mask is None else tf.cast(mask, tf.bool),
            kind=NATIVE_KINDS.index(self.kind),
            reversed=sum(1 << d for d, backwards in enumerate(self.reversed) if backwards),
            hold=self.hold,
            keep=bool(training),
        )
        return [results.output, results.last_state, results.last_cell][: 1 + states]


@tf.RegisterGradient("NlpRnnRecurrentForward")
def _native_gradient(op: tf.Operation, *gradients: Nest) -> list[Tensor]:
    """The gradient of the compiled operation, by its counterpart."""
    count = op.get_attr("directions")
    kind: Kind = NATIVE_KINDS[op.get_attr("kind")]
    inputs, outputs = list(op.inputs), list(op.outputs)
    projected, kernels, biases, (state, cell, mask) = split_arguments(inputs, count)
    d_outputs = [tf.zeros_like(y) if g is None else g for g, y in zip(gradients[:3], outputs[:3], strict=True)]
    fixed = {name: op.get_attr(name) for name in ("kind", "reversed", "hold")}
    if record.could_possibly_record():  # the gradient may itself be differentiated
        backwards = tuple(bool(fixed["reversed"] >> d & 1) for d in range(count))
        recurrence = Spec(kind, backwards, fixed["hold"])
        states = 2 if kind == "lstm" else 1
        given_mask = None if mask.shape.as_list() == [0, 0] else mask
        variables = [*projected, *kernels, *biases, *(state, cell)[:states]]
        found = differentiable_gradient(recurrence, variables, given_mask, d_outputs[: 1 + states])
        return [*found, *([tf.zeros_like(cell)] if states == 1 else []), None]
    operations = native.library().operations
    if not op.get_attr("keep"):  # the forward pass was not for training
        again = operations.nlp_rnn_recurrent_forward(projected, kernels, biases, state, cell, mask, keep=True, **fixed)
        outputs = tf.nest.flatten(list(again))
    results = operations.nlp_rnn_recurrent_backward(
        kernels, state, cell, mask, outputs[0], outputs[3 : 3 + count], outputs[3 + count :], *d_outputs, **fixed
    )
    d_kernels, d_biases = [], []
    for d in range(count):
        results.before[d].set_shape([None, None, kernels[d].shape[0]])
        results.d_projected[d].set_shape(projected[d].shape)
        results.d_products[d].set_shape([None, None, kernels[d].shape[0]] if kind == "gru" else [0])
        product = results.d_products[d] if kind == "gru" else None
        d_kernels.append(kernel_gradient(kind, results.before[d], results.d_projected[d], product, None))
        d_biases.append(tf.zeros_like(biases[d]) if product is None else tf.reduce_sum(product, [0, 1]))
    return [*results.d_projected, *d_kernels, *d_biases, results.d_state, results.d_cell, None]


@tf.RegisterGradient("NlpRnnRecurrentBackward")
def _native_second_gradient(op: tf.Operation, *gradients: Nest) -> list[Tensor]:
    raise NotImplementedError(
        "The second derivative of a recurrent layer can be taken by nested GradientTapes; "
        "elsewhere build the layer with use_native=False."
    )
