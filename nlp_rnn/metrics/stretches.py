"""What scores of steps are worth where whole stretches of a signal are anomalous."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

PROFILES = {"standard": (1.0, 0.11, 1.0), "low_false_positives": (1.0, 0.22, 1.0), "low_misses": (1.0, 0.11, 2.0)}
"""What a hit, a false alarm and a miss weigh in the profiles of the Numenta Anomaly Benchmark."""


class NabScore(NamedTuple):
    """A score of the Numenta Anomaly Benchmark.

    Args:
        score: 100 for a perfect detector, 0 for one without alarms.
        threshold: at which it is best, one for all signals.
    """

    score: float
    threshold: float


def stretches_of(labels: np.ndarray) -> list[tuple[int, int]]:
    """The first step and the one after the last of each anomalous stretch.

    Args:
        labels: int `[steps]`, 0 for normal steps; stretches that touch have different numbers.

    >>> stretches_of(np.array([0, 1, 1, 2, 0, 3]))
    [(1, 3), (3, 4), (5, 6)]
    """
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a and labels[a]]


def nab_score(scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], profile: str = "standard") -> NabScore | None:
    """The score of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015, arXiv:1510.03336): the first alarm in a stretch
    counts the more the earlier it comes, alarms outside count against it, the less the sooner after a stretch.

    Args:
        scores: of each signal, `[steps]`; an alarm is where one reaches the threshold.
        labels: of each signal, as `stretches_of` has them.
        profile: of `PROFILES`.

    Returns:
        None where no stretch is anomalous.

    Example:

    >>> nab_score([np.array([0.0, 0.0, 1.0, 0.0])], [np.array([0, 0, 1, 1])])
    NabScore(score=100.0, threshold=1.0)
    """
    hit, false_alarm, miss = PROFILES[profile]
    parts, total = [], 0
    for score, label in zip(scores, labels, strict=True):
        worth, stretch = _worth_of(np.asarray(label), hit, false_alarm)
        parts.append((np.asarray(score, np.float64), worth, np.where(stretch < 0, -1, stretch + total)))
        total += int(stretch.max(initial=-1)) + 1
    if not total:
        return None
    every, worth, stretch = (np.concatenate([part[i] for part in parts]) for i in range(3))
    order = np.argsort(-every, kind="stable")
    every, worth, stretch = every[order], worth[order], stretch[order]
    now, best, found = -miss * total, -miss * total, NabScore(0.0, float("inf"))
    of_stretch = np.full(total, -miss)
    last = np.append(every[1:] != every[:-1], True)
    for place in range(len(every)):
        which = stretch[place]
        if which < 0:
            now += worth[place]
        elif worth[place] > of_stretch[which]:
            now += worth[place] - of_stretch[which]
            of_stretch[which] = worth[place]
        if last[place] and now > best:
            best = now
            found = NabScore(float(100 * (now + miss * total) / ((hit + miss) * total)), float(every[place]))
    return found


def _worth_of(label: np.ndarray, hit: float, false_alarm: float) -> tuple[np.ndarray, np.ndarray]:
    """What an alarm at each step is worth, and the number of the stretch that it is in, -1 outside."""
    worth, stretch = np.full(len(label), -false_alarm), np.full(len(label), -1)
    found = stretches_of(label)
    for number, (first, end) in enumerate(found):
        size = end - first
        within = np.arange(size)
        worth[first:end] = hit * _sigmoid((within - size) / size) / _sigmoid(np.array(-1.0))
        stretch[first:end] = number
        until = found[number + 1][0] if number + 1 < len(found) else len(label)
        if size > 1:
            worth[end:until] = false_alarm * _sigmoid((np.arange(end, until) - end + 1) / (size - 1))
    return worth, stretch


def _sigmoid(places: np.ndarray) -> np.ndarray:
    """From 1 long before the end of a stretch to -1 long after it."""
    return np.where(places >= 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(places, 3.0))) - 1)


def stretch_report(alarms: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> dict[str, Any]:
    """Precision and recall by stretch: a stretch is found if an alarm is in it, and an alarm is right if it is in one.

    Args:
        alarms: booleans `[steps]` of each signal.
        labels: of each signal, as `stretches_of` has them.

    Example:

    >>> stretch_report([np.array([True, False, False, True])], [np.array([0, 0, 1, 1])])["stretch_recall"]
    1.0
    """
    found = total = right = given = steps = 0
    for alarm, label in zip(alarms, labels, strict=True):
        parts = stretches_of(label)
        total += len(parts)
        found += sum(bool(alarm[a:b].any()) for a, b in parts)
        given += int(alarm.sum())
        right += int((alarm & (label > 0)).sum())
        steps += int((label == 0).sum())
    return {
        "stretches": total,
        "stretch_recall": found / total if total else None,
        "alarm_precision": right / given if given else None,
        "false_alarms_per_1000_steps": 1000 * (given - right) / max(steps, 1),
    }


def vus_pr(scores: np.ndarray, labels: np.ndarray, longest: int = 100, thresholds: int = 250) -> float:
    """The volume under the surface of precision and recall (Paparrizos et al. 2022, PVLDB 15(11)): the area under their
    curve, averaged over how far from a stretch a score still counts for it. Of one signal; it needs no threshold, and
    forgives alarms that come a little early or late.

    Args:
        scores: `[steps]`.
        labels: as `stretches_of` has them; some of them not 0.
        longest: buffer in steps, half on each side, up to which is averaged.
        thresholds: as many ranks of the scores, evenly spread, are thresholds.

    Example:

    >>> round(vus_pr(np.array([0.0, 0.1, 0.9, 0.8, 0.2, 0.0]), np.array([0, 0, 1, 1, 0, 0]), longest=0), 3)
    1.0
    """
    is_odd = (labels > 0).astype(int)
    found = stretches_of(is_odd)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ranks = np.linspace(0, len(scores) - 1, thresholds).astype(int)
    limits = ranked[ranks]
    given = np.searchsorted(-ranked, -limits, "right")  # ties are alarms together
    odd = int(is_odd.sum())
    areas = []
    for buffer in range(longest + 1):
        weights = fading_labels(is_odd, buffer)
        hits = np.concatenate([[0.0], np.cumsum(weights[order])])[given]
        faded = np.concatenate([[0.0], np.cumsum((weights * (1 - is_odd))[order])])[given]
        recall = np.minimum(hits / (odd + faded / 2), 1)
        tops = [scores[a:b].max() for a, b in _widened(found, buffer // 2, len(scores))]
        exists = (np.array(tops)[:, None] >= limits).mean(0)
        areas.append(float(np.dot(np.diff(recall * exists, prepend=0.0), hits / given)))
    return float(np.mean(areas))


def _widened(stretches: list[tuple[int, int]], by: int, steps: int) -> list[tuple[int, int]]:
    """Stretches with steps on both sides; those that meet are one."""
    found: list[tuple[int, int]] = []
    for first, end in stretches:
        first, end = max(first - by, 0), min(end + by, steps)
        if found and first < found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    return found


def fading_labels(labels: np.ndarray, buffer: int) -> np.ndarray:
    """Labels that fade around stretches: 1 within, and sqrt(1 - d / buffer) at a distance d of at most half of it.

    >>> fading_labels(np.array([0, 0, 1, 0]), 2).round(2).tolist()
    [0.0, 0.71, 1.0, 0.71]
    """
    found, half = (labels > 0).astype(np.float64), buffer // 2
    for first, end in stretches_of((labels > 0).astype(int)) if half else []:
        for side in (np.arange(end, min(end + half, len(found))), np.arange(max(first - half, 0), first)[::-1]):
            found[side] += np.sqrt(1 - np.arange(1, len(side) + 1) / buffer)
    return np.minimum(found, 1.0)
