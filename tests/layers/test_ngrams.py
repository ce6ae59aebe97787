"""N-grams beside a network: against loops over the formulas, joined, explained, saved."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.data.batching import Rows
from nlp_rnn.layers import NgramLogits, RecurrentStack, TokenEmbedding
from nlp_rnn.layers.ngrams import ngram_buckets
from nlp_rnn.models import ClassifierHead, SequenceClassifier
from nlp_rnn.training.ngrams import fit_ngrams


def padded(rows: list[list[int]]) -> np.ndarray:
    ids = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    return ids


def bucket_of(ngram: list[int], order: int, buckets: int) -> int:
    """That of a text which is the n-gram."""
    return int(ngram_buckets(padded([ngram]), order, buckets)[0, len(ngram) - 1, 0])


def layer(classes: int, order: int, buckets: int = 5000) -> NgramLogits:
    found = NgramLogits(classes, order, buckets)
    found.build((None, None))
    generator = np.random.default_rng(0)
    table = generator.normal(size=(buckets, found.columns))
    table[0] = 0
    found.assign(table, generator.normal(size=found.columns))
    return found


ROWS = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=7), min_size=1, max_size=4)


@given(ROWS, st.integers(1, 4), st.sampled_from([2, 3]))
def test_it_adds_a_value_for_each_ngram_that_occurs(rows, order, classes):
    ngrams = layer(classes, order)
    table, bias = ngrams.table.numpy(), ngrams.bias.numpy()
    for row, found in zip(rows, ngrams(padded(rows)).numpy(), strict=True):
        seen = {tuple(row[i : i + n]) for n in range(1, order + 1) for i in range(len(row) - n + 1)}
        scores = bias + sum(table[bucket_of(list(one), order, 5000)] for one in seen)
        expected = [-scores[0] / 2, scores[0] / 2] if classes == 2 else scores
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(ROWS, st.integers(1, 3), st.sampled_from([2, 3]))
def test_the_shares_of_the_ids_sum_to_it(rows, order, classes):
    ngrams, ids = layer(classes, order), padded(rows)
    shares = ngrams.shares(ids).numpy()
    np.testing.assert_allclose(shares.sum(1) + ngrams(np.zeros_like(ids)), ngrams(ids), rtol=1e-4, atol=1e-4)
    assert not shares[ids == 0].any()


def test_large_ids_and_buckets_stay_in_range():
    found = ngram_buckets(np.array([[2**31 - 1] * 9], np.int64), 3, 2**31 - 1).numpy()
    assert found.min() >= 0
    assert len(set(found[0, 2, :7].tolist())) == 1


def test_few_ngrams_share_a_bucket():
    """About as many as in throws at random: n (n - 1) / 2 m pairs."""
    ids = np.random.default_rng(0).integers(1, 30_000, (1, 20_000))
    pairs = {tuple(pair) for pair in zip(ids[0], ids[0, 1:], strict=False)}
    found = ngram_buckets(ids, 2, 2**20)[0, 1, :-2].numpy()
    lost = len(pairs) - len(set(found.tolist()))
    assert lost < 2 * len(pairs) ** 2 / 2 / 2**20


@pytest.mark.parametrize("classes", [2, 3])
def test_the_fit_is_the_least_of_the_loss(classes):
    """The gradient of the penalised loss over the log-ratios of naive Bayes, written from the paper, is nothing."""
    generator = np.random.default_rng(1)
    rows = [generator.integers(1, 9, generator.integers(3, 9)) for _ in range(40)]
    labels = generator.integers(0, classes, 40)
    table, bias = fit_ngrams(Rows.of(rows, np.int32), np.eye(classes)[labels], 2, 1000, strength=0.7)
    seen = [{tuple(row[i : i + n]) for n in (1, 2) for i in range(len(row) - n + 1)} for row in rows]
    names = sorted(set.union(*seen))
    present = np.array([[name in one for name in names] for one in seen], float)
    places = [bucket_of(list(name), 2, 1000) for name in names]
    assert len(set(places)) == len(places)
    for column in range(table.shape[1]):
        is_it = labels == (1 if classes == 2 else column)
        inside, outside = 1 + present[is_it].sum(0), 1 + present[~is_it].sum(0)
        ratios = np.log(inside / inside.sum() / (outside / outside.sum()))
        weights = table[places, column] / ratios
        margins = present @ table[places, column] + bias[column]
        slopes = 1 / (1 + np.exp(-margins)) - is_it
        np.testing.assert_allclose(0.7 * ratios * (present.T @ slopes) + weights, 0, atol=2e-3)
        np.testing.assert_allclose(slopes.sum(), 0, atol=2e-3)


def classifier(classes: int = 3) -> SequenceClassifier:
    stack = RecurrentStack("gru", 4)
    return SequenceClassifier(
        TokenEmbedding(9, 4), stack, ClassifierHead(classes, "last+max"), ngrams=layer(classes, 2)
    )


def test_training_leaves_them_out_and_calibration_gives_their_weight(tmp_path):
    model = classifier()
    model.build()
    ids = np.random.default_rng(0).integers(1, 9, (60, 6)).astype(np.int32)
    features = {"tokens": ids}
    alone = model(features, training=True)
    np.testing.assert_array_equal(model(features), alone)
    outputs = {name: value.numpy() for name, value in model.infer(features).items()}
    classes = outputs["ngrams"].argmax(-1)  # which the n-grams know, and the network does not
    said = model.calibrate(outputs, np.eye(3)[classes])
    assert "of n-grams 100.0%" in said
    assert (model(features).numpy().argmax(-1) == classes).mean() > 0.95
    np.testing.assert_allclose(model.infer(features)["logits"], model(features), rtol=1e-5)
    np.testing.assert_allclose(model(features, training=True) * model.head.temperature, alone, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(features), model(features))
    assert not [one for one in model.trainable_variables if "ngrams" in one.path]


def test_a_configuration_of_before_has_none():
    model = SequenceClassifier(TokenEmbedding(9, 4), RecurrentStack("gru", 4), ClassifierHead(3))
    config = model.get_config()
    del config["ngrams"]
    assert SequenceClassifier.from_config(config).ngrams is None


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="order is 0"):
        NgramLogits(2, 0)


def test_xla_and_any_length():
    ngrams = layer(2, 3)
    ids = padded([[1, 2, 3, 1, 2], [4]])
    compiled = tf.function(ngrams, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(ids)), ngrams(ids), rtol=1e-5)
    np.testing.assert_allclose(ngrams(padded([[1, 2, 3, 1, 2], [4, 0, 0, 0, 0]])), ngrams(ids), rtol=1e-6)
