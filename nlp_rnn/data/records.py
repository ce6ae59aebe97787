"""Records: the rows of a corpus as plain dicts, on disk (Arrow) or in memory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

_CHUNK = 2000
LINE = "\0line"
"""The column of frames with the line, or row, of the source that a row begins in."""
Record: TypeAlias = dict[str, Any]
"""A row of a corpus: the values of its fields by name."""


class Row(NamedTuple):
    """A row of a file.

    Args:
        line: that it begins in, counted from 1.
        values: of its columns by name.
        noted: what was left out or changed as it was read, each time that it was.
    """

    line: int
    values: Record
    noted: tuple[str, ...] = ()


class Records(Sequence[Record]):
    """A sequence of records, of which only a chunk at a time need be in memory.

    Args:
        rows: a `datasets.Dataset`, or a list of dicts.
        dropped: how many rows were left out, by reason.
        notes: how the records came about, where that is worth saying.

    Example:

    >>> records = Records([{"text": "Fine.", "label": "positive"}])
    >>> list(records.column("text"))
    ['Fine.']
    """

    noun = "rows"
    """What they are called where they are counted."""

    def __init__(self, rows: Any, dropped: Mapping[str, int] | None = None, notes: Iterable[str] = ()) -> None:
        self.rows = rows
        self.dropped = dict(dropped or {})
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.rows[i] for i in range(*index.indices(len(self)))]
        return dict(self.rows[index])

    def column(self, name: str) -> Iterator[Any]:
        """The values of one field, in order."""
        if isinstance(self.rows, list):
            yield from (row[name] for row in self.rows)
            return
        column = self.rows.select_columns([name])
        for start in range(0, len(column), _CHUNK):
            yield from column[start : start + _CHUNK][name]

    def spread(self, name: str, count: int) -> list[str]:
        """At most so many texts of a field, from all over the records; what is missing is empty."""
        step = max(-(-len(self) // count), 1)
        return [value or "" for value in self.select(range(0, len(self), step)).column(name)]

    def columns(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """The values of several fields together; those that the records lack are None."""
        first = self[0] if len(self) else {}

        def column(name: str) -> Iterator[Any]:
            return self.column(name) if name in first else itertools.repeat(None, len(self))

        return zip(*map(column, names), strict=True)

    def chunks(self, size: int = _CHUNK) -> Iterator[Records]:
        """The records in parts of at most `size`, in order; themselves where they are no more than that."""
        if 0 < len(self) <= size:
            yield self
            return
        for start in range(0, len(self), size):
            yield self.select(range(start, min(start + size, len(self))))

    def select(self, indices: Sequence[int]) -> Records:
        """The records with the given indices, in that order."""
        if isinstance(self.rows, list):
            return Records([self.rows[i] for i in indices], self.dropped, self.notes)
        return Records(self.rows.select(indices), self.dropped, self.notes)

    def noting(self, *notes: str) -> Records:
        """The same records with further notes; empty ones are left out."""
        return Records(self.rows, self.dropped, (*self.notes, *(note for note in notes if note)))

    def fingerprint(self) -> str:
        """A digest of all values except the line numbers: equal for equal records wherever they lie."""
        digest = hashlib.blake2b(digest_size=12)
        for start in range(0, len(self), _CHUNK):
            for row in self[start : start + _CHUNK]:
                kept = sorted((k, v) for k, v in row.items() if k != "line")
                digest.update(repr(kept).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
