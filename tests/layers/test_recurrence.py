"""The fused recurrences, compiled and as loops of TensorFlow's, against the formulas in NumPy and against Keras."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.layers import GRU, LSTM, RecurrentStack, SimpleRNN, TokenEmbedding
from nlp_rnn.layers.kernels import kernel_of
from nlp_rnn.layers.loop import BY_HAND, GATES
from nlp_rnn.layers.native import library
from nlp_rnn.layers.recurrence import Recurrence
from nlp_rnn.models import ClassifierHead, SequenceClassifier
from tests.conftest import slow
from tests.layers import reference

needs_native = pytest.mark.skipif(library().operations is None, reason=f"no compiled kernels: {library().reason}")
KERNELS = [pytest.param(True, id="native", marks=needs_native), pytest.param(False, id="loop")]


def arguments_for(kind, directions, batch, time, units, seed=0, scale=0.7):
    """Projected inputs, kernels, inner biases and states, drawn at random."""
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return generator.normal(0, scale, shape)

    projected = [normal(batch, time, GATES[kind] * units) for _ in range(directions)]
    kernels = [normal(units, GATES[kind] * units) / np.sqrt(units) for _ in range(directions)]
    biases = [normal(units if kind == "gru" else 0) for _ in range(directions)]
    states = [normal(batch, directions * units) for _ in range(2 if kind == "lstm" else 1)]
    return projected, kernels, biases, states


def by_formula(recurrence, projected, kernels, biases, states, mask):
    """Outputs and last states in one list."""
    inner = biases if recurrence.kind == "gru" else [0.0] * len(kernels)
    arguments = (projected, kernels, states, mask, recurrence.reversed, recurrence.hold, inner)
    outputs, last = reference.side_by_side(recurrence.kind, *arguments)
    return [outputs, *last]


def tensors(arguments, dtype):
    return [[tf.constant(x, dtype) for x in part] for part in arguments]


def mask_of(masking, batch, time, seed):
    generator = np.random.default_rng(seed)
    if masking == "right":
        return np.arange(time) < generator.integers(0, time + 1, batch)[:, None]
    return generator.random((batch, time)) < 0.6 if masking == "any" else None


@pytest.mark.parametrize("kind", BY_HAND)
@given(
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 37),
    st.sampled_from(["none", "right", "any"]),
    st.integers(0, 1000),
)
def test_results_and_gradients_are_those_of_the_formulas(
    kind, directions, flip, hold, batch, time, units, masking, seed
):
    """By the compiled kernels, where there are any, and by the loop."""
    arguments = arguments_for(kind, directions, batch, time, units, seed)
    mask = mask_of(masking, batch, time, seed)
    recurrence = Recurrence(kind, (flip, not flip)[:directions], hold)
    expected = by_formula(recurrence, *arguments, mask)
    generator = np.random.default_rng(seed + 1)
    upstream = [generator.normal(size=x.shape) for x in expected]
    moves = [[generator.normal(size=x.shape) for x in part] for part in arguments]

    def value_at(distance):
        moved = [
            [x + distance * u for x, u in zip(*parts, strict=True)] for parts in zip(arguments, moves, strict=True)
        ]
        return sum((x * u).sum() for x, u in zip(by_formula(recurrence, *moved, mask), upstream, strict=True))

    difference = (value_at(1e-5) - value_at(-1e-5)) / 2e-5
    for native in (True, False):
        results, gradients = results_and_gradients(
            replace(recurrence, native=native), arguments, mask, upstream, training=bool(seed % 2)
        )
        for found, wanted in zip(results, expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-10)
        if kind != "relu":  # its kinks are no place for finite differences
            along = sum(float(tf.reduce_sum(g * u)) for g, u in zip(gradients, chain(*moves), strict=True))
            assert along == pytest.approx(difference, rel=1e-6, abs=1e-6)


def results_and_gradients(recurrence, arguments, mask, upstream, training):
    """Outputs and last states, and the gradients of all arguments."""
    projected, kernels, biases, states = tensors(arguments, tf.float64)
    variables = [*projected, *kernels, *biases, *states]
    given_mask = None if mask is None else tf.constant(mask)
    with tf.GradientTape() as tape:
        tape.watch(variables)
        output, last = recurrence(projected, kernels, states, given_mask, biases, training=training)
        value = sum(tf.reduce_sum(x * u) for x, u in zip([output, *last], upstream, strict=True))
    return [output, *last], tape.gradient(value, variables, unconnected_gradients="zero")


@needs_native
@pytest.mark.parametrize(
    ("kind", "batch", "units"),
    [("lstm", 1, 460), ("lstm", 3, 300), ("lstm", 70, 150), ("gru", 2, 350), ("gru", 40, 330), ("relu", 29, 64)],
)
@pytest.mark.parametrize("backwards", [(True,), (False, True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_kernels_agree_with_the_loop_however_the_work_is_shared(kind, batch, units, backwards, dtype):
    arguments = arguments_for(kind, len(backwards), batch, 3, units)
    projected, kernels, biases, states = tensors(arguments, dtype)
    variables = [*projected, *kernels, *biases, *states]
    results = []
    for native in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            run = Recurrence(kind, backwards, native=native)
            output, last = run(projected, kernels, states, None, biases, training=True)
            value = tf.reduce_sum(tf.square(output)) + sum(tf.reduce_sum(s * s) for s in last)
        results.append([output, *last, *tape.gradient(value, variables, unconnected_gradients="zero")])
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for one, other in zip(*results, strict=True):
        largest = np.max(np.abs(other), initial=1.0)
        np.testing.assert_allclose(one / largest, other / largest, atol=tolerance)


@pytest.mark.parametrize("native", KERNELS)
@pytest.mark.parametrize("kind", [kind for kind in BY_HAND if kind != "relu"])
def test_second_derivatives(native, kind):
    arguments = arguments_for(kind, 2, 2, 3, 3)
    projected, kernels, biases, states = tensors(arguments, tf.float64)
    recurrence = Recurrence(kind, (False, True), native=native)
    direction = np.random.default_rng(5).normal(size=kernels[0].shape)

    def slope(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            output, _ = recurrence(projected, [kernel, kernels[1]], states, None, biases, training=True)
            value = tf.reduce_sum(tf.sin(output))
        return tf.reduce_sum(tape.gradient(value, kernel) * direction)

    with tf.GradientTape() as tape:
        tape.watch(kernels[0])
        found = slope(kernels[0])
    second = float(tf.reduce_sum(tape.gradient(found, kernels[0]) * direction))
    difference = (slope(kernels[0] + 1e-5 * direction) - slope(kernels[0] - 1e-5 * direction)) / 2e-5
    assert second == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("native", KERNELS)
@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_bfloat16_stays_close_and_keeps_its_states_in_float32(native, kind):
    arguments = arguments_for(kind, 2, 18, 6, 40, scale=0.3)
    results = []
    for dtype, kernel in ((tf.float32, False), (tf.bfloat16, native)):
        projected, kernels, biases, states = tensors(arguments, dtype)
        variables = [*projected, *kernels, *biases]
        with tf.GradientTape() as tape:
            tape.watch(variables)
            run = Recurrence(kind, (False, True), native=kernel)
            output, last = run(projected, kernels, states, None, biases, training=True)
            value = tf.reduce_sum(tf.square(tf.cast(output, tf.float32)))
        assert output.dtype == dtype
        assert all(state.dtype == tf.float32 for state in last)
        gradients = tape.gradient(value, variables, unconnected_gradients="zero")
        results.append([tf.cast(x, tf.float32).numpy() for x in (output, *last, *gradients)])
    for exact, rounded in zip(*results, strict=True):
        assert np.max(np.abs(exact - rounded), initial=0) <= 0.05 * np.max(np.abs(exact), initial=1e-9)


PLAIN = [(SimpleRNN, {}), (GRU, {}), (LSTM, {})]
WITH_OPTIONS = [
    (SimpleRNN, {"activation": "relu", "use_bias": False}),
    (GRU, {"reset_after": False, "use_bias": False}),
    (GRU, {"use_bias": False}),
    (LSTM, {"use_bias": False, "zero_output_for_mask": True}),
]
WRAPPED = ["plain", "backwards", "bidirectional", "last_only", "stateful"]
# The options change a layer and not how it is wrapped: by default they meet one wrapping, which has both directions.
LIKE_KERAS = [pytest.param(*case, how) for case in PLAIN for how in WRAPPED]
LIKE_KERAS += [
    pytest.param(*case, how, marks=[] if how == "bidirectional" else pytest.mark.slow)
    for case in WITH_OPTIONS
    for how in WRAPPED
]


@pytest.mark.parametrize(("ours", "options", "wrapped"), LIKE_KERAS)
def test_layers_are_those_of_keras(ours, options, wrapped):
    extra = {"backwards": {"go_backwards": True}, "stateful": {"stateful": True}}.get(wrapped, {})
    settings = {**options, **extra, "return_sequences": wrapped != "last_only"}
    sequence = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    mask = tf.constant(np.arange(6) < np.array([6, 1, 0, 4])[:, None])
    layer, stock = ours(5, **settings), getattr(keras.layers, ours.__name__)(5, **settings)
    if wrapped == "bidirectional":
        layer, stock = keras.layers.Bidirectional(layer), keras.layers.Bidirectional(stock)
    for one in (layer, stock):
        one.build(sequence.shape)
    layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in stock.get_weights()])
    stock.set_weights(layer.get_weights())
    expected = outputs_and_gradients(stock, sequence, mask)
    own = [part for part in layer._flatten_layers() if isinstance(part, ours)]
    kernels = set()
    for native in (True, False):
        for part in own:
            part.use_native, part.use_cudnn = native, False
            kernels.add(kernel_of(part)[0])
        for found, wanted in zip(outputs_and_gradients(layer, sequence, mask), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
    has_native = library().operations is not None and options.get("reset_after", True)
    assert kernels == ({"native", "loop"} if has_native else {"loop"})


def outputs_and_gradients(layer, sequence, mask):
    """A layer's outputs, and the gradients of its inputs and weights, in training; twice, if it keeps its state."""
    x, results = tf.constant(sequence), []
    stateful = [part for part in layer._flatten_layers() if getattr(part, "stateful", False)]
    for part in stateful:
        part.reset_states()
    for _ in range(2 if stateful else 1):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, mask=mask, training=True)
            value = tf.reduce_sum(tf.square(output))
        results += [output, *tape.gradient(value, [x, *(v.value for v in layer.trainable_variables)])]
    return results


