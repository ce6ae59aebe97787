"""Simple methods beside which every report sets the model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nlp_rnn.assets import Assets
from nlp_rnn.data.windows import Gathered
from nlp_rnn.metrics.forecasting import apply_linear, drift, fit_linear, seasonal_naive

if TYPE_CHECKING:
    from nlp_rnn.data.windows import Windows

_MOST = 20_000_000
_LONGEST, _DUST = 2000, 1e-9
LINEAR = "linear (NLinear, ridge)"


class Linear:
    """NLinear by ridge regression, fitted to the training data.

    Args:
        weights: `[lookback + 1, horizon]`.
    """

    asset_kind: ClassVar[str] = "linear baseline"

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    @classmethod
    def of(cls, windows: Windows, lookback: int, facts: Mapping[str, Any]) -> Linear:
        """Fitted to as many windows as 20 million numbers make, spread over all."""
        channels = windows.series[0].values.shape[1]
        size = (lookback + windows.horizon) * channels
        step = max(-(-len(windows) * size // _MOST), 1)
        part = windows.select(range(0, len(windows), step))
        every = np.arange(len(part))
        spread = spreads_of(part, facts, all_of_them=True)
        history = Gathered([one.values for one in part.series], part, (-lookback, 0), repeats=True)[every]
        following = Gathered([one.known for one in part.series], part, (0, windows.horizon))[every]
        return cls(fit_linear(history / spread, following / spread).astype(np.float32))

    @property
    def lookback(self) -> int:
        """Steps that it reads."""
        return len(self.weights) - 1

    def save(self, path: Path) -> None:
        """Writes an array."""
        np.save(path.with_suffix(".npy"), self.weights)

    @classmethod
    def load(cls, path: Path) -> Linear:
        """Reads it back."""
        return cls(np.load(path.with_suffix(".npy")))


def baselines_of(windows: Windows, assets: Assets, horizon: int) -> dict[str, np.ndarray]:
    """What the simple methods forecast: by name `[windows, horizon, channels]`."""
    facts, every = assets.facts, np.arange(len(windows))
    values = [one.values for one in windows.series]
    last = Gathered(values, windows, (-1, 0))[every][:, 0]
    first = np.stack([one.values[0] for one in windows.series])[windows.which]
    season = Gathered(values, windows, (-facts["season"], 0), repeats=True)[every]
    found = {
        "seasonal naive" if facts["season"] > 1 else "last value": seasonal_naive(season, horizon),
        "drift": drift(first, last, windows.origins - 1, horizon),
    }
    if horizon <= assets.linear.weights.shape[1]:
        history = Gathered(values, windows, (-assets.linear.lookback, 0), repeats=True)[every]
        spread = spreads_of(windows, facts)
        found[LINEAR] = apply_linear(assets.linear.weights, history / spread)[:, :horizon] * spread
    return found


def spreads_of(windows: Windows, facts: Mapping[str, object], all_of_them: bool = False) -> np.ndarray:
    """What errors are measured in, `[windows, 1, channels]`: the spread of the training data; where there are several
    series, that of each before its first forecast here, or of all its steps."""
    found = np.tile(np.array(facts["spread"], np.float64), (len(windows), 1, 1))
    if facts["several"]:
        for series, places in windows.parts():
            before = series.known[: len(series) if all_of_them else windows.origins[places].min()]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of channels that were never observed
                own = np.nanstd(before, 0)
            found[places] = np.where(own > 0, own, found[places])
    return found


def naive_errors(windows: Windows, season: int) -> np.ndarray:
    """For each window the mean absolute difference of its series to a season before, on the steps before the first
    forecast of this split: `[windows, channels]`; NaN where there is none."""
    found = np.full((len(windows), windows.series[0].values.shape[1]), np.nan)
    for series, places in windows.parts():
        before = series.known[: windows.origins[places].min()]
        if len(before) > season:
            difference = np.abs(before[season:] - before[:-season])
            with np.errstate(invalid="ignore"):
                known = np.isfinite(difference).sum(0)
                mean = np.nansum(difference, 0) / np.maximum(known, 1)
                is_any = mean > _DUST * np.nanmax(np.abs(before), 0)  # else it is what rounding leaves
                found[places] = np.where(is_any, mean, np.nan)
    return found


def exponential_smoothing(windows: Windows, season: int, horizon: int) -> dict[str, np.ndarray]:
    """Holt and Winters' method with a damped trend and an additive season, fitted to each history: by name
    `[windows, horizon, channels]`; nothing where statsmodels is not installed."""
    try:
        from statsmodels.tsa.holtwinters import ExponentialSmoothing
    except ImportError:
        return {}
    found = np.full((len(windows), horizon, windows.series[0].values.shape[1]), np.nan)
    for series, places in windows.parts():
        for place in places:
            history = series.values[: windows.origins[place]]
            seasonal = {"seasonal": "add", "seasonal_periods": season} if 1 < season <= len(history) // 2 else {}
            for channel in range(history.shape[1]):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of fits that do not converge
                    model = ExponentialSmoothing(
                        history[-_LONGEST:, channel], trend="add", damped_trend=True, **seasonal
                    )
                    found[place, :, channel] = model.fit().forecast(horizon)
    return {"ets": found}
