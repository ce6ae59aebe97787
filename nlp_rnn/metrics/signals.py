"""How unusual the values of a signal are, step by step, from what was forecast and from what has been usual."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

MOST = 50.0
"""Deviations beyond this many spreads count as this many: a line that was flat has no spread at all."""
FARTHEST = 10.0
"""Spreads from the mean beyond which a forecaster sees no farther."""
OUTLIER = 30.0
"""Spreads from the steps before beyond which a value counts no more among what is usual, so that one huge value does
not hide those after it."""
LEAST_SPREAD, TINY = 1e-6, 1e-30
"""A spread is at least this part of the mean, and at least this."""
_LEAST_WIDTH, _HIGHER = 1e-6, 1.1


def running_scale(values: np.ndarray, memory: int, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the last steps, the present one among them: what comes later is not known. A value that lies
    farther than `OUTLIER` spreads from the steps before it counts as if it lay there.

    Args:
        values: `[steps, channels]`.
        memory: how many steps count.
        least: a spread is at least this part of the mean's size.

    Returns:
        Both float64 `[steps, channels]`.

    Example:

    >>> mean, spread = running_scale(np.array([[1.0], [3.0], [5.0]]), memory=2)
    >>> mean[:, 0].round(2).tolist(), spread[:, 0].round(2).tolist()
    ([1.0, 1.0, 3.0], [0.0, 0.0, 2.0])
    """
    values = np.asarray(values, np.float64)
    mean, spread = (part[:-1] for part in _plain_scale(values, memory, least))
    near = np.clip(values[1:], mean - OUTLIER * spread, mean + OUTLIER * spread)
    return _plain_scale(np.concatenate([values[:1], near]), memory, least)


def _plain_scale(values: np.ndarray, memory: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    first = values[:1]  # of large values with small changes the squares would differ by rounding alone
    mean, squares = trailing_mean(values - first, memory), trailing_mean((values - first) ** 2, memory)
    spread = np.sqrt(np.maximum(squares - mean**2, 0))
    mean = mean + first
    return mean, np.maximum(spread, np.maximum(max(LEAST_SPREAD, least) * np.abs(mean), TINY))


def trailing_mean(values: np.ndarray, count: int) -> np.ndarray:
    """The mean of the last `count` steps, or of as many as there are yet: `[steps, channels]`.

    It is the sum of the end of one block of `count` steps and of the beginning of the next, so that a value which is
    gone leaves no rounding behind.
    """
    steps, count = len(values), min(count, max(len(values), 1))
    there = np.minimum(np.arange(1, steps + 1), count)[:, None]
    blocks = np.pad(np.asarray(values, np.float64), [(0, -steps % count), (0, 0)])
    blocks = blocks.reshape(-1, count, values.shape[1])
    begins = np.cumsum(blocks, 1)
    ends = np.cumsum(blocks[:, ::-1], 1)[:, ::-1]
    ends = np.pad(ends[:-1, 1:], [(1, 0), (0, 1), (0, 0)])
    return (begins + ends).reshape(-1, values.shape[1])[:steps] / there


def tail_deviation(quantiles: np.ndarray, levels: Sequence[float], values: np.ndarray) -> np.ndarray:
    """How far in the tail of its forecast a value lies, as a normal deviate: its absolute value is 1.96 where 5 % lie
    as far out. Between quantiles the deviate is interpolated, beyond them it goes on as it did.

    Args:
        quantiles: `[…, levels]`, increasing.
        levels: of them.
        values: `[…]`.

    Example:

    >>> tail_deviation(np.array([[-1.0, 0.0, 1.0]]), [0.1586552, 0.5, 0.8413448], np.array([2.0])).round(3).tolist()
    [2.0]
    """
    deviates = np.array([NormalDist().inv_cdf(float(level)) for level in levels])
    widths = np.maximum(np.diff(quantiles, axis=-1), _LEAST_WIDTH)
    place = np.clip((values[..., None] >= quantiles).sum(-1) - 1, 0, len(deviates) - 2)
    low, width = (np.take_along_axis(part, place[..., None], -1)[..., 0] for part in (quantiles, widths))
    return np.clip(deviates[place] + np.diff(deviates)[place] * (values - low) / width, -MOST, MOST)


def peaks(scores: np.ndarray, rest: float, height: float = 0.0) -> tuple[np.ndarray, float]:
    """Scores that stand out from those just before, 0 elsewhere: after a peak, only what is a tenth above it counts;
    that height falls by a factor of e in `rest` steps. One incident then gives one alarm, a greater one another.

    Args:
        scores: `[steps]`, not negative.
        rest: steps; 0 keeps all.
        height: before the first step.

    Returns:
        `[steps]`, and the height after the last step.

    Example:

    >>> peaks(np.array([1.0, 5.0, 5.2, 6.0, 1.0]), rest=100)[0].tolist()
    [1.0, 5.0, 0.0, 6.0, 0.0]
    """
    if not rest:
        return scores, 0.0
    found, fade = np.zeros(len(scores)), float(np.exp(-1.0 / rest))
    for place, score in enumerate(scores.tolist()):
        height *= fade
        if score > height:
            found[place], height = score, _HIGHER * score
    return found, height


def dynamic_threshold(scores: np.ndarray, least: float = 0.05) -> float:
    """The non-parametric threshold of Telemanom (Hundman et al. 2018, arXiv:1802.04431), found without labels: of mean
    + z · spread, z = 2 … 10, the one without whose excess the rest has the least mean and spread for the fewest
    stretches.

        max (Δμ / μ + Δσ / σ) / (steps above + stretches² above)

    Args:
        scores: `[steps]` of one signal.
        least: part by which the highest score of a stretch must exceed the next lower one, or the highest below the
            threshold, to stay above it.

    Returns:
        The threshold; infinity where nothing stands out.
    """
    mean, spread = float(scores.mean()), float(scores.std())
    best, chosen = 0.0, float("inf")
    for z in np.arange(2, 10.5, 0.5):
        limit = mean + z * spread
        above = scores > limit
        below = scores[~above]
        if not above.any() or not len(below) or not spread or not mean:
            continue
        stretches = int((np.diff(above.astype(int), prepend=0) == 1).sum())
        gain = (mean - below.mean()) / mean + (spread - below.std()) / spread
        value = gain / (int(above.sum()) + stretches**2)
        if value >= best and stretches <= 5 and above.mean() < 0.5:
            best, chosen = value, limit
    return _pruned(scores, chosen, least)


def _pruned(scores: np.ndarray, limit: float, least: float) -> float:
    """A threshold above the stretches that hardly exceed those below them."""
    above = scores > limit
    if not above.any():
        return limit
    edges = np.flatnonzero(np.diff(above.astype(int), prepend=0, append=0))
    tops = np.sort([scores[a:b].max() for a, b in edges.reshape(-1, 2)])[::-1]
    heights = [*tops, float(scores[~above].max()) if (~above).any() else 0.0]
    steep = [i for i in range(len(tops)) if (heights[i] - heights[i + 1]) / max(heights[i], 1e-12) >= least]
    return float("inf") if not steep else max(limit, float(np.nextafter(heights[steep[-1] + 1], np.inf)))
