"""Contributions sum to what they explain, and find what matters, in all tasks that have the verb."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.analysis.attribution import integrated_gradients
from nlp_rnn.layers.crf import marginals
from nlp_rnn.tasks.forecasting import explain as explain_forecasts
from nlp_rnn.tasks.language_modeling import explain as explain_next
from nlp_rnn.tasks.language_modeling import surprise
from nlp_rnn.tasks.ner import explain as explain_entities
from nlp_rnn.tasks.ner.commands import log_probability
from tests.subjects import SUBJECTS


def test_integrated_gradients_of_a_product_are_those_of_the_formula():
    # F = x·y from (1, 0) to (3, 2): ∫ 2·y dα = 2 for x, ∫ 2·x dα = 4 for y
    x, baseline = tf.constant([[3.0, 2.0]]), tf.constant([[1.0, 0.0]])
    found = integrated_gradients(lambda v: v[:, 0, 0] * v[:, 0, 1], x, baseline, by_feature=True)
    np.testing.assert_allclose(found.values, [[2.0, 4.0]], rtol=1e-5)
    assert (found.score, found.base) == (6.0, 0.0)


def test_points_are_added_until_the_sum_is_right():
    x = tf.constant([[1.0], [1.0]])
    found = integrated_gradients(lambda v: tf.sigmoid(200.0 * (tf.reduce_mean(v, [1, 2]) - 0.37)), x)
    assert found.values.sum() == pytest.approx(found.score - found.base, rel=0.02)
    assert found.missed <= 0.02


def test_what_it_cannot_sum_up_is_said():
    found = integrated_gradients(lambda v: tf.cast(v[:, 0, 0] > 0.5, tf.float32) + 0.0 * v[:, 0, 0], tf.ones((1, 1)))
    assert found.missed == pytest.approx(1.0), "a step has no gradient"


def test_log_probability_of_tags_is_that_of_the_chain():
    scores = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 3, 3)), tf.float32)
    single = tf.reduce_sum(marginals(scores), 2)
    np.testing.assert_allclose(tf.exp(log_probability(scores, [1], 2)), single[:, 2, 1], rtol=1e-4)
    pairs = marginals(scores)
    np.testing.assert_allclose(tf.exp(log_probability(scores, [1, 2], 2)), pairs[:, 3, 1, 2], rtol=1e-4)


def test_entities_are_explained_by_the_words_of_their_sentence(command):
    run = SUBJECTS["ner"].run
    text = next(e.text for e in run(SUBJECTS["ner"].inputs) if e.entities)
    found, expected = explain_entities(run, [text]), run(text).entities
    assert [one.said for one in found] == [f"{entity.text} ({entity.label})" for entity in expected]
    for one, entity in zip(found, expected, strict=True):
        assert np.exp(one.score) == pytest.approx(entity.confidence, abs=1e-3)
        assert sum(value for *_, value in one.tokens) == pytest.approx(one.score - one.base, rel=0.03, abs=0.01)
    code, out, _ = command("explain", SUBJECTS["ner"].path, text, "--json")
    assert (code, json.loads(out.splitlines()[0])["said"]) == (0, found[0].said)
    code, out, error = command("explain", SUBJECTS["ner"].path, "slept")
    assert (code, out, "No entity is found in: slept" in error) == (0, "", True)


def test_the_next_token_is_explained_by_those_before_it(command):
    run = SUBJECTS["language-modeling"].run
    found = explain_next(run, "the cat", " sat")
    surprises = {s: nats for s, _, nats in surprise(run, "the cat sat").units}
    assert found.score == pytest.approx(-surprises[min(s for s in surprises if s >= len("the cat"))], abs=1e-3)
    assert found.said.startswith("next: ")
    assert "".join("the cat"[s:e] for s, e, _ in found.tokens).replace(" ", "") == "thecat"
    likeliest = explain_next(run, "the cat")
    assert likeliest.score >= found.score
    code, _, error = command("explain", SUBJECTS["language-modeling"].path, "")
    assert (code, "There is no text" in error) == (2, True)


def test_a_forecast_is_explained_by_its_history(command):
    run = SUBJECTS["forecasting"].run
    found = next(explain_forecasts(run))
    assert len(found.times) == len(found.values) == run.config.lookback
    assert np.sum(found.values) == pytest.approx(found.forecast - found.base, rel=0.03, abs=0.01)
    forecast = next(run.predict(run.task.read(run.config, "predict")))
    assert found.forecast == pytest.approx(np.mean(forecast.median[found.target]), rel=0.05)
    assert np.array(found.given).all()
    assert "(filled in)" not in str(found)
    short = replace(found, given=[[False] * len(row) for row in found.given])
    assert "(filled in)" in str(short)
    code, _, error = command("explain", SUBJECTS["forecasting"].path, "--target", "nothing")
    assert (code, "There is no target" in error) == (2, True)
