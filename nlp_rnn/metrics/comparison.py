"""What a comparison of models shows, and what follows from it: ties, and advice in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

_SAMPLES = 2000
_FEWEST_PARTS = 10
_FEWEST_SECONDS = 2.0
_CLEARLY = 1.25  # times: how much faster, smaller or steadier something must be to be said


@dataclass(frozen=True)
class Candidate:
    """What was measured of one model.

    Args:
        name: of the model.
        qualities: the metric of the test data, one for each seed.
        parts: the metric of parts of the test data, `[seeds][parts]`, the same parts for every model.
        by_length: the metric of the shortest, the middle and the longest third of the test data.
        by_labels: (training records, the metric with so few of them).
        seconds_to_reach: seconds of training until the validation metric was as good as the weakest model's best; None
            if it never was.
        training_speed: units, such as tokens, a second.
        prediction_speed: records a second.
        memory: bytes that a run took at most.
        size: bytes of the model's file.
        parameters: weights.
        units: of a layer, in one direction.
        epochs: that were trained.
        seconds: of training, the mean of the seeds.
    """

    name: str
    qualities: Sequence[float]
    parts: Sequence[Sequence[float]] = ()
    by_length: Sequence[float] = ()
    by_labels: Sequence[tuple[int, float]] = ()
    seconds_to_reach: float | None = None
    training_speed: float = 0.0
    prediction_speed: float = 0.0
    memory: int = 0
    size: int = 0
    parameters: int = 0
    units: int = 0
    epochs: int = 0
    seconds: float = 0.0

    @property
    def quality(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.qualities))

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; 0 for one."""
        return float(np.std(self.qualities, ddof=1)) if len(self.qualities) > 1 else 0.0


@dataclass(frozen=True)
class Comparison:
    """Several models that were trained alike.

    Args:
        task: its name.
        metric: what `qualities` are.
        lower_is_better: whether less of it is better.
        unit: what a sequence consists of, such as "tokens".
        budget: seconds of training that each was to have.
        split: what was measured, "test" or "validation".
        records: how many records those are.
        candidates: the models.
        baselines: the metric of simple methods, by name.
        remarks: what the task says of the best model's metrics.
    """

    task: str
    metric: str
    lower_is_better: bool
    unit: str
    budget: float
    candidates: Sequence[Candidate]
    baselines: Mapping[str, float] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    split: str = "test"
    records: int = 0

    def ranked(self) -> list[Candidate]:
        """The best first."""
        return sorted(self.candidates, key=lambda one: one.quality, reverse=not self.lower_is_better)

    def ties(self) -> list[Candidate]:
        """The best, and those whose distance to it chance may explain."""
        best, *others = self.ranked()
        return [best, *(other for other in others if chance_explains(best, other))]


def chance_explains(one: Candidate, other: Candidate) -> bool:
    """Whether the difference between two models is no more than chance brings about.

    It is if zero lies within the middle 95 % of its distribution: seeds and parts of the test data are drawn anew, with
    replacement, the same parts for both models (paired bootstrap, Efron and Tibshirani 1993; Koehn 2004). Where there
    are fewer than ten parts, the difference must be above twice the standard error that the seeds give, of which there
    must be three; else nothing is known, and chance may explain all.
    """
    generator = np.random.default_rng(0)
    if min(len(one.parts), len(other.parts)) and len(one.parts[0]) >= _FEWEST_PARTS:
        a, b = np.asarray(one.parts, float), np.asarray(other.parts, float)
        count = a.shape[1]
        drawn = generator.integers(0, count, (_SAMPLES, count))
        first, second = (
            x[generator.integers(0, len(x), (_SAMPLES, len(x)))].mean(1)[np.arange(_SAMPLES)[:, None], drawn].mean(1)
            for x in (a, b)
        )
        low, high = np.quantile(first - second, [0.025, 0.975])
        return bool(low <= 0 <= high)
    if min(len(one.qualities), len(other.qualities)) < 3:
        return True
    error = np.hypot(one.spread / np.sqrt(len(one.qualities)), other.spread / np.sqrt(len(other.qualities)))
    return bool(abs(one.quality - other.quality) <= 2 * error)


