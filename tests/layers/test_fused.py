"""The fused recurrences, compiled and not, against loops written from the formulas."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.layers import GRU, LSTM, RecurrentStack, SimpleRNN, TokenEmbedding, kernel_of
from nlp_rnn.layers.fused import GATES, Recurrence
from nlp_rnn.layers.native import library
from nlp_rnn.models import ClassifierHead, TextClassifier

needs_native = pytest.mark.skipif(library().operations is None, reason=f"no compiled kernels: {library().reason}")
KERNELS = [pytest.param(True, id="native", marks=needs_native), pytest.param(False, id="loop")]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def step(kind, x, states, kernel, bias):
    h, units = states[0], kernel.shape[0]
    if kind in ("tanh", "relu"):
        return [np.tanh(x + h @ kernel) if kind == "tanh" else np.maximum(x + h @ kernel, 0)]
    if kind == "lstm":
        i, f, g, o = np.split(x + h @ kernel, 4)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    z, r = np.split(sigmoid(x[: 2 * units] + h @ kernel[:, : 2 * units]), 2)
    if kind == "gru":
        n = np.tanh(x[2 * units :] + r * (h @ kernel[:, 2 * units :] + bias))
    else:
        n = np.tanh(x[2 * units :] + (r * h) @ kernel[:, 2 * units :])
    return [z * h + (1 - z) * n]


def reference(recurrence, projected, kernels, states, mask, biases):
    """Row by row and step by step: outputs `[batch, time, directions × units]` and last states."""
    batch, time, _ = projected[0].shape
    units = kernels[0].shape[0]
    outputs = np.zeros((batch, time, units * len(kernels)))
    last = [np.array(state) for state in states]
    for d, backwards in enumerate(recurrence.reversed):
        part = slice(d * units, (d + 1) * units)
        for row in range(batch):
            now, output = [state[row, part] for state in states], np.zeros(units)
            for t in range(time)[::-1] if backwards else range(time):
                if mask is None or mask[row, t]:
                    now = step(recurrence.kind, projected[d][row, t], now, kernels[d], biases[d])
                    output = now[0]
                elif not recurrence.hold:
                    output = np.zeros(units)
                outputs[row, t, part] = output
            for state, value in zip(last, now, strict=True):
                state[row, part] = value
    return outputs, last


def arguments_for(kind, directions, batch, time, units, seed=0, scale=0.7):
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return generator.normal(0, scale, shape)

    projected = [normal(batch, time, GATES[kind] * units) for _ in range(directions)]
    kernels = [normal(units, GATES[kind] * units) / np.sqrt(units) for _ in range(directions)]
    biases = [normal(units if kind == "gru" else 0) for _ in range(directions)]
    states = [normal(batch, directions * units) for _ in range(2 if kind == "lstm" else 1)]
    return projected, kernels, biases, states


def tensors(arguments, dtype):
    return [[tf.constant(x, dtype) for x in part] for part in arguments]


cases = {
    "kind": st.sampled_from(list(GATES)),
    "directions": st.integers(1, 2),
    "flip": st.booleans(),
    "hold": st.booleans(),
    "batch": st.integers(1, 9),
    "time": st.integers(1, 6),
    "units": st.integers(1, 37),
    "masking": st.sampled_from(["none", "right", "any"]),
    "seed": st.integers(0, 1000),
}


def mask_of(masking, batch, time, seed):
    generator = np.random.default_rng(seed)
    if masking == "right":
        return np.arange(time) < generator.integers(0, time + 1, batch)[:, None]
    return generator.random((batch, time)) < 0.6 if masking == "any" else None


@pytest.mark.parametrize("native", KERNELS)
@settings(max_examples=60, deadline=None)
@given(**cases)
def test_results_and_gradients_are_those_of_the_formulas(
    native, kind, directions, flip, hold, batch, time, units, masking, seed
):
    recurrence = Recurrence(kind, (flip, not flip)[:directions], hold, native)
    arguments = arguments_for(kind, directions, batch, time, units, seed)
    mask = mask_of(masking, batch, time, seed)
    expected, expected_last = reference(recurrence, *(arguments[i] for i in (0, 1, 3)), mask, arguments[2])
    projected, kernels, biases, states = tensors(arguments, tf.float64)
    generator = np.random.default_rng(seed + 1)
    upstream = [generator.normal(size=x.shape) for x in (expected, *expected_last)]
    variables = [*projected, *kernels, *biases, *states]
    given_mask = None if mask is None else tf.constant(mask)
    with tf.GradientTape() as tape:
        tape.watch(variables)
        output, last = recurrence(projected, kernels, states, given_mask, biases, training=bool(seed % 2))
        value = sum(tf.reduce_sum(x * u) for x, u in zip([output, *last], upstream, strict=True))
    for found, wanted in zip([output, *last], [expected, *expected_last], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-10)
    if kind == "relu":  # its kinks are no place for finite differences
        return
    gradients = tape.gradient(value, variables, unconnected_gradients="zero")
    directions_ = [generator.normal(size=v.shape) for v in variables]

    def value_at(distance):
        moved = iter([np.asarray(v) + distance * u for v, u in zip(variables, directions_, strict=True)])
        p, k, b, s = ([next(moved) for _ in part] for part in (projected, kernels, biases, states))
        outputs, ends = reference(recurrence, p, k, s, mask, b)
        return sum((x * u).sum() for x, u in zip([outputs, *ends], upstream, strict=True))

    difference = (value_at(1e-5) - value_at(-1e-5)) / 2e-5
    along = sum(float(tf.reduce_sum(g * u)) for g, u in zip(gradients, directions_, strict=True))
    assert along == pytest.approx(difference, rel=1e-6, abs=1e-6)


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
@pytest.mark.parametrize("kind", [kind for kind in GATES if kind != "relu"])
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


@pytest.mark.parametrize("native", KERNELS)
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (SimpleRNN, keras.layers.SimpleRNN, {}),
        (SimpleRNN, keras.layers.SimpleRNN, {"activation": "relu", "use_bias": False}),
        (GRU, keras.layers.GRU, {}),
        (GRU, keras.layers.GRU, {"reset_after": False, "use_bias": False}),
        (GRU, keras.layers.GRU, {"use_bias": False}),
        (LSTM, keras.layers.LSTM, {}),
        (LSTM, keras.layers.LSTM, {"use_bias": False, "zero_output_for_mask": True}),
    ],
)
@pytest.mark.parametrize("wrapped", ["plain", "backwards", "bidirectional", "last_only", "stateful"])
def test_layers_are_those_of_keras(native, ours, theirs, options, wrapped):
    extra = {"plain": {}, "backwards": {"go_backwards": True}, "stateful": {"stateful": True}}.get(wrapped, {})
    settings_ = {**options, **extra, "return_sequences": wrapped != "last_only"}
    sequence = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    mask = tf.constant(np.arange(6) < np.array([6, 1, 0, 4])[:, None])
    layer, stock = ours(5, **settings_), theirs(5, **settings_)
    if wrapped == "bidirectional":
        layer, stock = keras.layers.Bidirectional(layer), keras.layers.Bidirectional(stock)
    for one in (layer, stock):
        one(sequence, mask=mask)
    layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in stock.get_weights()])
    stock.set_weights(layer.get_weights())
    for own in layer._flatten_layers():
        if isinstance(own, ours):
            own.use_native, own.use_cudnn = native, False
            assert kernel_of(own)[0] in ("native", "loop")
    x = tf.constant(sequence)
    results = []
    for one in (layer, stock):
        for own in one._flatten_layers():
            if getattr(own, "stateful", False):
                own.reset_states()
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = one(x, mask=mask, training=True)
            value = tf.reduce_sum(tf.square(output))
        variables = [v.value for v in one.trainable_variables]
        results.append([output, *tape.gradient(value, [x, *variables])])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_xla_gives_the_same(cell):
    stack = RecurrentStack(cell, 6, layers=2)
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
    model.fit(np.ones((4, 5, 3)), np.ones((4, 1)), verbose=0)


@needs_native
def test_exported_graphs_hold_only_operations_of_tensorflow():
    model = TextClassifier(TokenEmbedding(20, 4), RecurrentStack("lstm", 3), ClassifierHead(2))
    model.build()
    specification = {"tokens": tf.TensorSpec([None, None], tf.int32)}

    def operations(of):
        graph = tf.function(lambda x: of(x), autograph=False).get_concrete_function(specification).graph
        return {node.op for node in graph.as_graph_def().node}

    assert any(name.startswith("NlpRnn") for name in operations(model))
    assert not any(name.startswith("NlpRnn") for name in operations(portable_copy(model)))


def keras_model():
    """Of Keras's own classes but for the layers."""
    model = keras.Sequential(
        [keras.Input((None, 3)), keras.layers.Bidirectional(LSTM(4, return_sequences=True)), GRU(5)]
    )
    model.predict(np.ones((2, 6, 3), "float32"), verbose=0)
    return model


