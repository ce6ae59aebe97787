"""From quantiles to the scores of steps, by what normal data score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.assets import Assets
    from nlp_rnn.data.records import Record, Records
    from nlp_rnn.metrics.anomalies import Reference
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import Metrics, Outputs

PARTS = ("surprise", "level")
_OF_CHANNEL = 1000  # quantiles that are kept of each


@dataclass(frozen=True)
class Steps:
    """What is known of the steps of a signal that are judged, float64.

    Args:
        values: `[steps, channels]`, NaN where none was observed.
        mean, spread: of the steps before each, `[steps, channels]`.
        quantiles: of the forecast, scaled, `[steps, channels, levels]`.
        surprise: how far in the tail of its forecast a value lies, `[steps, channels]`.
        level: how far the mean of the last values is from what was usual, in spreads, `[steps, channels]`.
        judged: which steps were judged at all, booleans `[steps]`.
    """

    values: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    quantiles: np.ndarray
    surprise: np.ndarray
    level: np.ndarray
    judged: np.ndarray

    @property
    def scaled(self) -> np.ndarray:
        """The values as the model was to forecast them."""
        from nlp_rnn.tasks.anomaly_values.features import scaled

        return scaled(self.values, self.mean, self.spread)

    def forecast(self, place: int) -> np.ndarray:
        """A quantile of the forecast in the size of the values, `[steps, channels]`."""
        return self.mean + self.spread * self.quantiles[..., place]


def steps_of(quantiles: np.ndarray, record: Record, judge: Any, seen: int = 0) -> Steps:
    """Deviations of the judged steps of a record; they are 0 for those of the warm-up, for values that are missing, and
    for those after one that is: what was read in its place was not it.

    Args:
        quantiles: `[steps, channels, levels]`.
        record: of the signal.
        judge: the run's facts.
        seen: steps before the first of the record.
    """
    import numpy as np

    from nlp_rnn.metrics.signals import MOST, running_scale, tail_deviation, trailing_mean
    from nlp_rnn.tasks.anomaly_values.features import scaled

    series, begin = record["history"], record.get("begin", 0)
    before = np.maximum(np.arange(begin, len(series)) - 1, 0)
    mean, spread = (part[before] for part in running_scale(series.values, judge["memory"], judge["least_spread"]))
    values, found = series.known[begin:], np.asarray(quantiles, np.float64)
    surprise = np.abs(tail_deviation(found, judge["levels"], scaled(values, mean, spread)))
    level = np.minimum(np.abs(trailing_mean(series.values, judge["smooth"])[begin:] - mean) / spread, MOST)
    is_warm = seen + np.arange(begin, len(series)) >= judge["warm_up"]
    counts = series.observed[begin:] & series.observed[before] & is_warm[:, None]
    return Steps(values, mean, spread, found, np.where(counts, surprise, 0), np.where(counts, level, 0), counts.any(1))


def all_steps(outputs: Outputs, records: Records, assets: Assets) -> list[Steps]:
    """Those of each record."""
    return [steps_of(q, row, assets.judge) for q, row in zip(outputs["quantiles"], records, strict=True)]


def rarity(steps: Steps, judge: object) -> np.ndarray:
    """How rare the deviations of each step and channel are in normal data: -log p of the surprise and of the level,
    `[2, steps, channels]`, whose sum is the score (Fisher's method); 0 where nothing deviates."""
    import numpy as np

    found = np.zeros((len(PARTS), *steps.surprise.shape))
    for part, name in enumerate(PARTS):
        values = getattr(steps, name)
        for channel, reference in enumerate(references(judge, name)):
            found[part, :, channel] = np.where(values[:, channel] > 0, reference.nats_of(values[:, channel]), 0)
    return found


def score_of(rarities: np.ndarray) -> np.ndarray:
    """The score of each step, that of its most unusual value: `[2, steps, channels]` → `[steps]`."""
    return rarities.sum(0).max(1)


def references(judge: Any, name: str) -> list[Reference]:
    """Of each channel the normal deviations of a kind; before they are learned, none."""
    from nlp_rnn.metrics.anomalies import TAIL, Reference

    return [Reference(scores, tail=TAIL) for scores in judge.get(name, [[0.0]] * len(judge["targets"]))]


def score_reference(judge: Any) -> Reference:
    """The scores of normal steps."""
    from nlp_rnn.metrics.anomalies import Reference

    return Reference(judge.get("scores", [0.0]))


def calibrate(run: AnyRun, records: Records) -> Metrics | None:
    """Learns from the normal steps of validation data what deviations and scores are usual."""
    import numpy as np

    from nlp_rnn.metrics.anomalies import Reference

    judge = run.assets.judge
    found = all_steps(run.infer(records), records, run.assets)
    kept = []
    for steps, row in zip(found, records, strict=True):
        labels = row.get("labels")
        is_normal = np.ones(len(steps.values), bool) if labels is None else labels[row.get("begin", 0) :] == 0
        kept.append(is_normal & steps.judged)
    for name in PARTS:
        parts = [getattr(steps, name)[keep] for steps, keep in zip(found, kept, strict=True)]
        every = np.concatenate(parts)
        judge[name] = [Reference(channel if len(channel) else [0.0], _OF_CHANNEL).kept() for channel in every.T]
    scores = [score_of(rarity(steps, judge))[keep] for steps, keep in zip(found, kept, strict=True)]
    judge["scores"] = Reference(np.concatenate(scores)).kept() or [0.0]
    return None
