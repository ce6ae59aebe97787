"""Entities in any form of annotation → records `{"text", "tokens", "entities", "line"}`, all checked.

Entities become spans of the text, in code points. With tokens, the text is those with a blank between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from nlp_rnn.data.exports import as_annotated
from nlp_rnn.data.fields import Fields
from nlp_rnn.data.records import Record, Records
from nlp_rnn.errors import InputError, did_you_mean
from nlp_rnn.text.schemes import detect_scheme, is_well_formed, spans_of, split_tag

# Spaces and joiners of no width, byte order mark, soft hyphen, marks of direction.
_NO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f"
_KINDS = {"tokens": "texts", "tags": "texts", "entities": "spans"}


def annotated_fields(columns: Mapping[str, str], conll: tuple[int, int]) -> Fields:
    """What is read from a source of annotations.

    Args:
        columns: the source's names of "text", "entities", "tokens" and "tags".
        conll: columns of the tokens and of the tags in CoNLL files.
    """
    return Fields(
        columns,
        tuple(columns),
        inputs=("text", "tokens"),
        kinds=_KINDS,
        check=_check_annotated,
        labels_of=_labels_of,
        conll=conll,
        adapt=partial(as_annotated, columns=dict(columns)),
    )


def standard_records(records: Records, scheme: str, labels: Mapping[str, str], annotated: bool) -> Records:
    """Entities as spans of the text, under the names of `labels`; sentences without words are dropped and counted.

    Args:
        records: as they were read.
        scheme: of their tags, or "auto".
        labels: names for the labels of the source.
        annotated: whether annotations must be there.

    Raises:
        InputError: the tags violate every scheme, or nothing is left.
    """
    notes = list(records.notes)
    if annotated:
        found = (_scheme_note(records, scheme), _trim_note(records), _blank_note(records))
        notes += [note for note in found if note]
    columns = {name: name for name in ("text", "tokens", "entities")}
    rows = records.rows.map(
        partial(_standard_row, labels=dict(labels)),
        remove_columns=records.rows.column_names,
        features=Fields(columns, kinds=_KINDS).features(),
    )
    dropped = dict(records.dropped)
    if annotated:
        kept = [i for i, text in enumerate(rows["text"]) if text.strip()]
        if not kept:
            raise InputError("All sentences are empty: is --data.token_column, --data.tokens or --data.text right?")
        if len(kept) < len(rows):
            dropped["empty sentence"] = len(rows) - len(kept)
            rows = rows.select(kept)
    return Records(rows, dropped, notes)


def check_names(records: Records, labels: Mapping[str, str]) -> None:
    """Every label that is to be renamed must occur in the records as they were read.

    Raises:
        InputError: one does not.
    """
    rows = records.columns("tags", "entities")
    there = set().union(*(_labels_of({"tags": tags, "entities": entities}) for tags, entities in rows))
    for label in labels:
        if label not in there:
            raise InputError(
                f'data.labels renames "{label}", which never occurs in the training data.{did_you_mean(label, there)}'
            )


def trimmed(text: str, entity: Record) -> Record:
    """An entity without blanks and characters of no width at its edges.

    Example:

    >>> trimmed("in Oslo , today", {"start": 2, "end": 8, "label": "place"})
    {'start': 3, 'end': 7, 'label': 'place'}
    """
    start, end = entity["start"], entity["end"]
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    return {**entity, "start": start, "end": end}


def _is_blank(character: str) -> bool:
    return character.isspace() or character in _NO_WIDTH


def token_offsets(tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where tokens start and end in the text that they are with a blank between them."""
    lengths = np.array([len(token) for token in tokens], np.int64)
    ends = np.cumsum(lengths + 1) - 1
    return ends - lengths, ends


def _labels_of(record: Record) -> set[str]:
    """The labels of a record as it was read."""
    tagged = {split_tag(tag)[1] for tag in record["tags"] or []} - {""}
    return tagged | {entity["label"] for entity in record["entities"] or []}


