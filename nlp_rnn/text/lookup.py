"""Units that are looked up: words, characters, bytes."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from nlp_rnn.text.normalization import REPLACEMENT, Normalizer, code_points_at
from nlp_rnn.text.ragged import keep, never_empty, position_in_row, row_ids
from nlp_rnn.text.tokenizer import (
    CHARACTERS,
    SPECIAL,
    UNKNOWN,
    Texts,
    Tokenizer,
    as_tensor,
    in_chunks,
    in_pieces,
    source_spans,
)

# RE2's \w and \s are ASCII only. Every pattern ends with "or any one other visible sign".
_SIGN = r"[^\p{L}\p{M}\p{N}\p{Z}\p{Cc}]"
_RUN = r"[\p{L}\p{M}\p{N}]+"
# Scripts that put no blanks between words: each character, with its marks, is one here, since runs of them are clauses.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_UNIT = rf"[{_UNSPACED}][\p{{M}}ー]*"
_SPACED_RUN = rf"(?:[^\P{{L}}{_UNSPACED}]|\p{{M}}|\p{{N}})+"
_CLITIC = r"['’](?i:s|t|d|m|ll|re|ve)\b"
_NUMBER = r"\p{N}+(?:[.,:/]\p{N}+)+"
_ABBREVIATION = r"(?:\p{L}\.){2,}"
_CAPITAL = r"(?:[DOdLl]['’]\p{Lu})?"  # O'Neill, D'Angelo
_LETTERS, _SPACED_LETTERS = _CAPITAL + _RUN, _CAPITAL + _SPACED_RUN
WORDS = {
    "unicode": rf"{_UNIT}|{_SPACED_RUN}(?:['’][\p{{L}}\p{{M}}]+)*|{_SIGN}",
    "fine": rf"{_UNIT}|{_CLITIC}|{_NUMBER}|{_ABBREVIATION}|{_SPACED_LETTERS}|{_SIGN}",
    "treebank": rf"{_UNIT}|{_CLITIC}|{_NUMBER}|{_ABBREVIATION}|{_SPACED_LETTERS}(?:[-‐–]{_SPACED_RUN})*|{_SIGN}",
    # As runs of earlier versions split, whose vocabularies have the words of that.
    "unicode-1": rf"{_RUN}(?:['’][\p{{L}}\p{{M}}]+)*|{_SIGN}",
    "fine-1": rf"{_CLITIC}|{_NUMBER}|{_ABBREVIATION}|{_LETTERS}|{_SIGN}",
    "treebank-1": rf"{_CLITIC}|{_NUMBER}|{_ABBREVIATION}|{_LETTERS}(?:[-‐–]{_RUN})*|{_SIGN}",
    "whitespace": r"[^\p{Z}\p{Cc}]+",
}
_SPACES = r"[\p{Z}\p{Cc}]+"
_EMPTY_LINE = r"(?s).*(?:\n[^\n]*\n|\r[^\r\n]*\r|\x{2029}).*"


@dataclasses.dataclass(frozen=True)
class Words:
    """The words of texts, normalised but not lower-cased.

    Args:
        words: strings `[batch, (words)]`.
        starts, ends: int64 code points of the text as given.
        after_break: flat booleans, whether an empty line stands before a word.
    """

    words: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor
    after_break: tf.Tensor


class WordTokenizer(Tokenizer):
    """Whole words and signs, looked up in a vocabulary; others are unknown.

    Args:
        vocabulary: the words, most frequent first; word `i` has id `i + 4`.
        normalizer: applied to every text first.
        split: "unicode" takes runs of letters, marks and digits, every other visible sign by itself, and each character
            by itself of the scripts that part no words: Han, Kana, Thai, Lao, Khmer, Myanmar; "fine" also parts words
            from what an apostrophe adds to them (Ada|'s) and keeps numbers and abbreviations whole (3.50, U.N.);
            "treebank" is "fine" with hyphenated words whole; "whitespace" takes whatever stands between white
            space, for text that is tokenised already.
        frequent: how many of the words, from the first, training saw more than once; None where that is not known.
        extra: how many of the words, from the last, training never saw.

    Example:

    >>> tokenizer = WordTokenizer(["good", "!"], Normalizer("nfc", lowercase=True))
    >>> tokenizer.encode(["Good day!"]).to_list()
    [[4, 1, 5]]
    """

    kind = "word"

    def __init__(
        self,
        vocabulary: Sequence[str],
        normalizer: Normalizer | None = None,
        split: str = "unicode",
        frequent: int | None = None,
        extra: int = 0,
    ) -> None:
        super().__init__(normalizer or Normalizer())
        self.vocabulary = list(vocabulary)
        self.split, self.frequent, self.extra = split, frequent, extra
        keys = tf.constant(["", *self.vocabulary])  # "" is no word: a table may not be empty
        ids = tf.concat([[UNKNOWN], tf.range(SPECIAL, self.size)], 0)
        entries = tf.lookup.KeyValueTensorInitializer(keys, tf.cast(ids, tf.int64))
        self._table = tf.lookup.StaticHashTable(entries, UNKNOWN)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        normalizer: Normalizer | None = None,
        min_count: int = 1,
        split: str = "unicode",
        extra: Iterable[str] = (),
    ) -> WordTokenizer:
        """Takes the most frequent words of the texts, then the `extra` words beyond them (not counted in `size`)."""
        tokenizer = cls([], normalizer, split)
        words = _splitter(tokenizer.normalizer, split)
        counted = _most_common(texts, lambda batch: words(batch)[0], size - SPECIAL, min_count)
        return tokenizer._with(counted, extra)

    def from_words(
        self, words: Iterable[str], size: int, min_count: int = 1, extra: Iterable[str] = ()
    ) -> WordTokenizer:
        """The same with the most frequent of words that were split already, by `words` or elsewhere."""
        return self._with(_most_common(words, self._folded, size - SPECIAL, min_count), extra)

    def _with(self, counted: list[tuple[str, int]], extra: Iterable[str]) -> WordTokenizer:
        words = [word for word, _ in counted]
        known = set(words)
        added = [word for word in dict.fromkeys(extra) if word not in known]
        frequent = sum(count > 1 for _, count in counted)
        return WordTokenizer(words + added, self.normalizer, self.split, frequent, len(added))

    @property
    def size(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def words(self, texts: tf.Tensor) -> Words:
        """Strings `[batch]` → their words and where they stand, for use in a graph; rows may be empty."""
        cased = dataclasses.replace(self.normalizer, lowercase=False)
        texts = tf.concat([texts, [""]], 0)  # tensorflow-text's offsets crash on an empty batch
        normalized, starts, ends = cased.with_offsets(texts)
        words, first, last = self._split_with_gaps(normalized)
        breaks = tf.strings.regex_full_match(words.values, _EMPTY_LINE)
        is_word = self._is_word(words.values)
        after_break = tf.boolean_mask(tf.concat([[False], breaks], 0)[:-1], is_word)
        words, first, last = (keep(part, is_word) for part in (words, first, last))
        first, last = code_points_at(normalized, first), code_points_at(normalized, last)
        starts, ends = source_spans(first, last, starts, ends)
        return Words(_all_but_last(words), _all_but_last(starts), _all_but_last(ends), after_break)

    def cased(self, words: tf.Tensor) -> tf.Tensor:
        """Normalises words that were given as such, without lower-casing them."""
        return dataclasses.replace(self.normalizer, lowercase=False)(words)

    def ids_of(self, words: tf.Tensor) -> tf.Tensor:
        """Words as `words` gives them, flat → int32 ids."""
        return tf.cast(self._table.lookup(self._folded(words)), tf.int32)

    def _folded(self, words: tf.Tensor) -> tf.Tensor:
        return tf.strings.lower(words, encoding="utf-8") if self.normalizer.lowercase else words

    def encode(self, texts: Texts) -> tf.RaggedTensor:
        words, splits = _splitter(self.normalizer, self.split)(as_tensor(texts))
        return self._lookup(_rows(words, splits))

    def encode_with_words(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """As `encode_graph`, with the words that the ids stand for; "" in a text without words."""
        words = never_empty(self._split(self.normalizer(texts))[0], "")
        return self._lookup(words), words

    def _split(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        words, starts, ends = self._split_with_gaps(texts)
        wanted = self._is_word(words.values)
        return keep(words, wanted), keep(starts, wanted), keep(ends, wanted)

    def _split_with_gaps(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Words and the white space between them, with byte offsets."""
        import tensorflow_text as tf_text

        # The words are the "delimiters", which are kept.
        return tf_text.regex_split_with_offsets(texts, WORDS[self.split], WORDS[self.split])

    @staticmethod
    def _is_word(pieces: tf.Tensor) -> tf.Tensor:
        return ~tf.strings.regex_full_match(pieces, _SPACES) & (pieces != "")

    def _lookup(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        return words.with_values(tf.cast(self._table.lookup(words.values), tf.int32))

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._lookup(self._split(texts)[0])

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        words, starts, ends = self._split(texts)
        return self._lookup(words), code_points_at(texts, starts), code_points_at(texts, ends)

    def pieces(self) -> list[bytes]:
        return [b"", b" " + _UNKNOWN, b"", b"", *(b" " + word.encode() for word in self.vocabulary)]

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        words = tf.constant(["", REPLACEMENT, "", "", *self.vocabulary])
        return tf.strings.reduce_join(tf.gather(words, ids), axis=1, separator=" ")

    def _options(self) -> dict[str, Any]:
        counts = {"frequent": self.frequent, "extra": self.extra}
        return {"split": self.split, "rules": 3, **counts, "pattern": WORDS[self.split]}  # for readers in plain Python

    def _save_vocabulary(self, folder: Path) -> None:
        _write_json(folder / "vocabulary.json", self.vocabulary)


class CharacterTokenizer(Tokenizer):
    """Unicode code points, looked up in a vocabulary; others are unknown.

    Args:
        vocabulary: single characters; character `i` has id `i + 4`.
        normalizer: applied to every text first.
    """

    kind = "character"

    def __init__(self, vocabulary: Sequence[str], normalizer: Normalizer | None = None) -> None:
        super().__init__(normalizer or Normalizer())
        self.vocabulary = list(vocabulary)
        points = np.array([ord(character) for character in self.vocabulary], np.int32)
        order = np.argsort(points)
        self._points, self._ids = points[order], (order + SPECIAL).astype(np.int32)
        flat = [tf.TensorSpec([None], tf.int32)]
        self._ids_traced = tf.function(self._ids_of, input_signature=flat, autograph=False)

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, normalizer: Normalizer | None = None, min_count: int = 1
    ) -> CharacterTokenizer:
        """Takes the most frequent characters of the texts."""
        normalizer = normalizer or Normalizer()

        points = _points_of(normalizer)

        def split(strings: tf.Tensor) -> tf.Tensor:
            found = points(strings)[0]
            return tf.strings.unicode_encode(found[found != _NONE][:, None], "UTF-8")

        counted = _most_common(texts, split, size - SPECIAL, min_count)
        return cls([character for character, _ in counted], normalizer)

    @property
    def size(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def encode(self, texts: Texts) -> tf.RaggedTensor:
        points, splits = _points_of(self.normalizer)(as_tensor(texts))
        return _rows(self._ids_traced(points), splits)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        points = tf.strings.unicode_decode(texts, "UTF-8")
        return points.with_values(self._ids_of(points.values))

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        ids = self._encode(texts)
        first = ids.with_values(position_in_row(ids))
        return ids, first, first.with_values(first.values + 1)

    def _ids_of(self, points: tf.Tensor) -> tf.Tensor:
        """Flat code points → ids."""
        if not self.vocabulary:
            return tf.fill(tf.shape(points), UNKNOWN)
        place = tf.minimum(tf.searchsorted(self._points, points), len(self._points) - 1)
        known = tf.gather(self._points, place) == points
        return tf.where(known, tf.gather(self._ids, place), UNKNOWN)

    def pieces(self) -> list[bytes]:
        return [b"", _UNKNOWN, b"", b"", *(character.encode() for character in self.vocabulary)]

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return tf.strings.reduce_join(tf.gather(tf.constant(self.pieces()), ids), axis=1)

    def _save_vocabulary(self, folder: Path) -> None:
        _write_json(folder / "vocabulary.json", self.vocabulary)


class ByteTokenizer(Tokenizer):
    """The bytes of UTF-8; byte `b` has id `b + 4`. Nothing is unknown and nothing is trained."""

    kind = "byte"

    def __init__(self, normalizer: Normalizer | None = None) -> None:
        super().__init__(normalizer or Normalizer())

    @property
    def size(self) -> int:
        return SPECIAL + 256

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        characters = tf.strings.bytes_split(texts)
        values = tf.cast(tf.reshape(tf.io.decode_raw(characters.values, tf.uint8), [-1]), tf.int32)
        return characters.with_values(values + SPECIAL)

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        ids = self._encode(texts)
        starts = tf.cast((ids.values - SPECIAL) & 0xC0 != 0x80, tf.int64)  # not a continuation byte
        count = tf.concat([[0], tf.cumsum(starts)], 0)
        before_row = tf.gather(count, tf.gather(ids.row_splits, row_ids(ids)))
        first = ids.with_values(count[1:] - before_row - 1)
        return ids, first, first.with_values(first.values + 1)

    def pieces(self) -> list[bytes]:
        return [b"", _UNKNOWN, b"", b"", *(bytes([byte]) for byte in range(256))]

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        joined = tf.strings.reduce_join(tf.gather(tf.constant(self.pieces()), ids), axis=1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")


Split: TypeAlias = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@functools.cache
def _splitter(normalizer: Normalizer, split: str) -> Split:
    """Strings `[batch]` → flat words and row splits, traced once for all vocabularies; a text without words has "",
    which is unknown to all."""
    tokenizer = WordTokenizer([], normalizer, split)
    return _traced(lambda texts: never_empty(tokenizer._split(normalizer(texts))[0], ""))


@functools.cache
def _points_of(normalizer: Normalizer) -> Split:
    """Strings `[batch]` → flat code points and row splits, traced once for all; an empty text is `_NONE`."""
    return _traced(lambda texts: never_empty(tf.strings.unicode_decode(normalizer(texts), "UTF-8"), _NONE))


def _traced(function: Callable[[tf.Tensor], tf.RaggedTensor]) -> Split:
    def call(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = function(texts)
        return rows.values, rows.row_splits

    with tf.init_scope():
        return tf.function(call, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


def _rows(values: tf.Tensor, splits: tf.Tensor) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def _all_but_last(rows: tf.RaggedTensor) -> tf.RaggedTensor:
    """Without the last row, which is empty."""
    return tf.RaggedTensor.from_row_splits(rows.values, rows.row_splits[:-1], validate=False)


_UNKNOWN = REPLACEMENT.encode()
_NONE = -1  # no code point


def _most_common(
    texts: Iterable[str], split: Callable[[tf.Tensor], tf.Tensor], size: int, min_count: int
) -> list[tuple[str, int]]:
    counts: Counter[bytes] = Counter()
    for batch in in_chunks(in_pieces(texts), 1000, len, CHARACTERS):
        counts.update(split(as_tensor(batch)).numpy().tolist())
    del counts[b""]  # a token of nothing is unknown
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(word.decode("utf-8"), count) for word, count in ranked[: max(size, 0)] if count >= min_count]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
