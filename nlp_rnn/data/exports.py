"""What tools for annotation write → rows of a text and its entities: Prodigy, doccano, Label Studio, spaCy.

Prodigy       {"text": …, "spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "accept"}
doccano       {"text": …, "label": [[0, 3, "PER"]]}, also "labels", or "entities" with "start_offset", "end_offset"
Label Studio  {"data": {"text": …}, "annotations": [{"result": [{"type": "labels", "value": VALUE}]}]}, and of
                  "JSON-MIN", CSV and TSV {"text": …, "label": [VALUE]}; VALUE is {"start", "end", "text", "labels"}
    spaCy         ["…", {"entities": [[0, 3, "PER"]]}]
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from nlp_rnn.data.fields import chosen
from nlp_rnn.data.records import Record

_NAMES = ("entities", "spans", "label", "labels")


def as_annotated(row: Record, columns: Mapping[str, str]) -> tuple[Record, str]:
    """A row of any of these tools with its text and its entities under the names of `columns`; another as it is.

    Args:
        row: of a file.
        columns: the names of "text", "entities", "tokens" and "tags" there.

    Returns:
        The row, and why it is no example; "" for one that is.
    """
    columns = {name: chosen(column, row) for name, column in columns.items()}
    reason = f"answered with {row['answer']}" if row.get("answer") in ("reject", "ignore") else ""
    if columns["tokens"] in row and columns["tags"] in row:
        return row, reason
    if isinstance(row.get("data"), dict) and ("annotations" in row or "completions" in row):
        row, reason = _label_studio(row, columns)
    name = next((name for name in (columns["entities"], *_NAMES) if isinstance(_parsed(row.get(name)), list)), None)
    if name is None or columns["text"] not in row:
        return row, reason
    # Prodigy's tokens are objects without tags.
    kept = {key: value for key, value in row.items() if key != columns["tokens"]}
    return {**kept, columns["entities"]: [_entity(item, row[columns["text"]]) for item in _parsed(row[name])]}, reason


def as_classified(row: Record, columns: Mapping[str, str]) -> tuple[Record, str]:
    """A row of Prodigy or Label Studio with its label under the name of "label"; another as it is.

    Args:
        row: of a file.
        columns: the names of "text" and "label" there.

    Returns:
        The row, and why it is no example; "" for one that is.
    """
    reason = f"answered with {row['answer']}" if row.get("answer") in ("reject", "ignore") else ""
    columns = {name: chosen(column, row) for name, column in columns.items()}
    if columns["label"] not in row and isinstance(row.get("accept"), list):  # Prodigy's choices
        return {**row, columns["label"]: _only(row["accept"])}, reason
    if isinstance(row.get("data"), dict) and "annotations" in row:
        data, results, reason = _task_of_label_studio(row, columns)
        found = [choice for one in results for choice in (one.get("value") or {}).get("choices") or []]
        row = {**data, columns["label"]: _only(found)}
    return row, reason


def _only(labels: list[object]) -> Any:
    """A single label as such; several as a list, which is refused later."""
    return labels[0] if len(labels) == 1 else labels or None


def _label_studio(row: Record, columns: Mapping[str, str]) -> tuple[Record, str]:
    """A task of Label Studio: its data, and the regions of the first annotation that was not cancelled."""
    data, results, reason = _task_of_label_studio(row, columns)
    regions = [one.get("value") for one in results if one.get("type") in ("labels", "hypertextlabels")]
    return {**data, columns["entities"]: regions}, reason


def _task_of_label_studio(row: Record, columns: Mapping[str, str]) -> tuple[Record, list[Record], str]:
    """Its data with the text under our name, the results of the first annotation, and why it is no example."""
    found = row.get("annotations") or row.get("completions") or []
    done = [one for one in found if isinstance(one, dict) and not one.get("was_cancelled")]
    reason = "" if done else "skipped by its annotators" if found else "not annotated yet"
    results = [region for region in done[0].get("result") or [] if isinstance(region, dict)] if done else []
    data = dict(row["data"])
    if (
        columns["text"] not in data
        and len(texts := [key for key, value in data.items() if isinstance(value, str)]) == 1
    ):
        data[columns["text"]] = data[texts[0]]
    return data, results, reason


def _parsed(value: object) -> Any:
    """A list, also where it is JSON in a cell of a table; an empty cell is an empty one."""
    if isinstance(value, str) and (not value or value.startswith("[")):
        with contextlib.suppress(ValueError):
            return json.loads(value or "[]")
    return value


def _entity(item: object, text: object) -> Any:
    """An entity as {"start", "end", "label"}, in code points; what is none stays as it is, and is refused later."""
    if isinstance(item, list):
        item = dict(zip(("start", "end", "label"), item, strict=False))
    if not isinstance(item, dict):
        return item
    labels = item.get("labels") or item.get("hypertextlabels")
    start = item.get("start", item.get("start_offset"))
    end = item.get("end", item.get("end_offset"))
    label = item.get("label") or (labels[0] if isinstance(labels, list) and labels else None)
    said = item.get("text")
    if isinstance(text, str) and isinstance(said, str) and isinstance(start, int) and isinstance(end, int):
        start, end = _in_code_points(text, said, start, end)
    return {"start": start, "end": end, "label": label}


def _in_code_points(text: str, said: str, start: int, end: int) -> tuple[int, int]:
    """Places that were counted in units of UTF-16, as browsers count, where the text says that they were."""
    if text[start:end] == said or not any(ord(character) > 0xFFFF for character in text):
        return start, end
    units = text.encode("utf-16-le", "surrogatepass")
    before = units[: 2 * start].decode("utf-16-le", "replace")
    within = units[2 * start : 2 * end].decode("utf-16-le", "replace")
    return (len(before), len(before) + len(within)) if within == said else (start, end)
