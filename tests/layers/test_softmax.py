"""Softmaxes over vocabularies: the adaptive one against its formula, and what training asks of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import AdaptiveSoftmaxHead, RecurrentStack, SoftmaxHead, TokenEmbedding
from nlp_rnn.models import LanguageModel

STATES = np.random.default_rng(0).normal(size=(3, 7, 16))
TARGETS = np.random.default_rng(1).integers(0, 20, (3, 7)).astype("int32")


def heads(dtype="float64"):
    """Each kind with weights that are not zero, and the table it is tied to."""
    made = {
        "full": SoftmaxHead(20, dtype=dtype),
        "tied": SoftmaxHead(20, 6, dtype=dtype),
        "adaptive": AdaptiveSoftmaxHead(20, cutoffs=(5, 6, 12), reduction=2, dtype=dtype),
        "tied_adaptive": AdaptiveSoftmaxHead(20, 6, cutoffs=(5, 12), dtype=dtype),
    }
    generator = np.random.default_rng(2)
    table = tf.constant(generator.normal(size=(20, 6)), dtype)
    for head in made.values():
        head.build((None, None, 16))
        head.set_weights([generator.normal(size=w.shape) * 0.5 for w in head.get_weights()])
    return made, table


def reference(head, states, table):
    """log p of all words, written from the formula."""

    def log_softmax(z):
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    if head.projection is not None:
        states = states @ head.projection.kernel.numpy() + head.projection.bias.numpy()
    bias = head.bias.numpy()
    first = head.shortlist
    words = table.numpy()[:first].T if head.tied_size else head.kernel.numpy()
    top = np.concatenate([states @ words + bias[:first], states @ head.cluster_kernel.numpy() + head.cluster_bias], -1)
    top = log_softmax(top)
    found = [top[..., :first]]
    for index, (start, end) in enumerate(head.clusters):
        if head.tied_size:
            inside = states @ table.numpy()[start:end].T
        else:
            inside = states @ head.down[index].numpy() @ head.cluster_words[index].numpy()
        found.append(log_softmax(inside + bias[start:end]) + top[..., first + index, None])
    return np.concatenate(found, -1)


@pytest.mark.parametrize("kind", ["adaptive", "tied_adaptive"])
def test_an_adaptive_softmax_follows_its_formula(kind):
    made, table = heads()
    logits = made[kind](STATES, embeddings=table).numpy()
    np.testing.assert_allclose(logits, reference(made[kind], STATES, table), atol=1e-5)
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("kind", ["full", "tied", "adaptive", "tied_adaptive"])
@pytest.mark.parametrize("targets", [TARGETS, np.full((3, 7), 19, np.int32), np.zeros((3, 7), np.int32)])
def test_what_targets_cost_and_its_gradients_are_those_of_the_logits(kind, targets):
    made, table = heads()
    head = made[kind]
    given = [tf.constant(STATES), table]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        states = head.states(given[0])
        nats = head.nats(states, targets, given[1])
        by_logits = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, head.logits(states, given[1]))
    np.testing.assert_allclose(nats, by_logits, atol=1e-5)
    wanted = [*given, *(v.value for v in head.trainable_variables)]
    options = {"unconnected_gradients": "zero"}
    pairs = zip(tape.gradient(nats, wanted, **options), tape.gradient(by_logits, wanted, **options), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-5)


@pytest.mark.parametrize("kind", ["adaptive", "tied_adaptive"])
def test_gradients_agree_with_finite_differences(kind):
    made, table = heads()
    direction = np.random.default_rng(3).normal(size=STATES.shape)

    def loss(states):
        head = made[kind]
        return tf.reduce_sum(tf.cast(head.nats(head.states(states), TARGETS, table), tf.float64))

    states = tf.constant(STATES)
    with tf.GradientTape() as tape:
        tape.watch(states)
        value = loss(states)
    expected = float(np.sum(tape.gradient(value, states).numpy() * direction))
    step = 1e-2  # the logits are float32
    measured = float(loss(states + step * direction) - loss(states - step * direction)) / (2 * step)
    assert measured == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("cutoffs", [(), (0, 5), (5, 5), (9, 3), (20,), (5, 30)])
def test_cutoffs_that_make_no_sense_are_refused(cutoffs):
    with pytest.raises(ValueError, match="cutoffs must increase, between 0 and the vocabulary, 20"):
        AdaptiveSoftmaxHead(20, cutoffs=cutoffs)


def language_model(head):
    made = LanguageModel(TokenEmbedding(20, 6), RecurrentStack("gru", 6, bidirectional=False), head)
    made.build()
    return made


def test_a_model_without_a_loss_trains_as_with_keras_cross_entropy():
    tokens, weights = TARGETS, np.array([[1.0], [0.5], [2.0]], np.float32)
    targets = np.where(TARGETS == 0, 7, TARGETS)
    losses = []
    keras.utils.set_random_seed(0)
    first = language_model(SoftmaxHead(20, 6))
    for loss in (None, keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
        made = language_model(SoftmaxHead(20, 6))
        made.set_weights(first.get_weights())
        made.compile(keras.optimizers.SGD(0.5), loss)
        for _ in range(3):
            losses.append(float(made.train_on_batch({"tokens": tokens}, targets, weights * 3 / weights.sum())))
    np.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-5)


def test_padding_does_not_count():
    made = language_model(AdaptiveSoftmaxHead(20, 6, cutoffs=(5, 12)))
    made.compile(keras.optimizers.SGD(0.0))
    short, targets = TARGETS[:, :4], np.where(TARGETS == 0, 7, TARGETS)
    padded = np.concatenate([targets[:, :4], np.zeros((3, 3), np.int32)], 1)
    alone = float(made.evaluate({"tokens": short}, targets[:, :4], verbose=0))
    assert float(made.evaluate({"tokens": TARGETS}, padded, verbose=0)) == pytest.approx(alone, rel=1e-5)


@pytest.mark.slow  # a training
def test_an_adaptive_model_fits_saves_and_loads(tmp_path):
    keras.utils.set_random_seed(0)
    made = language_model(AdaptiveSoftmaxHead(20, 6, cutoffs=(5, 12)))
    made.compile(keras.optimizers.Adam(0.05))
    tokens = np.tile(np.arange(1, 20, dtype=np.int32), (80, 1))
    features = {"tokens": tokens[:, :-1]}
    history = made.fit(features, tokens[:, 1:], epochs=6, batch_size=2, verbose=0)
    assert history.history["loss"][-1] < 0.5 < history.history["loss"][0]
    assert made({"tokens": tokens[:1, :-1]}).numpy().argmax(-1)[0].tolist() == tokens[0, 1:].tolist()
    made.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again({"tokens": tokens[:2]}), made({"tokens": tokens[:2]}), atol=1e-6)


@pytest.mark.parametrize("tied", [0, 6])
def test_margins_are_the_targets_logits_less_the_mean(tied):
    rng = np.random.default_rng(4)
    head = SoftmaxHead(11, tied, dtype="float64")
    head.build((None, None, 6))
    head.bias.assign(rng.normal(size=11))
    table = tf.constant(rng.normal(size=(11, 6))) if tied else None
    states, targets = rng.normal(size=(2, 3, 6)), rng.integers(0, 11, (2, 3))
    logits = head.logits(tf.constant(states), table).numpy()
    expected = np.take_along_axis(logits, targets[..., None], -1)[..., 0] - logits.mean(-1)
    np.testing.assert_allclose(head.margins(tf.constant(states), targets, table), expected, rtol=1e-5, atol=1e-5)
