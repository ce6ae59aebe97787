"""A recurrence as loops of TensorFlow's own operations, forward and backward, with the gradient derived by hand.

They need no compiler, can be compiled by XLA, exported, and differentiated any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
from tensorflow.python.eager import record

from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.layers.normalized import normalized

Kind = Literal["tanh", "relu", "gru", "lstm", "gru_reset_before", "layernorm_lstm"]
GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4, "gru_reset_before": 3, "layernorm_lstm": 4}
BY_HAND: tuple[Kind, ...] = ("tanh", "relu", "gru", "lstm", "gru_reset_before")
"""The kinds whose gradient `backward_loop` has; TensorFlow derives that of others."""


@dataclass(frozen=True)
class Spec:
    """What is fixed about a recurrence.

    Args:
        kind: of the cell; "tanh" and "relu" are simple RNNs, "gru" resets after the product.
        reversed: for each direction, whether it runs from the last step to the first.
        hold: whether a masked step repeats the output before it (0 where there is none), instead of giving 0.
    """

    kind: Kind
    reversed: tuple[bool, ...] = (False,)
    hold: bool = False


class _Arguments:
    """The arguments of a recurrence as its loops take them: time first, in the precision of the states."""

    def __init__(self, spec: Spec, arguments: Sequence[Tensor], mask: Tensor) -> None:
        self.spec, self.count = spec, len(spec.reversed)
        self.stored = arguments[0].dtype
        self.dtype = state_type(self.stored)
        self.projected, self.kernels, self.biases, self.states = split_arguments(
            [tf.cast(x, self.dtype) for x in arguments], self.count
        )
        self.units = self.kernels[0].shape[0]
        self.batch, self.time = tf.shape(self.projected[0])[0], tf.shape(self.projected[0])[1]
        self.masks = None if mask is None else tf.transpose(tf.cast(mask, tf.bool))[:, :, None]

    def by_direction(self, values: Sequence[Tensor]) -> list[list[Tensor]]:
        """States of all directions side by side → those of each direction."""
        return [[x[:, d * self.units : (d + 1) * self.units] for x in values] for d in range(self.count)]

    def side_by_side(self, states: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The reverse."""
        return [tf.concat(parts, -1) for parts in zip(*states, strict=True)]

    def array(self, size: int) -> tf.TensorArray:
        """For a value `[batch, size]` of each step."""
        return tf.TensorArray(self.dtype, self.time, element_shape=[self.projected[0].shape[0], size])


def loop_with_gradient(spec: Spec, mask: Tensor) -> Callable[..., Nest]:
    """Arguments → outputs and states, by loops of TensorFlow's operations, forward and backward."""

    @tf.custom_gradient
    def run(*arguments: Any) -> tuple[Tensor, Nest]:
        output, last, kept = forward_loop(spec, arguments, mask, for_gradient=True)

        def gradient(*d_outputs: Nest) -> list[Tensor]:
            if record.could_possibly_record():
                return differentiable_gradient(spec, list(arguments), mask, list(d_outputs))
            return backward_loop(spec, arguments, mask, kept, d_outputs)

        return [output, *last], gradient

    return run


def differentiable_gradient(spec: Spec, variables: list[Tensor], mask: Tensor, d_outputs: list[Tensor]) -> list[Tensor]:
    """The gradient in operations that have gradients themselves."""
    with tf.GradientTape() as tape:
        tape.watch(variables)
        output, last, _ = forward_loop(spec, variables, mask, for_gradient=False)
    return tape.gradient([output, *last], variables, d_outputs, unconnected_gradients="zero")


