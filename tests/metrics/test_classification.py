"""Metrics of classification against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_rnn.metrics.classification import (
    classification_report,
    confusion_matrix,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
    precision_recall_f1,
    softmax,
)


def test_report_of_a_small_case_worked_out_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    report = classification_report(np.log(probabilities), np.array([0, 1, 1, 0]), ("no", "yes"))
    assert next(iter(report)) == "accuracy"
    assert report["accuracy"] == 0.75
    assert report["confusion"] == [[2, 0], [1, 1]]
    assert report["precision"] == {"no": pytest.approx(2 / 3), "yes": 1.0}
    assert report["recall"] == {"no": 1.0, "yes": 0.5}
    assert report["f1"] == {"no": pytest.approx(0.8), "yes": pytest.approx(2 / 3)}
    assert report["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert report["cross_entropy"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert report["majority"] == 0.5


def test_a_class_never_seen_nor_predicted_scores_zero_without_warning():
    confusion = confusion_matrix(np.array([0, 1]), np.array([0, 0]), 3)
    precision, recall, f1 = precision_recall_f1(confusion)
    assert precision.tolist() == [0.5, 0, 0]
    assert recall.tolist() == [1, 0, 0]
    assert f1[1:].tolist() == [0, 0]


def test_calibration_error_is_the_gap_by_bin():
    probabilities = np.array([[0.95, 0.05]] * 10 + [[0.55, 0.45]] * 10)
    targets = np.array([0] * 8 + [1] * 2 + [0] * 6 + [1] * 4)
    assert expected_calibration_error(probabilities, targets) == pytest.approx((0.15 + 0.05) / 2)
    assert expected_calibration_error(np.eye(2), np.array([0, 1])) == 0


def test_temperature_is_the_one_that_fits_best():
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, (4000, 3))
    targets = np.array([generator.choice(3, p=p) for p in softmax(honest)])
    assert fit_temperature(honest * 4, targets) == pytest.approx(4, rel=0.1)
    assert fit_temperature(honest / 2, targets) == pytest.approx(0.5, rel=0.1)
    best = fit_temperature(honest * 4, targets)
    losses = [cross_entropy(honest * 4 / t, targets) for t in (best * 0.9, best, best * 1.1)]
    assert losses[1] == min(losses)


def test_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, 0.0]])), [[1, 0], [0, 1]])
