"""Attention layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the last axis, in float32 at least; places where the mask is False get exactly 0."""
    scores = scores if scores.dtype == "float64" else ops.cast(scores, "float32")
    if mask is None:
        return tf.nn.softmax(scores)
    weights = tf.nn.softmax(ops.where(mask, scores, -1e9))  # Keras's warns of a single place
    return weights * ops.cast(mask, scores.dtype)


@keras.saving.register_keras_serializable("nlp_rnn")
class AdditivePooling(SequenceLayer):
    """A weighted mean over time, the weights from an additive score (Yang et al. 2016, "Hierarchical
    Attention Networks for Document Classification").

        e_t = v · tanh(W·h_t + b)        α = softmax(e)        s = Σ_t α_t h_t

    Args:
        units: size of the hidden layer of the score.

    Call arguments:
        sequence: h, `[batch, time, features]`.
        mask: boolean `[batch, time]`, True for tokens.

    Returns:
        The vector s `[batch, features]` and the weights α `[batch, time]` (float32, 0 at padding).

    Example:

    >>> vector, weights = AdditivePooling(4)(keras.ops.ones((2, 5, 3)))
    >>> vector.shape, weights.shape
    (TensorShape([2, 3]), TensorShape([2, 5]))
    """

    OPTIONS = ("units",)

    def __init__(self, units: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="tanh", dtype=self.dtype_policy, name="hidden")
        self.score = keras.layers.Dense(1, use_bias=False, dtype=self.dtype_policy, name="score")

    def build(self, sequence_shape: Shape) -> None:
        self.hidden.build((None, None, sequence_shape[-1]))
        self.score.build((None, None, self.units))
        self.built = True

    def call(self, sequence: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Nest]:
        scores = ops.squeeze(self.score(self.hidden(sequence)), axis=-1)
        weights = masked_softmax(scores, mask)
        vector = ops.einsum("bt,btf->bf", ops.cast(weights, sequence.dtype), sequence)
        return vector, weights