def forward_loop(
    spec: Spec, arguments: Sequence[Tensor], mask: Tensor, for_gradient: bool
) -> tuple[Any, list[Tensor], list[list[Tensor]]]:
    """The recurrence in TensorFlow's operations.

    Returns:
        Outputs, last states, and with `for_gradient` for each direction what `backward_loop` needs, `[time, batch, …]`:
        the activated gates, the cells (or the GRU's products), and h before each step.
    """
    given = _Arguments(spec, arguments, mask)
    state = given.by_direction(given.states)
    if given.projected[0].shape[1] == 1 and mask is None and not for_gradient:
        after = [
            _step(spec.kind, given.projected[d][:, 0], state[d], given.kernels[d], given.biases[d])[0]
            for d in range(given.count)
        ]
        last = given.side_by_side(after)
        return tf.cast(last[0][:, None], given.stored), last, []
    kept_sizes = [GATES[spec.kind] * given.units, given.units, given.units] if for_gradient else []
    start = (
        tf.constant(0),
        state,
        [tf.zeros([given.batch, given.units], given.dtype) for _ in range(given.count)],
        [given.array(given.units) for _ in range(given.count)],
        [[given.array(size) for size in kept_sizes] for _ in range(given.count)],
    )
    body = _forward_body(given, for_gradient)
    _, state, _, outputs, kept = tf.while_loop(
        lambda step, *_: step < given.time, body, start, maximum_iterations=given.time
    )
    output = tf.cast(tf.concat([_time_major(a.stack()) for a in outputs], -1), given.stored)
    return output, given.side_by_side(state), [[a.stack() for a in arrays] for arrays in kept]


def _forward_body(given: _Arguments, for_gradient: bool) -> Callable[..., Nest]:
    spec, masks = given.spec, given.masks
    inputs = [_time_major(x) for x in given.projected]

    def body(step: Tensor, state: Nest, last: Nest, outputs: Tensor, kept: Nest) -> tuple[Any, ...]:
        new_state, new_last, new_outputs, new_kept = [], [], [], []
        for d, backwards in enumerate(spec.reversed):
            t = given.time - 1 - step if backwards else step
            after, gates, cell = _step(spec.kind, inputs[d][t], state[d], given.kernels[d], given.biases[d])
            output = after[0]
            if masks is not None:
                real = masks[t]
                after = [tf.where(real, new, old) for new, old in zip(after, state[d], strict=True)]
                output = tf.where(real, output, last[d] if spec.hold else tf.zeros_like(output))
                if spec.kind == "lstm":
                    cell = after[1]
            new_outputs.append(outputs[d].write(t, output))
            values = [gates, cell, state[d][0]] if for_gradient else []
            new_kept.append([a.write(t, value) for a, value in zip(kept[d], values, strict=True)])
            new_state.append(after)
            new_last.append(output)
        return step + 1, new_state, new_last, new_outputs, new_kept

    return body


def backward_loop(
    spec: Spec, arguments: Sequence[Tensor], mask: Tensor, kept: list[list[Tensor]], d_outputs: Sequence[Tensor]
) -> list[Tensor]:
    """The gradient of `forward_loop`: that of the gates step by step, then one product for each kernel."""
    given = _Arguments(spec, arguments, mask)
    d_outputs = [tf.cast(g, given.dtype) for g in d_outputs]
    d_state = given.by_direction(d_outputs[1:])
    carried = [tf.zeros_like(d_state[d][0]) for d in range(given.count)]
    arrays = [[given.array(GATES[spec.kind] * given.units), given.array(given.units)] for _ in range(given.count)]
    body = _backward_body(given, kept, d_outputs[0])
    _, d_state, _, arrays = tf.while_loop(
        lambda left, *_: left > 0, body, (given.time, d_state, carried, arrays), maximum_iterations=given.time
    )
    d_projected, d_kernels, d_biases = [], [], []
    for d in range(given.count):
        of_gates, of_product = (a.stack() for a in arrays[d])
        product = of_product if spec.kind == "gru" else None
        d_projected.append(_time_major(of_gates))
        d_kernels.append(kernel_gradient(spec.kind, kept[d][2], of_gates, product, kept[d][0]))
        d_biases.append(tf.zeros_like(given.biases[d]) if product is None else tf.reduce_sum(product, [0, 1]))
    found = [*d_projected, *d_kernels, *d_biases, *given.side_by_side(d_state)]
    return [tf.cast(gradient, x.dtype) for gradient, x in zip(found, arguments, strict=True)]


