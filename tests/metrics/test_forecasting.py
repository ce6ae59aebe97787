"""Measures of forecasts and simple methods, beside their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_rnn.metrics import forecasting as m

LEVELS = [0.1, 0.5, 0.9]


def report(actual, quantiles, **changes):
    actual, quantiles = np.asarray(actual, float), np.asarray(quantiles, float)
    windows, _, channels = actual.shape
    options = {
        "spread": np.ones(channels),
        "naive_errors": np.ones((windows, channels)),
        "targets": [f"v{i}" for i in range(channels)],
        "baselines": {},
        **changes,
    }
    return m.forecast_report(actual, quantiles, LEVELS, **options)


def test_by_hand():
    found = report([[[1.0], [4.0]]], [[[[0.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]]], spread=np.array([2.0]))
    assert found["mae"] == pytest.approx((1 + 2) / 2 / 2)
    assert found["mse"] == pytest.approx(((1 - (0.3 * 0 + 0.4 * 2 + 0.3 * 3)) ** 2 + (4 - 2) ** 2) / 2 / 4)
    assert found["mase"] == pytest.approx(1.5)
    assert found["smape"] == pytest.approx(100 * (2 / 3 + 4 / 6) / 2)
    assert found["coverage_80"] == 0.5
    pinball = [2 * (0.1 * 1 + 0.1 * 3), 2 * (0.5 * 1 + 0.5 * 2), 2 * (0.1 * 2 + 0.9 * 1)]
    assert found["wql"] == pytest.approx(np.mean(pinball) / 5)
    assert found["mae by step"] == {"1": 0.5, "2": 1.0}
    assert found["mae in units"] == {"v0": 1.5}


def test_what_is_not_known_counts_nowhere():
    rng = np.random.default_rng(0)
    actual, quantiles = rng.normal(size=(5, 4, 2)), np.sort(rng.normal(size=(5, 4, 2, 3)))
    whole = report(actual[:3], quantiles[:3], naive_errors=np.ones((3, 2)))
    actual[3:] = np.nan
    found = report(actual, quantiles)
    for name in ("wql", "mae", "mse", "mase", "smape", "coverage_80", "mae by step", "mae in units"):
        assert found[name] == pytest.approx(whole[name]), name


def test_nothing_known_and_nothing_to_compare_with():
    found = report(np.full((1, 2, 1), np.nan), np.zeros((1, 2, 1, 3)), naive_errors=np.zeros((1, 1)))
    assert [found[name] for name in ("wql", "mae", "mse", "mase", "smape", "coverage_80")] == [None] * 6
    assert report(np.zeros((1, 2, 1)), np.zeros((1, 2, 1, 3)))["smape"] == 0.0


def test_the_linear_method_finds_a_linear_rule():
    rng = np.random.default_rng(1)
    series = np.cumsum(rng.normal(size=(400, 12, 2)), 1)
    history, rule = series[:, :6], rng.normal(size=(6, 3))
    following = history[:, -1:] + np.einsum("nlc,lh->nhc", history - history[:, -1:], rule) + 0.5
    weights = m.fit_linear(history, following, 1e-9)
    np.testing.assert_allclose(m.apply_linear(weights, history), following, atol=1e-6)
    with_gaps = following.copy()
    with_gaps[::3, 1, 0] = np.nan
    np.testing.assert_allclose(m.fit_linear(history, with_gaps, 1e-9), weights, atol=1e-6)


def test_simple_methods():
    season = np.arange(3.0)[None, :, None]
    assert m.seasonal_naive(season, 7)[0, :, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    line = m.drift(np.array([[1.0, 5.0]]), np.array([[4.0, 2.0]]), np.array([3]), 2)
    assert line[0].tolist() == [[5, 1], [6, 0]]


def test_the_mean_of_a_distribution_from_its_quantiles():
    levels = np.linspace(0.005, 0.995, 100)
    assert m.mean_of(-np.log(1 - levels), levels.tolist()) == pytest.approx(1.0, abs=0.02)  # exponential
