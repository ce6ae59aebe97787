"""Signals with what was expected of them, and their alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HIGH, _WIDE = 2.2, 10.0
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Line:
    """One value of a signal.

    Args:
        name: what it is called.
        values: `[steps]`, NaN where there is none.
        expected, low, high: the median and the outermost quantiles of its forecast, `[steps]`.
    """

    name: str
    values: np.ndarray
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class SignalPicture:
    """A signal: each of its values with its forecast, and below them the scores.

    Args:
        title: above them.
        times: `[steps]`, datetime64 or numbers.
        lines: its values.
        scores: `[steps]`, NaN where none was judged.
        limit: of the scores, above which there may be an alarm.
        alarms: the steps of the alarms.
        stretches: (first step, step after the last) of what is known to be anomalous.
    """

    title: str
    times: np.ndarray
    lines: Sequence[Line]
    scores: np.ndarray
    limit: float
    alarms: Sequence[int]
    stretches: Sequence[tuple[int, int]] = ()

    def plot(self) -> Figure:
        """A figure of matplotlib."""
        from matplotlib.figure import Figure

        count = len(self.lines) + 1
        figure = Figure(figsize=(_WIDE, _HIGH * count), layout="constrained")
        axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        for axis, line in zip(axes, self.lines, strict=False):
            axis.fill_between(
                self.times, line.low, line.high, color="tab:blue", alpha=0.2, linewidth=0, label="forecast"
            )
            axis.plot(self.times, line.values, color="black", linewidth=0.8, label=line.name)
            axis.plot(
                self.times[list(self.alarms)], line.values[list(self.alarms)], "o", color="tab:red", label="alarm"
            )
            axis.set_ylabel(line.name)
        axes[0].set_title(self.title)
        axes[0].legend(loc="upper left", ncols=3, fontsize="small")
        axes[-1].plot(self.times, self.scores, color="tab:orange", linewidth=0.8)
        if np.isfinite(self.limit):
            axes[-1].axhline(self.limit, color="grey", linestyle="--", linewidth=0.8)
        axes[-1].set_ylabel("score, nats")
        for first, end in self.stretches:
            for axis in axes:
                axis.axvspan(self.times[first], self.times[end - 1], color="tab:red", alpha=0.12, linewidth=0)
        return figure

    def __str__(self) -> str:
        """The scores in one line of blocks, each the highest of its steps, and where alarms are."""
        width = min(len(self.scores), 72)
        parts = np.array_split(np.arange(len(self.scores)), width)
        tops = np.array([np.nan_to_num(self.scores[part]).max() for part in parts])
        most = max(float(tops.max()), 1e-9)
        bars = "".join(_BARS[int(top / most * (len(_BARS) - 1))] for top in tops)
        alarms = {*self.alarms}
        marks = "".join("!" if alarms & {*part.tolist()} else " " for part in parts)
        return f"{self.title}\nscores to {most:.1f} nats\n{bars}\n{marks}".rstrip()
