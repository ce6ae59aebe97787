"""Unicode clean-up, normalisation and case folding, with the way back to the original text.

Everything is a TensorFlow or tensorflow-text op, so that Python and an exported graph cannot disagree.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from nlp_rnn.text.ragged import position_in_row, row_ids

REPLACEMENT = "\ufffd"


@dataclasses.dataclass(frozen=True)
class Normalizer:
    """Cleans a batch of strings, one code point at a time accounted for.

    Bytes that are not UTF-8 become U+FFFD, and so does NUL (string ops of TensorFlow end at it). Then the
    Unicode normalisation `form` is applied and, with `lowercase`, Unicode lower-casing.

    Args:
        form: "none", "nfc" or "nfkc" (Unicode Standard Annex 15).
        lowercase: whether to lower-case.

    Example:

    >>> Normalizer("nfkc", lowercase=True)(tf.constant(["Ｈｉ"])).numpy()
    array([b'hi'], dtype=object)
    """

    form: str = "nfkc"
    lowercase: bool = False

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Strings `[batch]` → normalised strings `[batch]`."""
        texts = self._normalize(_clean(texts))
        return tf.strings.lower(texts, encoding="utf-8") if self.lowercase else texts

    def with_offsets(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Strings `[batch]` → normalised strings and, for each code point of them, the span it came from.

        Returns:
            The normalised strings `[batch]`, and ragged int64 `starts`, `ends` `[batch, (code points)]`: code
            points of the text as given, in which every invalid byte counts as one.
        """
        clean = _clean(texts)
        normalized = self._normalize(clean)
        starts, ends = self._spans(clean, normalized)
        if not self.lowercase:
            return normalized, starts, ends
        lengths = _lengths_lowered(normalized)
        splits = tf.gather(tf.concat([[0], tf.cumsum(lengths)], 0), starts.row_splits)
        starts, ends = (
            tf.RaggedTensor.from_row_splits(tf.repeat(part.values, lengths), splits, validate=False)
            for part in (starts, ends)
        )
        return tf.strings.lower(normalized, encoding="utf-8"), starts, ends

    def _normalize(self, texts: tf.Tensor) -> tf.Tensor:
        if self.form == "none":
            return texts
        import tensorflow_text as tf_text

        return tf_text.normalize_utf8(texts, self.form.upper())

    def _spans(self, clean: tf.Tensor, normalized: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        rows = _code_point_bytes(normalized)
        if self.form == "none":
            starts = rows.with_values(position_in_row(rows))
            return starts, starts.with_values(starts.values + 1)
        import tensorflow_text as tf_text

        _, offsets_map = tf_text.normalize_utf8_with_offsets_map(clean, self.form.upper())
        boundaries = _code_point_bytes(normalized + ".")  # one more: the end of the string
        sources = tf_text.find_source_offsets(offsets_map, boundaries)
        limits = tf.gather(byte_lengths(clean), row_ids(sources))
        sources = code_points_at(clean, sources.with_values(tf.minimum(sources.values, limits)))
        is_start = position_in_row(sources) < tf.gather(sources.row_lengths() - 1, row_ids(sources))
        begin = tf.boolean_mask(sources.values, is_start)
        end = tf.boolean_mask(tf.roll(sources.values, -1, 0), is_start)
        # Of one code point that became several, ICU gives all but the first an empty span at its end.
        begin = _last_true(begin, end > begin)
        return rows.with_values(begin), rows.with_values(end)


def code_points_at(texts: tf.Tensor, byte_offsets: tf.RaggedTensor) -> tf.RaggedTensor:
    """Byte offsets `[batch, (n)]` into UTF-8 strings → code point offsets of the same shape."""
    bytes_of = _code_point_bytes(texts)
    # Rows are kept apart by a step larger than any offset, so that one search serves all.
    width = tf.reduce_max(tf.concat([byte_lengths(texts), [0]], 0)) + 1
    keys = bytes_of.values + row_ids(bytes_of) * width
    wanted = byte_offsets.values + row_ids(byte_offsets) * width
    found = tf.searchsorted(keys, wanted, out_type=tf.int64)
    return byte_offsets.with_values(found - tf.gather(bytes_of.row_splits, row_ids(byte_offsets)))


def byte_lengths(texts: tf.Tensor) -> tf.Tensor:
    """Strings `[batch]` → int64 lengths in bytes `[batch]`."""
    return tf.cast(tf.strings.length(texts), tf.int64)


def _clean(texts: tf.Tensor) -> tf.Tensor:
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.regex_replace(texts, r"\x00", REPLACEMENT)


def _code_point_bytes(texts: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.unicode_decode_with_offsets(texts, "UTF-8")[1]


def _lengths_lowered(normalized: tf.Tensor) -> tf.Tensor:
    """For each code point, flat, the number that lower-casing makes of it (2 for U+0130, else 1)."""
    unique, position = tf.unique(tf.strings.unicode_decode(normalized, "UTF-8").values)
    alone = tf.strings.lower(tf.strings.unicode_encode(tf.expand_dims(unique, 1), "UTF-8"), encoding="utf-8")
    lengths = tf.cast(tf.strings.length(alone, unit="UTF8_CHAR"), tf.int64)
    return tf.gather(lengths, position)


def _last_true(values: tf.Tensor, condition: tf.Tensor) -> tf.Tensor:
    """Replaces each value where the condition is false by the one last before it where it is true."""
    kept = tf.concat([[0], tf.boolean_mask(values, condition)], 0)
    return tf.gather(kept, tf.cumsum(tf.cast(condition, tf.int64)))
