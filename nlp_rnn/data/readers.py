"""Readers of line formats, which can say in which file and line an error is."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

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
    with _open(path) as stream:
        lines = _decoded(stream, shown)
        if kind in ("csv", "tsv"):
            yield from _delimited(lines, "," if kind == "csv" else "\t", shown)
        elif kind == "jsonl":
            yield from _json_lines(lines, shown)
        elif kind == "txt":
            yield from ((number, {text: line}) for number, line in enumerate(_stripped(lines), 1))
        else:
            yield from _conll(lines, shown, *conll)


def _open(path: str) -> BinaryIO:
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _decoded(stream: BinaryIO, shown: str) -> Iterator[str]:
    number = 0
    try:
        for number, line in enumerate(stream, 1):
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


def _stripped(lines: Iterable[str]) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in lines)


def _delimited(lines: Iterator[str], delimiter: str, shown: str) -> Iterator[tuple[int, Record]]:
    csv.field_size_limit(sys.maxsize)
    if delimiter == ",":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    start = 1
    try:
        header = next(reader, None)
        if header is None:
            return
        start = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                raise InputError(
                    f"{shown}, line {start}: {len(row)} fields where the header has {len(header)}; "
                    f"quote fields that hold the delimiter."
                )
            if row:
                yield start, dict(zip(header, row, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{shown}, line {start}: malformed row ({error}).") from None


def _json_lines(lines: Iterator[str], shown: str) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{shown}, line {number}: not valid JSON ({error}).") from None
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