@pytest.mark.parametrize("cell", [slow("simple_rnn"), "gru", slow("lstm")])
def test_xla_gives_the_same(cell):
    stack = RecurrentStack(cell, 6)
    stack.build((None, None, 4))
    for layer in (*stack.forward_layers, *stack.backward_layers):
        layer.use_native = layer.use_cudnn = False
    x = tf.random.stateless_normal((3, 5, 4), (1, 2))
    mask = tf.constant(np.arange(5) < np.array([5, 1, 3])[:, None])

    def gradients(x):
        with tf.GradientTape() as tape:
            output, _ = stack(x, mask=mask, training=True)
            value = tf.reduce_sum(tf.sin(output))
        return tape.gradient(value, [v.value for v in stack.trainable_variables])

    compiled = tf.function(gradients, jit_compile=True, autograph=False)(x)
    for one, other in zip(compiled, gradients(x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@needs_native
def test_keras_leaves_xla_aside_where_the_compiled_kernels_serve():
    model = keras.Sequential([keras.Input((None, 3)), LSTM(4), keras.layers.Dense(1)])
    with pytest.warns(UserWarning, match="jit_compile"):
        model.compile("adam", "mse", jit_compile=True)
    assert not model.jit_compile
    history = model.fit(np.ones((4, 5, 3)), np.ones((4, 1)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@needs_native
def test_a_function_for_xla_holds_only_operations_of_tensorflow():
    layer, x = LSTM(4), tf.random.stateless_normal((3, 6, 3), (1, 2))
    layer.build(x.shape)
    assert kernel_of(layer)[0] == "native"

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(tf.sin(layer(x, training=True)))
        return tape.gradient(value, x)

    compiled = tf.function(gradient, jit_compile=True, autograph=False)(x)
    np.testing.assert_allclose(compiled, gradient(x), atol=1e-5)


@needs_native
def test_exported_graphs_hold_only_operations_of_tensorflow():
    model = SequenceClassifier(TokenEmbedding(20, 4), RecurrentStack("lstm", 3), ClassifierHead(2))
    model.build()
    specification = {"tokens": tf.TensorSpec([None, None], tf.int32)}

    def operations(of):
        graph = tf.function(lambda x: of(x), autograph=False).get_concrete_function(specification).graph
        return {node.op for node in graph.as_graph_def().node}

    assert any(name.startswith("NlpRnn") for name in operations(model))
    assert not any(name.startswith("NlpRnn") for name in operations(portable_copy(model)))
