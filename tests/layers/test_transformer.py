"""The transformer against its formulas, and as the other stacks are used."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import RecurrentStack, SelfAttention, TokenEmbedding, TransformerStack, stack_of
from nlp_rnn.models import ClassifierHead, SequenceClassifier
from tests.conftest import slow


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def turned(x, place):
    """R·x of one head."""
    half = len(x) // 2
    angles = place * 10_000.0 ** (-np.arange(half) / half)
    a, b = x[:half], x[half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)])


def by_formula(layer, x, lengths):
    """What a `SelfAttention` gives, row by row, head by head, step by step."""
    kernel, output = (weight.numpy().astype("float64") for weight in layer.weights)
    size, found = layer.inner // layer.heads, np.zeros((*x.shape[:2], layer.units))
    for row, length in enumerate(lengths):
        q, k, v = np.split(x[row].astype("float64") @ kernel, 3, -1)
        for t in range(length):
            first, last = (t - layer.context, t) if layer.context else (0, length - 1)
            places = range(max(first, 0), last + 1)
            heads = []
            for h in range(layer.heads):
                part = slice(h * size, (h + 1) * size)
                scores = [turned(q[t, part], t) @ turned(k[s, part], s) / np.sqrt(size) for s in places]
                weights = np.exp(scores) / np.exp(scores).sum()
                heads.append(weights @ v[places.start : places.stop, part])
            found[row, t] = np.concatenate(heads) @ output
    return found


@pytest.mark.parametrize("context", [0, 1, 4, 30])
@pytest.mark.parametrize("units", [8, 10])
def test_self_attention_follows_its_formula(context, units):
    layer, x, lengths = SelfAttention(units, heads=2, context=context), random(3, 11, 5).astype("float32"), [11, 6, 1]
    found, _ = layer(x, mask=tf.sequence_mask(lengths, 11))
    expected = by_formula(layer, x, lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(found[row, :length], expected[row, :length], atol=2e-6)


def stack(**options):
    return TransformerStack(12, layers=2, heads=2, **{"context": 5, "bidirectional": False, **options})


@pytest.mark.parametrize("parts", [[1] * 17, [4, 13], slow([13, 4]), slow([17])])
def test_a_text_read_in_parts_gives_what_it_gives_as_a_whole(parts):
    layers, x = stack(), random(2, 17, 4).astype("float32")
    whole, final = layers(x)
    outputs, state = [], layers.zero_state(2)
    for part in np.split(x, np.cumsum(parts)[:-1], axis=1):
        output, state = layers(part, initial_state=state)
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, 1), whole, atol=3e-6)
    for a, b in zip(tf.nest.flatten(state), tf.nest.flatten(final), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_does_not_depend_on_its_padding(bidirectional):
    layers, x, lengths = stack(bidirectional=bidirectional), random(3, 9, 4).astype("float32"), [9, 4, 1]
    found, state = layers(x, mask=tf.sequence_mask(lengths, 9))
    for row, length in enumerate(lengths):
        alone, own = layers(x[row : row + 1, :length])
        np.testing.assert_allclose(found[row, :length], alone[0], atol=2e-6)
        assert not found[row, length:].numpy().any()
        np.testing.assert_allclose(layers.last_output(state)[row], alone[0, -1], atol=2e-6)
        for a, b in zip(tf.nest.flatten(state), tf.nest.flatten(own), strict=True):
            np.testing.assert_allclose(a[row], b[0], atol=2e-6)


def test_the_state_stands_still_over_rows_without_a_step():
    layers, x = stack(), random(2, 3, 4).astype("float32")
    _, before = layers(x)
    _, after = layers(x, mask=tf.sequence_mask([0, 3], 3), initial_state=before)
    for a, b in zip(tf.nest.flatten(after), tf.nest.flatten(before), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_a_chunk_of_no_steps_changes_nothing():
    layers, x = stack(), random(2, 3, 4).astype("float32")
    _, before = layers(x)
    output, after = layers(x[:, :0], initial_state=before)
    assert output.shape == (2, 0, 12)
    for a, b in zip(tf.nest.flatten(after), tf.nest.flatten(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_sees_its_context_and_no_further():
    layers, x = TransformerStack(8, 1, False, 2, context=3), random(1, 8, 4)
    changed = x.copy()
    changed[0, 2] += 1
    difference = np.abs(layers(x)[0] - layers(changed)[0]).max(-1)[0]
    np.testing.assert_array_equal(difference > 1e-6, [False, False, True, True, True, True, False, False])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_are_those_of_finite_differences(bidirectional):
    layers = stack(bidirectional=bidirectional, dtype="float64")
    x, mask, toward = random(2, 7, 3), tf.sequence_mask([7, 4], 7), random(2, 7, 12, seed=1)

    def loss(values):
        return tf.reduce_sum(layers(values, mask=mask)[0] * toward)

    point = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = loss(point)
    gradient, direction = tape.gradient(value, point), random(2, 7, 3, seed=2)
    step = 1e-5
    expected = (loss(point + step * direction) - loss(point - step * direction)) / (2 * step)
    np.testing.assert_allclose(tf.reduce_sum(gradient * direction), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_close_to_float32(dtype):
    exact, x = stack(), random(2, 9, 4).astype("float32")
    expected, _ = exact(x)
    rounded = stack(dtype=dtype)
    rounded.build((None, None, 4))
    rounded.set_weights(exact.get_weights())
    found, state = rounded(x)
    assert (found.dtype, state[0][0].dtype) == (tf.as_dtype(rounded.compute_dtype), tf.float32)
    assert np.abs(tf.cast(found, "float32") - expected).max() < 0.1


@pytest.mark.slow  # XLA compiles for seconds
def test_xla_and_graphs_of_any_length_give_the_same():
    layers, x = stack(), random(2, 17, 4).astype("float32")
    expected, _ = layers(x)
    any_length = tf.function(lambda x: layers(x)[0], input_signature=[tf.TensorSpec([None, None, 4])])
    np.testing.assert_allclose(any_length(x), expected, atol=2e-6)
    np.testing.assert_allclose(any_length(x[:, :3]), expected[:, :3], atol=2e-6)
    np.testing.assert_allclose(tf.function(lambda x: layers(x)[0], jit_compile=True)(x), expected, atol=2e-6)


@pytest.mark.slow  # several models are traced
def test_it_trains_with_fit_and_comes_back_from_a_file(tmp_path):
    keras.utils.set_random_seed(0)
    tokens = np.random.default_rng(0).integers(1, 20, (256, 9))
    labels = (tokens == 7).any(1).astype(int)
    stack = TransformerStack(16, 2, heads=2, dropout=0.1)
    model = SequenceClassifier(TokenEmbedding(20, 16), stack, ClassifierHead(2, pooling="last"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    history = model.fit({"tokens": tokens}, labels, epochs=15, verbose=0).history
    assert history["accuracy"][-1] > 0.9, "the last step looks at all others"
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again({"tokens": tokens[:5]}), model({"tokens": tokens[:5]}), atol=1e-6)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="a transformer has no recurrent kernel"):
        stack_of("transformer", units=8, weight_drop=0.1)
    with pytest.raises(ValueError, match="a transformer has no gates that remember"):
        stack_of("transformer", units=8, chrono=5)
    with pytest.raises(ValueError, match="hheads"):
        stack_of("transformer", units=8, hheads=3)
    with pytest.raises(ValueError, match="layers and context are 2 and 0"):
        TransformerStack(8, bidirectional=False, context=0)
    with pytest.raises(ValueError, match="units, heads and context are 8, 0 and 0"):
        SelfAttention(8, heads=0)
    with pytest.raises(ValueError, match="has no state to go on from"):
        TransformerStack(8)(keras.ops.ones((1, 2, 3)), initial_state=[[keras.ops.ones((1, 8))]] * 2)


def test_it_is_part_of_functional_models():
    inputs = keras.Input((None, 4))
    attended, _ = SelfAttention(8, heads=2)(inputs)
    outputs, _ = TransformerStack(8, 1, heads=2)(attended)
    model = keras.Model(inputs, keras.layers.Dense(1)(outputs))
    assert model(random(2, 5, 4).astype("float32")).shape == (2, 5, 1)
    assert isinstance(stack_of("gru", units=8, heads=2, context=4), RecurrentStack)


@pytest.mark.parametrize("parts", [[1] * 17, slow([3, 14]), [12, 5]])
def test_a_state_that_grows_gives_the_same(parts):
    layers, x = stack(), random(2, 17, 4).astype("float32")
    whole, _ = layers(x)
    outputs, state = [], layers.growing_state(2)
    for part in np.split(x, np.cumsum(parts)[:-1], axis=1):
        output, state = layers(part, initial_state=state)
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, 1), whole, atol=3e-6)
    assert state[0][0].shape[1] == 5, "no more than the context"
