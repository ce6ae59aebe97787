"""From states to the words of a vocabulary."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor


@keras.saving.register_keras_serializable("nlp_rnn")
class SoftmaxHead(SequenceLayer):
    """Logits of a vocabulary: z = W·h + b, with W of its own or that of the embedding; p = softmax(z).

    Tied (Inan et al. 2016, arXiv:1611.01462; Press and Wolf 2016, arXiv:1608.05859), a word's vector is also what the
    state is compared with; where the sizes differ, a projection without activation comes before.

    What a call does is `logits(states(sequence), embeddings)`; training and measuring need `nats` only.

    Args:
        vocabulary: number of words.
        tied_size: dimensions of the embedding that the weights are tied to; 0 for weights of its own.
        dropout: dropout on the states, one mask per sequence.

    Call arguments:
        sequence: h, `[batch, time, features]`.
        embeddings: the embedding's table `[vocabulary, tied_size]`, where tied.
        training: whether to drop.

    Returns:
        float32 logits `[batch, time, vocabulary]`.

    Example:

    >>> head = SoftmaxHead(50)
    >>> head(keras.ops.ones((2, 5, 8))).shape
    TensorShape([2, 5, 50])
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("vocabulary", "tied_size", "dropout")

    def __init__(self, vocabulary: int, tied_size: int = 0, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.tied_size, self.dropout = vocabulary, tied_size, dropout
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name="drop")
        self.projection: keras.layers.Dense | None = None

    def build(self, sequence_shape: Shape) -> None:
        features = sequence_shape[-1]
        if self.tied_size and self.tied_size != features:
            self.projection = keras.layers.Dense(self.tied_size, dtype=self.dtype_policy, name="projection")
            self.projection.build((None, None, features))
        self.build_weights(features)
        self.bias = self.add_weight(name="bias", shape=(self.vocabulary,), initializer="zeros")
        self.built = True

    def build_weights(self, features: int) -> None:
        """Weights beside the bias, for states of so many features."""
        if not self.tied_size:
            self.kernel = self.add_weight(name="kernel", shape=(features, self.vocabulary))

    def call(self, sequence: Tensor, embeddings: Tensor | None = None, training: bool = False) -> Tensor:
        return self.logits(self.states(sequence, training), embeddings)

    def states(self, sequence: Tensor, training: bool = False) -> Tensor:
        """What the words' vectors are compared with, `[batch, time, features]`: dropped and projected."""
        sequence = self.drop(sequence, training=training)
        return sequence if self.projection is None else self.projection(sequence)

    def logits(self, states: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """float32 logits `[batch, time, vocabulary]`."""
        return self._compared(states, embeddings if self.tied_size else self.kernel, self.bias)

    def nats(self, states: Tensor, targets: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """-log p of the targets, float32 `[batch, time]`.

        Args:
            states: as `states` gives them.
            targets: int32 `[batch, time]`.
            embeddings: the embedding's table, where tied.
        """
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, self.logits(states, embeddings))

    def margins(self, states: Tensor, targets: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """The targets' logits less the mean of all, float32 `[batch, time]`, without the logits of the others.

        A share ε of the mass spread over all words makes the loss -log p + ε·margin: what label smoothing needs.
        """
        table = embeddings if self.tied_size else ops.transpose(self.kernel)
        mean = ops.cast(ops.mean(table, axis=0), "float32")
        chosen = ops.cast(tf.gather(table, targets), "float32") - mean
        bias = tf.gather(self.bias, targets) - ops.mean(self.bias)
        return ops.sum(ops.cast(states, "float32") * chosen, axis=-1) + ops.cast(bias, "float32")

    def _compared(self, states: Tensor, words: Tensor, bias: Tensor) -> Tensor:
        """Logits of words whose vectors are the rows of `words`, where tied, or its columns."""
        flat, words = tf.reshape(states, [-1, states.shape[-1]]), ops.cast(words, states.dtype)
        # A product with rows has a gradient in rows: a transposed table would be copied on the way back.
        logits = ops.cast(tf.matmul(flat, words, transpose_b=bool(self.tied_size)), "float32")
        logits += ops.cast(bias, "float32")
        return tf.reshape(logits, tf.concat([tf.shape(states)[:-1], [logits.shape[-1]]], 0))


@keras.saving.register_keras_serializable("nlp_rnn")
class AdaptiveSoftmaxHead(SoftmaxHead):
    """Probabilities of a large vocabulary whose ids are ordered by frequency, at the cost of its frequent words.

    The first words share a softmax with one entry per cluster of rarer ones (Grave et al. 2017, arXiv:1609.04309):

        p(w) = p(w | shortlist),             w in the shortlist,
        p(w) = p(cluster) · p(w | cluster),  w in a cluster,

    which is a distribution over all words, exactly. In training a cluster is computed only at the steps whose target
    lies in it. The logits of a call are log p of all words.

    Args:
        vocabulary: number of words.
        tied_size: as that of `SoftmaxHead`. Tied, clusters have the embedding's vectors, of full size; with weights of
            its own, the states are projected to `features / reduction^i` dimensions for cluster i, from 1.
        dropout: as that of `SoftmaxHead`.
        cutoffs: the first id of each cluster, rising.
        reduction: see `tied_size`.

    Raises:
        ValueError: the cutoffs do not rise, or are not inside the vocabulary.

    Example:

    >>> head = AdaptiveSoftmaxHead(1000, cutoffs=(100, 400))
    >>> logits = head(keras.ops.ones((2, 5, 32)))
    >>> round(float(keras.ops.sum(keras.ops.exp(logits[0, 0]))), 4)
    1.0
    """

    OPTIONS = (*SoftmaxHead.OPTIONS, "cutoffs", "reduction")

    def __init__(
        self,
        vocabulary: int,
        tied_size: int = 0,
        dropout: float = 0.0,
        cutoffs: Sequence[int] = (2000, 10000),
        reduction: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(vocabulary, tied_size, dropout, **kwargs)
        self.cutoffs, self.reduction = [int(cutoff) for cutoff in cutoffs], reduction
        bounds = [0, *self.cutoffs, vocabulary]
        if not self.cutoffs or any(first >= last for first, last in itertools.pairwise(bounds)):
            raise ValueError(f"cutoffs must increase, between 0 and the vocabulary, {vocabulary}: {self.cutoffs}.")
        self.shortlist = self.cutoffs[0]
        self.clusters = list(itertools.pairwise(bounds[1:]))

    def build_weights(self, features: int) -> None:
        features = self.tied_size or features
        count = len(self.clusters)
        self.cluster_kernel = self.add_weight(name="cluster_kernel", shape=(features, count))
        self.cluster_bias = self.add_weight(name="cluster_bias", shape=(count,), initializer="zeros")
        if self.tied_size:
            return
        self.kernel = self.add_weight(name="kernel", shape=(features, self.shortlist))
        self.down, self.cluster_words = [], []
        for index, (first, last) in enumerate(self.clusters, 1):
            size = max(features // self.reduction**index, 1)
            self.down.append(self.add_weight(name=f"down_{index}", shape=(features, size)))
            self.cluster_words.append(self.add_weight(name=f"words_{index}", shape=(size, last - first)))

    def logits(self, states: Tensor, embeddings: Tensor | None = None) -> Tensor:
        shortlist, *clusters = self._words(embeddings)
        top = tf.nn.log_softmax(self._top(states, shortlist))
        parts = [top[..., : self.shortlist]]
        for index, words in enumerate(clusters):
            inside = tf.nn.log_softmax(self._inside(index, states, words))
            parts.append(inside + top[..., self.shortlist + index, None])
        return tf.concat(parts, -1)

    def nats(self, states: Tensor, targets: Tensor, embeddings: Tensor | None = None) -> Tensor:
        shape = tf.shape(targets)
        states, targets = tf.reshape(states, [-1, states.shape[-1]]), tf.reshape(targets, [-1])
        cluster = tf.searchsorted(self.cutoffs, targets, side="right") - 1
        entry = tf.where(cluster < 0, targets, self.shortlist + cluster)
        shortlist, *clusters = self._words(embeddings)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(entry, self._top(states, shortlist))
        for index, (words, (first, _)) in enumerate(zip(clusters, self.clusters, strict=True)):
            places = tf.where(cluster == index)
            logits = self._inside(index, tf.gather(states, places[:, 0]), words)
            wanted = tf.gather(targets, places[:, 0]) - first
            inside = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits)
            nats += tf.scatter_nd(places, inside, tf.shape(nats, tf.int64))
        return tf.reshape(nats, shape)

    def _words(self, embeddings: Tensor) -> list[Tensor]:
        """The words' vectors, of the shortlist and of each cluster, as `_compared` takes them."""
        if not self.tied_size:
            return [self.kernel, *self.cluster_words]
        # Of slices, each would have a gradient as large as the table.
        return tf.split(embeddings, [last - first for first, last in [(0, self.shortlist), *self.clusters]])

    def _top(self, states: Tensor, words: Tensor) -> Tensor:
        """Logits of the shortlist, whose words they are, and of the clusters."""
        kernel = ops.cast(self.cluster_kernel, words.dtype)
        entries = tf.concat([words, ops.transpose(kernel)], 0) if self.tied_size else tf.concat([words, kernel], 1)
        return self._compared(states, entries, tf.concat([self.bias[: self.shortlist], self.cluster_bias], 0))

    def _inside(self, index: int, states: Tensor, words: Tensor) -> Tensor:
        """Logits of a cluster's words."""
        if not self.tied_size:
            states = ops.matmul(states, ops.cast(self.down[index], states.dtype))
        first, last = self.clusters[index]
        return self._compared(states, words, self.bias[first:last])
