"""Quantiles that never cross, and the loss that makes them honest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor


@keras.saving.register_keras_serializable("nlp_rnn")
class OrderedQuantiles(SequenceLayer):
    """Vectors → quantiles in increasing order: the one in the middle, and distances from it that are never negative.

        q_c = a_c,   q_{i+1} = q_i + softplus(a_{i+1}),   q_{i-1} = q_i - softplus(a_{i-1})

    Args:
        levels: how many quantiles; an odd number, with the median in the middle.
        values: how many values a vector gives the quantiles of.
        dropout: dropout of the vectors.

    Call arguments:
        vectors: `[…, features]`.
        extra: what is added to each a, `[…, values, levels]`.
        training: whether to drop.

    Returns:
        float32 `[…, values, levels]`.

    Example:

    >>> OrderedQuantiles(3, 2)(keras.ops.ones((4, 8))).shape
    TensorShape([4, 2, 3])
    """

    OPTIONS = ("levels", "values", "dropout")

    def __init__(self, levels: int, values: int = 1, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if levels % 2 == 0:
            raise ValueError(f"levels must be odd, with the median in the middle; it is {levels}.")
        self.levels, self.values, self.dropout = levels, values, dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        self.projection = keras.layers.Dense(values * levels, dtype=self.dtype_policy, name="projection")

    def build(self, vectors_shape: Shape) -> None:
        self.projection.build(vectors_shape)
        self.built = True

    def call(self, vectors: Tensor, extra: Tensor | None = None, training: bool = False) -> Tensor:
        raw = ops.cast(self.projection(self.drop(vectors, training=training)), "float32")
        raw = tf.reshape(raw, tf.concat([tf.shape(raw)[:-1], [self.values, self.levels]], 0))
        raw = raw if extra is None else raw + ops.cast(extra, "float32")
        middle = self.levels // 2
        median = raw[..., middle : middle + 1]
        above = median + tf.cumsum(tf.nn.softplus(raw[..., middle + 1 :]), axis=-1)
        below = median - tf.cumsum(tf.nn.softplus(raw[..., :middle]), axis=-1, reverse=True)
        return tf.concat([below, median, above], -1)


def pinball(targets: Tensor, quantiles: Tensor, levels: Sequence[float]) -> Tensor:
    """Twice the pinball loss (Koenker and Bassett 1978), the mean over levels; its part of the median is the absolute
    error.

        2·max(τ·(y - q), (τ - 1)·(y - q))

    Args:
        targets: y, `[…]`.
        quantiles: q, `[…, levels]`.
        levels: τ of each.

    Returns:
        `[…]`.

    Example:

    >>> float(pinball(tf.constant([3.0]), tf.constant([[1.0, 2.0, 4.0]]), [0.1, 0.5, 0.9])[0])
    0.5333333611488342
    """
    error = targets[..., None] - quantiles
    taus = tf.constant(levels, tf.float32)
    return 2 * tf.reduce_mean(tf.maximum(taus * error, (taus - 1) * error), -1)
