"""What is unusual in a signal, step by step, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.series import Series

_REASONS = 3


@dataclass(frozen=True)
class Cause:
    """A value that was not expected.

    Args:
        target: which value of the step.
        value: what came.
        expected: the median of the forecast.
        low, high: its outermost quantiles.
        usual, spread: mean and spread of the steps before.
        surprise, level: how unusual the value is beside its forecast, and the mean of the last values beside what was
            usual, in nats: together they are the score.
    """

    target: str
    value: float | None
    expected: float
    low: float
    high: float
    usual: float
    spread: float
    surprise: float
    level: float

    def __str__(self) -> str:
        came = f"{self.target} {_number(self.value, self.spread)}"
        if self.level > self.surprise:
            return f"{came}, as were the last ones: usual is {_number(self.usual, self.spread)} ± {self.spread:.3g}"
        low, expected, high = (_number(value, self.spread) for value in (self.low, self.expected, self.high))
        return f"{came} instead of {expected} ({low} to {high})"


def _number(value: float | None, spread: float) -> str:
    """A value with as many digits as tell it from others."""
    if value is None:
        return "nothing"
    digits = min(max(round(math.log10(abs(value) / spread) + 4), 4), 15) if value and spread else 5
    return f"{value:.{digits}g}"


@dataclass(frozen=True)
class ValueAlarm:
    """A step at which a signal is unusual.

    Args:
        time: of the step, or its number from 0.
        step: its number.
        score: how unusual it is, in nats.
        p_value: how often normal steps score as high.
        why: the values that were least expected.
    """

    time: str
    step: int
    score: float
    p_value: float
    why: list[Cause]

    def __str__(self) -> str:
        return f"ALARM {self.score:.1f} (p {self.p_value:.2g}) {self.time}: {'; '.join(map(str, self.why))}"


@dataclass(frozen=True)
class StepRow:
    """A step, as a row of a table; see `ValueAlarm`."""

    series: str
    time: str
    score: float | None
    p_value: float | None
    alarm: bool
    value: dict[str, float | None]
    expected: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]


@dataclass(frozen=True)
class Watched:
    """What is unusual in a signal.

    Args:
        series: its name.
        alarms: the steps that stand out.
        begin: the number of the first step here.
        judged: how many steps were judged: not those of the warm-up, and not those without values.
        times: of all steps.
        scores: how unusual each is, in nats; None where it was not judged.
        p_values: how often normal steps score as high.
        values: by target, what came.
        expected, low, high: by target, the median and the outermost quantiles of its forecast.
    """

    series: str
    alarms: list[ValueAlarm]
    begin: int
    judged: int
    times: list[str]
    scores: list[float | None]
    p_values: list[float | None]
    values: dict[str, list[float | None]]
    expected: dict[str, list[float]]
    low: dict[str, list[float]]
    high: dict[str, list[float]]

    @property
    def rows(self) -> Iterator[StepRow]:
        """The rows of a table, one for each step."""
        alarms = {alarm.step - self.begin for alarm in self.alarms}
        parts = (self.values, self.expected, self.low, self.high)
        for place, time in enumerate(self.times):
            value, *forecast = ({name: column[place] for name, column in part.items()} for part in parts)
            score, p_value = self.scores[place], self.p_values[place]
            yield StepRow(self.series, time, score, p_value, place in alarms, value, *forecast)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Found:
    """What was found of a signal: of each step `[steps]`, and of its values `[steps, channels]`.

    Args:
        targets: the names of the channels.
        scores, p_values, alarms, judged: of each step.
        values: what came, NaN for what is missing.
        forecast: the median, the lowest and the highest quantile.
        usual, spread: mean and spread of the steps before.
        rarities: how rare a value is beside its forecast, and the level, in nats: `[2, steps, channels]`.
    """

    targets: Sequence[str]
    scores: np.ndarray
    p_values: np.ndarray
    alarms: np.ndarray
    judged: np.ndarray
    values: np.ndarray
    forecast: Sequence[np.ndarray]
    usual: np.ndarray
    spread: np.ndarray
    rarities: np.ndarray


def watched(series: Series, begin: int, found: Found) -> Watched:
    """What is unusual in a signal, from the step `begin` on."""
    import numpy as np

    from nlp_rnn.series.steps import time_texts

    times = time_texts(series.times[begin:], series.has_times)
    alarms = [
        ValueAlarm(times[i], begin + i, float(found.scores[i]), float(found.p_values[i]), causes(found, i))
        for i in np.flatnonzero(found.alarms).tolist()
    ]
    values, *forecast = (
        {name: _plain(part[:, i]) for i, name in enumerate(found.targets)} for part in (found.values, *found.forecast)
    )
    scores, p_values = (_plain(np.where(found.judged, part, np.nan)) for part in (found.scores, found.p_values))
    judged = int(found.judged.sum())
    return Watched(series.name, alarms, begin, judged, times, scores, p_values, values, *forecast)


def _plain(values: np.ndarray) -> list[Any]:
    return [None if value != value else round(value, 10) for value in values.tolist()]


def causes(found: Found, step: int) -> list[Cause]:
    """The values of a step that were least expected, the least first."""
    import numpy as np

    causes: list[Cause] = []
    total = found.rarities[:, step].sum(0)
    for channel in np.argsort(-total, kind="stable")[:_REASONS].tolist():
        if total[channel] <= 0 or total[channel] < total.max() / 2:
            break
        value = float(found.values[step, channel])
        parts = (*found.forecast, found.usual, found.spread, *found.rarities)
        about = (float(part[step, channel]) for part in parts)
        causes.append(Cause(found.targets[channel], None if value != value else value, *about))
    return causes
