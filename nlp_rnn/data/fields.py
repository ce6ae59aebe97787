"""Which columns of a source a task reads, and what they must hold."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nlp_rnn.data.records import Record
from nlp_rnn.errors import InputError

_LONGEST_LINE = 10_000
_HALF = re.compile("[\ud800-\udfff]")
LABEL_BLANKS = "labels with blanks at their edges, which were cut off"
MAY_BE_PREDICTED = "labels that may be predictions, since the file has a column of the same name with input. before it"
GROUP = "group"
HALVES = "texts with half a character, which is U+FFFD now"


@dataclass(frozen=True)
class Fields:
    """Which columns a task reads, and what it calls them.

    Args:
        columns: field of the record → column of the source; of several, parted by |, the first that is there.
        optional: fields that need not be there, such as the tokens of a source that has texts. A row in which one of
            the others is null is of no use: it is left out and counted.
        names: values of the label column → label names.
        label: the field that holds the label, if any; an empty one is none.
        inputs: the fields that prediction reads; by default all but the label.
        kinds: what a field holds where that is not a text: "label" the name of a class, "any" anything, as JSON,
            "texts" a list of texts, "spans" a list of `{"start", "end", "label"}`, "series" a list of steps, each a
            number or a list of as many numbers.
        check: (record, where it stands) → None; raises InputError for a record that makes no sense. A function of a
            module, since what was read is cached under its name.
        labels_of: record → the labels in it; a record is not held out for validation if no other has one of them. A
            function of a module.
        conll: columns of the tokens and of the tags in CoNLL files.
        running: the field of a text whose rows follow each other: parts that are held out are then cut off its end,
            and `lines_of` makes rows of its lines.
        parallel: whether two files of lines are the first and the second field of each record.
        option: which option names the column of a field, for messages.
        adapt: (row of a source) → the row in the columns that are read, and why it is to be left out, "" to keep it; a
            function of a module.
        predicts: whether no more than the inputs is read; see `for_prediction`.
    """

    columns: Mapping[str, str]
    optional: tuple[str, ...] = ()
    names: Mapping[str, str] | None = None
    label: str | None = None
    inputs: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Record, str], None] | None = None
    labels_of: Callable[[Record], set[str]] | None = None
    conll: tuple[int, int] = (0, -1)
    running: str | None = None
    parallel: bool = False
    option: str = "--data.{} (to predict, --column)"
    adapt: Callable[[Record], tuple[Record, str]] | None = None
    predicts: bool = False

    @property
    def required(self) -> tuple[str, ...]:
        """The fields without which a row is left out."""
        return () if self.predicts else tuple(name for name in self.columns if name not in self.optional)

    def for_prediction(self) -> Fields:
        """The inputs alone: no label is read, no row is left out, and an input that is missing is an empty text."""
        names = self.inputs or tuple(name for name in self.columns if name != self.label)
        columns = {name: self.columns[name] for name in names}
        optional = tuple(name for name in names if name in self.optional)
        kinds = {name: kind for name, kind in self.kinds.items() if name in names}
        return Fields(
            columns,
            optional,
            inputs=names,
            kinds=kinds,
            conll=(self.conll[0], self.conll[0]),
            parallel=self.parallel or self.running is not None,  # what has no known suffix holds lines
            adapt=self.adapt,
            predicts=True,
        )

    def with_group(self, column: str) -> Fields:
        """The same with a column that says what belongs together."""
        columns, kinds = {**self.columns, GROUP: column}, {**self.kinds, GROUP: "any"}
        return replace(self, columns=columns, kinds=kinds, optional=(*self.optional, GROUP))

    @property
    def names_wanted(self) -> list[str]:
        """All names that columns may have."""
        return [name for column in self.columns.values() for name in {column: 0, **dict.fromkeys(alternatives(column))}]

    def within(self, there: Iterable[str]) -> Fields:
        """The same with one column for each field: of several names the first that is there."""
        there = {*there}
        return replace(self, columns={name: chosen(column, there) for name, column in self.columns.items()})

    def adapted(self, row: Record) -> tuple[Record, str]:
        """A row as `adapt` has it; to predict, none is left out."""
        if self.adapt is None:
            return row, ""
        row, reason = self.adapt(row)
        return row, "" if self.predicts else reason

    def stored_features(self) -> Any:
        """The types of what `record` returns, as `datasets` stores them."""
        import datasets

        text = datasets.Value("string")
        return datasets.Features({**self.features(), "noted": datasets.List(text), "dropped": text})

    def features(self) -> Any:
        """The types of a record's fields, as `datasets` stores them."""
        import datasets

        text, place = datasets.Value("string"), datasets.Value("int64")
        spans = datasets.List({"start": place, "end": place, "label": text})
        series = datasets.List(datasets.List(datasets.Value("float32")))
        types = {"texts": datasets.List(text), "spans": spans, "series": series}
        found = {name: types.get(self.kinds.get(name, "text"), text) for name in self.columns}
        if self.running is not None:
            found["continues"] = datasets.Value("bool")
        return datasets.Features({**found, "line": place})

    def record(
        self,
        row: Mapping[str, Any],
        columns: Mapping[str, str],
        line: int,
        where: str,
        noted: Iterable[str] = (),
        dropped: str = "",
    ) -> Record:
        """A row of a source → a record, with what was "noted" of it and why it is to be "dropped", if it is.

        Raises:
            InputError: a value is not of its kind, or the check fails.
        """
        record: Record = {"line": line, "noted": list(noted), "dropped": dropped or None}
        for name in self.columns:
            value = row.get(columns[name]) if name in columns else None
            whole = without_halves(value)
            record["noted"] += [HALVES] if whole is not value else []
            value, kind = whole, "label" if name == self.label else self.kinds.get(name, "text")
            record[name] = _KINDS[kind](value, f'{where}: "{columns.get(name, name)}"')
        if self.label is not None and isinstance(label := record.get(self.label), str):
            record[self.label] = label.strip()
            record["noted"] += [LABEL_BLANKS] if label != label.strip() else []
            record["noted"] += [MAY_BE_PREDICTED] if f"input.{columns[self.label]}" in row else []
        if self.predicts and self.inputs and all(record[name] is None for name in self.inputs):
            name = self.inputs[0]
            if self.kinds.get(name, "text") != "text":
                raise InputError(f'{where}: "{columns.get(name, name)}" is missing.')
            record[name] = ""
        if self.check is not None and not dropped:
            self.check(record, where)
        return record

    def lines_of(self, record: Record) -> Iterator[Record]:
        """A record of running text → one for each line; a line of more than 10,000 characters is cut, where it can be
        after a blank, into several, of which all but the last have "continues"."""
        if self.running is None:
            yield record
            return
        lines = (record[self.running] or "").removesuffix("\n").split("\n")
        for line in lines:
            start = 0
            while len(line) - start > _LONGEST_LINE:
                limit = start + _LONGEST_LINE
                end = line.rfind(" ", start + _LONGEST_LINE // 2, limit) + 1 or limit
                yield {**record, self.running: line[start:end], "continues": True}
                start, record = end, {**record, "noted": []}
            yield {**record, self.running: line[start:], "continues": False}
            record = {**record, "noted": []}


def alternatives(column: str) -> list[str]:
    """The names that a column may have.

    >>> alternatives("ner_tags|tags")
    ['ner_tags', 'tags']
    """
    return column.split("|") if column.strip("|") else [column]


def chosen(column: str, there: Collection[str]) -> str:
    """The name of a column in a source that has those of `there`: itself, or the first of its alternatives."""
    names = alternatives(column)
    return next((name for name in (column, *names) if name in there), names[0])


def without_halves(value: object) -> Any:
    """A value whose texts have U+FFFD where half of a character stood (a lone surrogate); another as it is."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value) if _HALF.search(value) else value
    if isinstance(value, dict):
        changed = {without_halves(key): without_halves(item) for key, item in value.items()}
        return (
            changed if any(new is not old for new, old in zip(changed.values(), value.values(), strict=True)) else value
        )
    if isinstance(value, (list, tuple)):
        items = [without_halves(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: object, where: str) -> str | None:
    """A text, or a number or date as one; what is no number ("NaN") is missing, as None is."""
    if isinstance(value, str):
        return value
    if _is_missing(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, set, dict, bytes)) or hasattr(value, "tolist"):
        raise InputError(f"{where} must be a text; it is {_named(value)}.")
    return str(value)


def _as_label(value: object, where: str) -> str | None:
    if isinstance(value, (list, tuple, set)):
        raise InputError(
            f"{where} is a list of labels, but each record can have only one here: write a row for each label, or one "
            f"name for each combination."
        )
    if isinstance(value, float) and value.is_integer():  # what a column of numbers becomes where one is missing
        value = int(value)
    return as_text(value, where)


def _as_anything(value: object, where: str) -> str | None:
    """Any value as JSON."""
    return None if _is_missing(value) else json.dumps(_listed(value), ensure_ascii=False, default=str)


def _named(value: object) -> str:
    names = {dict: "an object", bytes: "bytes"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a list")


def _as_texts(value: object, where: str) -> list[str] | None:
    if _is_missing(value):
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (str, int, float)) for item in value):
        raise InputError(f'{where} must be a list of texts, such as ["Ada", "met"].')
    return [str(item) for item in value]


def _as_spans(value: object, where: str) -> list[Record] | None:
    if _is_missing(value):
        return None
    spans = []
    if isinstance(value, str):  # in a cell of a table
        with contextlib.suppress(ValueError):
            value = json.loads(value or "[]")
    for item in value if isinstance(value, (list, tuple)) else [value]:
        item = dict(zip(("start", "end", "label"), item, strict=False)) if isinstance(item, (list, tuple)) else item
        span = {name: item.get(name) for name in ("start", "end", "label")} if isinstance(item, dict) else {}
        if [type(part) for part in span.values()] != [int, int, str] or not span["label"]:
            raise InputError(f'{where} must be a list of entities such as {{"start": 0, "end": 3, "label": "person"}}.')
        spans.append(span)
    return spans


def _listed(value: object) -> Any:
    """An array as lists; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def as_series(value: Any, where: str) -> list[list[float]] | None:
    """A list or array of steps, each a number or as many numbers, also as JSON → `[steps][channels]`.

    Raises:
        InputError: it is something else, is empty, or a number of it is not finite.
    """
    if value is None:
        return None
    try:
        value = _listed(json.loads(value) if isinstance(value, str) else value)
        steps = [
            [float(x) for x in (step if isinstance(step, (list, tuple)) else [step])] for step in map(_listed, value)
        ]
    except (TypeError, ValueError):
        steps = []
    alike = len({len(step) for step in steps}) == 1
    if not alike or not all(math.isfinite(x) for step in steps for x in step):
        form = "[[0.5, 1], [0, 2]]"
        raise InputError(f"{where} must be a list of numbers, or of steps with as many numbers each: {form}.")
    return steps


_KINDS: dict[str, Callable[[Any, str], Any]] = {
    "text": as_text,
    "label": _as_label,
    "any": _as_anything,
    "texts": _as_texts,
    "spans": _as_spans,
    "series": as_series,
}
