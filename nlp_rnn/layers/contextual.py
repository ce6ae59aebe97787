"""Vectors of words in their sentence, from the states of language models of characters."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor


@keras.saving.register_keras_serializable("nlp_rnn")
class TextReader(SequenceLayer):
    """The lower parts of a language model, which learn no more: ids → the states of its last layer.

    Args:
        embedding: ids `[batch, time]` → vectors, such as `TokenEmbedding`.
        stack: such as a `RecurrentStack` of one direction.

    Call arguments:
        ids: int32 `[batch, time]`.
        mask: boolean `[batch, time]`, True for what is no padding.

    Returns:
        `[batch, time, units]`.
    """

    PARTS = ("embedding", "stack")

    def __init__(self, embedding: keras.layers.Layer, stack: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding, self.stack = embedding, stack
        self.trainable = False

    @property
    def units(self) -> int:
        """Numbers of a state."""
        return self.stack.output_size

    def build(self, ids_shape: Shape | None = None) -> None:
        for part, shape in ((self.embedding, (None, None)), (self.stack, (None, None, self.embedding.output_dim))):
            if not part.built:
                part.build(shape)
        self.built = True

    def call(self, ids: Tensor, mask: Tensor) -> Tensor:
        sequence, _ = self.stack(self.embedding(ids, training=False), mask=mask, training=False)
        return tf.stop_gradient(sequence)


@keras.saving.register_keras_serializable("nlp_rnn")
class ContextualEmbedding(SequenceLayer):
    """Words as vectors made of their whole sentence: the states that language models of characters have reached where
    a word ends, and where it begins for one that reads backwards (Akbik et al. 2018, "Contextual String Embeddings for
    Sequence Labeling", C18-1139). The words of a sentence are read with one blank between them.

    Args:
        forward: a `TextReader`.
        backward: one whose model has learned to read backwards, or None.
        begin: the id that stands before a text.
        blank: the id of the blank.

    Call arguments:
        characters: int32 ids `[batch, time, characters]`, right-padded with 0 in both directions.

    Returns:
        `[batch, time, units]`, of both readers side by side; 0 for words without characters.

    Example:

    >>> from nlp_rnn.layers import RecurrentStack, TokenEmbedding
    >>> reader = TextReader(TokenEmbedding(100, 8), RecurrentStack("lstm", 16, bidirectional=False))
    >>> ContextualEmbedding(reader, begin=3, blank=4)(keras.ops.ones((2, 5, 7), "int32")).shape
    TensorShape([2, 5, 16])
    """

    OPTIONS = ("begin", "blank")
    PARTS = ("forward", "backward")

    def __init__(
        self, forward: TextReader, backward: TextReader | None = None, begin: int = 0, blank: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.forward, self.backward, self.begin, self.blank = forward, backward, begin, blank
        self.trainable = False
        self.supports_jit = False  # no shape tells how many characters a sentence has

    @property
    def units(self) -> int:
        """Features of a word."""
        return self.forward.units + (self.backward.units if self.backward is not None else 0)

    def build(self, characters_shape: Shape | None = None) -> None:
        for reader in (self.forward, self.backward):
            if reader is not None and not reader.built:
                reader.build((None, None))
        self.built = True

    def call(self, characters: Tensor) -> Tensor:
        lengths = tf.reduce_sum(tf.cast(characters != 0, tf.int32), -1)
        is_word = lengths > 0
        starts = tf.cumsum(lengths + tf.cast(is_word, tf.int32), 1, exclusive=True)
        text, counts = self._joined(characters, lengths)
        found = [self._states(self.forward, text, counts, starts + lengths)]
        if self.backward is not None:
            turned = tf.reverse_sequence(text, counts, seq_axis=1, batch_axis=0)
            found.append(self._states(self.backward, turned, counts, counts[:, None] - starts))
        return tf.concat(found, -1) * tf.cast(is_word, found[0].dtype)[..., None]

    def _joined(self, characters: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The words with a blank between them, `[batch, time]`, and how long each text is."""
        spelt = tf.pad(characters, [[0, 0], [0, 0], [0, 1]])
        is_blank = (tf.range(tf.shape(spelt)[2]) == lengths[..., None]) & (lengths[..., None] > 0)
        flat = tf.reshape(tf.where(is_blank, self.blank, spelt), [tf.shape(spelt)[0], -1])
        is_there = flat != 0
        place = tf.cast(tf.cumsum(tf.cast(is_there, tf.int32), 1) - 1, tf.int64)
        counts = tf.maximum(tf.reduce_sum(tf.cast(is_there, tf.int32), 1) - 1, 0)  # without the last blank
        found = tf.where(is_there)
        to = tf.stack([found[:, 0], tf.gather_nd(place, found)], 1)
        shape = tf.stack([tf.shape(flat)[0], tf.reduce_max(counts) + 1])
        text = tf.scatter_nd(to, tf.gather_nd(flat, found), tf.cast(shape, tf.int64))
        return text[:, :-1], counts

    def _states(self, reader: TextReader, text: Tensor, counts: Tensor, places: Tensor) -> Tensor:
        """What a reader has reached after so many characters."""
        ids = tf.pad(text, [[0, 0], [1, 0]], constant_values=self.begin)
        mask = tf.range(tf.shape(ids)[1]) <= counts[:, None]
        places = tf.clip_by_value(places, 0, counts[:, None])  # those of padding lie anywhere
        return tf.gather(reader(ids, mask=mask), places, batch_dims=1)

    def compute_output_shape(self, characters_shape: Shape) -> Shape:
        """`[batch, time, units]`."""
        return (*characters_shape[:2], self.units)
