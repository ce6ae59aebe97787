"""What a comparison of models shows, and what follows from it: ties, and advice in plain words."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

_DRAWS = 100_000
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
        sign = 1 if self.lower_is_better else -1
        return sorted(self.candidates, key=lambda one: (np.isnan(one.quality), sign * one.quality))

    def ties(self) -> list[Candidate]:
        """The best, and those whose distance to it chance may explain."""
        best, *others = self.ranked()
        return [best, *(other for other in others if chance_explains(best, other))]


def chance_explains(one: Candidate, other: Candidate) -> bool:
    """Whether the difference between two models is no more than chance brings about.

    It is if it is less than √(Σ t²·v), where v are the variances of the mean over parts of the test data, the same for
    both models, and of the mean over seeds, of both models together, and t how far 95 % of Student's distribution with
    the degrees of freedom of each reach (which keeps below 5 %; Cochran and Cox 1950). Where each was trained once,
    training is taken to vary as much as the test data. Where there are fewer than ten parts, the seeds alone count, of
    which there must be three; else nothing is known, and chance may explain all.
    """
    gap, variances = one.quality - other.quality, []
    counts = len(one.qualities), len(other.qualities)
    by_part = _by_part(one, other)
    if by_part is not None:
        gap = float(by_part.mean())
        variances.append((float(by_part.var(ddof=1)) / len(by_part), len(by_part) - 1))
    if min(counts) > (1 if variances else 2):
        freedom = sum(counts) - 2
        pooled = sum((count - 1) * model.spread**2 for count, model in zip(counts, (one, other), strict=True)) / freedom
        variances.append((pooled * sum(1 / count for count in counts), freedom))
    elif not variances:
        return True
    else:
        variances *= 2
    widest = np.sqrt(sum(_widest_by_chance(freedom) ** 2 * variance for variance, freedom in variances))
    return bool(abs(gap) <= widest)


def _by_part(one: Candidate, other: Candidate) -> np.ndarray | None:
    """The differences between two models on the parts of the test data, where there are enough of them."""
    if not min(len(one.parts), len(other.parts)) or len(one.parts[0]) < _FEWEST_PARTS:
        return None
    return np.mean(one.parts, 0) - np.mean(other.parts, 0)


@functools.cache
def _widest_by_chance(freedom: int) -> float:
    """How many standard errors 95 % of differences stay within, by Student's distribution."""
    return float(np.quantile(np.abs(np.random.default_rng(0).standard_t(freedom, _DRAWS)), 0.95))


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
    if np.isnan(chosen.quality) or (not comparison.lower_is_better and chosen.quality <= 0):
        said.append("No model has learned anything yet: give a larger --budget.")
    else:
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
        return f"{_listed([one.name for one in tied])} are best, and equal within chance ({best.name} has {given})."
    behind = f"; {others[0].name}, the next, has {others[0].quality:.4g}" if others else ""
    return f"{best.name} is best, with {given}{behind}."


def _who_learns_first(comparison: Comparison) -> str:
    reached = [one for one in comparison.candidates if one.seconds_to_reach]
    if len(reached) < 2:
        return ""
    times = {
        one.name: one.seconds_to_reach or 0.0 for one in sorted(reached, key=lambda one: one.seconds_to_reach or 0)
    }
    soonest, slowest = min(times.values()), max(times, key=lambda name: times[name])
    later = [name for name, t in times.items() if _clearly(t, soonest) and t - soonest >= _FEWEST_SECONDS]
    if not later:
        return ""
    first = [name for name in times if name not in later]
    verb, them = ("learns", "it") if len(first) == 1 else ("learn", "the first of them")
    return (
        f"{_listed(first)} {verb} fastest: what the weakest model ends with takes {them} {soonest:,.0f} s, and "
        f"{slowest} {times[slowest]:,.0f} s."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


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
    """Those that lose clearly more from the shortest to the longest third than the steadiest does, are worse than it in
    the longest, and both beyond what chance brings about in thirds of the data."""
    measured = [one for one in comparison.candidates if len(one.by_length) > 1]
    if len(measured) < 2:
        return ""
    sign = 1 if comparison.lower_is_better else -1
    losses = {one.name: (one.by_length[-1] - one.by_length[0]) * sign for one in measured}
    steadiest = min(measured, key=lambda one: losses[one.name])
    scale = max(abs(comparison.ranked()[0].quality), 1e-12)
    worse = []
    for one in measured:
        by_part = _by_part(one, steadiest)
        if one is steadiest or by_part is None:
            continue
        error = float(by_part.std(ddof=1)) / np.sqrt(len(by_part) / len(one.by_length))  # of one of the thirds
        behind = (one.by_length[-1] - steadiest.by_length[-1]) * sign
        more = losses[one.name] - max(losses[steadiest.name], 0.0)
        if behind > 2 * error and more > max(0.05 * scale, 2 * np.sqrt(2) * error):
            worse.append(one.name)
    if not worse:
        return ""
    verb = "loses" if len(worse) == 1 else "lose"
    return f"As inputs get longer, {_listed(worse)} {verb} more than {steadiest.name} does."


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
