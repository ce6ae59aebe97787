"""Decoding a chain of tags within a model, and metrics of tags in `compile`."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import CRF, CRFDecoder, CRFLoss, SpanF1, TokenAccuracy
from nlp_rnn.text.schemes import spans_of, tag_names

LENGTHS = np.array([5, 1, 3])


def chain(seed=0, tags=3, time=5):
    """Chain scores of three sequences of the lengths above, and their mask."""
    generator = np.random.default_rng(seed)
    layer = CRF(tags, initializer=keras.initializers.RandomNormal(seed=seed))
    mask = np.arange(time) < LENGTHS[:, None]
    return layer(generator.normal(size=(3, time, tags)).astype("float32"), mask=mask).numpy(), mask


def test_the_decoder_agrees_with_counting_all_paths():
    scores, mask = chain()
    found = CRFDecoder()(scores, mask=mask)
    for b, length in enumerate(LENGTHS):
        weights = {}
        for path in itertools.product(range(3), repeat=int(length)):
            steps = zip([0, *path[:-1]], path, strict=True)
            weights[path] = np.exp(sum(np.float64(scores[b, t, i, j]) for t, (i, j) in enumerate(steps)))
        best, total = max(weights, key=weights.__getitem__), sum(weights.values())
        assert tuple(found["tags"][b, :length].numpy()) == best
        for t, tag in enumerate(best):
            probability = sum(w for path, w in weights.items() if path[t] == tag) / total
            assert float(found["confidence"][b, t]) == pytest.approx(probability, rel=1e-5)
        assert (found["tags"][b, length:].numpy() == -1).all()
        assert (found["confidence"][b, length:].numpy() == 0).all()


def model_with_metrics():
    tokens = keras.Input((None,), dtype="int32")
    mask = tokens != 0
    scores = CRF(5, name="chain")(keras.layers.Dense(5)(keras.layers.Embedding(20, 16)(tokens)), mask=mask)
    model = keras.Model(tokens, scores)
    model.compile(
        keras.optimizers.Adam(0.05), CRFLoss(), metrics=[TokenAccuracy(), SpanF1(["O", *["B-X", "I-X", "B-Y", "I-Y"]])]
    )
    return model, keras.Model(tokens, CRFDecoder()(scores, mask=mask))


@pytest.mark.slow  # an export and a fresh trace of everything
def test_a_model_with_them_is_compiled_fitted_saved_and_exported(tmp_path):
    model, decoding = model_with_metrics()
    generator = np.random.default_rng(0)
    ids = generator.integers(1, 20, (64, 6))
    ids[::2, 4:] = 0
    tags = np.where(ids == 0, -1, ids % 5)
    before = model.evaluate(ids, tags, verbose=0, return_dict=True)
    model.fit(ids, tags, epochs=30, verbose=0)
    after = model.evaluate(ids, tags, verbose=0, return_dict=True)
    assert after["token_accuracy"] == 1.0 > before["token_accuracy"]
    assert after["span_f1"] == 1.0 > before["span_f1"]
    found = decoding.predict(ids, verbose=0)
    np.testing.assert_array_equal(found["tags"], tags)
    assert found["confidence"][ids != 0].min() > 0.5
    decoding.save(tmp_path / "decoding.keras")
    loaded = keras.saving.load_model(tmp_path / "decoding.keras")
    np.testing.assert_array_equal(loaded.predict(ids, verbose=0)["tags"], tags)
    model.save(tmp_path / "scores.keras")
    again = keras.saving.load_model(tmp_path / "scores.keras")
    assert again.evaluate(ids, tags, verbose=0, return_dict=True) == pytest.approx(after, rel=1e-5)
    decoding.export(tmp_path / "export", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "export"))
    served = exported.serve(ids.astype("int32"))
    np.testing.assert_array_equal(served["tags"].numpy(), tags)


@pytest.mark.parametrize("scheme", ["IOBES", "BILOU", "IOB"])
def test_span_f1_counts_as_conlleval(scheme):
    names = {
        "IOBES": tag_names(["X", "Y"]),
        "BILOU": ["O", *(f"{p}-{label}" for label in "XY" for p in "BILU")],
        "IOB": ["O", "B-X", "I-X", "B-Y", "I-Y"],
    }[scheme]
    generator = np.random.default_rng(0)
    metric, right, found, wanted = SpanF1(names), 0, 0, 0
    for _ in range(20):
        lengths = generator.integers(1, 9, 16)
        real = np.arange(9) < lengths[:, None]
        gold = np.where(real, generator.integers(0, len(names), (16, 9)), -1)
        changed = generator.random((16, 9)) < 0.2
        guess = np.where(changed, generator.integers(0, len(names), (16, 9)), np.maximum(gold, 0))
        weights = generator.integers(0, 2, 16)
        metric.update_state(gold, tf.one_hot(guess, len(names)), sample_weight=weights)
        for row, other, length, weight in zip(gold, guess, lengths, weights, strict=True):
            if weight:
                one, two = (set(spans_of([names[tag] for tag in part[:length]])) for part in (row, other))
                right, found, wanted = right + len(one & two), found + len(two), wanted + len(one)
    assert [float(count) for count in metric.counts] == [right, found, wanted]
    assert float(metric.result()) == pytest.approx(2 * right / (found + wanted))
    assert SpanF1.from_config(metric.get_config()).tags == names
    metric.reset_state()
    assert float(metric.result()) == 0


def test_token_accuracy_of_chains_and_of_scores():
    scores, mask = chain(1)
    tags = CRFDecoder()(scores, mask=mask)["tags"].numpy()
    wrong = tags.copy()
    wrong[0, 2] = (wrong[0, 2] + 1) % 3
    metric = TokenAccuracy()
    metric.update_state(wrong, scores)
    assert float(metric.result()) == pytest.approx(8 / 9)
    metric.update_state(tags, tf.one_hot(np.maximum(tags, 0), 3), sample_weight=[1, 0, 0])
    assert float(metric.result()) == pytest.approx(13 / 14)
