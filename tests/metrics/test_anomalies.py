"""Measures of detectors, beside brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nlp_rnn.metrics import anomalies as m


def test_auc_is_the_part_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores, odd = rng.integers(0, 8, 60).astype(float), rng.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(scores[odd], scores[~odd])]
    assert m.detection_report(scores, odd)["auc_roc"] == pytest.approx(np.mean(pairs))


def test_average_precision_is_the_mean_precision_at_each_hit():
    rng = np.random.default_rng(1)
    scores, odd = rng.permutation(50).astype(float), rng.random(50) < 0.3
    order = np.argsort(-scores)
    precisions = [odd[order][: place + 1].mean() for place in range(50) if odd[order][place]]
    assert m.average_precision(scores, odd) == pytest.approx(np.mean(precisions))


def test_recall_at_a_part_of_false_alarms():
    scores = np.arange(200.0)
    odd = np.zeros(200, bool)
    odd[[50, 197, 198, 199]] = True
    found = m.detection_report(scores, odd, scores > 190)
    assert found["recall_at_1_percent"] == 0.75
    assert (found["precision"], found["recall"]) == (3 / 9, 0.75)
    assert found["false_alarms"] == pytest.approx(6 / 196)
    assert m.detection_report(scores, np.zeros(200, bool)) == {}


def test_p_values_of_normal_scores_are_uniform_also_in_the_tail():
    rng = np.random.default_rng(2)
    reference = m.Reference(rng.exponential(size=2000))
    p = np.array([reference.p_value(score) for score in rng.exponential(size=20_000)])
    for budget in (0.5, 0.1, 0.01, 0.002):
        assert (p <= budget).mean() == pytest.approx(budget, rel=0.6 if budget < 0.1 else 0.25)
        assert reference.p_value(reference.threshold(budget)) == pytest.approx(budget, rel=0.15)


def test_rare_but_normal_scores_keep_to_the_budget():
    """Four kinds in a thousand that score far higher: no exponential tail."""
    normal = np.concatenate([np.random.default_rng(5).exponential(size=39_840), np.full(160, 30.0)])
    for reference in (m.Reference(normal), m.Reference(m.Reference(normal).kept())):
        assert reference.p_value(30.0) == pytest.approx(0.004, rel=0.05)
        assert (normal > reference.threshold(0.001)).mean() <= 0.001
        assert (normal > reference.threshold(0.01)).mean() == pytest.approx(0.01, rel=0.05)


def test_scores_of_sessions():
    nats, ranks = np.array([0.0, 4.0, 1.0, 7.0]), np.array([0, 3, 1, 20])
    kinds = {"mean": 3.0, "median": 2.5, "peak": 4.0, "misses": 0.25}
    for kind, expected in kinds.items():
        assert m.session_score(nats, ranks, kind) == expected
    assert m.session_score(nats, ranks, "stretch", stretch=2) == 2.0
    assert m.session_score(nats, ranks, "stretch", stretch=9) == 3.0


def test_smoothing_in_parts_is_smoothing_at_once():
    nats = np.random.default_rng(3).exponential(size=50)
    whole = m.smoothed(nats, 8, 0.7)
    first = m.smoothed(nats[:20], 8, 0.7)
    np.testing.assert_allclose(np.concatenate([first, m.smoothed(nats[20:], 8, first[-1])]), whole)
    weights = (1 / 8) * (7 / 8) ** np.arange(50)[::-1]
    assert whole[-1] == pytest.approx(weights @ nats + (7 / 8) ** 50 * 0.7)


def test_simple_methods():
    assert m.count_distances(np.array([[2.0, 2.0], [1.0, 0.0]]), np.array([[5.0, 5.0]])) == pytest.approx(
        [0, 0.7653669]
    )
    ids = np.random.default_rng(4).integers(0, 300, 5000).astype(np.int32)
    runs = m.ngrams(ids, 3)
    assert len(runs) == 4998
    assert len(np.unique(runs)) == len({tuple(ids[i : i + 3]) for i in range(4998)})
    assert len(m.ngrams(ids[:2], 3)) == 0


def test_equal_sequences_are_equal_however_they_were_rounded():
    """Half of the normal ones are the same, and so is the highest of them."""
    normal = np.concatenate([np.full(50, 0.7), np.linspace(0.1, 0.6, 50)])
    reference = m.Reference(normal)
    for score in (0.7 * (1 - 1e-5), 0.7, 0.7 * (1 + 1e-5)):
        assert reference.p_value(score) == pytest.approx(51 / 101, rel=1e-3)
    assert reference.p_value(0.72) < 0.1
    again = m.Reference(reference.kept())
    assert again.p_value(np.float32(0.7)) == pytest.approx(51 / 101, rel=1e-3)
