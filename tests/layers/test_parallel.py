"""The layers that run in parallel over time, against their formulas, and as Keras's users call them."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.layers import (
    LSTM,
    QRNN,
    RGLRU,
    SRU,
    Chrono,
    FeedForward,
    MinGRU,
    MinLSTM,
    RecurrentStack,
    TokenEmbedding,
    kernel_of,
)
from nlp_rnn.layers.native import library
from nlp_rnn.layers.parallel import SCAN_CELLS
from nlp_rnn.layers.scan import KINDS
from nlp_rnn.models import ClassifierHead, SequenceClassifier
from tests.conftest import slow
from tests.layers.reference import scan_by_formula, sigmoid

MAKES = {
    **{name: (cls, {}) for name, cls in SCAN_CELLS.items()},
    "qrnn_1": (QRNN, {"window": 1}),
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def by_formula(layer, x, mask, backwards=False):
    """What a layer gives, from its weights and its formula."""
    weights = {v.name: v.numpy().astype("float64") for v in layer.weights}
    read = x.astype("float64")
    extra = {}
    if layer.KIND in ("sru", "rglru"):
        extra["skip"] = read @ weights["input_kernel"] if "input_kernel" in weights else read
    gates = (extra["skip"] if layer.KIND == "rglru" else read) @ weights["kernel"]
    if "kernel_before" in weights:
        for row in range(len(x)):
            real = [t for t in range(x.shape[1]) if mask[row, t]]
            for before, t in pairwise(real):
                at, other = (before, t) if backwards else (t, before)
                gates[row, at] += read[row, other] @ weights["kernel_before"]
    parameters = weights["bias"]
    if layer.KIND == "rglru":
        parameters = np.concatenate([parameters, -8 * np.log(sigmoid(weights["decay"]))])
    state = np.zeros((len(x), layer.units))
    return scan_by_formula(layer.KIND, gates, state, parameters, mask, backwards=backwards, **extra)


@pytest.mark.parametrize("name", MAKES)
def test_weight_drop_masks_the_kernels_of_the_gates_only_while_training(name):
    cls, options = MAKES[name]
    layer = cls(4, weight_drop=0.5, **options)
    x = random(3, 7, 4)
    plain = layer(x)
    began = layer.weight_drop_seed.state.numpy()
    dropped = layer(x, training=True)
    assert np.abs(dropped - plain).max() > 1e-3
    np.testing.assert_array_equal(layer(x), plain)
    layer.weight_drop_seed.state.assign(began)
    for kernel in [weight for weight in layer.weights if weight.name in ("kernel", "kernel_before")]:
        mask = keras.random.dropout(np.ones_like(kernel), 0.5, seed=layer.weight_drop_seed)
        kernel.assign(kernel * mask)
    np.testing.assert_allclose(layer(x), dropped, atol=1e-6)


@pytest.mark.parametrize("features", [3, 4])
@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("masking", ["right", "any"])
@pytest.mark.parametrize("backwards", [False, True])
def test_layers_follow_their_formulas(name, features, masking, backwards):
    cls, options = MAKES[name]
    layer = cls(4, return_sequences=True, return_state=True, go_backwards=backwards, **options)
    x = random(3, 7, features)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(weight + random(*weight.shape, seed=1))
    mask = np.arange(7) < np.array([7, 4, 1])[:, None]
    if masking == "any":
        mask = np.random.default_rng(2).random((3, 7)) < 0.5
    expected, last, state = by_formula(layer, x, mask, backwards)
    outputs, *states = layer(x, mask=tf.constant(mask))
    np.testing.assert_allclose(outputs, expected[:, ::-1] if backwards else expected, atol=1e-5)
    np.testing.assert_allclose(states[0], state, atol=1e-5)
    layer.return_sequences = layer.return_state = False
    np.testing.assert_allclose(layer(x, mask=tf.constant(mask)), last, atol=1e-5)


@pytest.mark.parametrize("use_native", [True, False])
@pytest.mark.parametrize("name", MAKES)
def test_one_step_at_a_time_gives_what_all_at_once_give(name, use_native):
    cls, options = MAKES[name]
    layer = cls(4, return_sequences=True, return_state=True, **options)
    layer.use_native = use_native
    x = random(2, 6, 3)
    whole, *last = layer(x)
    states = layer.get_initial_state(2)
    for t in range(6):
        output, *states = layer(x[:, t : t + 1], initial_state=states)
        np.testing.assert_allclose(output[:, 0], whole[:, t], atol=1e-6)
    first, *between = layer(x[:, :4])
    second, *after = layer(x[:, 4:], initial_state=between)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=1e-6)
    for found in (states, after):
        for one, other in zip(found, last, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_row_without_a_step_keeps_its_state():
    layer = QRNN(4, return_sequences=True, return_state=True)
    x, mask = random(2, 3, 5), tf.constant([[True, True, False], [False, False, False]])
    _, *states = layer(x)
    outputs, *after = layer(x, initial_state=states, mask=mask)
    assert (outputs[1].numpy() == 0).all()
    for one, other in zip(states, after, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.slow  # five trainings
@pytest.mark.parametrize("name", SCAN_CELLS)
def test_keras_users_find_what_they_know(name, tmp_path):
    """An embedding that masks, both directions by Keras's wrapper, `fit`, saving and loading."""
    cls, options = MAKES[name]
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(9, 4, mask_zero=True),
            keras.layers.Bidirectional(cls(5, return_sequences=True, **options)),
            cls(3, **options),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    model.fit(ids, np.ones((2, 1)), verbose=0)
    found = model.predict(ids, verbose=0)
    np.testing.assert_allclose(model.predict(ids[:1, :3], verbose=0), found[:1], atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras").predict(ids, verbose=0), found)


@pytest.mark.parametrize("name", MAKES)
def test_gradients_of_weights_are_those_of_finite_differences(name):
    cls, options = MAKES[name]
    layer = cls(3, return_sequences=True, dtype="float64", **options)
    x = random(2, 5, 4).astype("float64")
    mask = tf.constant(np.arange(5) < np.array([[5], [3]]))
    layer.build(x.shape)

    def value():
        return tf.reduce_sum(tf.sin(layer(x, mask=mask, training=True)))

    with tf.GradientTape() as tape:
        found = value()
    gradients = tape.gradient(found, [v.value for v in layer.trainable_variables])
    for weight, gradient in zip(layer.trainable_variables, gradients, strict=True):
        move = random(*weight.shape, seed=3).astype("float64")
        before = weight.numpy()
        ends = []
        for distance in (1e-6, -1e-6):
            weight.assign(before + distance * move)
            ends.append(float(value()))
        weight.assign(before)
        assert float(tf.reduce_sum(gradient * move)) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", SCAN_CELLS)
@pytest.mark.parametrize("bidirectional", [slow(False), True])
def test_deep_stacks_keep_gradients_and_read_each_row_alone(name, bidirectional):
    stack = RecurrentStack(name, 8, layers=6, bidirectional=bidirectional, residual=True, normalization="rms")
    x = random(3, 9, 8)
    mask = tf.constant(np.arange(9) < np.array([[9], [5], [1]]))
    with tf.GradientTape() as tape:
        outputs, state = stack(x, mask=mask)
        loss = tf.reduce_sum(tf.sin(outputs))
    gradients = tape.gradient(loss, [layer.kernel.value for layer in stack.forward_layers])
    sizes = [float(tf.norm(gradient)) for gradient in gradients]
    assert max(sizes) < 100 * min(sizes)
    for row, length in ((0, 9), (1, 5), (2, 1)):
        alone, own = stack(x[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-5)
        for one, other in zip(tf.nest.flatten(state), tf.nest.flatten(own), strict=True):
            np.testing.assert_allclose(one[row], other[0], atol=1e-5)


@pytest.mark.parametrize("normalization", ["layer", "rms"])
@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_a_stack_normalizes_what_each_layer_reads_and_what_it_gives(cell, normalization):
    stack = RecurrentStack(cell, 6, bidirectional=False, residual=True, normalization=normalization)
    x = 10 * random(2, 5, 6)
    outputs, _ = stack(x)

    def normalized(values):
        centred = values - values.mean(-1, keepdims=True) if normalization == "layer" else values
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)

    alone = RecurrentStack(cell, 6, bidirectional=False)
    alone.build(x.shape)
    alone.forward_layers[0].set_weights(stack.forward_layers[0].get_weights())
    inner, _ = alone(normalized(x))
    np.testing.assert_allclose(outputs, normalized(x + inner.numpy()), atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "minlstm", "sru", "qrnn"])
