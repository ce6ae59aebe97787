"""Recurrences as one fused time loop, with gradients derived by hand.

What does not depend on the state, x·W for all steps, is one matrix product before the loop; the backward loop yields
only the gradients of the gates, and those of the kernels and inputs are one product each after it. Both directions of
a bidirectional layer run in one loop over the same batch-major tensors: nothing is reversed or concatenated.

Two implementations serve: compiled operations (`native/`) and loops of TensorFlow's own operations, which need no
compiler, can be compiled by XLA, exported and differentiated twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
from tensorflow.python.eager import record

from nlp_rnn.layers import native

Kind = Literal["tanh", "relu", "gru", "lstm", "gru_reset_before"]
GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4, "gru_reset_before": 3}
NATIVE_KINDS: tuple[Kind, ...] = ("tanh", "relu", "gru", "lstm")


@dataclass(frozen=True)
class Recurrence:
    """What is fixed about a recurrence.

    Args:
        kind: of the cell; "tanh" and "relu" are simple RNNs, "gru" resets after the product.
        reversed: for each direction, whether it runs from the last step to the first.
        hold: whether a masked step repeats the output before it (0 where there is none), instead of giving 0.
        native: whether the compiled operations may serve.
    """

    kind: Kind
    reversed: tuple[bool, ...] = (False,)
    hold: bool = False
    native: bool = True

    def __call__(
        self,
        projected: Sequence[Any],
        kernels: Sequence[Any],
        states: Sequence[Any],
        mask: Any = None,
        biases: Sequence[Any] | None = None,
        training: bool = False,
    ) -> tuple[Any, list[Any]]:
        """Runs it.

        Args:
            projected: for each direction x·W + b of all steps, `[batch, time, gates × units]`.
            kernels: for each direction U, `[units, gates × units]`.
            states: h, and c of an LSTM, before the first step: `[batch, directions × units]`.
            mask: boolean `[batch, time]`; the state stands still where it is False.
            biases: for each direction the GRU's bias inside the reset, `[units]`; None for 0.
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
        if not serves and training:
            output, *last = _loop_with_gradient(self, mask)(*arguments)
        elif not serves:
            output, last, _ = _loop(self, arguments, mask, keep=False)
        else:
            output, *last = self._native(arguments, len(states), mask, training)
            output = tf.cast(output, dtype)
        batch, time = projected[0].shape[:2]
        output.set_shape([batch, time, units * len(kernels)])
        for state in last:
            state.set_shape([batch, units * len(kernels)])
        return output, last

    def _native(self, arguments: list[Any], states: int, mask: Any, training: bool) -> list[Any]:
        projected, kernels, biases, given = _split(arguments, len(self.reversed))
        stored = projected[0].dtype
        if stored not in (tf.float32, tf.float64, tf.bfloat16):
            stored = tf.float32
        projected, kernels, biases = ([tf.cast(x, stored) for x in part] for part in (projected, kernels, biases))
        given = [tf.cast(state, _state_type(stored)) for state in given]
        empty = tf.zeros([0, 0], _state_type(stored))
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
def _native_gradient(op: Any, *gradients: Any) -> list[Any]:
    """The gradient of the compiled operation, by its counterpart."""
    count = op.get_attr("directions")
    kind: Kind = NATIVE_KINDS[op.get_attr("kind")]
    inputs, outputs = list(op.inputs), list(op.outputs)
    projected, kernels, biases, (state, cell, mask) = _split(inputs, count)
    d_outputs = [tf.zeros_like(y) if g is None else g for g, y in zip(gradients[:3], outputs[:3], strict=True)]
    fixed = {name: op.get_attr(name) for name in ("kind", "reversed", "hold")}
    if record.could_possibly_record():  # the gradient may itself be differentiated
        backwards = tuple(bool(fixed["reversed"] >> d & 1) for d in range(count))
        recurrence = Recurrence(kind, backwards, fixed["hold"])
        states = 2 if kind == "lstm" else 1
        given_mask = None if mask.shape.as_list() == [0, 0] else mask
        variables = [*projected, *kernels, *biases, *(state, cell)[:states]]
        found = _differentiable_gradient(recurrence, variables, given_mask, d_outputs[: 1 + states])
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
        d_kernels.append(_kernel_gradient(kind, results.before[d], results.d_projected[d], product, None))
        d_biases.append(tf.zeros_like(biases[d]) if product is None else tf.reduce_sum(product, [0, 1]))
    return [*results.d_projected, *d_kernels, *d_biases, results.d_state, results.d_cell, None]


@tf.RegisterGradient("NlpRnnRecurrentBackward")
def _native_second_gradient(op: Any, *gradients: Any) -> list[Any]:
    raise NotImplementedError(
        "The second derivative of a recurrent layer can be taken by nested GradientTapes; "
        "elsewhere build the layer with use_native=False."
    )


