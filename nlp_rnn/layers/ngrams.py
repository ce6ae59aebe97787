"""A linear classifier of the n-grams that occur in a sequence of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor
from nlp_rnn.layers.packing import rows_of

if TYPE_CHECKING:
    import numpy as np

_PRIME = 2**31 - 1
_FACTOR = 1_000_003
_SPREAD = 48_271


def ngram_buckets(ids: Tensor, order: int, buckets: int) -> Tensor:
    """The buckets that n-grams are hashed to, by the place where they begin.

    Args:
        ids: `[batch, time]`, padded with 0 on the right.
        order: how long n-grams are at most.
        buckets: how many there are; the first one stands for no n-gram.

    Returns:
        int32 `[batch, order, time + order - 1]`: of n-grams of 1, 2, … ids.

    Example:

    >>> single, pairs = ngram_buckets([[5, 7, 5, 7]], 2, 1000)[0].numpy().tolist()
    >>> single[0] == single[2], pairs[0] == pairs[2], pairs[1] == pairs[0], pairs[3]
    (True, True, False, 0)
    """
    ids = tf.pad(tf.cast(ids, tf.int64), [[0, 0], [0, order - 1]])
    hashed, found = tf.zeros_like(ids), []
    for size in range(order):
        following = tf.pad(ids[:, size:], [[0, 0], [0, size]])
        hashed = (hashed * _FACTOR + following + 1) % _PRIME
        bucket = (hashed * _SPREAD % _PRIME) % (buckets - 1) + 1
        found.append(tf.where(following != 0, bucket, 0))
    return tf.cast(tf.stack(found, 1), tf.int32)


def distinct(buckets: Tensor) -> Tensor:
    """Buckets `[batch, …]` → `[batch, n]`, sorted, with 0 in the place of those that a row has had already."""
    ordered = tf.sort(tf.reshape(buckets, [tf.shape(buckets)[0], -1]), axis=1)
    before = tf.pad(ordered[:, :-1], [[0, 0], [1, 0]])
    return tf.where(ordered == before, 0, ordered)


@keras.saving.register_keras_serializable("nlp_rnn")
class NgramLogits(SequenceLayer):
    """Log-odds of the classes by which n-grams occur in a sequence, whatever their order and number.

    The n-grams are hashed into the rows of a table, which training with gradients leaves alone: `training.ngrams` fits
    it (naive Bayes features under a logistic regression: Wang and Manning 2012, "Baselines and Bigrams"). `weight` is
    how much they count beside a network; it is 0, which leaves the network alone, until it is fitted to validation
    data.

    Args:
        classes: number of classes.
        order: how many ids n-grams have at most.
        buckets: rows of the table; n-grams in the same one share a value.

    Call arguments:
        ids: int32 `[batch, time]`, padded with 0 on the right.

    Returns:
        float32 `[batch, classes]`.

    Example:

    >>> NgramLogits(2, order=2, buckets=1000)(keras.ops.ones((3, 5), "int32")).shape
    TensorShape([3, 2])
    """

    OPTIONS = ("classes", "order", "buckets")

    def __init__(self, classes: int, order: int = 2, buckets: int = 2**21, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if order < 1 or buckets < 2:
            raise ValueError(f"order is {order} and buckets is {buckets}; they must be at least 1 and 2.")
        self.classes, self.order, self.buckets = classes, order, buckets

    @property
    def columns(self) -> int:
        """Of the table: one for two classes, which is that of the second, else one for each."""
        return 1 if self.classes == 2 else self.classes

    def build(self, ids_shape: Shape) -> None:
        shapes: dict[str, Shape] = {"table": (self.buckets, self.columns), "bias": (self.columns,), "weight": ()}
        for name, shape in shapes.items():
            weight = self.add_weight(
                name=name, shape=shape, initializer="zeros", trainable=False, dtype="float32", autocast=False
            )
            setattr(self, name, weight)
        self.built = True

    def call(self, ids: Tensor) -> Tensor:
        rows = rows_of(self.table, distinct(ngram_buckets(ids, self.order, self.buckets)))
        return self._of_classes(tf.reduce_sum(rows, 1) + self.bias)

    def _of_classes(self, scores: Tensor) -> Tensor:
        return tf.concat([-scores / 2, scores / 2], -1) if self.classes == 2 else scores

    def shares(self, ids: Tensor) -> Tensor:
        """What each id adds, `[batch, time, classes]`: an equal share of each n-gram that it is part of, which counts
        once in a sequence. With those of the bias, `call(zeros)`, they sum to what `call` returns."""
        found = ngram_buckets(ids, self.order, self.buckets)
        flat = tf.reshape(found, [tf.shape(found)[0], -1])
        times = tf.reduce_sum(tf.cast(flat[:, :, None] == flat[:, None, :], tf.float32), -1)
        values = rows_of(self.table, found) / tf.reshape(times, tf.shape(found))[..., None]
        total = tf.zeros_like(values[:, 0])
        for size in range(self.order):
            share = values[:, size] / (size + 1)
            for later in range(size + 1):  # the n-gram's ids: that where it begins, and those after it
                total += tf.pad(share, [[0, 0], [later, 0], [0, 0]])[:, : tf.shape(total)[1]]
        return self._of_classes(total[:, : tf.shape(ids)[1]])

    def assign(self, table: np.ndarray, bias: np.ndarray) -> None:
        """Sets what was fitted, `[buckets, columns]` and `[columns]`, whose weight is then to be fitted."""
        self.table.assign(table)
        self.bias.assign(bias)
        self.weight.assign(0.0)
