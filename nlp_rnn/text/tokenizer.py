"""What every tokenizer is: strings to ids and back, inside the TensorFlow graph.

Ids 0 to 3 are padding, unknown, begin and end. Every text encodes to at least one id: what would encode to nothing
encodes to the unknown id, so that no row of a batch is all padding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from nlp_rnn.text.normalization import REPLACEMENT, Normalizer
from nlp_rnn.text.ragged import keep, never_empty, row_ids

T = TypeVar("T")
_LONGEST_PIECE = 50_000
CHARACTERS = 1_000_000
"""Of texts that are tokenised together, at most, but for one that is longer."""
PAD, UNKNOWN, BEGIN, END = range(4)
SPECIAL = 4
Texts: TypeAlias = str | bytes | Sequence[str] | Sequence[bytes] | Any  # or a string tensor


class Tokenizer(tf.Module):
    """What all tokenizers share.

    Args:
        normalizer: applied to every text first.

    Example:

    >>> from nlp_rnn.text.tokenizers import ByteTokenizer
    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode(["hi"]).to_list()
    [[108, 109]]
    >>> tokenizer.decode([[108, 109]])
    ['hi']
    """

    kind: ClassVar[str]
    asset_kind: ClassVar[str] = "tokenizer"
    libraries: ClassVar[tuple[str, ...]] = ("tensorflow_text",)

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.normalizer = normalizer
        strings = [tf.TensorSpec([None], tf.string)]
        self._encode_traced = tf.function(self._encode_all, input_signature=strings, autograph=False)
        self._offsets_traced = tf.function(self._encode_with_offsets_all, input_signature=strings, autograph=False)
        self._decode_traced = tf.function(
            self._decode_all, input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False
        )

    @property
    def size(self) -> int:
        """Number of ids, the four special ones included."""
        raise NotImplementedError

    def encode(self, texts: Texts) -> tf.RaggedTensor:
        """Strings `[batch]` → int32 ids `[batch, (tokens)]`, at least one a row."""
        return self._encode_traced(as_tensor(texts))

    def encode_with_offsets(self, texts: Texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Strings `[batch]` → ids, and where each token starts and ends in its text.

        Offsets are int64 Unicode code points: `text[start:end]` is the token. In bytes that are not UTF-8
        each invalid one counts as one code point.
        """
        return self._offsets_traced(as_tensor(texts))

    def decode(self, ids: tf.Tensor | tf.RaggedTensor) -> list[str]:
        """Ids, `[batch, tokens]` padded or ragged → strings; special ids leave no trace."""
        if isinstance(ids, tf.Tensor):
            ids = tf.RaggedTensor.from_tensor(tf.cast(ids, tf.int32))
        elif not isinstance(ids, tf.RaggedTensor):
            rows = [np.asarray(row, np.int32) for row in ids]
            flat = np.concatenate([np.zeros(0, np.int32), *rows])
            ids = tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])
        return [text.decode("utf-8", "replace") for text in self.decode_graph(ids).numpy()]

    def decode_graph(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Int32 ids `[batch, (tokens)]` → strings `[batch]`, for use in a graph."""
        return self._decode_traced(ids)

    def pieces(self) -> list[bytes]:
        """What each id adds to a text that is put together from left to right: UTF-8, or a part of a character's.

        Words and SentencePiece's pieces begin with the blank that stands before them. Special ids add nothing, but for
        the unknown one.
        """
        raise NotImplementedError

    def encode_graph(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """As `encode`, for use in a graph that is to be exported."""
        return self._encode_all(texts)

    @property
    def tables(self) -> list[tf.lookup.StaticHashTable]:
        """The lookup tables of its graphs."""
        return [value for value in vars(self).values() if isinstance(value, tf.lookup.StaticHashTable)]

    def tokens(self, texts: Texts) -> list[list[str]]:
        """The pieces of text that the ids stand for, by their offsets."""
        texts = [texts] if isinstance(texts, (str, bytes)) else list(texts)
        strings = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in texts]
        _, starts, ends = self.encode_with_offsets(strings)
        spans = zip(strings, starts.to_list(), ends.to_list(), strict=True)
        return [[text[s:e] for s, e in zip(begin, end, strict=True)] for text, begin, end in spans]

    def save(self, folder: str | Path) -> None:
        """Writes the tokenizer to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        form = {"normalization": self.normalizer.form, "lowercase": self.normalizer.lowercase}
        description = {"kind": self.kind, **form, **self._options()}
        (folder / "tokenizer.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        self._save_vocabulary(folder)

    def _encode_all(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return never_empty(self._encode(self.normalizer(texts)), UNKNOWN)

    def _encode_with_offsets_all(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        normalized, starts, ends = self.normalizer.with_offsets(texts)
        ids, first, last = self._encode_spans(normalized)
        starts, ends = source_spans(first, last, starts, ends)
        return never_empty(ids, UNKNOWN), never_empty(starts, 0), never_empty(ends, 0)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalised strings → ids."""
        return self._encode_spans(texts)[0]

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Normalised strings → ids, and the code points of those strings where each starts and ends."""
        raise NotImplementedError

    def _decode_all(self, ids: tf.RaggedTensor) -> tf.Tensor:
        values = ids.values
        return self._decode(keep(ids, (values != PAD) & (values != BEGIN) & (values != END)))

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        return {}

    def _save_vocabulary(self, folder: Path) -> None:
        pass


def as_tensor(texts: Texts) -> tf.Tensor:
    """Strings in any form → a string tensor `[batch]`. Lone surrogates become U+FFFD."""
    if isinstance(texts, tf.Tensor):
        return texts
    if isinstance(texts, (str, bytes)):
        texts = [texts]
    encoded = [text if isinstance(text, bytes) else _utf8(text) for text in texts]
    return tf.constant(encoded, tf.string, shape=[len(encoded)])


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in text).encode("utf-8")


def line_begin(tokenizer: Tokenizer, newline: bool) -> int:
    """The id that stands before a line that is read by itself: what ends the line before it.

    Args:
        tokenizer: of a language model.
        newline: whether lines end with a line feed, rather than with the end token.
    """
    last = int(tokenizer.encode(["\n"]).values.numpy()[-1]) if newline else END
    return END if last == UNKNOWN else last


def is_blank(texts: tf.Tensor) -> tf.Tensor:
    """Whether strings `[batch]` hold nothing but white space, in a graph."""
    return tf.strings.regex_full_match(texts, r"(?s)[\p{Z}\p{Cc}]*")


def in_chunks(
    items: Iterable[T], n: int, size: Callable[[T], int] = lambda item: 0, limit: int = 1
) -> Iterable[list[T]]:
    """The items in lists of at most `n`; a list also ends when the sizes in it reach the limit."""
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if len(batch) == n or total >= limit:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def pieces_of(
    text: str, limit: int = _LONGEST_PIECE, marks: Sequence[str] = ("\n", ". ", " ")
) -> Iterator[tuple[int, str]]:
    """A text in pieces of at most `limit` characters, each with its place: tokenizers need memory for each character.

    It is cut after the first of the marks that is in the second half of a piece: by default after the end of a line, or
    else of a sentence, or else after a blank.

    Example:

    >>> list(pieces_of("one two. three", limit=10))
    [(0, 'one two. '), (9, 'three')]
    """
    start = 0
    while len(text) - start > limit:
        half, end = start + limit // 2, start + limit
        places = (text.rfind(mark, half, end) + len(mark) for mark in marks)
        cut = next((place for place in places if place > half), end)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]


def in_pieces(texts: Iterable[str]) -> Iterator[str]:
    """The pieces of texts, one after the other."""
    return (piece for text in texts for _, piece in pieces_of(text))


def source_spans(
    first: tf.RaggedTensor, last: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Spans of normalised code points `[first, last)` → spans of the source code points."""
    row_start = tf.gather(starts.row_splits, row_ids(first))
    begin = tf.gather(tf.concat([starts.values, [0]], 0), row_start + first.values)
    finish = tf.gather(tf.concat([[0], ends.values], 0), row_start + last.values)
    finish = tf.where(last.values > first.values, finish, begin)
    return first.with_values(begin), first.with_values(finish)
