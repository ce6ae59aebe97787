"""Times → phases of the day, the week and the year, in the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from nlp_rnn.series.steps import DAY, WEEK, YEAR, Step

CYCLES = {"day": (DAY, 0, 3), "week": (WEEK, 3 * DAY, 3), "year": (YEAR, 0, 2)}
"""By name: seconds, how far it was when 1970 began, and how many harmonics describe it."""
_REPEATS = 2


def cycles_of(step: Step, seconds: float) -> list[str]:
    """The cycles that a series shows: longer than two steps, and seen at least twice, since what was seen once cannot
    be told from a trend.

    Args:
        step: of the series.
        seconds: how long it is.

    Example:

    >>> cycles_of(Step("D"), 3 * YEAR), cycles_of(Step("h"), 30 * DAY)
    (['week', 'year'], ['day', 'week'])
    """
    if not step.has_times:
        return []
    return [n for n, (length, *_) in CYCLES.items() if 2 * step.seconds < length <= seconds / _REPEATS]


def phase_count(cycles: Sequence[str]) -> int:
    """How many numbers describe the phases of cycles."""
    return 2 * sum(CYCLES[name][2] for name in cycles)


def phases(times: tf.Tensor, cycles: Sequence[str]) -> tf.Tensor:
    """Where times stand in cycles: sin(2πkp) and cos(2πkp), of the place p in the cycle, 0 to 1, for each harmonic k.

    Args:
        times: seconds since 1970, int64 `[…]`.
        cycles: their names.

    Returns:
        float32 `[…, phase_count(cycles)]`.

    Example:

    >>> phases(tf.constant([0, DAY // 4], tf.int64), ["day"])[:, 0].numpy().round(3).tolist()
    [0.0, 1.0]
    """
    found = []
    for name in cycles:
        length, begun, harmonics = CYCLES[name]
        place = tf.cast((times + begun) % length, tf.float32) / length  # exact: below 2²⁵, halves of seconds at most
        angles = [2 * math.pi * k * place for k in range(1, harmonics + 1)]
        found += [turn(angle) for angle in angles for turn in (tf.sin, tf.cos)]
    return tf.stack(found, -1)