def _standard_row(row: Record, labels: dict[str, str]) -> Record:
    text, tokens = row["text"] or "", row["tokens"]
    entities = [trimmed(text, entity) for entity in row.get("entities") or []]
    if tokens is not None:
        starts, ends = token_offsets(tokens)
        text = " ".join(tokens)
        entities = [
            {"start": int(starts[first]), "end": int(ends[last - 1]), "label": label}
            for first, last, label in spans_of(row.get("tags") or [])
        ]
    named = [{**entity, "label": labels.get(entity["label"], entity["label"])} for entity in entities]
    return {"text": text, "tokens": tokens, "entities": named, "line": row["line"]}


def _scheme_note(records: Records, scheme: str) -> str:
    """Says which scheme the tags are in, and how many sentences violate it."""
    tagged = [(tags, line) for tags, line in records.columns("tags", "line") if tags]
    if not tagged:
        return ""
    found_out = scheme == "auto"
    if found_out:
        scheme = detect_scheme(tags for tags, _ in tagged)
    wrong = [line for tags, line in tagged if not is_well_formed(tags, scheme)]
    with_entities = sum(1 for tags, _ in tagged if any(tag != "O" for tag in tags))
    if found_out and scheme in ("iobes", "bilou") and len(wrong) > with_entities // 2:
        raise InputError(
            f"{len(wrong)} of {with_entities} sentences with entities violate the scheme {scheme.upper()}, the first "
            f"in line {wrong[0]}: no scheme allows these tags; correct them, or name the scheme with --data.scheme."
        )
    note = f"tags in {scheme.upper()}"
    return note + (f", {len(wrong)} ill-formed sentences (the first in line {wrong[0]})" if wrong else "")


def _trim_note(records: Records) -> str:
    """Says how many entities were given with blanks at their edges."""
    rows = records.columns("text", "tokens", "entities")
    given = [(text, entity) for text, tokens, entities in rows if tokens is None for entity in entities or []]
    count = sum(trimmed(text, entity) != entity for text, entity in given)
    return f"entities with blanks at their edges, which were cut off: {count:,}" if count else ""


def _blank_note(records: Records) -> str:
    """Says how many tokens have nothing in them that can be seen; they are read as unknown words."""
    rows = records.columns("tokens")
    count = sum(all(map(_is_blank, token)) for (tokens,) in rows for token in tokens or ())
    return f"empty tokens: {count:,}" if count else ""


def _check_annotated(record: Record, where: str) -> None:
    """A record for training or evaluation: tokens with tags, or a text with entities, that make sense."""
    tokens, tags, text, entities = (record[name] for name in ("tokens", "tags", "text", "entities"))
    if tokens is not None and tags is not None:
        if len(tokens) != len(tags):
            raise InputError(f"{where}: {len(tokens)} tokens but {len(tags)} tags; each token needs one.")
        _check_tags(tags, where)
    elif text is not None and entities is not None:
        _check_spans(text, entities, where)
    else:
        raise InputError(
            f"{where}: neither tokens with tags nor a text with entities; name their fields with --data.tokens, "
            f"--data.tags, --data.text, --data.entities."
        )


def _check_tags(tags: Sequence[str], where: str) -> None:
    for number, tag in enumerate(tags, 1):
        try:
            split_tag(tag)
        except ValueError as error:
            raise InputError(f"{where}, token {number}: {error}.") from None


def _check_spans(text: str, entities: Sequence[Record], where: str) -> None:
    end_before, before = 0, ""
    for entity in sorted(entities, key=lambda entity: (entity["start"], entity["end"])):
        start, end = entity["start"], entity["end"]
        if not 0 <= start < end <= len(text):
            raise InputError(
                f"{where}: the entity {start}–{end} ({entity['label']}) is not within the text of {len(text)} "
                f"characters; start and end are counted from 0, the end is the place after the last character."
            )
        if all(map(_is_blank, text[start:end])):
            raise InputError(f"{where}: the entity {start}–{end} ({entity['label']}) is blank; remove it.")
        if start < end_before:
            raise InputError(
                f"{where}: the entities {before!r} and {text[start:end]!r} ({entity['label']}) overlap; "
                f"keep one of them."
            )
        end_before, before = end, text[start:end]
