"""How good forecasts are, and what simple methods forecast."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_SHOWN_STEPS = 6


def forecast_report(
    actual: np.ndarray,
    quantiles: np.ndarray,
    levels: Sequence[float],
    spread: np.ndarray,
    naive_errors: np.ndarray,
    targets: Sequence[str],
    baselines: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What is usually reported of forecasts; what is not known (NaN) counts nowhere.

    Args:
        actual: what came, `[windows, horizon, channels]`.
        quantiles: what was forecast, `[windows, horizon, channels, levels]`.
        levels: of the quantiles.
        spread: what errors are measured in, `[channels]`, or `[windows, 1, channels]`.
        naive_errors: the mean absolute error of the value a season ago before each window, `[windows, channels]`.
        targets: names of the channels.
        baselines: by name the forecasts of simple methods, `[windows, horizon, channels]`.

    Returns:
        "wql"; "mse" of the mean and "mae" of the median, of values divided by their spread, as benchmarks have them;
        "mase", relative to `naive_errors` (Hyndman and Koehler 2006); "smape" in percent; "coverage_80", the part of
        the values within the interval, for each; "mae by step", "mae in units", "mae of" and "mse of" the baselines.
    """
    median = quantiles[..., list(levels).index(0.5)]
    error = actual - median
    known = np.isfinite(error)
    scaled = np.abs(error) / spread
    size = np.abs(actual) + np.abs(median)
    symmetric = np.divide(2 * np.abs(error), size, out=np.zeros_like(error), where=known & (size > 0))
    mase = _mean(np.abs(error), 1) / np.where(naive_errors > 0, naive_errors, np.nan)
    report: dict[str, Any] = {
        "wql": weighted_quantile_loss(actual, quantiles, levels),
        "mse": _number(_mean(((actual - mean_of(quantiles, levels)) / spread) ** 2)),
        "mae": _number(_mean(scaled)),
        "mase": _number(_mean(mase)),
        "smape": 100 * float(symmetric[known].mean()) if known.any() else None,
        **coverages(actual, quantiles, levels),
        "forecasts": len(actual),
    }
    steps = np.unique(np.linspace(1, actual.shape[1], min(_SHOWN_STEPS, actual.shape[1])).round().astype(int))
    report["mae by step"] = {str(step): _number(_mean(scaled[:, step - 1])) for step in steps}
    report["mae in units"] = {name: _number(_mean(np.abs(error[..., c]))) for c, name in enumerate(targets)}
    for name, power in (("mae", 1), ("mse", 2)):
        found = {b: _number(_mean((np.abs(actual - values) / spread) ** power)) for b, values in baselines.items()}
        report[f"{name} of"] = found
    return report


def mean_of(quantiles: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The mean of a distribution from its quantiles: each counts as far as the middle between its level and the next.

    Args:
        quantiles: `[…, levels]`.
        levels: increasing.

    Example:

    >>> round(float(mean_of(np.array([0.0, 1.0, 4.0]), [0.1, 0.5, 0.9])), 3)
    1.6
    """
    edges = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(levels)), 1.0]
    return quantiles @ np.diff(edges).astype(quantiles.dtype)


def weighted_quantile_loss(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> float | None:
    """Twice the pinball loss over all values, relative to their absolute sum; the mean over the levels (Park et al.
    2022, and the M5 competition).

    Example:

    >>> round(weighted_quantile_loss(np.array([[[2.0]]]), np.array([[[[1.0, 2.0, 3.0]]]]), [0.1, 0.5, 0.9]), 4)
    0.0667
    """
    known = np.isfinite(actual)
    total = np.abs(actual[known]).sum() or known.sum()  # where all is 0 it is the loss itself
    if not total:
        return None
    losses = []
    for place, level in enumerate(levels):
        error = (actual - quantiles[..., place])[known]
        losses.append(2 * np.maximum(level * error, (level - 1) * error).sum() / total)
    return float(np.mean(losses))


def coverages(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> dict[str, float | None]:
    """For each pair of levels around the median the part of the values between their quantiles.

    >>> coverages(np.array([0.5, 3.0]), np.array([[0.0, 1.0, 2.0]] * 2), [0.1, 0.5, 0.9])
    {'coverage_80': 0.5}
    """
    known, found = np.isfinite(actual), {}
    for place in range(len(levels) // 2):
        low, high = quantiles[..., place], quantiles[..., len(levels) - 1 - place]
        inside = ((actual >= low) & (actual <= high))[known]
        name = f"coverage_{100 * (levels[-1 - place] - levels[place]):.0f}"
        found[name] = float(inside.mean()) if known.any() else None
    return found


def seasonal_naive(history: np.ndarray, horizon: int) -> np.ndarray:
    """The last season again and again.

    Args:
        history: the last season, `[windows, season, channels]`.
        horizon: steps to forecast.

    Example:

    >>> seasonal_naive(np.array([[[1.0], [2.0]]]), 3)[0, :, 0].tolist()
    [1.0, 2.0, 1.0]
    """
    return history[:, np.arange(horizon) % history.shape[1]]


def drift(first: np.ndarray, last: np.ndarray, steps: np.ndarray, horizon: int) -> np.ndarray:
    """The line from the first value to the last one, continued.

    Args:
        first, last: `[windows, channels]`.
        steps: between them, `[windows]`.
        horizon: steps to forecast.

    Example:

    >>> drift(np.array([[0.0]]), np.array([[4.0]]), np.array([2]), 2)[0, :, 0].tolist()
    [6.0, 8.0]
    """
    slope = (last - first) / np.maximum(steps, 1)[:, None]
    return last[:, None] + slope[:, None] * np.arange(1, horizon + 1)[:, None]


def fit_linear(history: np.ndarray, following: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """NLinear (Zeng et al. 2023, arXiv:2205.13504) by ridge regression: all channels share one matrix from the history
    to what follows, both without the last value.

    Args:
        history: scaled values, `[windows, lookback, channels]`.
        following: `[windows, horizon, channels]`; windows with NaN do not count.
        ridge: weight of the squares of the matrix, relative to one window.

    Returns:
        `[lookback + 1, horizon]`, the constant last.
    """
    inputs, outputs = _without_last(history), following - history[:, -1:]
    inputs = inputs.transpose(0, 2, 1).reshape(-1, history.shape[1]).astype(np.float64)
    outputs = outputs.transpose(0, 2, 1).reshape(-1, following.shape[1]).astype(np.float64)
    known = np.isfinite(outputs).all(1) & np.isfinite(inputs).all(1)
    inputs = np.concatenate([inputs[known], np.ones((int(known.sum()), 1))], 1)
    square = inputs.T @ inputs + ridge * np.eye(inputs.shape[1])
    return np.linalg.solve(square, inputs.T @ outputs[known])


def apply_linear(weights: np.ndarray, history: np.ndarray) -> np.ndarray:
    """What `fit_linear` found, for `[windows, lookback, channels]`."""
    found = np.einsum("nlc,lh->nhc", _without_last(history), weights[:-1], optimize=True)
    return found + weights[-1][:, None] + history[:, -1:]


def _without_last(history: np.ndarray) -> np.ndarray:
    return history - history[:, -1:]


def _mean(values: np.ndarray, axis: int | None = None) -> Any:
    """The mean of what is known."""
    known = np.isfinite(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis, dtype=np.float64)
    return np.divide(total, count, out=np.full_like(np.asarray(total, np.float64), np.nan), where=count > 0)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
