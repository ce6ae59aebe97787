"""Units that are looked up: words, characters, bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_rnn.text.normalization import REPLACEMENT, Normalizer, code_points_at
from nlp_rnn.text.ragged import keep, position_in_row
from nlp_rnn.text.tokenizer import SPECIAL, UNKNOWN, Tokenizer, as_tensor, in_chunks

# Letters, marks and digits, with apostrophes inside; or any one other sign. RE2's \w and \s are ASCII only.
_WORD = r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}]+)*|[^\p{L}\p{M}\p{N}\p{Z}\p{Cc}]"
_SPACES = r"[\p{Z}\p{Cc}]+"


class WordTokenizer(Tokenizer):
    """Whole words and signs, looked up in a vocabulary; others are unknown.

    Args:
        vocabulary: the words, most frequent first; word `i` has id `i + 4`.
        normalizer: applied to every text first.
        split: "unicode" takes runs of letters, marks and digits, and every other visible sign by itself;
            "whitespace" takes whatever stands between white space, for text that is tokenised already.

    Example:

    >>> tokenizer = WordTokenizer(["good", "!"], Normalizer("nfc", lowercase=True))
    >>> tokenizer.encode(["Good day!"]).to_list()
    [[4, 1, 5]]
    """

    kind = "word"

    def __init__(self, vocabulary: Sequence[str], normalizer: Normalizer | None = None, split: str = "unicode") -> None:
        super().__init__(normalizer or Normalizer())
        self.vocabulary = list(vocabulary)
        self.split = split
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
        words = _most_common(texts, tokenizer._split_traced(), size - SPECIAL, min_count)
        known = set(words)
        words += [word for word in dict.fromkeys(extra) if word not in known]
        return cls(words, tokenizer.normalizer, split)

    @property
    def size(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def _split_traced(self) -> Callable[[tf.Tensor], tf.Tensor]:
        def split(texts: tf.Tensor) -> tf.Tensor:
            return self._split(self.normalizer(texts))[0].values

        return tf.function(split, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def _split(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        import tensorflow_text as tf_text

        # The words are the "delimiters", which are kept; what stands between them is white space.
        kept = _WORD if self.split == "unicode" else r"[^\p{Z}\p{Cc}]+"
        words, starts, ends = tf_text.regex_split_with_offsets(texts, kept, kept)
        is_word = tf.logical_not(tf.strings.regex_full_match(words.values, _SPACES))
        wanted = is_word & (words.values != "")
        return keep(words, wanted), keep(starts, wanted), keep(ends, wanted)

    def _lookup(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        return words.with_values(tf.cast(self._table.lookup(words.values), tf.int32))

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._lookup(self._split(texts)[0])

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        words, starts, ends = self._split(texts)
        return self._lookup(words), code_points_at(texts, starts), code_points_at(texts, ends)

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        words = tf.constant(["", REPLACEMENT, "", "", *self.vocabulary])
        return tf.strings.reduce_join(tf.gather(words, ids), axis=1, separator=" ")

    def _options(self) -> dict[str, Any]:
        return {"split": self.split}

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

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, normalizer: Normalizer | None = None, min_count: int = 1
    ) -> CharacterTokenizer:
        """Takes the most frequent characters of the texts."""
        normalizer = normalizer or Normalizer()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def split(strings: tf.Tensor) -> tf.Tensor:
            return tf.strings.unicode_split(normalizer(strings), "UTF-8").values

        return cls(_most_common(texts, split, size - SPECIAL, min_count), normalizer)

    @property
    def size(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        points = tf.strings.unicode_decode(texts, "UTF-8")
        first = points.with_values(position_in_row(points))
        last = first.with_values(first.values + 1)
        if not self.vocabulary:
            return points.with_values(tf.fill(tf.shape(points.values), UNKNOWN)), first, last
        place = tf.minimum(tf.searchsorted(self._points, points.values), len(self._points) - 1)
        known = tf.gather(self._points, place) == points.values
        ids = points.with_values(tf.where(known, tf.gather(self._ids, place), UNKNOWN))
        return ids, first, last

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        characters = tf.constant(["", REPLACEMENT, "", "", *self.vocabulary])
        return tf.strings.reduce_join(tf.gather(characters, ids), axis=1)

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
        before_row = tf.gather(count, tf.gather(ids.row_splits, ids.value_rowids()))
        first = ids.with_values(count[1:] - before_row - 1)
        return ids, first, first.with_values(first.values + 1)

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        table = tf.constant([b"\xef\xbf\xbd" if i == UNKNOWN else b"" for i in range(SPECIAL)] + _BYTES)
        joined = tf.strings.reduce_join(tf.gather(table, ids), axis=1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")


_BYTES = [bytes([b]) for b in range(256)]


def _most_common(texts: Iterable[str], split: Callable[[tf.Tensor], tf.Tensor], size: int, min_count: int) -> list[str]:
    counts: Counter[bytes] = Counter()
    for batch in in_chunks(texts, 1000):
        counts.update(split(as_tensor(batch)).numpy().tolist())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word.decode("utf-8") for word, count in ranked[: max(size, 0)] if count >= min_count]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
