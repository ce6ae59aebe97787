"""From scores to alarms and reasons, what they are worth, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly_values.scores import Steps, all_steps, rarity, score_of, score_reference
from nlp_rnn.tasks.anomaly_values.settings import Options
from nlp_rnn.tasks.base import Metrics, Outputs

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Records

_REASONS, _SHOWN = 3, 20


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


class Judged(Sequence[Watched]):
    """Results that are made of arrays as they are asked for.

    Args:
        steps: of each signal.
        records: the signals.
        assets: of the run.
        options: of the run.
    """

    def __init__(self, steps: Sequence[Steps], records: Records, assets: Assets, options: Options) -> None:
        self.steps, self.records, self.judge, self.options = steps, records, assets.judge, options
        self.reference = score_reference(self.judge)
        self.rarities = [rarity(one, self.judge) for one in steps]
        self.scores = [score_of(one) for one in self.rarities]
        self.alarms = [alarms_of(score, self.judge, self.reference, options) for score in self.scores]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: Any) -> Any:
        import numpy as np

        from nlp_rnn.series.steps import time_texts

        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        steps, record, score = self.steps[index], self.records[index], self.scores[index]
        series, begin = record["history"], record.get("begin", 0)
        times = time_texts(series.times[begin:], series.has_times)
        p_values = np.exp(-self.reference.nats_of(score))
        targets, middle = self.judge["targets"], self.judge["levels"].index(0.5)
        alarms = [
            ValueAlarm(
                times[i],
                begin + int(i),
                float(score[i]),
                float(p_values[i]),
                causes(steps, self.rarities[index], i, self.judge),
            )
            for i in np.flatnonzero(self.alarms[index]).tolist()
        ]
        values, *forecast = (
            {name: _plain(part[:, i]) for i, name in enumerate(targets)}
            for part in (steps.values, *(steps.forecast(place) for place in (middle, 0, -1)))
        )
        shown, shown_p = (_plain(np.where(steps.judged, part, np.nan)) for part in (score, p_values))
        judged = int(steps.judged.sum())
        return Watched(series.name, alarms, begin, judged, times, shown, shown_p, values, *forecast)


def _plain(values: np.ndarray) -> list[Any]:
    return [None if value != value else round(value, 10) for value in values.tolist()]


def causes(steps: Steps, rarities: np.ndarray, step: int, judge: Any) -> list[Cause]:
    """The values of a step that were least expected, the least first."""
    import numpy as np

    found: list[Cause] = []
    total = rarities[:, step].sum(0)
    for channel in np.argsort(-total, kind="stable")[:_REASONS].tolist():
        if total[channel] <= 0 or total[channel] < total.max() / 2:
            break
        value = float(steps.values[step, channel])
        places = (judge["levels"].index(0.5), 0, -1)
        expected, low, high = (float(steps.forecast(place)[step, channel]) for place in places)
        about = [float(part[step, channel]) for part in (steps.mean, steps.spread, *rarities)]
        found.append(Cause(judge["targets"][channel], None if value != value else value, expected, low, high, *about))
    return found


def alarms_of(scores: np.ndarray, judge: Any, reference: Any, options: Options) -> np.ndarray:
    """At which steps there is an alarm, booleans `[steps]`: the peaks of the scores above the threshold."""
    from nlp_rnn.display.console import console
    from nlp_rnn.metrics.signals import dynamic_threshold, peaks

    dynamic = options.threshold == "dynamic"
    if "scores" in judge and not dynamic:  # the epochs of training are measured before normal scores are known
        console.warn_once(reference.beyond(options.budget))
    limit = dynamic_threshold(scores) if dynamic else reference.threshold(options.budget)
    return peaks(scores, judge["rest"])[0] > limit


def decode(outputs: Outputs, records: Records, assets: Assets, options: Options) -> Judged:
    """Quantiles → scores, alarms and reasons."""
    return Judged(all_steps(outputs, records, assets), records, assets, options)


def evaluate(records: Records, predictions: Sequence[Watched], outputs: Outputs, assets: Assets) -> Metrics:
    """The pinball loss of normal steps, scaled; where anomalous stretches are known, what the scores are worth."""
    import numpy as np

    from nlp_rnn.tasks.anomaly_values.baselines import baselines_of
    from nlp_rnn.tasks.anomaly_values.worth import worth_of

    assert isinstance(predictions, Judged)
    labels = [None if row.get("labels") is None else row["labels"][row.get("begin", 0) :] for row in records]
    steps = sum(int(one.judged.sum()) for one in predictions.steps)
    metrics: Metrics = {"pinball": _pinball(predictions.steps, labels, assets.judge["levels"])}
    metrics["alarms_per_1000_steps"] = 1000 * sum(int(alarms.sum()) for alarms in predictions.alarms) / max(steps, 1)
    metrics |= {"signals": len(records), "judged_steps": steps}
    known = [i for i, label in enumerate(labels) if label is not None]
    given = [np.asarray(labels[i]) for i in known]
    if not any(label.any() for label in given):
        return metrics
    rest = assets.judge["rest"]
    scores, alarms = ([part[i] for i in known] for part in (predictions.scores, predictions.alarms))
    metrics |= worth_of(scores, given, rest, alarms)
    others = {}
    scale = assets.judge["memory"], assets.judge["least_spread"]
    for name, simple in baselines_of([records[i] for i in known], *scale).items():
        others[name] = worth_of(simple, given, rest)
    for key in ("nab", "vus_pr", "auc_pr"):
        metrics[f"{key} of"] = {name: worth[key] for name, worth in others.items()}
    return metrics


def _pinball(found: Sequence[Steps], labels: Sequence[Any], levels: Sequence[float]) -> float:
    """The mean over steps that are normal and observed, channels and levels."""
    import numpy as np

    total = count = 0.0
    for steps, label in zip(found, labels, strict=True):
        errors = steps.scaled[..., None] - steps.quantiles
        losses = np.maximum(np.array(levels) * errors, (np.array(levels) - 1) * errors)
        keep = np.isfinite(losses) & (True if label is None else (label == 0)[:, None, None])
        total, count = total + float(losses[keep].sum()), count + int(keep.sum())
    return total / count if count else 0.0


def remarks(metrics: Metrics) -> list[str]:
    """Says where a simple method tells anomalies apart as well."""
    from nlp_rnn.metrics.comparison import beaten_by

    found = []
    for key in ("nab", "vus_pr"):
        others = metrics.get(f"{key} of", {})
        if others and (best := max(others, key=lambda name: others[name])) and others[best] >= metrics[key]:
            found.append(beaten_by(key, best, others[best], metrics[key]))
    return found


def show(prediction: Watched, record: dict[str, Any] | None = None) -> str:
    """`cpu.csv: 4,032 steps, 2 alarms`, then the alarms; with a record, whether they are in an anomalous stretch."""
    count = len(prediction.alarms)
    name = f"{prediction.series}: " if prediction.series else ""
    lines = [f"{name}{len(prediction.times):,} steps, {count or 'no'} alarm{'s' * (count != 1)}"]
    if not prediction.judged:
        lines = [f"{name}{len(prediction.times):,} steps: too few to judge any"]
    labels = None if record is None else record.get("labels")
    for alarm in prediction.alarms[:_SHOWN]:
        was = "" if labels is None else " (an anomaly)" if labels[alarm.step] else " (normal)"
        lines.append(f"  {alarm}{was}")
    lines += [f"  and {count - _SHOWN:,} more"] * (count > _SHOWN)
    return "\n".join(lines)


def errors(records: Records, predictions: Sequence[Watched], count: int) -> list[str]:
    """The stretches without an alarm, and the false alarms with the highest scores."""
    from nlp_rnn.metrics.stretches import stretches_of
    from nlp_rnn.series.steps import time_text

    missed, false = [], []
    for row, one in zip(records, predictions, strict=True):
        if row.get("labels") is None:
            continue
        begin, series, steps = row.get("begin", 0), row["history"], {alarm.step for alarm in one.alarms}
        for a, b in stretches_of(row["labels"]):
            if a >= begin and not steps & set(range(a, b)):
                first, last = (time_text(series.times[i], series.has_times) for i in (a, b - 1))
                best = max((score for score in one.scores[a - begin : b - begin] if score is not None), default=None)
                shown = "no step was judged" if best is None else f"the highest score is {best:.1f}"
                missed.append(f"missed  {one.series} {first} … {last}: {shown}")
        false += [
            (alarm.score, f"false   {one.series} {alarm}") for alarm in one.alarms if not row["labels"][alarm.step]
        ]
    false.sort(key=lambda pair: -pair[0])
    half = max(count - len(missed), count // 2)
    return [*missed[: count - min(half, len(false))], *[line for _, line in false[:half]]][:count]
