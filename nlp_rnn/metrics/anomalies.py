"""Scores of sequences, what they are worth as a detector, and simple methods beside which they stand.

Point-adjusted F1 is not here: it counts a whole incident as found if one of its points is, so that random scores look
good (Kim et al. 2022, arXiv:2109.05257).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

TAIL, PEAK = 0.1, 3
_KEPT, _FORMERLY = 10_000, 1000  # quantiles of scores
_TIE = 1e-4  # part of a score by which equal sequences may differ, since batches round in other ways
_ENOUGH = 10  # scores beyond the tail's beginning, by which its scale is known
_OF_TAIL = 20  # of many scores, so many are the tail


def session_score(nats: np.ndarray, ranks: np.ndarray, kind: str, stretch: int = 100, top: int = 9) -> float:
    """How unusual a sequence is.

    Args:
        nats: -log p of its events.
        ranks: their places among the events that were expected, 0 for the likeliest.
        kind: "mean" or "median" of the nats; "peak", the mean of the three most surprising; "stretch", the mean of the
            least surprising part of `stretch` events, which does not mind oddities here and there; "misses", the part
            of the events that are not among the `top` likeliest (DeepLog, Du et al. 2017).
        stretch, top: for these.

    Example:

    >>> session_score(np.array([1.0, 3.0]), np.array([0, 12]), "misses")
    0.5
    """
    if kind == "misses":
        return float((ranks >= top).mean())
    if kind == "median":
        return float(np.median(nats))
    if kind == "peak":
        return float(np.sort(nats)[-PEAK:].mean(dtype=np.float64))
    if kind == "stretch" and len(nats) > stretch:
        sums = np.concatenate([[0.0], np.cumsum(nats, dtype=np.float64)])
        return float((sums[stretch:] - sums[:-stretch]).min() / stretch)
    return float(np.mean(nats, dtype=np.float64))


def smoothed(nats: np.ndarray, memory: float, before: float) -> np.ndarray:
    """The mean surprise of the last events, weighted by how recent they are: s_t = s_{t-1} + (n_t - s_{t-1}) / m, with
    m the memory.

    Args:
        nats: -log p of events.
        memory: about how many events count.
        before: the mean before them; at the beginning, what is usual.
    """
    found = np.empty(len(nats))
    for place, value in enumerate(nats.tolist()):
        before += (value - before) / memory
        found[place] = before
    return found


class Reference:
    """Scores of normal data, by which others are judged.

    Beyond the last twenty scores, or of fewer than 200 scores beyond the last tenth, the tail is taken as exponential
    (peaks over a threshold), so that few scores say something of rare ones. Where fewer than ten lie there, those from
    the median on count too. A score that is above a known one by no more than rounding is equal to it: normal sequences
    are often all the same.

    Args:
        scores: any number of them.
        most: how many quantiles are kept of more scores.
        tail: the part of the scores that is taken as the tail instead, such as `TAIL` where p-values are to go smoothly
            with scores, as those do that make another score.

    Attributes:
        known: what a score may reach and be no higher than each of them, in order.
        tail: the part of the scores that lies in the tail.
        high, edge: where the tail begins, and what a score must exceed to lie in it.
        excess: the mean of what scores in the tail have beyond its beginning.
    """

    def __init__(self, scores: Sequence[float] | np.ndarray, most: int = _KEPT, tail: float | None = None) -> None:
        found = np.sort(np.asarray(scores, np.float64))
        found = self.scores = found if len(found) <= most else np.quantile(found, np.linspace(0, 1, most))
        self.tail = tail or min(TAIL, _OF_TAIL / max(len(found), 1))
        self.high = float(np.quantile(found, 1 - self.tail)) if len(found) else 0.0
        self.known = self.scores + _TIE * np.abs(self.scores)
        self.edge = self.high + _TIE * abs(self.high)
        over = found[found > self.edge] - self.high
        # Of few scores the upper half says more of how fast the tail falls than the one or two at its end.
        usual = max((self.high - float(np.median(found))) / math.log(0.5 / self.tail), 0.0) if len(found) else 0.0
        missing = max(_ENOUGH - len(over), 0)
        excess = (float(over.sum()) + missing * usual) / max(len(over) + missing, 1)
        of_high = 0.05 if len(found) >= _ENOUGH else 0.5  # where all are the same; of one or two, little is known
        self.excess = excess or max(abs(self.high) * of_high, 1e-6)

    def p_value(self, score: float) -> float:
        """How often normal data have such a score, or a higher one.

        >>> reference = Reference(np.arange(100))
        >>> reference.p_value(50) > 0.4, reference.p_value(200) < 1e-6
        (True, True)
        """
        return math.exp(-self.nats(score))

    def nats(self, score: float) -> float:
        """-log of the p-value, which does not run out of digits."""
        return float(self.nats_of(np.array(score)))

    def nats_of(self, scores: np.ndarray) -> np.ndarray:
        """The same of many scores, in their shape."""
        above = len(self.known) - np.searchsorted(self.known, scores, "left")
        usual = 0.0 - np.log(np.maximum((above + 1) / (len(self.known) + 1), self.tail))
        return np.where(scores > self.edge, (scores - self.high) / self.excess - math.log(self.tail), usual)

    def kept(self) -> list[float]:
        """The scores, as JSON keeps them."""
        return self.scores.round(6).tolist()

    def threshold(self, budget: float) -> float:
        """The score that a part of the normal data, the budget, exceeds."""
        if budget < self.tail:
            return self.high + self.excess * math.log(self.tail / budget)
        return float(np.quantile(self.scores, 1 - budget)) if len(self.scores) else 0.0

    def beyond(self, budget: float) -> str:
        """A sentence where a budget asks for less than one of the scores, else an empty one.

        >>> Reference(np.arange(50)).beyond(0.01)
        'A budget of 0.01 is one false alarm in 100, and only 50 normal scores are known: the threshold is a guess.'
        >>> Reference(np.arange(50)).beyond(0.1)
        ''
        """
        count = len(self.scores)
        if count in (_FORMERLY, _KEPT) or budget * count >= 1:  # of so many quantiles there may have been more scores
            return ""
        known = f"{count:,} normal scores are known" if count != 1 else "1 normal score is known"
        asked = f"A budget of {budget:g} is one false alarm in {1 / budget:,.0f}"
        return f"{asked}, and only {known}: the threshold is a guess."


def detection_report(scores: np.ndarray, is_anomaly: np.ndarray, alarms: np.ndarray | None = None) -> dict[str, Any]:
    """What scores are worth: AUC-ROC, AUC-PR (average precision), recall where 1 % and 5 % of the normal ones are false
    alarms, and precision and recall of the alarms.

    Args:
        scores: `[sequences]`, higher for what is less usual.
        is_anomaly: booleans `[sequences]`.
        alarms: booleans `[sequences]`.

    Example:

    >>> detection_report(np.array([1.0, 2, 3, 4]), np.array([False, False, True, True]))["auc_roc"]
    1.0
    """
    positive, negative = int(is_anomaly.sum()), int((~is_anomaly).sum())
    if not positive or not negative:
        return {}
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2  # ties share a rank
    found: dict[str, Any] = {
        "auc_roc": float((middle[place][is_anomaly].sum() - positive * (positive + 1) / 2) / (positive * negative)),
        "auc_pr": average_precision(scores, is_anomaly),
    }
    for part in (0.01, 0.05):
        limit = np.quantile(scores[~is_anomaly], 1 - part, method="higher")
        found[f"recall_at_{part:.0%}".replace("%", "_percent")] = float((scores[is_anomaly] > limit).mean())
    if alarms is not None:
        hits = int((alarms & is_anomaly).sum())
        found["precision"] = hits / int(alarms.sum()) if alarms.any() else None
        found["recall"] = hits / positive
        found["false_alarms"] = float(alarms[~is_anomaly].mean())
    return found


def average_precision(scores: np.ndarray, is_anomaly: np.ndarray) -> float:
    """The area under precision by recall, in steps, ties together.

    >>> average_precision(np.array([3.0, 2, 1]), np.array([True, False, True]))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf) != 0)
    hits = np.cumsum(is_anomaly[order])[ends]
    steps = np.diff(hits, prepend=0) / is_anomaly.sum()
    return float((steps * hits / (ends + 1)).sum())


def count_distances(rows: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """How far the mixture of events of each sequence is from that of the nearest normal one: the Euclidean distance of
    the roots of the frequencies (Hellinger).

    Args:
        rows: counts of events `[sequences, events]`.
        normal: those of training `[others, events]`.

    Returns:
        `[sequences]`.
    """
    one, other = (np.sqrt(part / np.maximum(part.sum(1, keepdims=True), 1)) for part in (rows, normal))
    found = np.empty(len(one))
    for start in range(0, len(one), 500):
        found[start : start + 500] = (one[start : start + 500] @ other.T).max(1)
    return np.sqrt(np.maximum(2 - 2 * found, 0))


def ngrams(ids: np.ndarray, size: int) -> np.ndarray:
    """A number for each run of events, uint64 `[max(len(ids) - size + 1, 0)]`; those of other runs differ, but for
    chance."""
    if len(ids) < size:
        return np.zeros(0, np.uint64)
    found = np.zeros(len(ids) - size + 1, np.uint64)
    with np.errstate(over="ignore"):
        for place in range(size):
            found = (found ^ ids[place : len(ids) - size + 1 + place].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            found ^= found >> np.uint64(29)
    return found