def test_chrono_spreads_memories_up_to_its_longest(cell):
    stack = RecurrentStack(cell, 200, bidirectional=False, chrono=500)
    again = RecurrentStack.from_config(stack.get_config())
    for one in (stack, again):
        one.build((None, None, 3))
        layer = one.forward_layers[0]
        bias = (layer.cell.bias if hasattr(layer, "cell") else layer.bias).numpy()
        bias = bias[0] if bias.ndim == 2 else bias
        first, second = (sigmoid(part.astype("float64")) for part in np.split(bias, len(bias) // 200)[:2])
        kept = {"gru": first, "mingru": 1 - first, "minlstm": first / (first + second)}.get(cell, second)
        steps = 1 / (1 - kept)  # to forget all but 1/e
        assert 1.5 <= steps.min() < 60
        assert 350 < steps.max() <= 1000.5


def test_gates_begin_apart_and_as_a_seed_says():
    initializer = keras.initializers.GlorotUniform(seed=3)
    one, other = (MinGRU(4, kernel_initializer=initializer) for _ in range(2))
    for layer in (one, other):
        layer.build((None, None, 5))
    np.testing.assert_array_equal(one.kernel.numpy(), other.kernel.numpy())
    assert (one.kernel.numpy()[:, :4] != one.kernel.numpy()[:, 4:]).all()
    limit = np.sqrt(6 / (5 + 4))  # of each gate by itself
    assert 0.7 * limit < np.abs(one.kernel.numpy()).max() <= limit


def test_decays_begin_where_the_paper_says():
    layer = RGLRU(1000)
    layer.build((None, None, 3))
    longest = sigmoid(layer.decay.numpy().astype("float64")) ** 8
    assert 0.899 < longest.min() < 0.91
    assert 0.99 < longest.max() < 0.9991


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinGRU(0), "units must be a whole number, at least 1; it is 0"),
        (lambda: MinGRU(2.5), "at least 1; it is 2.5"),
        (lambda: MinGRU(4)(np.ones((2, 3, 4)), initial_state=[np.ones((2, 5))]), r"must be \(2, 4\); it is \(2, 5\)"),
        (lambda: MinGRU(4)(np.ones((2, 3, 4)), mask=np.ones((2, 2))), r"must be \(2, 3\) as the sequence is"),
        (lambda: QRNN(4, window=3), "window must be 1 or 2"),
        (lambda: RecurrentStack("mingru", 4, weight_drop=1.0), "at least 0 and below 1"),
        (lambda: RecurrentStack("gru", 4, normalization="batch"), "none, layer, rms"),
        (lambda: RecurrentStack("rglru", 4, chrono=100), "Chrono knows lstm"),
        (lambda: Chrono(2), "at least 3"),
        (lambda: MinGRU(4, bias_initializer=Chrono(50, "lstm")), 'not "mingru"'),
        (lambda: LSTM(4, bias_initializer=Chrono(50)).build((None, None, 3)), "unit_forget_bias=False"),
        (lambda: FeedForward(4, "batch"), "none, layer, rms"),
        (lambda: MinGRU(4)(np.ones((2, 3))), "expected ndim=3"),
        (lambda: QRNN(4)(np.ones((2, 3, 4)), initial_state=[np.ones((2, 4))]), "has 4 states; 1 were given"),
    ],
)
def test_mistakes_in_use_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(library().operations is None, reason="there is no compiled kernel")
@pytest.mark.parametrize("name", ["qrnn", *(slow(name) for name in SCAN_CELLS if name != "qrnn")])
def test_exports_hold_only_operations_of_tensorflow_and_agree(name):
    stack = RecurrentStack(name, 3, layers=2, normalization="rms", residual=True)
    model = SequenceClassifier(TokenEmbedding(20, 4), stack, ClassifierHead(2))
    model.build()
    specification = {"tokens": tf.TensorSpec([None, None], tf.int32)}
    tokens = {"tokens": np.random.default_rng(0).integers(1, 20, (3, 45)).astype("int32")}

    def traced(of):
        return tf.function(lambda x: of(x), autograph=False).get_concrete_function(specification)

    def operations(function):
        return {node.op for node in function.graph.as_graph_def().node}

    native, portable = traced(model), traced(portable_copy(model))
    assert kernel_of(stack.forward_layers[0])[0] == "native"
    assert any(operation.startswith("NlpRnn") for operation in operations(native))
    assert not any(operation.startswith("NlpRnn") for operation in operations(portable))
    tokens = {"tokens": tf.constant(tokens["tokens"])}
    np.testing.assert_allclose(native(tokens), portable(tokens), atol=1e-5)


