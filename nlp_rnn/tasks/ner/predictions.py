"""From tags to entities in their places, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Metrics, Outputs
from nlp_rnn.tasks.ner.settings import EntityOptions

if TYPE_CHECKING:
    from rich.text import Text

    from nlp_rnn.data.records import Records

Span: TypeAlias = tuple[int, int, str]
"""Start, end and label of an entity."""


@dataclass(frozen=True)
class Entity:
    """An entity found in a text.

    Args:
        text: what it says there.
        label: what it is.
        start, end: where, in code points: `document.text[start:end] == text`.
        confidence: the probability that these words and no others are an entity with this label.
    """

    text: str
    label: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Document:
    """One result; Jupyter and rich show it with the entities in place.

    Args:
        text: the input.
        entities: what was found, in order.
    """

    text: str
    entities: list[Entity]

    @property
    def spans(self) -> list[Span]:
        """The places and labels of the entities."""
        return [(e.start, e.end, e.label) for e in self.entities]

    def _repr_html_(self) -> str:
        from nlp_rnn.display.entities import entities_html

        return entities_html(self.text, self._marks())

    def __rich__(self) -> Text:
        from nlp_rnn.display.entities import entities_text

        return entities_text(self.text, self._marks())

    def _marks(self) -> list[tuple[int, int, str, float]]:
        return [(e.start, e.end, e.label, e.confidence) for e in self.entities]


def from_row(row: dict[str, Any], options: EntityOptions, asked: object = None) -> Document:
    """A row of the signature `spans`."""
    columns = (row[name][: row["count"]] for name in ("texts", "labels", "starts", "ends", "confidences"))
    found = [Entity(*values) for values in zip(*columns, strict=True)]
    return Document(row["text"], [entity for entity in found if entity.confidence >= options.min_confidence])


def decode(outputs: Outputs, records: Records, assets: Assets, options: EntityOptions) -> list[Document]:
    """Tags → entities in their places, but for those of too little confidence."""
    from nlp_rnn.text.schemes import spans_of, tag_names

    names = tag_names(assets.labels)
    documents = []
    columns = (outputs[name] for name in ("tags", "confidence", "starts", "ends"))
    for text, tags, confidence, starts, ends in zip(_texts(records), *columns, strict=True):
        entities = []
        for first, last, label in spans_of([names[tag] for tag in tags]):
            start, end, sure = int(starts[first]), int(ends[last - 1]), float(confidence[first])
            if sure >= options.min_confidence:
                entities.append(Entity(text[start:end], label, start, end, sure))
        documents.append(Document(text, entities))
    return documents


def evaluate(records: Records, predictions: Sequence[Document], outputs: Outputs, assets: Assets) -> Metrics:
    """F1 of exact entities, by label, for entities that training has and has not seen, and calibration."""
    from nlp_rnn.data.labels import check_label
    from nlp_rnn.metrics.entities import entity_report

    labels, expected = assets.labels, _expected(records)
    for (line,), spans in zip(records.columns("line"), expected, strict=True):
        for _, _, label in spans:
            check_label(label, labels, line)
    known = frozenset((text, label) for text, label in assets.get("facts", {}).get("entities", []))
    confidences = [[entity.confidence for entity in document.entities] for document in predictions]
    found, texts = [document.spans for document in predictions], [document.text for document in predictions]
    return entity_report(expected, found, confidences, texts, labels, known)


def show(prediction: Document, record: dict[str, Any] | None = None) -> str:
    """The text with its entities in brackets; with a record also what was missed."""
    parts, place = [], 0
    right = set() if record is None else {(e["start"], e["end"], e["label"]) for e in record["entities"]}
    for entity, span in zip(prediction.entities, prediction.spans, strict=True):
        mark = "" if record is None else " ✓" if span in right else " ✗"
        parts += [
            prediction.text[place : entity.start],
            f"[{entity.text}|{entity.label} {entity.confidence:.0%}{mark}]",
        ]
        place = entity.end
    missed = [f"{prediction.text[s:e]} ({label})" for s, e, label in sorted(right - set(prediction.spans))]
    line = " ".join("".join([*parts, prediction.text[place:]]).split())
    return line + (f"  ✗ missed: {', '.join(missed)}" if missed else "")


def confidences(records: Records, predictions: Sequence[Document]) -> tuple[list[float], list[bool]]:
    """The confidence of each entity that was found, and whether it is one."""
    found = [
        (entity.confidence, span in expected)
        for document, expected in zip(predictions, map(set, _expected(records)), strict=True)
        for entity, span in zip(document.entities, document.spans, strict=True)
    ]
    return [sure for sure, _ in found], [right for _, right in found]


def errors(records: Records, predictions: Sequence[Document], count: int) -> list[str]:
    """The most frequent mistakes in context."""
    from nlp_rnn.metrics.entities import frequent_errors

    found, texts = [document.spans for document in predictions], [document.text for document in predictions]
    return [str(error) for error in frequent_errors(_expected(records), found, texts, count)]


def _texts(records: Records) -> Iterator[str]:
    for text, tokens in records.columns("text", "tokens"):
        yield " ".join(tokens) if tokens else text or ""


def _expected(records: Records) -> list[list[Span]]:
    return [[(e["start"], e["end"], e["label"]) for e in entities or []] for (entities,) in records.columns("entities")]