@needs_native
@pytest.mark.parametrize("how", ["export", "saved_model"])
def test_what_keras_and_tensorflow_export_loads_where_there_is_no_nlp_rnn(tmp_path, how):
    model, x = keras_model(), np.random.default_rng(0).normal(size=(3, 6, 3)).astype("float32")
    path = str(tmp_path / "exported")
    if how == "export":
        model.export(path, verbose=False)
    else:
        serve = tf.function(model, input_signature=[tf.TensorSpec([None, None, 3])], autograph=False)
        serve(x)
        tf.saved_model.save(model, path, signatures=serve)
    np.save(tmp_path / "x.npy", x)
    code = f"""
        import numpy as np, tensorflow as tf
        serve = tf.saved_model.load({path!r}).signatures["serving_default"]
        [name] = serve.structured_input_signature[1]
        [y] = serve(**{{name: tf.constant(np.load({str(tmp_path / "x.npy")!r}))}}).values()
        np.save({str(tmp_path / "y.npy")!r}, y.numpy())
    """
    run_python(code)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x), atol=1e-6)
    graph = tf.function(model, autograph=False).get_concrete_function(tf.TensorSpec([None, None, 3])).graph
    assert any(node.op.startswith("NlpRnn") for node in graph.as_graph_def().node), "and outside it stays as fast"