@pytest.mark.parametrize("name", MAKES)
def test_wrappers_of_keras_take_them_in_functional_models(name):
    cls, options = MAKES[name]
    entry = keras.Input((None, 3))
    both = keras.layers.Bidirectional(cls(4, return_sequences=True, **options))(entry)
    assert both.shape == (None, None, 8)
    model = keras.Model(entry, keras.layers.Dense(1)(FeedForward(6)(both)))
    assert model(random(2, 5, 3)).shape == (2, 5, 1)
    both_ways = keras.layers.Bidirectional(cls(4, return_sequences=True, return_state=True, **options))
    outputs, *states = both_ways(keras.layers.Masking()(entry))
    assert outputs.shape == (None, None, 8)
    assert len(states) == 2 * len(both_ways.forward_layer.state_sizes)
    several = keras.layers.TimeDistributed(cls(4, **options))(keras.Input((2, 5, 3)))
    assert several.shape == (None, 2, 4)


@pytest.mark.parametrize("use_native", [True, False])
@pytest.mark.parametrize("name", MAKES)
def test_unusual_calls(name, use_native):
    """A training of None, a mask of integers, no step, no row."""
    cls, options = MAKES[name]
    layer = cls(4, return_sequences=True, return_state=True, **options)
    layer.use_native = use_native
    x = random(2, 5, 3)
    expected = layer(x, mask=tf.constant([[True] * 5, [True] * 2 + [False] * 3]))
    found = layer(x, mask=tf.constant([[1] * 5, [1] * 2 + [0] * 3]), training=None)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    outputs, *states = layer(x[:, :0], initial_state=found[1:])
    assert outputs.shape == (2, 0, 4)
    for one, other in zip(states, found[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert layer(x[:0])[0].shape == (0, 5, 4)


def test_a_feed_forward_block_passes_the_mask_on():
    ids = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]])
    last = MinGRU(4)
    model = keras.Sequential(
        [keras.layers.Embedding(5, 4, mask_zero=True), MinGRU(4, return_sequences=True), FeedForward(8), last]
    )
    found = model(ids)
    np.testing.assert_allclose(found[:1], model(ids[:1, :3]), atol=1e-6)
    np.testing.assert_allclose(found[1:], model(ids[1:, :1]), atol=1e-6)


def test_every_kind_has_a_layer():
    assert {cls.KIND for cls in SCAN_CELLS.values()} == set(KINDS) - {"linear"}
    assert {MinGRU, MinLSTM, SRU, QRNN, RGLRU} == set(SCAN_CELLS.values())


def test_the_last_output_of_normalised_layers_is_that_of_the_sequence():
    stack = RecurrentStack("mingru", 4, layers=2, residual=True, normalization="rms")
    sequence, mask = random(3, 6, 5), tf.sequence_mask([6, 2, 4], 6)
    outputs, state = stack(sequence, mask=mask)
    last = stack.last_output(state, outputs, mask)
    for row, length in enumerate([6, 2, 4]):
        np.testing.assert_allclose(last[row, :4], outputs[row, length - 1, :4], atol=1e-6)
        np.testing.assert_allclose(last[row, 4:], outputs[row, 0, 4:], atol=1e-6)
    model = SequenceClassifier(TokenEmbedding(9, 5), stack, ClassifierHead(2, pooling="last"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model({"tokens": tf.constant([[1, 2, 3, 4], [5, 6, 0, 0]])}) ** 2)
    assert None not in tape.gradient(total, model.trainable_variables), "all weights are trained"
