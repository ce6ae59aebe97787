"""CoNLL: a token a line, in columns, an empty line after each sentence → rows of tokens and tags."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TypeAlias

from nlp_rnn.data.records import Record, Row
from nlp_rnn.errors import InputError
from nlp_rnn.text.schemes import split_tag

Block: TypeAlias = list[tuple[int, list[str]]]
"""Lines without an empty one between them: their numbers and columns."""
COMMENTS = "comment lines"
NO_TOKENS = "lines for a word of several tokens, or for none, as CoNLL-U has them"
_NO_TOKEN = re.compile(r"\d+[-.]\d+")  # CoNLL-U's ranges and empty nodes


def conll_rows(lines: Iterator[str], shown: str, token: int, tag: int) -> Iterator[Row]:
    """Sentences as rows of "tokens" and, where there are several columns, "tags".

    Columns are parted by tabs, or else by blanks; no other white space parts them, such as the no-break space. Lines
    before a sentence that begin with # and are no token of it are comments. Where the first column counts the tokens of
    a sentence, as in CoNLL-U, the tokens stand in the next one, unless `token` says otherwise.

    Args:
        lines: of the file, without their ends.
        shown: its name for messages.
        token, tag: columns of both, counted from 0, or from -1 at the end; no tags are read where they are equal.

    Raises:
        InputError: with file and line.
    """
    sentences = _Sentences(shown, token, tag)
    block: Block = []
    for number, line in enumerate(lines, 1):
        columns = _columns(line)
        if line.strip() and columns[0] != "-DOCSTART-":
            block.append((number, columns))
            continue
        yield from sentences.rows_of(block)
        block = []
    yield from sentences.rows_of(block)


def _columns(line: str) -> list[str]:
    line = line.rstrip(" \t")
    return [part.strip(" ") for part in line.split("\t")] if "\t" in line else re.split(" +", line.strip(" "))


class _Sentences:
    """What the sentences of a file have in common: how many columns they have, and which these are."""

    def __init__(self, shown: str, token: int, tag: int) -> None:
        self.shown, self.token, self.tag = shown, token, tag
        self.reads_tags = token != tag
        self.width, self.is_counted = 0, False

    def rows_of(self, block: Block) -> Iterator[Row]:
        """The sentence in lines without an empty one between them; none where these are comments alone."""
        if not self.width:
            self._look_at([line for line in block if not line[1][0].startswith("#")] or self._hashtags_in(block))
        body = list(itertools.dropwhile(self._is_comment, block))
        noted = [COMMENTS] * (len(block) - len(body))
        if self.is_counted:
            tokens = [line for line in body if not _NO_TOKEN.fullmatch(line[1][0])]
            noted += [NO_TOKENS] * (len(body) - len(tokens))
            body = tokens
        if not body:
            return
        for number, columns in body:
            self._check(number, columns)
        sentence: Record = {"tokens": [columns[self.token] for _, columns in body]}
        if self.width > 1 and self.reads_tags:
            sentence["tags"] = [columns[self.tag].strip() for _, columns in body]
        yield Row(body[0][0], sentence, tuple(noted))

    def _look_at(self, block: Block) -> None:
        """Finds out from the first sentence how many columns there are, and whether the first one counts tokens."""
        if not block:
            return
        self.width = len(block[0][1])
        counts = [columns[0] for _, columns in block if not _NO_TOKEN.fullmatch(columns[0])]
        counts_up = len(counts) > 1 and counts == [str(i) for i in range(1, len(counts) + 1)]
        self.is_counted = self.token == 0 and self.width > 2 and counts_up
        if not self.is_counted:
            return
        self.token = 1
        with_tags = [i for i in range(2, self.width) if all(i < len(line[1]) and _is_tag(line[1][i]) for line in block)]
        if self.tag == -1 and with_tags:
            self.tag = with_tags[-1]

    def _hashtags_in(self, block: Block) -> Block:
        """Tokens among the lines of a block all of which begin with #."""
        return [line for line in block if not _looks_like_a_comment(line[1])]

    def _is_comment(self, line: tuple[int, list[str]]) -> bool:
        _, columns = line
        if not columns[0].startswith("#"):
            return False
        if self.width != len(columns):
            return True
        if self.reads_tags and -self.width <= self.tag < self.width:
            return self.width > 1 and not _is_tag(columns[self.tag])
        return _looks_like_a_comment(columns)

    def _check(self, number: int, columns: list[str]) -> None:
        where, width = f"{self.shown}, line {number}", self.width
        if len(columns) != width:
            raise InputError(
                f"{where}: {len(columns)} column{'s' * (len(columns) != 1)} where the lines before have {width}; every "
                f"token needs the same number of columns, separated by tabs or spaces."
            )
        if not all(-width <= column < width for column in (self.token, self.tag)):
            raise InputError(
                f"{where}: {width} column{'s' * (width != 1)}; --data.token_column {self.token} or --data.tag_column "
                f"{self.tag} is out of range."
            )


def _looks_like_a_comment(columns: list[str]) -> bool:
    begins = columns[0].startswith("# ") or (columns[0] == "#" and len(columns) > 1)
    return begins and not any(map(_is_tag, columns))


def _is_tag(text: str) -> bool:
    try:
        split_tag(text.strip())
    except ValueError:
        return False
    return True
