"""From scores to alarms and reasons, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly_values.scores import PARTS, Steps, all_steps, rarity, score_of, score_reference
from nlp_rnn.tasks.anomaly_values.settings import Options
from nlp_rnn.tasks.anomaly_values.watched import Found, Watched, watched
from nlp_rnn.tasks.base import Metrics, Outputs

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.base import Asked

_SHOWN = 20


def found_of(
    steps: Steps, rarities: np.ndarray, scores: np.ndarray, p_values: np.ndarray, alarms: np.ndarray, judge: Any
) -> Found:
    """What was found, from the judged steps and what follows from them."""
    forecast = [steps.forecast(place) for place in (judge["levels"].index(0.5), 0, -1)]
    about = (steps.judged, steps.values, forecast, steps.mean, steps.spread, rarities)
    return Found(judge["targets"], scores, p_values, alarms, *about)


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

        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        steps, record, score = self.steps[index], self.records[index], self.scores[index]
        p_values = np.exp(-self.reference.nats_of(score))
        found = found_of(steps, self.rarities[index], score, p_values, self.alarms[index], self.judge)
        return watched(record["history"], record.get("begin", 0), found)


def from_row(row: dict[str, Any], options: Options, asked: Asked) -> Watched:
    """A row of the signature `serving_default`, with the times and values of the signal that was sent."""
    import numpy as np

    from nlp_rnn.metrics.signals import dynamic_threshold, peaks
    from nlp_rnn.tasks.inputs import SignalInput

    series = SignalInput().parse(asked.record["history"])
    part = {name: np.asarray(value)[: len(series)] for name, value in row.items() if name != "targets"}
    heights = peaks(part["scores"], asked.config.score.rest)[0]
    if options.threshold == "dynamic":
        alarms = heights > dynamic_threshold(part["scores"])
    else:
        alarms = (heights > 0) & (part["p_values"] < options.budget)
    found = Found(
        targets=row["targets"],
        alarms=alarms,
        values=series.known,
        forecast=[part[name] for name in ("expected", "low", "high")],
        rarities=np.stack([part[name] for name in PARTS]),
        judged=part["is_judged"],
        **{name: part[name] for name in ("scores", "p_values", "usual", "spread")},
    )
    return watched(series, 0, found)


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
