"""JSON → rows: an object in each line (JSON Lines), an array of objects, or objects over several lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from nlp_rnn.data.records import Record, Row
from nlp_rnn.errors import InputError

_READ = 1 << 16
_DIGITS = 4000
_BLANK = " \t\r\n"


class _Twice:
    """Stands for an object in which a name occurs twice."""

    def __init__(self, name: str) -> None:
        self.name = name


def _once(pairs: list[tuple[str, object]]) -> object:
    found = dict(pairs)
    names = [name for name, _ in pairs]
    return found if len(found) == len(pairs) else _Twice(next(name for name in names if names.count(name) > 1))


def _integer(digits: str) -> int | str:
    """A number; one with more digits than Python converts stays a text."""
    return int(digits) if len(digits) < _DIGITS else digits


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_int=_integer)


def json_rows(lines: Iterator[str], shown: str, wanted: Collection[str] = ()) -> Iterator[Row]:
    """The objects of a file with the line that each begins in.

    A pair of a text and an object, as spaCy has it, is that object with the text as "text". Of a file that is one
    object without any of the wanted names, but with one list of objects in it, these are the rows.

    Args:
        lines: of the file.
        shown: its name for messages.
        wanted: names of columns.

    Raises:
        InputError: with file and line.
    """
    number, first = next(((i, line) for i, line in enumerate(lines, 1) if line.strip()), (1, ""))
    read = _by_line if _is_row(first) else _by_value
    values = read(itertools.chain([first], lines), number, shown)
    head = list(itertools.islice(values, 2))
    if len(head) == 1 and (inner := _inner(head[0][1], wanted)):
        head = [(head[0][0], value) for value in inner]
    for number, value in itertools.chain(head, values):
        yield Row(number, _row(value, f"{shown}, line {number}"))


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [str, dict]


def _inner(value: object, wanted: Collection[str]) -> list[Any]:
    """The rows within an object that is none itself."""
    if not isinstance(value, dict):
        return []
    objects = (part for part in (value, *value.values()) if isinstance(part, dict))
    if any(not {*wanted}.isdisjoint(part) for part in objects):  # it is a row
        return []
    lists = [part for part in value.values() if isinstance(part, list) and part]
    found = [part for part in lists if all(isinstance(row, dict) or _is_pair(row) for row in part)]
    return found[0] if len(found) == 1 else []


def _row(value: Any, where: str) -> Record:
    if isinstance(value, _Twice):
        raise InputError(f'{where}: the field "{value.name}" occurs twice; remove one.')
    if _is_pair(value):
        return {"text": value[0], **value[1]}
    if not isinstance(value, dict):
        raise InputError(f"{where}: a JSON object with named fields is needed.")
    return value


def _is_row(line: str) -> bool:
    """Whether a line is a row by itself, so that the file is JSON Lines."""
    try:
        value = _DECODER.decode(line.strip(_BLANK))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, (dict, _Twice)) or _is_pair(value)


def _by_line(lines: Iterable[str], first: int, shown: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            yield number, _DECODER.decode(line.strip(_BLANK))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{shown}, line {number}: not valid JSON ({error}).") from None


def _by_value(lines: Iterable[str], first: int, shown: str) -> Iterator[tuple[int, Any]]:
    """The values of an array, or values that follow each other, each of which may take several lines."""
    text = _Text(iter(lines), first, shown)
    is_array = text.next() == "["
    if is_array:
        text.take()
    while text.next() not in ("", "]"):
        yield text.line, text.value()
        if is_array and text.next() == ",":
            text.take()
        elif is_array and text.next() != "]":
            raise text.error("a comma or ] is missing")
    if is_array and not text.next():
        raise text.error("the array does not end")
    if is_array:
        text.take()
    if text.next():
        raise text.error("more follows the end")


class _Text:
    """A text of JSON, of which no more is in memory than the values that are being read."""

    def __init__(self, lines: Iterator[str], line: int, shown: str) -> None:
        self.lines, self.line, self.shown = lines, line, shown
        self.text, self.place = "", 0

    def next(self) -> str:
        """The next character that is not blank; "" at the end."""
        while True:
            rest = len(self.text)
            while self.place < rest and self.text[self.place] in _BLANK:
                self.take()
            if self.place < rest:
                return self.text[self.place]
            if not self._more():
                return ""

    def take(self, count: int = 1) -> None:
        """Goes on by so many characters."""
        self.line += self.text.count("\n", self.place, self.place + count)
        self.place += count

    def value(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                read = error.pos - self.place
                if self._more():
                    continue
                self.take(read)
                raise self.error(error.msg) from None
            except RecursionError as error:
                raise self.error(str(error)) from None
            self.take(end - self.place)
            return value

    def error(self, reason: str) -> InputError:
        """What is wrong here."""
        return InputError(f"{self.shown}, line {self.line}: not valid JSON ({reason}).")

    def _more(self) -> bool:
        """Reads about as much again, so that a long value is not tried anew at each of its lines."""
        kept = self.text[self.place :]
        parts, size = [kept], 0
        for line in self.lines:
            parts.append(line)
            size += len(line)
            if size >= max(_READ, len(kept)):
                break
        self.text, self.place = "".join(parts), 0
        return size > 0
