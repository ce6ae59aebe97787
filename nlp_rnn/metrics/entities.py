"""Metrics of named entities: exact spans, as `conlleval` of the CoNLL shared tasks counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from nlp_rnn.metrics.classification import confidence_error

Span: TypeAlias = tuple[int, int, str]
"""Start, end, label."""

NONE = "none"
"""In the confusion matrix: no entity with these limits."""


def precision_recall_f1(correct: int, predicted: int, expected: int) -> tuple[float, float, float]:
    """From counts; what is divided by zero is zero.

    Example:

    >>> precision_recall_f1(1, 2, 2)
    (0.5, 0.5, 0.5)
    """
    precision, recall = correct / max(predicted, 1), correct / max(expected, 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def entity_report(
    expected: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    confidences: Sequence[Sequence[float]],
    texts: Sequence[str],
    labels: Sequence[str],
    known: frozenset[tuple[str, str]] = frozenset(),
) -> dict[str, Any]:
    """Precision, recall and F1 of entities that agree exactly in start, end and label: overall, by label, and apart for
    entities whose (text, label) is `known` from training and others; and calibration.

    Args:
        expected, predicted: the spans of each text.
        confidences: of each predicted span.
        texts: what spans are spans of.
        labels: all labels there are.
        known: the entities of the training data.

    Returns:
        By name; None for entities of which there are none.
    """
    counts = _Counts()
    for gold, spans, confidence, text in zip(expected, predicted, confidences, texts, strict=True):
        counts.add(gold, spans, confidence, text, known)
    right, found, wanted = counts.right, counts.found, counts.wanted
    precision, recall, f1 = precision_recall_f1(right.total(), found.total(), wanted.total())
    by_label = {label: precision_recall_f1(right[label], found[label], wanted[label]) for label in labels}
    seen, unseen = (precision_recall_f1(*counts.apart[is_known]) for is_known in (True, False))
    return {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "ece": confidence_error(np.array(counts.sure), np.array(counts.correct)),
        "f1_seen": seen[2] if counts.apart[True][2] else None,
        "f1_unseen": unseen[2] if counts.apart[False][2] else None,
        "recall_unseen": unseen[1] if counts.apart[False][2] else None,
        "entities": wanted.total(),
        "unseen": counts.apart[False][2],
        "records": len(texts),
        "scheme": "exact spans (conlleval)",
        "by_label": {label: scores[2] for label, scores in by_label.items()},
        "precision_by_label": {label: scores[0] for label, scores in by_label.items()},
        "recall_by_label": {label: scores[1] for label, scores in by_label.items()},
        "confusion": entity_confusion(expected, predicted, labels),
        "confusion_labels": [*labels, NONE],
    }


class _Counts:
    """What is counted text by text."""

    def __init__(self) -> None:
        self.right, self.found, self.wanted = Counter[str](), Counter[str](), Counter[str]()
        self.apart = {True: [0, 0, 0], False: [0, 0, 0]}  # known or not: correct, predicted, expected
        self.sure: list[float] = []
        self.correct: list[bool] = []

    def add(
        self,
        gold: Sequence[Span],
        spans: Sequence[Span],
        confidence: Sequence[float],
        text: str,
        known: frozenset[tuple[str, str]],
    ) -> None:
        golden = set(gold)
        hits = [span in golden for span in spans]
        self.right.update(label for (_, _, label), hit in zip(spans, hits, strict=True) if hit)
        self.found.update(label for _, _, label in spans)
        self.wanted.update(label for _, _, label in gold)
        for (start, end, label), hit in zip(spans, hits, strict=True):
            counts = self.apart[(text[start:end], label) in known]
            counts[0] += hit
            counts[1] += 1
        for start, end, label in gold:
            self.apart[(text[start:end], label) in known][2] += 1
        self.sure += confidence
        self.correct += hits


def entity_confusion(
    expected: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]], labels: Sequence[str]
) -> list[list[int]]:
    """Counts `[labels + 1, labels + 1]` of true (rows) against predicted labels of spans with the same limits; the last
    of each is no such span.

    Example:

    >>> entity_confusion([[(0, 1, "A")]], [[(0, 1, "B"), (2, 3, "A")]], ["A", "B"])
    [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    """
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels) + 1, len(labels) + 1), int)
    for gold, spans in zip(expected, predicted, strict=True):
        there, here = ({(start, end): label for start, end, label in part} for part in (gold, spans))
        for limits in {**there, **here}:
            counts[place.get(there.get(limits, NONE), -1), place.get(here.get(limits, NONE), -1)] += 1
    return counts.tolist()


@dataclass(frozen=True)
class EntityError:
    """A mistake, with how often it was made.

    Args:
        kind: "missed", "invented", "wrong label" or "wrong limits".
        entity: the text of the true entity, or of the invented one.
        expected, predicted: labels; "" where there is no entity.
        count: how often.
        context: where it was made first, the entity in brackets.
    """

    kind: str
    entity: str
    expected: str
    predicted: str
    count: int
    context: str

    def __str__(self) -> str:
        labels = {
            "missed": f"missed {self.expected}",
            "invented": f"invented {self.predicted}",
            "wrong label": f"{self.expected} read as {self.predicted}",
            "wrong limits": f"{self.expected} with wrong limits",
        }
        return f"{self.count} × {labels[self.kind]}: {self.context}"


def frequent_errors(
    expected: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]], texts: Sequence[str], count: int
) -> list[EntityError]:
    """The most frequent mistakes, those of the same kind and entity together."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    contexts: dict[tuple[str, str, str, str], str] = {}
    for gold, spans, text in zip(expected, predicted, texts, strict=True):
        for kind, (start, end), true, given in _errors(gold, spans):
            key = (kind, text[start:end], true, given)
            counts[key] += 1
            contexts.setdefault(key, _context(text, start, end))
    return [EntityError(*key, number, contexts[key]) for key, number in counts.most_common(count)]


def _errors(gold: Sequence[Span], spans: Sequence[Span]) -> Iterator[tuple[str, tuple[int, int], str, str]]:
    here = {(start, end): label for start, end, label in spans}
    there = {(start, end): label for start, end, label in gold}
    for (start, end), label in there.items():
        if here.get((start, end)) == label:
            continue
        if (start, end) in here:
            yield "wrong label", (start, end), label, here[start, end]
            continue
        overlapping = [found for (first, last), found in here.items() if first < end and start < last]
        yield ("wrong limits" if overlapping else "missed"), (start, end), label, (overlapping or [""])[0]
    for (start, end), label in here.items():
        if not any(first < end and start < last for first, last in there):
            yield "invented", (start, end), "", label


def _context(text: str, start: int, end: int, width: int = 40) -> str:
    before, after = text[max(start - width, 0) : start], text[end : end + width]
    shown = f"{'…' * (start > width)}{before}[{text[start:end]}]{after}{'…' * (end + width < len(text))}"
    return " ".join(shown.split())
