"""Files of rows, in any format that has lines → rows, each with the line that it begins in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from nlp_rnn.data.conll import conll_rows
from nlp_rnn.data.delimited import delimited_rows, delimiter_of
from nlp_rnn.data.json_text import json_rows
from nlp_rnn.data.lines import lines_of, without_ends
from nlp_rnn.data.records import Row
from nlp_rnn.errors import InputError

FORMATS = ("csv", "tsv", "jsonl", "txt", "parquet", "conll")
LOGS = (".log", ".log.gz")
"""How files end that have lines, unless they begin as JSON does."""
_SUFFIXES = {
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".text": "txt",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".conllu": "conll",
    ".conllup": "conll",
}
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
_NO_DELIMITERS = ('"', "\r", "\n")


@dataclass(frozen=True)
class Form:
    """How files are written, as far as they do not say it themselves.

    Args:
        format: one of `FORMATS`; "auto" goes by the suffix.
        delimiter: of tables, or its name, such as "tab"; an empty one is found out.

    Raises:
        InputError: the delimiter is none.
    """

    format: str = "auto"
    delimiter: str = ""

    def __post_init__(self) -> None:
        delimiter = _DELIMITERS.get(self.delimiter, self.delimiter)
        if len(delimiter) > 1 or delimiter in _NO_DELIMITERS:
            raise InputError(f'data.delimiter is "{self.delimiter}"; it must be one character, such as ; or tab.')
        object.__setattr__(self, "delimiter", delimiter)

    def kind_of(self, path: Path) -> str | None:
        """The format of a file; None where it is not known."""
        return suffix_format(path) if self.format == "auto" else self.format


def suffix_format(path: Path) -> str | None:
    """The format that the suffix of a file stands for, also before .gz; None where it stands for none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if not suffixes:
        return None
    suffix = suffixes[-1]
    return _SUFFIXES.get(suffix) or (suffix[1:] if suffix[1:] in FORMATS else None)


def rows_of(
    path: str,
    kind: str,
    shown: str,
    wanted: Collection[str],
    conll: tuple[int, int] = (0, -1),
    delimiter: str = "",
) -> Iterator[Row]:
    """The rows of a file.

    Args:
        path: the file; .gz is looked through.
        kind: "csv", "tsv", "jsonl", "txt" or "conll".
        shown: its name for messages.
        wanted: names of columns; the lines of a txt file are the first of them.
        conll: in which columns of a CoNLL file the tokens and the tags stand, counted from 0, or from -1 at the end.
        delimiter: of a table; an empty one is found out.

    Raises:
        InputError: with file and line.
    """
    if kind in ("csv", "tsv"):
        delimiter = delimiter or delimiter_of(path, kind, shown, wanted)
        yield from delimited_rows(path, shown, delimiter, wanted)
        return
    lines = lines_of(path, shown)
    if kind == "jsonl":
        yield from json_rows(lines, shown, wanted)
    elif kind == "txt":
        text = next(iter(wanted))
        yield from (Row(number, {text: line}) for number, line in enumerate(without_ends(lines), 1))
    else:
        yield from conll_rows(without_ends(lines), shown, *conll)
