"""Anything → records: hub data sets, files, folders with split files, standard input, the starter corpora."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from nlp_rnn.data.fields import Fields
from nlp_rnn.data.files import read_file, read_parallel, read_standard_input
from nlp_rnn.data.hub import hub_places
from nlp_rnn.data.readers import FORMATS, Form, suffix_format
from nlp_rnn.data.records import Record, Records
from nlp_rnn.data.tables import datasets_library, from_table
from nlp_rnn.errors import InputError, did_you_mean

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
Places: TypeAlias = Mapping[str, Callable[[Fields], Records]]
"""What a source offers: split → a function of `Fields` that reads it."""


def read_columns(source: str, form: Form, names: Iterable[str]) -> Iterator[Record]:
    """Columns of a file or of standard input, row by row.

    Raises:
        InputError: it cannot be read, or has no such column.
    """
    columns = {f"column {name}": name for name in names}
    fields = Fields(columns, kinds=dict.fromkeys(columns, "any"), option="--keep", predicts=True)
    records = read_sources([source], "test", form, fields)
    rows = (row for chunk in records.chunks() for row in chunk)
    return ({name: json.loads(row[key] or "null") for key, name in fields.columns.items()} for row in rows)


def read_sources(
    sources: Iterable[str], split: str, form: Form, fields: Fields, starter: Path | None = None
) -> Records:
    """One split of sources, one after the other; of a source that is one file, all of it.

    Args:
        sources: files, folders, names of data sets on the hub, "starter", or "-" for standard input.
        split: "train", "validation" or "test".
        form: how files are written.
        fields: what is read.
        starter: the folder that "starter" stands for.

    Raises:
        InputError: a source cannot be read, or has no such split; the message says where and what to do.
    """
    sources = list(sources)
    if fields.parallel and len(sources) == 2 and not any(_is_table(source, form) for source in sources):
        return read_parallel(sources[0], sources[1], fields)
    if fields.parallel and len(sources) == 1 < len(fields.columns) and not _is_table(sources[0], form):
        raise InputError(
            f"{sources[0]} has only one side of the pairs: give two files, the source first, or a table with two "
            f"columns."
        )
    parts = []
    for source in sources:
        places = _places(source, form, starter)
        if split in places:
            parts.append(places[split](fields))
        elif len(places) == 1:
            parts.append(next(iter(places.values()))(fields))
        else:
            raise InputError(f'{source} has no "{split}" split; it has: {", ".join(places)}.')
    if len(parts) == 1:
        return parts[0]
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(part.dropped)
    notes = [f"{note} (in {source})" for source, part in zip(sources, parts, strict=True) for note in part.notes]
    return Records(datasets_library().concatenate_datasets([part.rows for part in parts]), dropped, notes)


def has_split(sources: Iterable[str], split: str, starter: Path | None = None) -> bool:
    """Whether one of the sources, such as a folder of files, offers a split by its name."""
    return any(split in _places(source, Form(), starter) for source in sources)


def _places(source: str, form: Form, starter: Path | None = None) -> Places:
    if source == "starter":
        if starter is None:
            raise InputError("This task has no starter corpus: name your data with --data.")
        return _folder_places(starter, Form(), f"{starter} is a folder without data")
    if source == "-":
        return {"train": partial(read_standard_input, form)}
    path = Path(source)
    if path.is_dir():
        return _folder_places(path, form, f"{source} is a folder without data")
    if path.exists():
        return {"train": partial(read_file, path, form)}
    rows = hub_rows(source)
    return {split: partial(_read_hub, read, source) for split, read in rows.items()}


def _read_hub(read: Callable[[], object], source: str, fields: Fields) -> Records:
    return from_table(read(), fields, source)


def hub_rows(source: str) -> Mapping[str, Callable[[], Any]]:
    """What a data set of the hub offers: split → a function that loads its rows, a `datasets.Dataset`.

    Raises:
        InputError: there is none of that name, or it names a file that does not exist.
    """
    path = Path(source)
    near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
    near = near if "Did you mean" in near else ""
    if _looks_like_a_file(source):
        raise InputError(f"{source} does not exist.{near}")
    try:
        return hub_places(source, tuple(SPLITS.items()))
    except InputError as error:
        raise InputError(f"{error}{near}") from None


def _folder_places(folder: Path, form: Form, complaint: str) -> Places:
    return {split: partial(read_file, path, form) for split, path in split_files(folder, complaint).items()}


def split_files(folder: Path, complaint: str) -> dict[str, Path]:
    """The files of a folder by the split that their names say.

    Raises:
        InputError: there are none; the message begins with `complaint`.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        stem = path.name.split(".")[0].lower()
        for split, names in SPLITS.items():
            if any(re.fullmatch(rf"(.*[-_])?{name}([-_].*)?", stem) for name in names) and suffix_format(path):
                found.setdefault(split, path)
    if not found:
        raise InputError(
            f"{complaint}: put files in it named train, validation and test, such as train.csv, "
            f"in one of the formats {', '.join(FORMATS)}."
        )
    return found


def _looks_like_a_file(source: str) -> bool:
    path = Path(source)
    known = bool(suffix_format(path)) or path.suffix == ".gz"
    return known or source.startswith((".", "/", "~")) or source.count("/") > 1


def _is_table(source: str, form: Form) -> bool:
    """Whether a source has columns, or is no file."""
    path = Path(source)
    return not path.exists() or path.is_dir() or form.kind_of(path) not in (None, "txt")
