"""Files, pairs of files, pipes and standard input → records.

What the readers of line formats yield is stored as Arrow by `datasets`, so that a corpus may be larger than memory;
path, size and modification time are part of the cache's key, so that an edited file is read anew.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nlp_rnn.data.delimited import DELIMITERS, delimiter_of
from nlp_rnn.data.fields import Fields
from nlp_rnn.data.lines import lines_of
from nlp_rnn.data.memory import shown_name
from nlp_rnn.data.readers import FORMATS, LOGS, Form, rows_of
from nlp_rnn.data.records import Record, Records, Row
from nlp_rnn.data.tables import complete, datasets_library, from_parquet, no_column, reading_rules
from nlp_rnn.errors import InputError

_USUAL = {"csv": ",", "tsv": "\t"}


def read_file(path: Path, form: Form, fields: Fields, shown: str = "") -> Records:
    """The records of a file, or of a pipe, which is copied first.

    Args:
        path: the file.
        form: how it is written.
        fields: what is read.
        shown: its name for messages; by default its path.

    Raises:
        InputError: it cannot be read, with the line where that is known.
    """
    kind, shown = form.kind_of(path), shown or shown_name(path)
    path = path if path.is_file() else Path(spooled(str(path)).name)
    if path.stat().st_size == 0:
        raise InputError(f"{_capital(shown)} is empty.")
    kind = kind or _guessed(str(path), shown, fields)
    if kind == "parquet":
        return from_parquet(str(path), shown, fields)
    delimiter, notes = form.delimiter, []
    if kind in _USUAL and not delimiter:
        delimiter = delimiter_of(str(path), kind, shown, fields.names_wanted)
        if delimiter != _USUAL[kind]:
            notes = [f"columns parted by {DELIMITERS.get(delimiter, delimiter)}"]
    stat = path.stat()
    key = {"path": str(path.resolve()), "size": stat.st_size, "modified": stat.st_mtime_ns}
    return complete(_stored(key, kind, delimiter, fields, shown), fields, shown, notes)


def read_standard_input(form: Form, fields: Fields) -> Records:
    """The records of standard input; where the format is not given, its first line tells it."""
    return read_file(Path("-"), form, fields, "standard input")


def read_parallel(first: str, second: str, fields: Fields) -> Records:
    """Two files of lines as records of the first two fields."""
    paths = [Path(path) if Path(path).is_file() else Path(spooled(path).name) for path in (first, second)]
    stats = [path.stat() for path in paths]
    key = {  # tuples: `datasets` takes lists for shards
        "path": tuple(str(path.resolve()) for path in paths),
        "size": tuple(stat.st_size for stat in stats),
        "modified": tuple(stat.st_mtime_ns for stat in stats),
    }
    shown = f"{first} and {second}"
    return complete(_stored(key, "parallel", "", fields, shown), fields, shown)


def _guessed(path: str, shown: str, fields: Fields) -> str:
    """The format of a file whose name does not say it, by how it begins.

    Raises:
        InputError: it is none of those that can be told apart.
    """
    if fields.parallel or fields.running:  # such as "val.de", "wiki.tokens": what has lines only
        return "txt"
    first = next((line for line in lines_of(path, shown) if line.strip()), "")
    if first.lstrip()[:1] in ("{", "["):
        return "jsonl"
    if shown.lower().endswith(LOGS):
        return "txt"
    if not {*re.split(r"[,;\t|]", first.strip())}.isdisjoint(fields.names_wanted):
        return "csv"
    if fields.predicts and not Path(shown).suffix:
        return "txt"
    raise InputError(
        f"The format of {shown} is unknown: say which with --data.format (to predict, --format): {', '.join(FORMATS)}."
    )


@cache
def spooled(path: str) -> Any:
    """A pipe, or for "-" standard input, as a file: it can be read only once, and training reads its data for each
    split."""
    spool = tempfile.NamedTemporaryFile()
    if path == "-":
        shutil.copyfileobj(sys.stdin.buffer, spool)
    else:
        with open(path, "rb") as stream:
            shutil.copyfileobj(stream, spool)
    spool.flush()
    return spool


def _stored(key: Record, kind: str, delimiter: str, fields: Fields, shown: str) -> Any:
    try:
        return datasets_library().Dataset.from_generator(
            _generate,
            features=fields.stored_features(),
            gen_kwargs={
                **key,
                "kind": kind,
                "delimiter": delimiter,
                "shown": shown,
                "fields": vars(fields),
                "rules": reading_rules(),
            },
        )
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (InputError, OSError)):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        raise


def _generate(
    path: Any, size: Any, modified: Any, kind: str, delimiter: str, shown: str, fields: Record, rules: str
) -> Iterator[Record]:
    """The records of a file; all arguments are part of the cache's key."""
    wanted, count = Fields(**fields), 0
    columns = {name: name for name in wanted.columns} if kind in ("conll", "parallel") else {}
    if kind == "parallel":
        rows = _pairs(path, list(wanted.columns))
    else:
        rows = rows_of(path, kind, shown, wanted.names_wanted, wanted.conll, delimiter)
    for count, (line, row, noted) in enumerate(rows, 1):
        row, reason = wanted.adapted(row)
        if count == 1:
            columns = columns or dict(wanted.within([*row, *_unnested(row)]).columns)
            _check_columns(row if _has_all(row, columns) else _unnested(row), columns, wanted, shown)
        row = row if _has_all(row, columns) else _unnested(row)
        yield from wanted.lines_of(wanted.record(row, columns, line, f"{shown}, line {line}", noted, reason))
    if count == 0:
        raise InputError(f"{_capital(shown)} has no rows.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text == "standard input" else text


def _has_all(row: Record, columns: Mapping[str, str]) -> bool:
    return all(column in row for column in columns.values())


def _check_columns(row: Record, columns: Mapping[str, str], fields: Fields, shown: str) -> None:
    """The first row must have every column that is needed, and one of those that are not."""
    if not any(column in row for column in columns.values()):
        raise no_column(shown, *next(iter(columns.items())), row, fields)
    for name, column in columns.items():
        if column not in row and name not in fields.optional:
            raise no_column(shown, name, column, row, fields)


def _unnested(row: Record) -> Record:
    """With what stands in an inner object, such as {"translation": {"en": …, "de": …}}, beside it."""
    inner = [value for value in row.values() if isinstance(value, dict)]
    return {**{name: value for part in inner for name, value in part.items()}, **row}


def _pairs(paths: tuple[str, str], names: list[str]) -> Iterator[Row]:
    sides = [rows_of(path, "txt", path, [name]) for path, name in zip(paths, names, strict=True)]
    line = 0
    for line, (one, other) in enumerate(itertools.zip_longest(*sides), 1):
        if one is None or other is None:
            longer, shorter = paths if other is None else reversed(paths)
            raise InputError(
                f"{longer} has more lines than {shorter}, which ends after line {line - 1}: parallel files need a line "
                f"for each line of the other."
            )
        yield Row(line, {**one.values, **other.values})
