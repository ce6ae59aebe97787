"""What scores of signals are worth where anomalous stretches are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlp_rnn.metrics.anomalies import detection_report
from nlp_rnn.metrics.signals import peaks
from nlp_rnn.metrics.stretches import nab_score, stretch_report, vus_pr
from nlp_rnn.tasks.base import Metrics


def worth_of(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], rest: float, alarms: Sequence[np.ndarray] | None = None
) -> Metrics:
    """Scores of the Numenta Anomaly Benchmark, with a threshold that is best for all signals together; VUS-PR, the mean
    over the signals that have anomalies; what tells single steps apart; and what alarms are worth."""
    found: Metrics = {}
    profiles = {"nab": "standard", "nab_low_false_positives": "low_false_positives", "nab_low_misses": "low_misses"}
    heights = [peaks(score, rest)[0] for score in scores]
    for key, profile in profiles.items():
        result = nab_score(heights, labels, profile)
        found[key] = 0.0 if result is None else result.score
    volumes = [vus_pr(score, label) for score, label in zip(scores, labels, strict=True) if label.any()]
    found["vus_pr"] = float(np.mean(volumes))
    together = np.concatenate(scores), np.concatenate(labels) > 0
    found |= detection_report(*together)
    if alarms is not None:
        found |= stretch_report(alarms, labels)
    return found
