"""Simple methods beside which every report sets the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlp_rnn.data.records import Record
from nlp_rnn.metrics.signals import MOST, running_scale


def baselines_of(records: Sequence[Record], memory: int, least: float) -> dict[str, list[np.ndarray]]:
    """By method the scores of the judged steps of each signal: spreads from the mean of the steps before, and from the
    last value."""
    found: dict[str, list[np.ndarray]] = {"moving z-score": [], "last value": []}
    for record in records:
        series, begin = record["history"], record.get("begin", 0)
        before = np.maximum(np.arange(begin, len(series)) - 1, 0)
        mean, spread = (part[before] for part in running_scale(series.values, memory, least))
        values = series.values[begin:]
        for name, usual in (("moving z-score", mean), ("last value", series.values[before])):
            found[name].append(np.minimum(np.abs(values - usual) / spread, MOST).max(1))
    return found
