"""Tokens that a decoder wrote → texts, with unknown words replaced by those that it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from nlp_rnn.text.tokenizer import UNKNOWN, Tokenizer, as_tensor


def detokenize(
    tokenizers: Mapping[str, Tokenizer],
    sources: Sequence[str],
    tokens: Sequence[np.ndarray],
    aligned_source: Sequence[np.ndarray] | None = None,
) -> list[str]:
    """The texts of rows of tokens, which may be padded with 0 to different lengths; see `detokenize_graph`."""
    if aligned_source is None:
        return tokenizers["target"].decode(tokens)
    if not len(sources):
        return []

    def padded(rows: Sequence[np.ndarray]) -> tf.Tensor:
        table = np.zeros((len(rows), max(len(row) for row in rows)), np.int32)
        for row, values in zip(table, rows, strict=True):
            row[: len(values)] = values
        return tf.constant(table)

    found = detokenize_graph(tokenizers, as_tensor(sources), padded(tokens), padded(aligned_source))
    return [text.decode("utf-8", "replace") for text in found.numpy()]


def detokenize_graph(
    tokenizers: Mapping[str, Tokenizer], sources: tf.Tensor, tokens: tf.Tensor, aligned_source: tf.Tensor | None = None
) -> tf.Tensor:
    """The same for use in a graph (Jean et al. 2015, arXiv:1412.2007, for the replacement).

    Args:
        tokenizers: "source" and "target"; of words where unknown ones are replaced.
        sources: strings `[batch]`.
        tokens: int32 `[batch, time]`, padded with 0.
        aligned_source: for each token the place in the source that stands for an unknown one; None replaces none.

    Returns:
        Strings `[batch]`.
    """
    if aligned_source is None:
        return tokenizers["target"].decode_graph(tf.RaggedTensor.from_tensor(tokens))
    words = tokenizers["source"].words(sources).words.to_tensor(shape=[None, None])
    words = tf.pad(words, [[0, 0], [0, 1]])  # a text without words has been read as one unknown
    there = tf.gather(words, tf.minimum(aligned_source, tf.shape(words)[1] - 1), batch_dims=1)
    written = tf.gather(tf.constant(tokenizers["target"].pieces()), tokens)
    spaced = tf.where((tokens == UNKNOWN) & (there != ""), tf.strings.join([" ", there]), written)
    return tf.strings.strip(tf.strings.reduce_join(spaced, 1))
