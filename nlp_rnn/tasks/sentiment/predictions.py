"""From logits to labels with probabilities, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Metrics, NoOptions, Outputs

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records


@dataclass(frozen=True)
class Sentiment:
    """One result.

    Args:
        text: the input.
        label: the most probable class.
        probability: of that class, calibrated.
        probabilities: of every class, by name.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


def from_row(row: dict[str, Any], options: NoOptions, asked: object = None) -> Sentiment:
    """A row of the signature `serving_default`."""
    probabilities = dict(zip(row["labels"], row["probabilities"], strict=True))
    return Sentiment(row["text"], row["label"], row["probability"], probabilities)


def decode(outputs: Outputs, records: Records, assets: Assets, options: NoOptions | None = None) -> list[Sentiment]:
    """Logits → labels and probabilities."""
    import numpy as np

    from nlp_rnn.metrics.classification import softmax

    probabilities = softmax(np.asarray(outputs["logits"]))
    best = probabilities.argmax(-1)
    return [
        Sentiment(text or "", assets.labels[k], float(p[k]), dict(zip(assets.labels, p.tolist(), strict=True)))
        for text, k, p in zip(records.column("text"), best, probabilities, strict=True)
    ]


def evaluate(records: Records, predictions: Sequence[Sentiment], outputs: Outputs, assets: Assets) -> Metrics:
    """Accuracy, macro-F1, per class, calibration."""
    import numpy as np

    from nlp_rnn.metrics.classification import classification_report

    targets = np.array([assets.labels.index(label) for label in records.column("label")])
    return classification_report(np.asarray(outputs["logits"]), targets, assets.labels)


def show(prediction: Sentiment, record: dict[str, object] | None = None) -> str:
    """`positive 97 %  the text`, with a mark where a record says otherwise."""
    text = " ".join(prediction.text.split())
    text = text if len(text) <= 100 else text[:99] + "…"
    right = "" if record is None else ("✓ " if record["label"] == prediction.label else f"✗ ({record['label']}) ")
    return f"{prediction.label} {prediction.probability:4.0%}  {right}{text}"


def confidences(records: Records, predictions: Sequence[Sentiment]) -> tuple[list[float], list[bool]]:
    """The probability of each label that was predicted, and whether it is right."""
    labels = records.column("label")
    right = [one.label == label for one, label in zip(predictions, labels, strict=True)]
    return [one.probability for one in predictions], right


def errors(records: Records, predictions: Sequence[Sentiment], count: int) -> list[str]:
    """The mistakes that the model was surest of."""
    wrong = [
        (prediction, record)
        for prediction, record in zip(predictions, records, strict=True)
        if prediction.label != record["label"]
    ]
    wrong.sort(key=lambda pair: -pair[0].probability)
    return [show(prediction, record) for prediction, record in wrong[:count]]
