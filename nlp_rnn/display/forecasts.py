"""Forecasts drawn: fans of quantiles, error by horizon, calibration of intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from nlp_rnn.display.console import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARS = "▁▂▃▄▅▆▇█"
_MOST = 9
_BANDS = ("#dbe8f3", "#b9d3e8", "#93bbdb", "#6da3ce")


@dataclass(frozen=True)
class Fan:
    """A history and its forecast.

    Args:
        title: what it is of.
        times: of the history, then of the forecast: numbers, or dates of NumPy.
        history: values, `[steps]`.
        quantiles: of the steps to come, `[horizon, levels]`.
        levels: of the quantiles.
        actual: what came, `[horizon]`; empty where that is not known.
    """

    title: str
    times: np.ndarray
    history: np.ndarray
    quantiles: np.ndarray
    levels: Sequence[float]
    actual: np.ndarray

    @property
    def median(self) -> np.ndarray:
        """`[horizon]`."""
        return self.quantiles[:, list(self.levels).index(0.5)]


@dataclass(frozen=True)
class Fans:
    """Several forecasts, drawn beside each other."""

    fans: Sequence[Fan]

    def plot(self) -> Figure:
        """A panel for each, at most nine."""
        fans = self.fans[:_MOST]
        columns = math.ceil(math.sqrt(len(fans) / 2)) if len(fans) > 1 else 1
        rows = math.ceil(len(fans) / columns)
        figure = Figure(figsize=(1.5 + 6.5 * columns, 0.6 + 2.6 * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for place, fan in zip(axes, fans, strict=False):
            draw_fan(place, fan)
        for place in axes[len(fans) :]:
            place.axis("off")
        return figure

    def __str__(self) -> str:
        return "\n".join(f"{fan.title}  {sparkline(fan.history[-60:])}|{sparkline(fan.median)}" for fan in self.fans)


def draw_fan(axes: Axes, fan: Fan) -> None:
    """The history, the median, and a band for each pair of levels."""
    before, after = fan.times[: len(fan.history)], fan.times[len(fan.history) :]
    axes.plot(before, fan.history, color="black", linewidth=1)
    pairs = len(fan.levels) // 2
    for place in range(pairs):
        low, high = fan.quantiles[:, place], fan.quantiles[:, len(fan.levels) - 1 - place]
        name = f"{100 * (fan.levels[-1 - place] - fan.levels[place]):.0f} %"
        colour = _BANDS[min(place, len(_BANDS) - 1)]
        axes.fill_between(after, low, high, color=colour, linewidth=0, label=name)
    axes.plot(after, fan.median, color="C0", linewidth=1.5, label="median")
    if len(fan.actual):
        axes.plot(after[: len(fan.actual)], fan.actual, color="C1", linewidth=1, label="what came")
    axes.set_title(visible(fan.title), fontsize=10, parse_math=False)
    axes.grid(alpha=0.3)
    axes.tick_params(axis="x", labelrotation=20)
    axes.legend(frameon=False, fontsize=8, ncols=3)


def plot_backtest(
    fan: Fan, errors: Mapping[str, np.ndarray], calibration: Sequence[tuple[float, float]], unit: str
) -> Figure:
    """The last forecast, the error of each method by step, and how often what came was below each quantile.

    Args:
        fan: the last forecast.
        errors: by method the mean absolute error of each step, `[horizon]`.
        calibration: (level, part of the values below that quantile).
        unit: of the errors.
    """
    figure = Figure(figsize=(15, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 1.3, 1))
    draw_fan(left, fan)
    for name, values in errors.items():
        middle.plot(range(1, len(values) + 1), values, label=name, linewidth=2 if name == "model" else 1)
    middle.set(xlabel="steps ahead", ylabel=unit, title="Error by horizon")
    levels, found = zip(*calibration, strict=True)
    right.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    right.plot(levels, found, marker="o", color="C0")
    right.set(xlabel="quantile", ylabel="part of the values below it", title="Calibration", xlim=(0, 1), ylim=(0, 1))
    for axes in (middle, right):
        axes.grid(alpha=0.3)
    middle.legend(frameon=False, fontsize=8)
    return figure


def sparkline(values: Sequence[float] | np.ndarray) -> str:
    """Numbers as bars of a line of text.

    >>> sparkline([0, 1, 2])
    '▁▅█'
    """
    found = np.asarray(values, float)
    low, high = np.nanmin(found), np.nanmax(found)
    places = np.zeros(len(found)) if high == low else (found - low) / (high - low) * (len(_BARS) - 1)
    return "".join(" " if not np.isfinite(place) else _BARS[math.ceil(place)] for place in places)
