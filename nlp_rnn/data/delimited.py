"""Tables of delimited columns (CSV, TSV) → rows; the delimiter and how fields are quoted are found out."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from nlp_rnn.data.lines import lines_of
from nlp_rnn.data.records import Row
from nlp_rnn.errors import InputError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE_LINES, _SAMPLE_SIZE = 200, 1 << 18
_SEPARATOR = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE | re.DOTALL)
_WELL_QUOTED = re.compile(r'(?:(?:"(?:[^"]|"")*"|[^"\t]*)(?:\t|$))*')


def delimiter_of(path: str, kind: str, shown: str, wanted: Collection[str]) -> str:
    """The delimiter of a table: what its first line says (`sep=;`, as Excel writes it), or else the one with which its
    header has most of the wanted columns, and its rows as many fields as the header.

    Args:
        path: the file.
        kind: "csv" or "tsv"; its usual delimiter is preferred.
        shown: the file's name for messages.
        wanted: names of columns.
    """
    sample = _sample(lines_of(path, shown))
    if sample and (said := _SEPARATOR.fullmatch(sample[0])):
        return said[1]
    usual = "\t" if kind == "tsv" else ","
    scores = {
        delimiter: _score(sample, delimiter, wanted) for delimiter in sorted(DELIMITERS, key=lambda d: d != usual)
    }
    return max(scores, key=lambda delimiter: scores[delimiter])


def delimited_rows(path: str, shown: str, delimiter: str, wanted: Collection[str]) -> Iterator[Row]:
    """The rows of a table with the line that each begins in; the header is the first line that is not blank. Where it
    has none of the wanted columns, there is one row with the names that it has.

    Raises:
        InputError: with file and line.
    """
    dialect: dict[str, Any] = {"delimiter": delimiter, "strict": True}
    if delimiter == "\t" and not _is_quoted(_without_separator(lines_of(path, shown))):
        dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    rows = _rows(_without_separator(lines_of(path, shown)), shown, **dialect)
    _, header = next(((start, row) for start, row in rows if any(map(str.strip, row))), (0, []))
    if twice := [name for name in header if name and header.count(name) > 1]:
        places = " and ".join(str(i) for i, name in enumerate(header, 1) if name == twice[0])
        raise InputError(f'{shown}: the header has "{twice[0]}" in columns {places}; rename all but one.')
    if {*wanted}.isdisjoint(header):
        rows = ((start, header) for start, _ in itertools.islice(rows, 1))
    for start, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{shown}, line {start}: {len(row)} fields where the header has {len(header)}; "
                f"quote fields that hold the delimiter, or name another with --data.delimiter."
            )
        yield Row(start, dict(zip(header, row, strict=True)))


def _sample(lines: Iterator[str]) -> list[str]:
    sample, size = [], 0
    for line in itertools.islice(lines, _SAMPLE_LINES):
        sample.append(line)
        size += len(line)
        if size >= _SAMPLE_SIZE:
            break
    return sample


def _score(sample: list[str], delimiter: str, wanted: Collection[str]) -> tuple[int, float, int]:
    """How well a delimiter fits: wanted columns, the part of rows that are as wide as the header, whether that has
    several columns."""
    reader = csv.reader(iter(sample), delimiter=delimiter)
    try:
        rows = [row for row in reader if any(map(str.strip, row))]
    except csv.Error:
        return 0, 0.0, 0
    if not rows:
        return 0, 0.0, 0
    widths = Counter(map(len, rows[1:-1] or rows))  # the last may be cut
    alike = widths[len(rows[0])] / widths.total() if len(rows[0]) > 1 else 0.0
    return len(set(wanted) & {*rows[0]}), alike, int(len(rows[0]) > 1)


def _without_separator(lines: Iterator[str]) -> Iterator[str]:
    """A first line such as `sep=;` read as a blank one."""
    first = next(lines, "")
    yield "\n" if _SEPARATOR.fullmatch(first) else first
    yield from lines


def _rows(lines: Iterator[str], shown: str, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)
    reader, start = csv.reader(lines, **dialect), 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{shown}, line {start}: malformed row ({error}).") from None


def _is_quoted(lines: Iterator[str]) -> bool:
    """Whether the fields of a TSV file are quoted as in CSV where they hold quotes, tabs or line ends, as spreadsheets,
    pandas and `predict` write them. In others quotes are part of the text: these have one that CSV could not have."""
    csv.field_size_limit(sys.maxsize)
    seen: list[str] = []
    reader = csv.reader(_kept(lines, seen), delimiter="\t", strict=True)
    width, like_rows, unlike_rows = 0, 0, 0
    try:
        for row in reader:
            width = width or len(row) * any(map(str.strip, row))  # blank lines may come first
            stray = len(seen) == 1 and '"' in seen[0] and not _WELL_QUOTED.fullmatch(seen[0].rstrip("\r\n"))
            if stray or (row and width and len(row) != width):
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