@keras.saving.register_keras_serializable("nlp_rnn")
class Attention(SequenceLayer):
    """What a sequence of queries finds in a memory: for each query a weighted mean of the memory.

        α_ts = softmax_s(score(q_t, m_s))        c_t = Σ_s α_ts m_s

        "additive"    v · tanh(W·q + U·m + b)    Bahdanau et al. 2015, arXiv:1409.0473
        "concat"      v · tanh(W·[q; m])         Luong et al. 2015, arXiv:1508.04025
        "dot"         q · m
        "general"     q · W·m
        "multi_head"  (W_i·q) · (U_i·m) / √d for each head i, each with a mean of V_i·m, projected together
                      (Vaswani et al. 2017, arXiv:1706.03762)

    Args:
        kind: of the score.
        units: size of the hidden layer ("additive", "concat"), or of all heads together and the result ("multi_head").
        heads: of "multi_head", a divisor of `units`.
        output_units: features of a context of "multi_head"; 0 for `units`.

    Call arguments:
        query: q, `[batch, time, features]`.
        memory: m, `[batch, places, features]`; for "dot" with as many features as the queries.
        mask: boolean `[batch, places]`, False at padding.
        keys: what `keys(memory)` returned, where many calls share a memory.

    Returns:
        The contexts c `[batch, time, features]` and the weights α `[batch, time, places]` (float32, 0 at padding; of
        several heads their mean).

    Raises:
        ValueError: the kind is none of these, the heads do not divide the units, or the sizes do not fit.

    Example:

    >>> contexts, weights = Attention("general")(keras.ops.ones((2, 4, 3)), keras.ops.ones((2, 5, 6)))
    >>> contexts.shape, weights.shape
    (TensorShape([2, 4, 6]), TensorShape([2, 4, 5]))
    """

    OPTIONS = ("kind", "units", "heads", "output_units")
    KINDS = ("additive", "concat", "dot", "general", "multi_head")

    def __init__(
        self, kind: str = "additive", units: int = 128, heads: int = 4, output_units: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kind not in self.KINDS:
            raise ValueError(f'kind is "{kind}"; it must be one of {", ".join(self.KINDS)}.')
        if kind == "multi_head" and units % heads:
            raise ValueError(f"units must be a multiple of heads, {heads}; it is {units}.")
        self.kind, self.units, self.heads, self.output_units = kind, units, heads, output_units

    def build(self, query_shape: Shape, memory_shape: Shape) -> None:
        queries, places = query_shape[-1], memory_shape[-1]
        if self.kind == "dot" and queries != places:
            raise ValueError(
                f'"dot" attention needs queries and memory of equal size, and they have {queries} and {places}: make '
                f'decoder.units the size of the encoder\'s output, or take "general".'
            )
        if self.kind in ("additive", "concat", "multi_head"):
            self.query_kernel = self.add_weight(name="query_kernel", shape=(queries, self.units))
            self.key_kernel = self.add_weight(name="key_kernel", shape=(places, self.units))
        if self.kind in ("additive", "concat"):
            self.score = self.add_weight(name="score", shape=(self.units, 1))
        if self.kind == "additive":
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        if self.kind == "general":
            self.key_kernel = self.add_weight(name="key_kernel", shape=(places, queries))
        if self.kind == "multi_head":
            self.value_kernel = self.add_weight(name="value_kernel", shape=(places, self.units))
            self.output_kernel = self.add_weight(
                name="output_kernel", shape=(self.units, self.output_units or self.units)
            )
        self.built = True

    def keys(self, memory: Tensor) -> Tensor:
        """What depends on the memory alone, `[batch, places, …]`: of a score, and of several heads the values too."""
        if self.kind == "dot":
            return memory
        keys = ops.matmul(memory, ops.cast(self.key_kernel, memory.dtype))
        if self.kind != "multi_head":
            return keys
        return ops.concatenate([keys, ops.matmul(memory, ops.cast(self.value_kernel, memory.dtype))], axis=-1)

    def key_size(self, features: int) -> int:
        """Features of the keys of a built layer, where the memory has so many."""
        return features if self.kind == "dot" else self.key_kernel.shape[-1] * (1 + (self.kind == "multi_head"))

    def call(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, keys: Tensor | None = None
    ) -> tuple[Tensor, Nest]:
        keys = self.keys(memory) if keys is None else keys
        mask = None if mask is None else mask[:, None, :]
        if self.kind == "multi_head":
            return self._by_heads(query, mask, keys)
        if self.kind in ("dot", "general"):
            scores = ops.matmul(query, ops.transpose(keys, (0, 2, 1)))
        else:
            hidden = ops.matmul(query, self.query_kernel)[:, :, None] + keys[:, None]
            hidden = ops.tanh(hidden + self.bias if self.kind == "additive" else hidden)
            scores = ops.matmul(hidden, self.score)[..., 0]
        weights = masked_softmax(scores, mask)
        return ops.matmul(ops.cast(weights, memory.dtype), memory), weights

    def _by_heads(self, query: Tensor, mask: Tensor, keys_and_values: Tensor) -> tuple[Tensor, Nest]:
        queries = self._split(ops.matmul(query, self.query_kernel))
        keys, values = (self._split(part) for part in ops.split(keys_and_values, 2, axis=-1))
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
        scores = scores / (self.units // self.heads) ** 0.5
        weights = masked_softmax(scores, None if mask is None else mask[:, None])
        found = ops.transpose(ops.matmul(ops.cast(weights, values.dtype), values), (0, 2, 1, 3))
        found = ops.reshape(found, (*ops.shape(found)[:2], self.units))
        return ops.matmul(found, self.output_kernel), ops.mean(weights, axis=1)

    def _split(self, x: Tensor) -> Tensor:
        """`[batch, time, units]` → `[batch, heads, time, units / heads]`."""
        batch, size = ops.shape(x)[0], self.units // self.heads
        return ops.transpose(ops.reshape(x, (batch, -1, self.heads, size)), (0, 2, 1, 3))

    def output_size(self, features: int) -> int:
        """Features of a context, where the memory has so many."""
        return (self.output_units or self.units) if self.kind == "multi_head" else features