def _differentiable_gradient(
    recurrence: Recurrence, variables: list[Any], mask: Any, d_outputs: list[Any]
) -> list[Any]:
    """The gradient in operations that have gradients themselves."""
    with tf.GradientTape() as tape:
        tape.watch(variables)
        output, last, _ = _loop(recurrence, variables, mask, keep=False)
    return tape.gradient([output, *last], variables, d_outputs, unconnected_gradients="zero")


def _loop_with_gradient(recurrence: Recurrence, mask: Any) -> Any:
    """arguments → outputs and states, by loops of TensorFlow's operations, forward and backward."""

    @tf.custom_gradient
    def run(*arguments: Any) -> tuple[Any, Any]:
        output, last, kept = _loop(recurrence, arguments, mask, keep=True)

        def gradient(*d_outputs: Any) -> list[Any]:
            if record.could_possibly_record():
                return _differentiable_gradient(recurrence, list(arguments), mask, list(d_outputs))
            return _backward_loop(recurrence, arguments, mask, kept, d_outputs)

        return [output, *last], gradient

    return run


def _state_type(dtype: Any) -> Any:
    """What states are held in: no less than float32, whatever sequences are stored in."""
    return tf.float64 if dtype == tf.float64 else tf.float32


def _split(arguments: Sequence[Any], count: int) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Projected inputs, kernels, biases and the rest of flat arguments."""
    flat = list(arguments)
    return flat[:count], flat[count : 2 * count], flat[2 * count : 3 * count], flat[3 * count :]


def _time_major(x: Any) -> Any:
    return tf.transpose(x, [1, 0, 2])


def _loop(
    recurrence: Recurrence, arguments: Sequence[Any], mask: Any, keep: bool
) -> tuple[Any, list[Any], list[list[Any]]]:
    """The recurrence in TensorFlow's operations, which can be differentiated any number of times.

    Returns:
        Outputs, last states, and with `keep` for each direction what `_backward_loop` needs, `[time, batch, …]`: the
        activated gates, the cells (or the GRU's products), and h before each step.
    """
    kind, count = recurrence.kind, len(recurrence.reversed)
    stored = arguments[0].dtype
    dtype = _state_type(stored)
    projected, kernels, biases, states = _split([tf.cast(x, dtype) for x in arguments], count)
    units = kernels[0].shape[0]
    batch, time = tf.shape(projected[0])[0], tf.shape(projected[0])[1]
    inputs = [_time_major(x) for x in projected]
    masks = None if mask is None else tf.transpose(tf.cast(mask, tf.bool))[:, :, None]
    state = [[s[:, d * units : (d + 1) * units] for s in states] for d in range(count)]
    if projected[0].shape[1] == 1 and mask is None and not keep:
        after = [_step(kind, projected[d][:, 0], state[d], kernels[d], biases[d])[0] for d in range(count)]
        last = [tf.concat(parts, -1) for parts in zip(*after, strict=True)]
        return tf.cast(last[0][:, None], stored), last, []
    kept_sizes = [GATES[kind] * units, units, units] if keep else []

    def array(size: int) -> Any:
        return tf.TensorArray(dtype, time, element_shape=[projected[0].shape[0], size])

    def body(step: Any, state: Any, last: Any, outputs: Any, kept: Any) -> tuple[Any, ...]:
        new_state, new_last, new_outputs, new_kept = [], [], [], []
        for d, backwards in enumerate(recurrence.reversed):
            t = time - 1 - step if backwards else step
            after, gates, cell = _step(kind, inputs[d][t], state[d], kernels[d], biases[d])
            output = after[0]
            if masks is not None:
                real = masks[t]
                after = [tf.where(real, new, old) for new, old in zip(after, state[d], strict=True)]
                output = tf.where(real, output, last[d] if recurrence.hold else tf.zeros_like(output))
                if kind == "lstm":
                    cell = after[1]
            new_outputs.append(outputs[d].write(t, output))
            values = [gates, cell, state[d][0]] if keep else []
            new_kept.append([a.write(t, value) for a, value in zip(kept[d], values, strict=True)])
            new_state.append(after)
            new_last.append(output)
        return step + 1, new_state, new_last, new_outputs, new_kept

    start = (
        tf.constant(0),
        state,
        [tf.zeros([batch, units], dtype) for _ in range(count)],
        [array(units) for _ in range(count)],
        [[array(size) for size in kept_sizes] for _ in range(count)],
    )
    _, state, _, outputs, kept = tf.while_loop(lambda step, *_: step < time, body, start, maximum_iterations=time)
    output = tf.cast(tf.concat([_time_major(a.stack()) for a in outputs], -1), stored)
    last = [tf.concat([state[d][i] for d in range(count)], -1) for i in range(len(states))]
    return output, last, [[a.stack() for a in arrays] for arrays in kept]


def _backward_loop(
    recurrence: Recurrence, arguments: Sequence[Any], mask: Any, kept: list[list[Any]], d_outputs: Sequence[Any]
) -> list[Any]:
    """The gradient of `_loop`: the gradients of the gates step by step, then one product for each kernel."""
    kind, count = recurrence.kind, len(recurrence.reversed)
    dtype = _state_type(arguments[0].dtype)
    projected, kernels, biases, states = _split([tf.cast(x, dtype) for x in arguments], count)
    units = kernels[0].shape[0]
    d_outputs = [tf.cast(g, dtype) for g in d_outputs]
    time = tf.shape(projected[0])[1]
    # Sliced here: XLA misreads a slice that begins at a variable step and a constant feature.
    d_output = tf.split(_time_major(d_outputs[0]), count, axis=-1)
    masks = None if mask is None else tf.transpose(tf.cast(mask, tf.bool))[:, :, None]
    d_state = [[g[:, d * units : (d + 1) * units] for g in d_outputs[1:]] for d in range(count)]
    carried = [tf.zeros_like(d_state[d][0]) for d in range(count)]

    def array(size: int) -> Any:
        return tf.TensorArray(dtype, time, element_shape=[projected[0].shape[0], size])

    def body(left: Any, d_state: Any, carried: Any, gradients: Any) -> tuple[Any, ...]:
        step = left - 1
        new_state, new_carried, new_gradients = [], [], []
        for d, backwards in enumerate(recurrence.reversed):
            t = time - 1 - step if backwards else step
            before = tf.where(step > 0, t + (1 if backwards else -1), t)
            gates, cell, state = (x[t] for x in kept[d])
            here = d_output[d][t]
            d_after = [d_state[d][0] + here + carried[d], *d_state[d][1:]]
            cell_before = None
            if kind == "lstm":
                first = states[1][:, d * units : (d + 1) * units]
                cell_before = tf.where(step > 0, kept[d][1][before], first)
            d_before, d_projected, d_product = _step_gradient(
                kind, kernels[d], gates, cell, state, cell_before, d_after
            )
            if masks is not None:
                real = masks[t]
                d_before = [tf.where(real, new, old) for new, old in zip(d_before, d_state[d], strict=True)]
                d_projected = tf.where(real, d_projected, tf.zeros_like(d_projected))
                d_product = tf.where(real, d_product, tf.zeros_like(d_product))
                waiting = carried[d] + here if recurrence.hold else carried[d]
                new_carried.append(tf.where(real, tf.zeros_like(here), waiting))
            else:
                new_carried.append(carried[d])
            new_state.append(d_before)
            new_gradients.append([gradients[d][0].write(t, d_projected), gradients[d][1].write(t, d_product)])
        return step, new_state, new_carried, new_gradients

    arrays = [[array(GATES[kind] * units), array(units)] for _ in range(count)]
    _, d_state, _, arrays = tf.while_loop(
        lambda left, *_: left > 0, body, (time, d_state, carried, arrays), maximum_iterations=time
    )
    d_projected, d_kernels, d_biases = [], [], []
    for d in range(count):
        of_gates, of_product = (a.stack() for a in arrays[d])
        product = of_product if kind == "gru" else None
        d_projected.append(_time_major(of_gates))
        d_kernels.append(_kernel_gradient(kind, kept[d][2], of_gates, product, kept[d][0]))
        d_biases.append(tf.zeros_like(biases[d]) if product is None else tf.reduce_sum(product, [0, 1]))
    d_states = [tf.concat([d_state[d][i] for d in range(count)], -1) for i in range(len(states))]
    found = [*d_projected, *d_kernels, *d_biases, *d_states]
    return [tf.cast(gradient, x.dtype) for gradient, x in zip(found, arguments, strict=True)]


def _kernel_gradient(kind: str, before: Any, d_projected: Any, d_product: Any, gates: Any) -> Any:
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


def _outer(left: Any, right: Any) -> Any:
    """The sum over all steps and rows of the outer products of their vectors."""
    return tf.matmul(tf.reshape(left, [-1, left.shape[-1]]), tf.reshape(right, [-1, right.shape[-1]]), transpose_a=True)


def _step(kind: str, x: Any, states: Sequence[Any], kernel: Any, bias: Any) -> tuple[list[Any], Any, Any]:
    """One step: x·W + b, the states, U and the GRU's inner bias → states, activated gates, cell or GRU's product.

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
    kind: str, kernel: Any, gates: Any, cell: Any, before: Any, cell_before: Any, d_after: Sequence[Any]
) -> tuple[list[Any], Any, Any]:
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