@needs_native
def test_a_function_for_xla_holds_only_operations_of_tensorflow():
    model, x = keras_model(), tf.random.stateless_normal((3, 6, 3), (1, 2))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(tf.sin(model(x, training=True)))
        return tape.gradient(value, x)

    compiled = tf.function(gradient, jit_compile=True, autograph=False)(x)
    np.testing.assert_allclose(compiled, gradient(x), atol=1e-5)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=True,
    ).stdout


PREDICT = """
    import keras, numpy as np, nlp_rnn.models
    from nlp_rnn.layers import kernel_of
    layers = [layer for layer in keras.saving.load_model({path!r})._flatten_layers()]
    model = layers[0]
    print(*sorted({{kernel_of(layer)[0] for layer in layers if hasattr(layer, "use_native")}}))
    print(model.predict({{"tokens": np.arange(1, 19).reshape(2, 9)}}, verbose=0).tolist())
"""


@needs_native
def test_models_are_exchanged_between_kernels_and_processes(tmp_path):
    model = TextClassifier(TokenEmbedding(20, 4), RecurrentStack("gru", 3, layers=2), ClassifierHead(2))
    model.build()
    path = str(tmp_path / "model.keras")
    model.save(path)
    expected = model.predict({"tokens": np.arange(1, 19).reshape(2, 9)}, verbose=0)
    for setting, kernel in (("1", "native"), ("0", "loop")):
        kernels, values = run_python(PREDICT.format(path=path), NLP_RNN_NATIVE=setting).splitlines()[-2:]
        assert kernels == kernel
        np.testing.assert_allclose(eval(values), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PATH": "/nowhere", "CXX": ""}, "there is no C++ compiler"),
        ({"CXX": "/bin/false"}, "compiling or loading them failed"),
        ({"NLP_RNN_NATIVE": "0"}, "NLP_RNN_NATIVE is 0"),
    ],
)
def test_without_compiled_kernels_the_loop_serves_and_says_why(tmp_path, environment, reason):
    code = """
        import numpy as np
        from nlp_rnn.layers import LSTM, kernel_of
        layer = LSTM(3)
        print(layer(np.ones((1, 2, 2), "float32")).shape, kernel_of(layer))
    """
    output = run_python(code, NLP_RNN_CACHE=str(tmp_path), **environment)
    assert "(1, 3) ('loop'" in output
    assert reason in output
