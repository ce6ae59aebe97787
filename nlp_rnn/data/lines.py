"""Bytes of a file or stream → lines of text: what is packed, in which encoding, and how lines end."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from nlp_rnn.errors import InputError

_GZIP = b"\x1f\x8b"
_UNPACK = "unpack it first"
# What files of other kinds begin with, and what to do with them.
_OTHERS = {
    b"PK\x03\x04": ("a ZIP archive or a spreadsheet", "unpack it, or save the sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("a document or a spreadsheet of old Office programs", "save the sheet as CSV"),
    b"PAR1": ("a Parquet file", "give it a name that ends in .parquet"),
    b"BZh": ("packed by bzip2", _UNPACK),
    b"\xfd7zXZ": ("packed by xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", _UNPACK),
    b"7z\xbc\xaf": ("a 7-Zip archive", _UNPACK),
    b"SQLite format 3": ("a SQLite database", "export the table as CSV"),
    b"\x89HDF": ("an HDF5 file", "save its table as CSV or Parquet"),
    b"\x93NUMPY": ("an array of NumPy", "save it as CSV"),
    b"%PDF": ("a PDF", "save its text"),
    b"\x89PNG": ("a picture", "give a text"),
    b"\xff\xd8\xff": ("a picture", "give a text"),
    b"GIF8": ("a picture", "give a text"),
    b"RIFF": ("a recording or a video", "recordings are for the task speech"),
    b"fLaC": ("a recording", "recordings are for the task speech"),
    b"OggS": ("a recording", "recordings are for the task speech"),
}
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_MOST_LINES = 2048
_HEAD = 64
# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_UNMARKED = {rb"[^\0]\0[^\0]\0": "utf-16-le", rb"\0[^\0]\0[^\0]": "utf-16-be"}


def lines_of(path: str, shown: str) -> Iterator[str]:
    """The lines of a file, with their ends; gzip is looked through.

    Args:
        path: the file.
        shown: its name for messages.

    Raises:
        InputError: it is not a text, with the line.
    """
    with open(path, "rb") as stream:
        yield from decoded(stream, shown)


def decoded(stream: BinaryIO, shown: str) -> Iterator[str]:
    """Lines of a stream of UTF-8, of UTF-16 or of UTF-32, with their ends; those of a file that knows CR alone (of old
    Macs) too. The stream may be packed by gzip.

    Raises:
        InputError: with the line that is no text.
    """
    number, encoding = 0, "utf-8"
    try:
        buffered = _unpacked(_peekable(stream), shown)
        encoding = _encoding_of(buffered)
        for number, line in enumerate(_with_cr(_as_utf8(buffered, encoding)), 1):
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(
                f"{shown} is not {encoding.upper()} throughout: what follows line {number} is damaged."
            ) from None
        if error.object.translate(None, _CONTROL) != error.object:
            raise InputError(f"{shown} is no text: line {number} holds other bytes; give a file of text.") from None
        raise InputError(
            f"{shown}, line {number}: byte {error.start + 1} is not UTF-8; convert the file, "
            f"for example with `iconv -f windows-1252 -t utf-8`."
        ) from None
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise InputError(f"{shown} is not a complete gzip file ({error}); fetch it again.") from None


def without_ends(lines: Iterator[str]) -> Iterator[str]:
    """Lines without the characters that end them."""
    return (line.rstrip("\r\n") for line in lines)


def _peekable(stream: Any) -> Any:
    return stream if hasattr(stream, "peek") else io.BufferedReader(stream)


def _unpacked(stream: Any, shown: str) -> Any:
    head = stream.peek(_HEAD)[:_HEAD]
    for begin, (what, advice) in _OTHERS.items():
        if head.startswith(begin) and not _is_text(head):
            raise InputError(f"{shown} is {what}: {advice}.")
    return gzip.open(stream, "rb") if head.startswith(_GZIP) else stream


def _is_text(head: bytes) -> bool:
    """Whether the first bytes of a file may be UTF-8 without control characters."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return head.translate(None, _CONTROL) == head


def _encoding_of(stream: Any) -> str:
    """By the byte order mark; without one, text of which every other byte is 0 is UTF-16."""
    head = stream.peek(4)[:4]
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    return next((encoding for pattern, encoding in _UNMARKED.items() if re.match(pattern, head, re.DOTALL)), "utf-8")


def _as_utf8(stream: Any, encoding: str) -> Iterator[bytes]:
    if encoding == "utf-8":
        yield from stream
        return
    text = io.TextIOWrapper(stream, encoding, newline="\n")
    try:
        for line in text:
            yield line.encode("utf-8", "surrogatepass")
    finally:
        text.detach()


def _with_cr(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end with LF; where the first one is the whole of the file and has CRs in it, those that end so."""
    lines = iter(stream)
    first = next(lines, None)
    if first is None:
        return
    second = next(lines, None)
    if second is None and b"\r" in first.rstrip(b"\r\n"):
        yield from first.splitlines(keepends=True)
        return
    yield first
    if second is not None:
        yield second
        yield from lines


def arriving_lines() -> Iterator[list[str]]:
    """The lines of standard input, as many at a time as are there, in parts of at most 2,048.

    Raises:
        InputError: a line is longer than a megabyte.
    """
    rest = b""
    while block := os.read(sys.stdin.fileno(), 1 << 16):
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > 1 << 20:  # what is no log has no line ends
            raise InputError("A line of more than a megabyte is no event: is this a log?")
        for start in range(0, len(whole), _MOST_LINES):
            yield [_arrived(line) for line in whole[start : start + _MOST_LINES]]
    if rest:
        yield [_arrived(rest)]


def _arrived(line: bytes) -> str:
    return line.decode("utf-8", "replace").removesuffix("\r")
