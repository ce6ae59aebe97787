"""Prompts as token ids, and ids as text, piece by piece, at the same cost each."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from nlp_rnn.layers.base import Tensor
from nlp_rnn.text.ragged import append, keep, row_ids
from nlp_rnn.text.tokenizer import BEGIN, END, PAD, UNKNOWN

if TYPE_CHECKING:
    from nlp_rnn.text.tokenizer import Tokenizer


class PieceStream:
    """What tokens add, one after the other → the text that can be said already.

    What is held back: the bytes of a character that is not whole yet, and what may become a stop text.

    Args:
        kind: of the tokenizer.
        line_begins: whether a new line begins, so that a first blank is no part of the text.
        stop: texts before which the stream ends.
    """

    def __init__(self, kind: str, line_begins: bool = True, stop: Sequence[str] = ()) -> None:
        self._drops_blanks = kind in ("word", "subword")
        self._after_line_end = kind == "word"  # a blank belongs to each word but the first of a line
        self._line_begins = line_begins
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = [text for text in stop if text]
        self._held = ""
        self.ended = False

    def add(self, piece: bytes) -> str:
        """The text that a further token lets be said; empty once a stop text was met."""
        return self._say(self._decoder.decode(piece))

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        said = self._say(self._decoder.decode(b"", True))
        if self.ended:
            return said
        said, self._held = said + self._held, ""
        return said

    def _say(self, text: str) -> str:
        if self.ended or not text:
            return ""
        if self._line_begins and self._drops_blanks:
            text = text.removeprefix(" ")
        self._line_begins = self._after_line_end and text.endswith("\n")
        self._held += text
        found = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if found:
            self.ended = True
            return self._held[: min(found)]
        ready = len(self._held) - self._open_stop()
        said, self._held = self._held[:ready], self._held[ready:]
        return said

    def _open_stop(self) -> int:
        """How many of the last characters may be the beginning of a stop text."""
        return max(
            (n for stop in self._stop for n in range(1, len(stop)) if self._held.endswith(stop[:n])),
            default=0,
        )


class TextStream(PieceStream):
    """The same for ids.

    Args:
        tokenizer: whose ids they are; the end token is a line end.
        line_begins, stop: as those of `PieceStream`.

    Example:

    >>> from nlp_rnn.text.tokenizers import ByteTokenizer
    >>> tokenizer = ByteTokenizer()
    >>> stream = TextStream(tokenizer, stop=["."])
    >>> [stream.push(i) for i in tokenizer.encode(["né. no"]).to_list()[0]], stream.ended
    (['n', '', 'é', '', '', '', ''], True)
    """

    def __init__(self, tokenizer: Tokenizer, line_begins: bool = True, stop: Sequence[str] = ()) -> None:
        super().__init__(tokenizer.kind, line_begins, stop)
        self._pieces = text_pieces(tokenizer)

    def push(self, token: int) -> str:
        """The text that a further token lets be said; empty once a stop text was met."""
        return self.add(self._pieces[token])


def text_pieces(tokenizer: Tokenizer) -> list[bytes]:
    """What each id adds to a text; the end token is a line end."""
    pieces = list(tokenizer.pieces())
    pieces[END] = b"\n"
    return pieces


def joined(tokenizer: Tokenizer, ids: Tensor, prompts: Tensor, stop: Tensor) -> Tensor:
    """What a `TextStream` says of ids that go on from prompts, as a graph.

    Args:
        tokenizer: whose ids they are.
        ids: int32 `[batch, tokens]`.
        prompts: strings `[batch]`.
        stop: strings `[texts]`.

    Returns:
        Strings `[batch]`.
    """
    texts = tf.strings.reduce_join(tf.gather(tf.constant(text_pieces(tokenizer)), ids), axis=1)
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    if tokenizer.kind == "word":
        texts = tf.strings.regex_replace(texts, "\n ", "\n")
    if tokenizer.kind in ("word", "subword"):
        line_begins = tf.strings.regex_full_match(prompts, r"(?s)(.*\n)?")
        texts = tf.where(line_begins, tf.strings.regex_replace(texts, "^ ", ""), texts)

    def before(texts: Tensor, text: Tensor) -> Tensor:
        first = tf.strings.split(texts, text)[:, :1]
        return tf.cond(text == "", lambda: texts, lambda: tf.strings.reduce_join(first, axis=1))

    return tf.foldl(before, stop, texts)


def prompt_tokens(tokenizer: Tokenizer, newline: bool, prompts: Tensor, begin: int = END) -> Tensor:
    """Prompts `[batch]` → int32 ids `[batch, tokens]`, in a graph: `begin`, as before any text, and those of the
    prompt; where lines end with the end token, it stands between its lines too."""
    prompts = tf.convert_to_tensor(prompts)
    lines = tf.strings.split(prompts, "\n") if not newline else tf.RaggedTensor.from_tensor(prompts[:, None])
    is_text = tf.strings.length(tf.strings.strip(lines.values) if not newline else lines.values) > 0
    ids = tokenizer.encode_graph(lines.values)
    ids = append(keep(ids, tf.gather(is_text, row_ids(ids))), END)
    whole = tf.RaggedTensor.from_row_splits(ids, lines.row_splits, validate=False).merge_dims(1, 2)
    return tf.concat([tf.fill([tf.shape(prompts)[0], 1], begin), whole[:, :-1].to_tensor()], 1)


def never_written(newline: bool) -> tuple[int, ...]:
    """Ids that no text has."""
    return (PAD, UNKNOWN, BEGIN, END) if newline else (PAD, UNKNOWN, BEGIN)
