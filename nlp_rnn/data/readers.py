"""Readers of line formats, which can say in which file and line an error is."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from nlp_rnn.data.records import Record
from nlp_rnn.errors import InputError


def rows_of(
    path: str, kind: str, shown: str, text: str, conll: tuple[int, int] = (0, -1)
) -> Iterator[tuple[int, Record]]:
    """The rows of a file with the line that each begins in.

    Args:
        path: the file; .gz is looked through.
        kind: "csv", "tsv", "jsonl", "txt" or "conll".
        shown: its name for messages.
        text: name of the column that the lines of a txt file are.
        conll: in which columns of a CoNLL file the tokens and the tags stand, counted from 0, or from -1 at the end.

    Raises:
        InputError: with file and line.
    """
    dialect: dict[str, Any] = {"strict": True}
    if kind == "tsv":
        with _open(path) as stream:
            is_quoted = _is_quoted(decoded(stream, shown))
        dialect = {"delimiter": "\t", **(dialect if is_quoted else {"quoting": csv.QUOTE_NONE})}
    with _open(path) as stream:
        lines = decoded(stream, shown)
        if kind in ("csv", "tsv"):
            yield from _delimited(lines, shown, **dialect)
        elif kind == "jsonl":
            yield from _json_lines(lines, shown)
        elif kind == "txt":
            yield from ((number, {text: line}) for number, line in enumerate(_stripped(lines), 1))
        else:
            yield from _conll(lines, shown, *conll)


def _open(path: str) -> BinaryIO:
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def decoded(stream: Iterable[bytes], shown: str) -> Iterator[str]:
    """Lines of UTF-8 as texts; those of a file that knows CR alone (of old Macs) too.

    Raises:
        InputError: with the line that is not UTF-8.
    """
    number = 0
    try:
        for number, line in enumerate(_with_cr(stream), 1):
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{shown}, line {number}: byte {error.start + 1} is not UTF-8; convert the file, "
            f"for example with `iconv -f latin1 -t utf-8`."
        ) from None
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise InputError(f"{shown} is not a complete gzip file ({error}); fetch it again.") from None


def _with_cr(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end with LF; where the first one is the whole of the file and has CRs in it, those that end so."""
    lines = iter(stream)
    first = next(lines, b"")
    second = next(lines, None)
    if second is None and b"\r" in first.rstrip(b"\r\n"):
        yield from first.splitlines(keepends=True)
        return
    yield first
    if second is not None:
        yield second
        yield from lines


def _stripped(lines: Iterable[str]) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in lines)


def _delimited(lines: Iterator[str], shown: str, **dialect: Any) -> Iterator[tuple[int, Record]]:
    rows = _csv_rows(lines, shown, **dialect)
    _, header = next(rows, (0, []))
    if twice := [name for name in header if name and header.count(name) > 1]:
        places = " and ".join(str(i) for i, name in enumerate(header, 1) if name == twice[0])
        raise InputError(f'{shown}: the header has "{twice[0]}" in columns {places}; rename all but one.')
    for start, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{shown}, line {start}: {len(row)} fields where the header has {len(header)}; "
                f"quote fields that hold the delimiter."
            )
        yield start, dict(zip(header, row, strict=True))


def _csv_rows(lines: Iterator[str], shown: str, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)
    reader, start = csv.reader(lines, **dialect), 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{shown}, line {start}: malformed row ({error}).") from None


_WELL_QUOTED = re.compile(r'(?:(?:"(?:[^"]|"")*"|[^"\t]*)(?:\t|$))*')


def _is_quoted(lines: Iterator[str]) -> bool:
    """Whether the fields of a TSV file are quoted as in CSV where they hold quotes, tabs or line ends, as spreadsheets,
    pandas and `predict` write them. In others quotes are part of the text: these have one that CSV could not have."""
    csv.field_size_limit(sys.maxsize)
    seen: list[str] = []
    reader = csv.reader(_kept(lines, seen), delimiter="\t", strict=True)
    width, like_rows, unlike_rows = 0, 0, 0
    try:
        for row in reader:
            width = width or len(row)
            stray = len(seen) == 1 and '"' in seen[0] and not _WELL_QUOTED.fullmatch(seen[0].rstrip("\r\n"))
            if stray or (row and len(row) != width):
                return False
            if len(seen) > 1:  # one field over several lines, or is each of them a row?
                are_rows = all(line.count("\t") == width - 1 for line in seen)
                like_rows, unlike_rows = like_rows + are_rows, unlike_rows + (not are_rows)
            seen.clear()
    except csv.Error:
        return False
    return not like_rows or bool(unlike_rows)


def _kept(lines: Iterable[str], seen: list[str]) -> Iterator[str]:
    for line in lines:
        seen.append(line)
        yield line


class _Twice:
    """Stands for an object in which a name occurs twice."""

    def __init__(self, name: str) -> None:
        self.name = name


def _once(pairs: list[tuple[str, object]]) -> object:
    found = dict(pairs)
    names = [name for name, _ in pairs]
    return found if len(found) == len(pairs) else _Twice(next(name for name in names if names.count(name) > 1))


def _json_lines(lines: Iterator[str], shown: str) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{shown}, line {number}: not valid JSON ({error}).") from None
        if isinstance(row, _Twice):
            raise InputError(f'{shown}, line {number}: the field "{row.name}" occurs twice; remove one.')
        if not isinstance(row, dict):
            raise InputError(f"{shown}, line {number}: a JSON object with named fields is needed.")
        yield number, row


def _conll(lines: Iterator[str], shown: str, token: int, tag: int) -> Iterator[tuple[int, Record]]:
    """Sentences of one token a line, an empty line after each; the columns are parted by tabs, else by blanks."""
    sentence: dict[str, list[str]] = {}
    start = width = 0
    for number, line in enumerate(_stripped(lines), 1):
        parts = line.split("\t") if "\t" in line else line.strip(" ").split()
        if not line.strip() or parts[0] == "-DOCSTART-":
            if sentence:
                yield start, sentence
            sentence = {}
            continue
        width = width or len(parts)
        if len(parts) != width:
            raise InputError(
                f"{shown}, line {number}: {len(parts)} column{'s' * (len(parts) != 1)} where the lines before have "
                f"{width}; every token needs the same number of columns, separated by tabs or spaces."
            )
        if not all(-width <= column < width for column in (token, tag)):
            raise InputError(
                f"{shown}, line {number}: {width} column{'s' * (width != 1)}; --data.token_column {token} or "
                f"--data.tag_column {tag} is out of range."
            )
        start = start if sentence else number
        sentence.setdefault("tokens", []).append(parts[token])
        if width > 1:
            sentence.setdefault("tags", []).append(parts[tag])
    if sentence:
        yield start, sentence