def _backward_body(given: _Arguments, kept: list[list[Tensor]], d_output: Tensor) -> Callable[..., Nest]:
    spec, masks = given.spec, given.masks
    # Sliced here: XLA misreads a slice that begins at a variable step and a constant feature.
    d_outputs = tf.split(_time_major(d_output), given.count, axis=-1)
    first_cells = given.by_direction(given.states[1:]) if spec.kind == "lstm" else None

    def before_step(d: int, backwards: bool, step: Tensor, d_after: Nest, t: Tensor) -> tuple[Tensor, Tensor, Nest]:
        before = tf.where(step > 0, t + (1 if backwards else -1), t)
        gates, cell, state = (x[t] for x in kept[d])
        cell_before = None
        if first_cells is not None:
            cell_before = tf.where(step > 0, kept[d][1][before], first_cells[d][0])
        return _step_gradient(spec.kind, given.kernels[d], gates, cell, state, cell_before, d_after)

    def body(left: Tensor, d_state: Nest, carried: Tensor, gradients: Nest) -> tuple[Any, ...]:
        step = left - 1
        new_state, new_carried, new_gradients = [], [], []
        for d, backwards in enumerate(spec.reversed):
            t = given.time - 1 - step if backwards else step
            here = d_outputs[d][t]
            d_after = [d_state[d][0] + here + carried[d], *d_state[d][1:]]
            d_before, d_projected, d_product = before_step(d, backwards, step, d_after, t)
            waiting = carried[d]
            if masks is not None:
                real = masks[t]
                d_before = [tf.where(real, new, old) for new, old in zip(d_before, d_state[d], strict=True)]
                d_projected, d_product = (tf.where(real, g, tf.zeros_like(g)) for g in (d_projected, d_product))
                held = carried[d] + here if spec.hold else carried[d]
                waiting = tf.where(real, tf.zeros_like(here), held)
            new_carried.append(waiting)
            new_state.append(d_before)
            new_gradients.append([gradients[d][0].write(t, d_projected), gradients[d][1].write(t, d_product)])
        return step, new_state, new_carried, new_gradients

    return body


def kernel_gradient(kind: str, before: Tensor, d_projected: Tensor, d_product: Tensor, gates: Tensor) -> Tensor:
    """dL/dU from all steps at once: `[…, units]` and `[…, gates × units]` → `[units, gates × units]`."""
    units = before.shape[-1]
    if kind == "gru":
        parts = [_outer(before, d_projected[..., : 2 * units]), _outer(before, d_product)]
        return tf.concat(parts, -1)
    if kind == "gru_reset_before":
        reset = gates[..., units : 2 * units] * before
        parts = [_outer(before, d_projected[..., : 2 * units]), _outer(reset, d_projected[..., 2 * units :])]
        return tf.concat(parts, -1)
    return _outer(before, d_projected)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """The sum over all steps and rows of the outer products of their vectors."""
    return tf.matmul(tf.reshape(left, [-1, left.shape[-1]]), tf.reshape(right, [-1, right.shape[-1]]), transpose_a=True)


def state_type(dtype: tf.DType) -> tf.DType:
    """What states are held in: no less than float32, whatever sequences are stored in."""
    return tf.float64 if dtype == tf.float64 else tf.float32