def advice(comparison: Comparison) -> str:
    """Which model to choose for these data, and why, in a few plain sentences.

    The rules: among models that chance cannot tell from the best, the one that predicts fastest, if it is clearly
    faster than the best, else the best. Said as well: who learns clearly faster, who loses on long inputs, who
    needs fewer labels, and whether a simple method does as well.
    """
    tied = comparison.ties()
    best = tied[0]
    said = [_who_is_best(comparison, tied)]
    chosen = best
    fastest = max(tied, key=lambda one: one.prediction_speed)
    if len(tied) > 1 and fastest is not best and _clearly(fastest.prediction_speed, best.prediction_speed):
        chosen = fastest
        times = fastest.prediction_speed / best.prediction_speed
        said.append(f"Of these, {fastest.name} answers fastest, {times:.1f} times as fast as {best.name}.")
    said += [_who_learns_first(comparison), _who_fails_on_long_inputs(comparison), _simple_methods(comparison, chosen)]
    said += [_who_needs_few_labels(comparison), _who_had_more_time(comparison), *comparison.remarks]
    if min(len(one.qualities) for one in comparison.candidates) == 1:
        said.append("Each was trained once: how much chance in training matters is not known (--seeds 3 tells).")
    said.append(f"Choose {chosen.name}.")
    return " ".join(filter(None, said))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain values, with the names of the best and the advice."""
    best = [one.name for one in comparison.ties()]
    return {**asdict(comparison), "best": best, "advice": advice(comparison)}


def _clearly(more: float, less: float) -> bool:
    return less > 0 and more / less >= _CLEARLY


def _who_is_best(comparison: Comparison, tied: Sequence[Candidate]) -> str:
    best = tied[0]
    given = f"{comparison.metric} {best.quality:.4g}"
    others = [one for one in comparison.ranked() if one not in tied]
    if len(tied) == len(comparison.candidates) > 1:
        return f"No model is shown to be better than the others beyond chance ({best.name} has {given})."
    if len(tied) > 1:
        names = f"{', '.join(one.name for one in tied[:-1])} and {tied[-1].name}"
        return f"{names} are best, and equal within chance ({best.name} has {given})."
    behind = f"; {others[0].name}, the next, has {others[0].quality:.4g}" if others else ""
    return f"{best.name} is best, with {given}{behind}."


def _who_learns_first(comparison: Comparison) -> str:
    reached = [one for one in comparison.candidates if one.seconds_to_reach]
    if len(reached) < 2:
        return ""
    first, *others = sorted(reached, key=lambda one: one.seconds_to_reach or 0)
    slowest = others[-1]
    soonest, latest = first.seconds_to_reach or 0.0, slowest.seconds_to_reach or 0.0
    if not _clearly(latest, soonest) or latest - soonest < _FEWEST_SECONDS:
        return ""
    return (
        f"{first.name} learns fastest: what the weakest model ends with takes it {soonest:,.0f} s, and "
        f"{slowest.name} {latest:,.0f} s."
    )


def _who_had_more_time(comparison: Comparison) -> str:
    """Where some were trained clearly longer than others, as happens if epochs last fractions of a second."""
    spent = {one.name: one.seconds for one in comparison.candidates}
    longest, shortest = max(spent, key=lambda name: spent[name]), min(spent, key=lambda name: spent[name])
    if not _clearly(spent[longest], spent[shortest]):
        return ""
    return (
        f"Training took {longest} {spent[longest]:,.1f} s and {shortest} {spent[shortest]:,.1f} s: a larger --budget "
        f"makes them more alike."
    )


def _who_fails_on_long_inputs(comparison: Comparison) -> str:
    """Those that are clearly worse in the longest third than in the shortest, and lose more than the steadiest does."""
    losses = {
        one.name: (one.by_length[-1] - one.by_length[0]) * (1 if comparison.lower_is_better else -1)
        for one in comparison.candidates
        if len(one.by_length) > 1
    }
    if len(losses) < 2:
        return ""
    steadiest = min(losses, key=lambda name: losses[name])
    scale = max(abs(comparison.ranked()[0].quality), 1e-12)
    worse = [name for name, loss in losses.items() if loss - max(losses[steadiest], 0.0) > 0.05 * scale]
    if not worse:
        return ""
    verb = "loses" if len(worse) == 1 else "lose"
    return f"As inputs get longer, {' and '.join(worse)} {verb} more than {steadiest} does."


def _who_needs_few_labels(comparison: Comparison) -> str:
    """With the fewest labels, the best and the worst, where they are clearly apart."""
    if not all(one.by_labels for one in comparison.candidates):
        return ""
    count = min(count for count, _ in comparison.candidates[0].by_labels)
    values = {one.name: dict(one.by_labels)[count] for one in comparison.candidates}
    worst, *_, best = sorted(values, key=lambda name: values[name] * (-1 if comparison.lower_is_better else 1))
    if abs(values[best] - values[worst]) <= 0.05 * max(abs(comparison.ranked()[0].quality), 1e-12):
        return ""
    return f"With {count:,} training records, {best} has {values[best]:.4g}, and {worst} {values[worst]:.4g}."


def _simple_methods(comparison: Comparison, chosen: Candidate) -> str:
    sign = -1 if comparison.lower_is_better else 1
    better = [name for name, value in comparison.baselines.items() if sign * value >= sign * chosen.quality]
    if not better:
        return ""
    return (
        f"A simple method does as well: {', '.join(f'{name} ({comparison.baselines[name]:.4g})' for name in better)}."
    )


def beaten_by(metric: str, method: str, theirs: float, ours: float) -> str:
    """A sentence on a simple method that is no worse than the model.

    >>> beaten_by("mae", "drift", 1.0, 1.0)
    'A simple method does as well by mae: drift with 1.0000, the model has 1.0000.'
    """
    verb = "does as well" if theirs == ours else "is better"
    return f"A simple method {verb} by {metric}: {method} with {theirs:.4f}, the model has {ours:.4f}."
