"""What every layer must do, and what the smaller ones do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import (
    CRF,
    GRU,
    LSTM,
    QRNN,
    RGLRU,
    AdaptiveSoftmaxHead,
    AdditivePooling,
    CharacterEmbedding,
    FeedForward,
    FrameProjection,
    RecurrentStack,
    SequencePooling,
    SimpleRNN,
    SoftmaxHead,
    TokenEmbedding,
)
from nlp_rnn.models import ClassifierHead, SequenceClassifier, Tagger, TaggingHead, WordEmbedding
from tests.conftest import slow

IDS = np.array([[5, 6, 7, 0, 0], [1, 0, 0, 0, 0]], np.int32)
SEQUENCE = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
MASK = IDS != 0

CHARACTERS = np.array([[[3, 4, 5], [6, 0, 0]], [[3, 3, 0], [0, 0, 0]]], np.int32)

LAYERS = {
    "fixed_embedding": (
        lambda dtype: TokenEmbedding(10, 4, fixed=4, rare=(2, 4), replace_rare=0.5, dtype=dtype),
        IDS,
        {},
    ),
    "characters_cnn": (lambda dtype: CharacterEmbedding(10, 4, 6, dropout=0.1, dtype=dtype), CHARACTERS, {}),
    "characters_lstm": (lambda dtype: CharacterEmbedding(10, 4, 6, "lstm", dtype=dtype), CHARACTERS, {}),
    "frames": (lambda dtype: FrameProjection(6, 4, mean=[0.5] * 6, spread=2.0, dtype=dtype), SEQUENCE, {}),
    "crf": (lambda dtype: CRF(6, initializer="random_normal", dtype=dtype), SEQUENCE, {"mask": MASK}),
    "tagging_crf": (lambda dtype: TaggingHead(5, dropout=0.1, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "tagging_softmax": (lambda dtype: TaggingHead(5, "softmax", dtype=dtype), SEQUENCE, {"mask": MASK}),
    "embedding": (lambda dtype: TokenEmbedding(10, 4, word_dropout=0.1, dropout=0.1, dtype=dtype), IDS, {}),
    "simple_rnn": (lambda dtype: SimpleRNN(3, weight_drop=0.1, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "gru": (lambda dtype: GRU(3, weight_drop=0.1, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "lstm": (lambda dtype: LSTM(3, weight_drop=0.1, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "qrnn": (lambda dtype: QRNN(3, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "rglru": (lambda dtype: RGLRU(3, return_sequences=True, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "feedforward": (lambda dtype: FeedForward(8, dropout=0.1, dtype=dtype), SEQUENCE, {}),
    "parallel_stack": (
        lambda dtype: RecurrentStack("sru", 3, 2, residual=True, normalization="layer", feedforward=4, dtype=dtype),
        SEQUENCE,
        {"mask": MASK},
    ),
    "stack": (lambda dtype: RecurrentStack("lstm", 3, 2, dropout=0.1, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "additive": (lambda dtype: AdditivePooling(4, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "pooling": (lambda dtype: SequencePooling("last+mean+max", dtype=dtype), SEQUENCE, {"mask": MASK}),
    "attention": (lambda dtype: SequencePooling("attention", 4, dtype=dtype), SEQUENCE, {"mask": MASK}),
    "softmax": (lambda dtype: SoftmaxHead(9, dropout=0.1, dtype=dtype), SEQUENCE, {}),
    "adaptive": (lambda dtype: AdaptiveSoftmaxHead(9, cutoffs=(2, 5), dtype=dtype), SEQUENCE, {}),
    "head": (lambda dtype: ClassifierHead(3, "mean", dropout=0.1, dtype=dtype), SEQUENCE, {"mask": MASK}),
}


def arrays(outputs):
    return [keras.ops.convert_to_numpy(keras.ops.cast(t, "float32")) for t in keras.tree.flatten(outputs)]


def float32_sum(tensor):
    return keras.ops.sum(keras.ops.cast(tensor, "float32"))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", slow("mixed_float16")])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name, policy):
    make, inputs, arguments = LAYERS[name]
    layer = make(policy)
    outputs = arrays(layer(inputs, **arguments))
    assert all(np.isfinite(output).all() for output in outputs)
    assert all(v.dtype == "float32" for v in layer.trainable_variables)

    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    again(inputs, **arguments)
    again.set_weights(layer.get_weights())
    for one, other in zip(outputs, arrays(again(inputs, **arguments)), strict=True):
        np.testing.assert_array_equal(one, other)

    state = [v.numpy() for v in layer.variables if "seed" in v.path]
    layer(inputs, **arguments)
    for before, variable in zip(state, [v for v in layer.variables if "seed" in v.path], strict=True):
        np.testing.assert_array_equal(before, variable.numpy(), err_msg="inference must draw nothing")

    with tf.GradientTape() as tape:
        loss = sum(float32_sum(output) for output in keras.tree.flatten(layer(inputs, **arguments)))
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert len([g for g in gradients if g is not None]) >= len(gradients) - 2


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_in_a_functional_model(name, tmp_path):
    make, inputs, _ = LAYERS[name]
    entry = keras.Input(inputs.shape[1:], dtype=str(inputs.dtype))
    model = keras.Model(entry, make("float32")(entry))
    outputs = arrays(model(inputs))
    model.save(tmp_path / "model.keras")
    for one, other in zip(outputs, arrays(keras.saving.load_model(tmp_path / "model.keras")(inputs)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_additive_pooling_follows_its_formula():
    layer = AdditivePooling(4)
    vector, weights = layer(SEQUENCE, mask=MASK)
    kernel, bias, v = (w.numpy() for w in layer.weights)
    for row in range(2):
        h = SEQUENCE[row][MASK[row]]
        scores = np.tanh(h @ kernel + bias) @ v[:, 0]
        alpha = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[row, : len(h)], alpha, atol=1e-6)
        np.testing.assert_allclose(vector[row], alpha @ h, atol=1e-6)
    assert np.all(weights.numpy()[~MASK] == 0)


def test_poolings_leave_padding_out():
    vector, weights = SequencePooling("last+mean+max")(SEQUENCE, mask=MASK)
    for row, length in enumerate([3, 1]):
        h = SEQUENCE[row, :length]
        np.testing.assert_allclose(vector[row], np.concatenate([h[-1], h.mean(0), h.max(0)]), atol=1e-6)
    np.testing.assert_allclose(weights, [[1 / 3] * 3 + [0] * 2, [1, 0, 0, 0, 0]], atol=1e-6)
    with pytest.raises(ValueError, match="must be"):
        SequencePooling("median")


def test_word_dropout_drops_whole_vectors():
    layer = TokenEmbedding(50, 8, word_dropout=0.5)
    vectors = layer(np.arange(1, 49).reshape(4, 12), training=True).numpy()
    dropped = vectors == 0
    assert (dropped.all(-1) == dropped.any(-1)).all()
    assert 0.2 < dropped.mean() < 0.8


def classifier(policy="float32"):
    model = SequenceClassifier(
        TokenEmbedding(30, 8, dtype=policy), RecurrentStack("gru", 6, dtype=policy), ClassifierHead(3, dtype=policy)
    )
    model.build()
    return model


def test_classifier_does_not_see_padding():
    model = classifier()
    alone = model({"tokens": IDS[:1, :3]})
    np.testing.assert_allclose(model({"tokens": IDS})[:1], alone, atol=1e-6)


def test_temperature_changes_confidence_and_not_the_class():
    model = classifier()
    before = model({"tokens": IDS}).numpy()
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 5, (200, 3))
    noisy = np.where(generator.random(200) < 0.4, generator.integers(0, 3, 200), logits.argmax(-1))
    model.calibrate({"logits": logits}, np.eye(3)[noisy])
    assert model.head.temperature.numpy() > 1.5
    after = model({"tokens": IDS}).numpy()
    np.testing.assert_array_equal(after.argmax(-1), before.argmax(-1))
    np.testing.assert_allclose(after * model.head.temperature.numpy(), before, rtol=1e-5)
    assert model.head.temperature.path not in [v.path for v in model.trainable_variables]


def test_fit_with_any_callback(tmp_path):
    model = classifier()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"], run_eagerly=True)
    tokens = np.tile(IDS, (8, 1))
    targets = np.eye(3)[tokens[:, 0] % 3]
    callbacks = [keras.callbacks.ModelCheckpoint(tmp_path / "m.keras"), keras.callbacks.CSVLogger(tmp_path / "log.csv")]
    history = model.fit({"tokens": tokens}, targets, epochs=2, batch_size=2, verbose=0, callbacks=callbacks)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again({"tokens": IDS}), model({"tokens": IDS}), atol=1e-6)


def test_vectors_of_words_that_training_never_sees_stay_as_they_are():
    layer = TokenEmbedding(10, 4, fixed=4)
    table = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
    layer.build((None, None))
    layer.assign(table)
    ids = np.arange(10)[None]
    np.testing.assert_array_equal(layer(ids)[0], table)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(ids) ** 2)
    (gradient,) = tape.gradient(loss, layer.trainable_variables)
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), 2 * table[:6], rtol=1e-6)


def test_rare_words_are_sometimes_read_as_unknown():
    layer = TokenEmbedding(10, 4, rare=(6, 9), replace_rare=0.5)
    ids = np.tile([[5, 6, 7, 8, 9]], (200, 1))
    plain, training = layer(ids).numpy(), layer(ids, training=True).numpy()
    unknown = layer(np.array([[1]])).numpy()[0, 0]
    replaced = (training == unknown).all(-1)
    assert not replaced[:, [0, 4]].any(), "only rare ones"
    assert 0.3 < replaced[:, 1:4].mean() < 0.7
    np.testing.assert_array_equal(training[~replaced], plain[~replaced])


def test_characters_are_convolved_as_the_formula_says():
    layer = CharacterEmbedding(10, 4, 6, width=3)
    found = layer(CHARACTERS).numpy()
    table, kernel, bias = (weight.numpy() for weight in layer.weights)
    kernel = kernel.reshape(4, 3, 6)
    for row, column in ((0, 0), (0, 1), (1, 0)):
        word = [c for c in CHARACTERS[row, column] if c]
        vectors = np.stack([np.zeros(4), *table[word], np.zeros(4)])
        windows = [sum(vectors[t + k] @ kernel[:, k] for k in range(3)) for t in range(len(word))]
        np.testing.assert_allclose(found[row, column], np.tanh(np.max(windows, 0) + bias), atol=1e-6)


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_words_do_not_see_the_padding_of_their_characters(kind):
    layer = CharacterEmbedding(10, 4, 6, kind)
    longer = np.concatenate([CHARACTERS, np.zeros((2, 2, 5), np.int32)], -1)
    np.testing.assert_allclose(layer(longer), layer(CHARACTERS), atol=1e-6)


@pytest.mark.parametrize("kind", ["crf", "softmax"])
def test_tagger_does_not_see_padding(kind):
    embedding = WordEmbedding(TokenEmbedding(10, 4), CharacterEmbedding(10, 4, 6), cases=3)
    model = Tagger(embedding, RecurrentStack("lstm", 5), TaggingHead(5, kind))
    model.build()
    tokens = np.array([[5, 6, 7], [8, 0, 0]], np.int32)
    characters = np.random.default_rng(0).integers(1, 10, (2, 3, 4)) * (tokens != 0)[..., None]
    features = {"tokens": tokens, "characters": characters, "case": (tokens != 0) * 2}
    outputs = model.infer(features)
    alone = model.infer({name: value[1:, :1] for name, value in features.items()})
    np.testing.assert_array_equal(outputs["tags"][1, :1], alone["tags"][0])
    np.testing.assert_allclose(outputs["confidence"][1, :1], alone["confidence"][0], atol=1e-6)


def test_frames_are_scaled_and_projected_as_the_formula_says():
    mean, spread = np.array([1.0, -2.0, 0.0]), np.array([2.0, 0.5, 10.0])
    layer = FrameProjection(3, 4, mean=mean, spread=spread)
    frames = np.random.default_rng(0).normal(mean, spread, (2, 5, 3))
    found = layer(frames)
    layer.projection.bias.assign([1.0, 2.0, 3.0, 4.0])
    kernel, bias = (weight.numpy() for weight in layer.trainable_variables)
    expected = (frames - mean) / spread @ kernel + bias
    np.testing.assert_allclose(found + bias, expected, atol=1e-5)
    np.testing.assert_allclose(layer(frames), expected, atol=1e-5)


def test_frames_as_they_are_where_no_scale_is_given():
    layer, frames = FrameProjection(6, 4), SEQUENCE
    found = layer(frames)
    np.testing.assert_allclose(found, frames @ layer.projection.kernel.numpy(), atol=1e-6)


def test_frames_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 6"):
        FrameProjection(6, 4)(SEQUENCE[..., :1])


def test_the_scale_of_frames_is_kept_with_the_weights_and_is_not_trained_on(tmp_path):
    model = keras.Sequential([keras.Input((None, 6)), FrameProjection(6, 4, mean=np.arange(6.0), spread=3.0)])
    (layer,) = model.layers
    assert [weight.path.split("/")[-1] for weight in layer.non_trainable_variables] == ["mean", "spread"]
    assert layer.get_config().keys() >= {"channels", "output_dim"}
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(SEQUENCE, np.ones((2, 5, 4)))
    model.save(tmp_path / "model.keras")
    (again,) = keras.saving.load_model(tmp_path / "model.keras").layers
    np.testing.assert_array_equal(again.mean, np.arange(6.0))
    np.testing.assert_array_equal(again.spread, [3.0] * 6)
    np.testing.assert_array_equal(again(SEQUENCE), layer(SEQUENCE))


def test_frames_far_from_zero_are_scaled_before_precision_is_lost():
    frames = 10_000 + SEQUENCE
    layer = FrameProjection(6, 4, mean=10_000.0, dtype="mixed_bfloat16")
    found = layer(frames)
    expected = SEQUENCE @ layer.projection.kernel.numpy()
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=0.05)