def split_arguments(
    arguments: Sequence[Tensor], count: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Projected inputs, kernels, biases and the rest of flat arguments."""
    flat = list(arguments)
    return flat[:count], flat[count : 2 * count], flat[2 * count : 3 * count], flat[3 * count :]


def _time_major(x: Tensor) -> Tensor:
    return tf.transpose(x, [1, 0, 2])


def _step(
    kind: str, x: Tensor, states: Sequence[Tensor], kernel: Tensor, bias: Tensor
) -> tuple[list[Tensor], Any, Any]:
    """One step: x·W + b, the states, U and what is inside (the GRU's bias, or the gains and bias of a normalised LSTM)
    → states, activated gates, cell or GRU's product.

    The formulas stand in `recurrent.py`.
    """
    h, units = states[0], kernel.shape[0]
    if kind in ("tanh", "relu"):
        h = (tf.tanh if kind == "tanh" else tf.nn.relu)(x + tf.matmul(h, kernel))
        return [h], h, h
    if kind == "lstm":
        i, f, g, o = tf.split(x + tf.matmul(h, kernel), 4, -1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * states[1] + i * g
        return [o * tf.tanh(c), c], tf.concat([i, f, g, o], -1), c
    if kind == "layernorm_lstm":
        of_gates, of_cell, shift = tf.split(bias, [4 * units, units, units])
        i, f, g, o = tf.split(x + normalized(tf.matmul(h, kernel)) * of_gates, 4, -1)
        c = tf.sigmoid(f) * states[1] + tf.sigmoid(i) * tf.tanh(g)
        return [tf.sigmoid(o) * tf.tanh(normalized(c) * of_cell + shift), c], None, c
    if kind == "gru":
        product = tf.matmul(h, kernel)
        zr = tf.sigmoid(x[:, : 2 * units] + product[:, : 2 * units])
        z, r = zr[:, :units], zr[:, units:]
        inner = product[:, 2 * units :] + bias
        n = tf.tanh(x[:, 2 * units :] + r * inner)
        return [n + z * (h - n)], tf.concat([zr, n], -1), inner
    zr = tf.sigmoid(x[:, : 2 * units] + tf.matmul(h, kernel[:, : 2 * units]))
    z, r = zr[:, :units], zr[:, units:]
    n = tf.tanh(x[:, 2 * units :] + tf.matmul(r * h, kernel[:, 2 * units :]))
    return [n + z * (h - n)], tf.concat([zr, n], -1), h


def _step_gradient(
    kind: str,
    kernel: Tensor,
    gates: Tensor,
    cell: Tensor,
    before: Tensor,
    cell_before: Tensor,
    d_after: Sequence[Tensor],
) -> tuple[list[Tensor], Any, Any]:
    """Gradients of the states before a step, of x·W + b, and of the GRU's inner product."""
    d_h, units = d_after[0], kernel.shape[0]
    if kind in ("tanh", "relu"):
        d_x = d_h * (1 - gates * gates if kind == "tanh" else tf.cast(gates > 0, d_h.dtype))
        return [tf.matmul(d_x, kernel, transpose_b=True)], d_x, tf.zeros_like(d_h)
    if kind == "lstm":
        i, f, g, o = tf.split(gates, 4, -1)
        squashed = tf.tanh(cell)
        d_c = d_after[1] + d_h * o * (1 - squashed * squashed)
        d_x = tf.concat(
            [
                d_c * g * i * (1 - i),
                d_c * cell_before * f * (1 - f),
                d_c * i * (1 - g * g),
                d_h * squashed * o * (1 - o),
            ],
            -1,
        )
        return [tf.matmul(d_x, kernel, transpose_b=True), d_c * f], d_x, tf.zeros_like(d_h)
    z, r, n = tf.split(gates, 3, -1)
    d_n = d_h * (1 - z) * (1 - n * n)
    d_z = d_h * (before - n) * z * (1 - z)
    if kind == "gru":
        d_r, d_product = d_n * cell * r * (1 - r), d_n * r
        d_before = d_h * z + tf.matmul(tf.concat([d_z, d_r, d_product], -1), kernel, transpose_b=True)
        return [d_before], tf.concat([d_z, d_r, d_n], -1), d_product
    d_reset = tf.matmul(d_n, kernel[:, 2 * units :], transpose_b=True)
    d_r = d_reset * before * r * (1 - r)
    d_zr = tf.concat([d_z, d_r], -1)
    d_before = d_h * z + d_reset * r + tf.matmul(d_zr, kernel[:, : 2 * units], transpose_b=True)
    return [d_before], tf.concat([d_zr, d_n], -1), tf.zeros_like(d_h)
