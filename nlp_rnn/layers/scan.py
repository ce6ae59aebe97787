"""Recurrences that are linear in their state, h_t = a_t ∘ h_{t-1} + b_t, so that all steps can be computed in parallel.

Neither a nor b depends on the state. Affine maps compose associatively (Blelloch 1990, "Prefix Sums and Their
Applications"; Martin and Cundy 2018, arXiv:1709.04057), which `associative_scan` uses: some 50 operations of TensorFlow
however long the sequence, for GPUs, XLA and exports. On a CPU one compiled operation (`native/scan.h`) computes the
gates of a cell, its state and its output in one pass, and all gradients in another.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf
from tensorflow.python.eager import record

from nlp_rnn.layers import native
from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.layers.loop import state_type

ScanKind = Literal["linear", "mingru", "minlstm", "sru", "qrnn", "rglru"]


class Traits(NamedTuple):
    """What a kind of cell reads: gates; parameters of each unit, a bias for each gate and maybe a decay; whether it
    also reads a value of each step; whether its output is something else than its state."""

    gates: int
    parameters: int
    has_skip: bool = False
    has_output: bool = False


KINDS: dict[ScanKind, Traits] = {  # in the order of native/scan.h
    "linear": Traits(2, 0),
    "mingru": Traits(2, 2),
    "minlstm": Traits(3, 3),
    "sru": Traits(3, 3, has_skip=True, has_output=True),
    "qrnn": Traits(3, 3, has_output=True),
    "rglru": Traits(2, 3, has_skip=True),
}
_BLOCK = 16


class Scanned(NamedTuple):
    """The output `[batch, time, units]`, 0 at masked steps; the output and the state after the last step that is not
    masked, `[batch, units]`, no less than float32."""

    output: Tensor
    last_output: Tensor
    last_state: Tensor


def scan(
    kind: ScanKind,
    projected: Tensor,
    state: Tensor,
    parameters: Tensor | None = None,
    mask: Tensor | None = None,
    skip: Tensor | None = None,
    backwards: bool = False,
    training: bool = False,
    use_native: bool = True,
) -> Scanned:
    """Runs a cell over all steps.

    Args:
        kind: of the cell, whose formula stands in `parallel.py`; "linear" takes a and b as they are.
        projected: x·W of the gates side by side, `[batch, time, gates × units]`.
        state: before the first step, `[batch, units]`.
        parameters: biases of the gates side by side, `[gates × units]`, and after them of "rglru" the decay; None for
            "linear".
        mask: boolean `[batch, time]`; steps at which it is False are left out: the state stands still there.
        skip: of "sru" and "rglru", x: `[batch, time, units]`.
        backwards: whether it runs from the last step to the first. Steps stay where they are.
        training: whether to keep what the gradient needs, rather than to compute it anew should one be asked for.
        use_native: whether the compiled operation may serve.

    Returns:
        A `Scanned`.
    """
    state = tf.cast(state, state_type(projected.dtype))
    parameters = tf.zeros([0], state.dtype) if parameters is None else tf.cast(parameters, state.dtype)
    if projected.shape[1] == 0:
        nothing = tf.zeros_like(state)
        return Scanned(tf.zeros([tf.shape(state)[0], 0, state.shape[1]], projected.dtype), nothing, state)
    if use_native and projected.dtype in (tf.float32, tf.float64, tf.bfloat16) and not native.unavailable():
        return _native(kind, projected, state, parameters, mask, skip, backwards, training)
    return _by_tensorflow(kind, projected, state, parameters, mask, skip, backwards)


def linear_scan(
    factors: Tensor,
    sums: Tensor,
    initial_state: Tensor | None = None,
    mask: Tensor | None = None,
    backwards: bool = False,
    use_native: bool = True,
) -> Tensor:
    """h_t = a_t ∘ h_{t-1} + b_t over all steps, with its gradient.

    Args:
        factors: a, `[batch, time, units]`.
        sums: b, `[batch, time, units]`.
        initial_state: h before the first step, `[batch, units]`; None for zeros.
        mask: boolean `[batch, time]`; steps at which it is False are left out, and give 0.
        backwards: whether it runs from the last step to the first. Steps stay where they are.
        use_native: whether the compiled operation may serve; `associative_scan` does otherwise.

    Returns:
        h, `[batch, time, units]`.

    Raises:
        ValueError: the shapes do not fit each other.

    Example:

    >>> linear_scan(tf.fill([1, 4, 1], 0.5), tf.ones([1, 4, 1]))[0, :, 0].numpy()
    array([1.   , 1.5  , 1.75 , 1.875], dtype=float32)
    """
    factors, sums = tf.convert_to_tensor(factors), tf.convert_to_tensor(sums)
    _check_fit(sums, factors=factors, initial_state=initial_state, mask=mask)
    if initial_state is None:
        initial_state = tf.zeros([tf.shape(sums)[0], sums.shape[2]], sums.dtype)
    both = tf.concat([factors, tf.cast(sums, factors.dtype)], -1)
    return scan("linear", both, initial_state, None, mask, backwards=backwards, use_native=use_native).output


def _check_fit(sums: Tensor, **others: Tensor | None) -> None:
    if sums.shape.rank != 3:
        raise ValueError(f"sums must be [batch, time, units]; they are {list(sums.shape)}.")
    batch, time, units = sums.shape
    shapes = {"factors": (batch, time, units), "initial_state": (batch, units), "mask": (batch, time)}
    for name, value in others.items():
        if value is not None and not tf.TensorShape(value.shape).is_compatible_with(shapes[name]):
            raise ValueError(
                f"{name} must be {list(shapes[name])} where sums are {list(sums.shape)}; it is {list(value.shape)}."
            )


# The compiled operation.


def _native(
    kind: ScanKind,
    projected: Tensor,
    state: Tensor,
    parameters: Tensor,
    mask: Tensor | None,
    skip: Tensor | None,
    backwards: bool,
    training: bool,
) -> Scanned:
    units = state.shape[1]
    found = native.library().operations.nlp_rnn_scan_forward(
        projected,
        tf.zeros([0], projected.dtype) if skip is None else tf.cast(skip, projected.dtype),
        parameters,
        state,
        tf.zeros([0, 0], tf.bool) if mask is None else tf.cast(mask, tf.bool),
        kind=list(KINDS).index(kind),
        reversed=backwards,
        keep=training,
    )
    batch, time = projected.shape[:2]
    found.output.set_shape([batch, time, units])
    for last in (found.last_output, found.last_state):
        last.set_shape([batch, units])
    return Scanned(found.output, found.last_output, found.last_state)


@tf.RegisterGradient("NlpRnnScanForward")
def _native_gradient(op: tf.Operation, *gradients: Nest) -> list[Tensor | None]:
    """The gradient of the compiled operation, by its counterpart."""
    kind = list(KINDS)[op.get_attr("kind")]
    traits, backwards = KINDS[kind], op.get_attr("reversed")
    inputs, outputs = list(op.inputs), list(op.outputs)
    units = inputs[3].shape[1]
    d_output, _, d_last_output, d_last_state = (
        tf.zeros_like(y) if g is None else g for g, y in zip(gradients, outputs, strict=True)
    )
    if record.could_possibly_record():  # the gradient may itself be differentiated
        return _differentiable_gradient(kind, inputs, [d_output, d_last_output, d_last_state], backwards)
    operations = native.library().operations
    fixed = {"kind": op.get_attr("kind"), "reversed": backwards}
    if traits.has_output and not op.get_attr("keep"):  # the forward pass was not for training
        outputs = list(operations.nlp_rnn_scan_forward(*inputs, keep=True, **fixed))
    states = outputs[1] if traits.has_output else outputs[0]
    found = operations.nlp_rnn_scan_backward(*inputs, states, d_output, d_last_output, d_last_state, **fixed)
    found.d_projected.set_shape(inputs[0].shape)
    found.d_state.set_shape(inputs[3].shape)
    d_skip = tf.zeros_like(inputs[1])
    if traits.has_skip:
        d_skip = tf.ensure_shape(found.d_skip, [*inputs[0].shape[:2], units])
    d_parameters = tf.reduce_sum(tf.ensure_shape(found.d_parameters, [None, traits.parameters * units]), 0)
    return [found.d_projected, d_skip, d_parameters, found.d_state, None]


def _differentiable_gradient(
    kind: ScanKind, inputs: list[Tensor], upstream: list[Tensor], backwards: bool
) -> list[Tensor | None]:
    projected, skip, parameters, state, mask = inputs
    with tf.GradientTape() as tape:
        tape.watch(inputs[:4])
        given_mask = None if mask.shape.rank == 2 and mask.shape[0] == 0 else mask
        results = _by_tensorflow(kind, projected, state, parameters, given_mask, skip, backwards)
        gradients = tape.gradient(list(results), inputs[:4], upstream, unconnected_gradients="zero")
    return [*gradients, None]


@tf.RegisterGradient("NlpRnnScanBackward")
def _native_second_gradient(op: tf.Operation, *gradients: Nest) -> list[Tensor]:
    raise NotImplementedError(
        "The second derivative of a scan can be taken by nested GradientTapes; "
        "elsewhere build the layer with use_native=False."
    )


# The same in TensorFlow's operations.


def _by_tensorflow(
    kind: ScanKind,
    projected: Tensor,
    state: Tensor,
    parameters: Tensor,
    mask: Tensor | None,
    skip: Tensor | None,
    backwards: bool,
) -> Scanned:
    stored, dtype, count = projected.dtype, state.dtype, KINDS[kind].gates
    gates = tf.split(tf.cast(projected, dtype), count, -1)
    skip = None if skip is None else tf.cast(skip, dtype)
    decay = None
    if KINDS[kind].parameters:
        rows = tf.split(parameters, KINDS[kind].parameters)
        gates = [gate + bias for gate, bias in zip(gates, rows, strict=False)]
        decay = rows[-1]
    factors, sums = _terms(kind, gates, skip, decay)
    if mask is not None:
        real = tf.cast(mask, tf.bool)[:, :, None]
        factors = tf.where(real, factors, tf.ones_like(factors))
        sums = tf.where(real, sums, tf.zeros_like(sums))
    states = associative_scan(factors, sums, state, backwards)
    last_state = states[:, 0 if backwards else -1]
    output = states
    if kind == "sru":
        output = skip + tf.sigmoid(gates[2]) * (states - skip)
    elif kind == "qrnn":
        output = tf.sigmoid(gates[2]) * states
    if mask is not None:
        output = tf.where(real, output, tf.zeros_like(output))
        last_output = last_real_step(output, mask, backwards)
    else:
        last_output = output[:, 0 if backwards else -1]
    return Scanned(tf.cast(output, stored), last_output, last_state)


def _terms(kind: ScanKind, gates: list[Tensor], skip: Tensor | None, decay: Tensor | None) -> tuple[Tensor, Tensor]:
    """A and b of a cell."""
    if kind == "linear":
        return gates[0], gates[1]
    if kind == "mingru":
        z = tf.sigmoid(gates[0])
        return 1.0 - z, z * gates[1]
    if kind == "minlstm":
        odds = tf.nn.softplus(-gates[1]) - tf.nn.softplus(-gates[0])  # log f / i
        return tf.sigmoid(odds), tf.sigmoid(-odds) * gates[2]
    if kind == "rglru":
        exponent = decay * tf.sigmoid(gates[0])
        factors = tf.exp(-exponent)
        # 1 - a² = tanh(y) · (1 + a²) with a = exp(-y), which is exact where a is near 1.
        scale = tf.sqrt(tf.maximum(tf.tanh(exponent) * (1.0 + factors * factors), 1e-12))
        return factors, scale * tf.sigmoid(gates[1]) * skip
    candidate = tf.tanh(gates[0]) if kind == "qrnn" else gates[0]
    forget = tf.sigmoid(gates[1])
    return forget, (1.0 - forget) * candidate


def last_real_step(values: Tensor, mask: Tensor, backwards: bool) -> Tensor:
    """Of `[batch, time, units]` that which stands at the last step that is not masked, in the direction of reading; 0
    in rows that have none."""
    real = tf.cast(mask, tf.int32)
    time = tf.shape(values)[1]
    place = tf.argmax(real, 1, tf.int32) if backwards else time - 1 - tf.argmax(real[:, ::-1], 1, tf.int32)
    some = tf.cast(tf.reduce_max(real, 1), values.dtype)[:, None]
    return tf.gather(values, place, axis=1, batch_dims=1) * some


def associative_scan(factors: Tensor, sums: Tensor, state: Tensor, backwards: bool = False) -> Tensor:
    """h_t = a_t ∘ h_{t-1} + b_t in TensorFlow's operations, differentiable any number of times.

    Args:
        factors: a, `[batch, time, units]`.
        sums: b, `[batch, time, units]`.
        state: h before the first step, `[batch, units]`.
        backwards: whether it runs from the last step to the first. Steps stay where they are.

    Returns:
        h, `[batch, time, units]`.
    """

    @tf.custom_gradient
    def run(factors: Tensor, sums: Tensor, state: Tensor) -> tuple[Tensor, Nest]:
        states = _inclusive(factors, sums, state, backwards)

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            again = states
            if record.could_possibly_record():  # as something that depends on the arguments
                again = associative_scan(factors, sums, state, backwards)
            none = tf.zeros_like(state)[:, None]
            # dL/dh_t = upstream_t + a_{t+1} ∘ dL/dh_{t+1}
            if backwards:
                before, after = tf.concat([again[:, 1:], state[:, None]], 1), tf.concat([none, factors[:, :-1]], 1)
            else:
                before, after = tf.concat([state[:, None], again[:, :-1]], 1), tf.concat([factors[:, 1:], none], 1)
            d_states = associative_scan(after, upstream, tf.zeros_like(state), not backwards)
            first = -1 if backwards else 0
            return d_states * before, d_states, factors[:, first] * d_states[:, first]

        return states, gradient

    return run(factors, sums, state)


def _inclusive(factors: Tensor, sums: Tensor, state: Tensor, backwards: bool) -> Tensor:
    if factors.shape[1] == 1:
        return factors * state[:, None] + sums
    if backwards:
        return tf.reverse(_inclusive(tf.reverse(factors, [1]), tf.reverse(sums, [1]), state, False), [1])
    time = factors.shape[1]
    if time is not None and time <= _BLOCK:
        return tf.stack(_one_by_one(tf.unstack(factors, axis=1), tf.unstack(sums, axis=1), state), 1)
    return _by_blocks(factors, sums, state)


def _one_by_one(factors: list[Tensor], sums: list[Tensor], state: Tensor) -> list[Tensor]:
    states = []
    for factor, added in zip(factors, sums, strict=True):
        state = factor * state + added
        states.append(state)
    return states


def _by_blocks(factors: Tensor, sums: Tensor, state: Tensor) -> Tensor:
    """Blocks of steps, all at once and step by step within; then what goes into each, by doubling."""
    units = factors.shape[2]
    shape = tf.shape(factors)
    blocks = (shape[1] + (_BLOCK - 1)) // _BLOCK
    missing = [[0, 0], [0, blocks * _BLOCK - shape[1]], [0, 0]]
    split = [-1, blocks, _BLOCK, units]
    columns = tf.unstack(tf.reshape(tf.pad(factors, missing, constant_values=1), split), axis=2)
    added = tf.unstack(tf.reshape(tf.pad(sums, missing), split), axis=2)
    local = _one_by_one(columns, added, tf.zeros_like(added[0]))
    products = [columns[0]]
    for factor in columns[1:]:
        products.append(factor * products[-1])
    before = _before_each(products[-1], local[-1], state, blocks)
    states = [product * before + part for product, part in zip(products, local, strict=True)]
    result = tf.reshape(tf.stack(states, 2), [-1, blocks * _BLOCK, units])[:, : shape[1]]
    result.set_shape(factors.shape)
    return result


def _before_each(factors: Tensor, sums: Tensor, state: Tensor, count: Tensor) -> Tensor:
    """The state before each of `count` affine maps `[batch, count, units]` that are applied one after the other."""
    none, one = tf.zeros_like(factors[:, :1]), tf.ones_like(factors[:, :1])
    factors = tf.concat([none, factors[:, :-1]], 1)  # the first map gives the state, whatever goes in
    sums = tf.concat([one * state[:, None], sums[:, :-1]], 1)
    kept = factors.shape

    def double(step: Tensor, factors: Tensor, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = tf.range(count) - step  # gathered, since XLA knows no slice of a length that changes
        there = (place >= 0)[:, None]
        place = tf.maximum(place, 0)
        added = sums + factors * tf.where(there, tf.gather(sums, place, axis=1), 0)
        product = factors * tf.where(there, tf.gather(factors, place, axis=1), 1)
        return 2 * step, tf.ensure_shape(product, kept), tf.ensure_shape(added, kept)

    start = (tf.constant(1), factors, sums)
    return tf.while_loop(lambda step, *_: step < count, double, start)[2]
