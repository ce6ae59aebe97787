"""Sequence tagging: words with their characters → recurrent stack → a tag each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.crf import CRF, chain_divergence, marginals, viterbi
from nlp_rnn.layers.embedding import unit_variance
from nlp_rnn.models.parts import Lesson, PartsModel, mean_of_rows


@keras.saving.register_keras_serializable("nlp_rnn")
class WordEmbedding(SequenceLayer):
    """What a tagger sees of a word: its vector, its characters, how it is written, what language models make of it in
    its sentence, side by side.

    Args:
        tokens: ids `[batch, time]` → vectors, such as `TokenEmbedding`.
        characters: ids `[batch, time, characters]` → vectors, such as `CharacterEmbedding`, or None.
        cases: size of the vectors of the way a word is written; 0 for none.
        case_count: number of such ways, padding included.
        dropout: variational dropout on all of it.
        states: ids `[batch, time, characters]` → vectors, such as `ContextualEmbedding`, or None.

    Call arguments:
        features: `{"tokens", "characters", "case"}`, int32; those that are not used may be missing.
        training: whether to drop.

    Returns:
        `[batch, time, output_dim]`.
    """

    OPTIONS = ("cases", "case_count", "dropout")
    PARTS = ("tokens", "characters", "states")

    def __init__(
        self,
        tokens: keras.layers.Layer,
        characters: keras.layers.Layer | None = None,
        cases: int = 0,
        case_count: int = 8,
        dropout: float = 0.0,
        states: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokens, self.characters, self.cases, self.case_count = tokens, characters, cases, case_count
        self.dropout, self.states = dropout, states
        self.case = None
        if cases:
            self.case = keras.layers.Embedding(
                case_count, cases, embeddings_initializer=unit_variance(cases), dtype=self.dtype_policy, name="case"
            )
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name="drop")

    @property
    def output_dim(self) -> int:
        """Features of a word."""
        spelling = sum(part.units for part in (self.characters, self.states) if part is not None)
        return self.tokens.output_dim + spelling + self.cases

    def build(self, features_shape: Shape | None = None) -> None:
        words, letters = (None, None), (None, None, None)
        parts = [(self.tokens, words), (self.characters, letters), (self.case, words), (self.states, letters)]
        for part, shape in parts:
            if part is not None and not part.built:
                part.build(shape)
        self.built = True

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        vectors = [self.tokens(features["tokens"], training=training)]
        if self.characters is not None:
            vectors.append(self.characters(features["characters"], training=training))
        if self.case is not None:
            vectors.append(self.case(features["case"]))
        if self.states is not None:
            vectors.append(self.states(features["characters"]))
        together = ops.concatenate(vectors, axis=-1) if len(vectors) > 1 else vectors[0]
        return self.drop(together, training=training)


@keras.saving.register_keras_serializable("nlp_rnn")
class TaggingHead(SequenceLayer):
    """A sequence → scores of its tags, as a chain (`CRF`) or each by itself.

    Args:
        tags: number of tags.
        kind: "crf" or "softmax".
        dropout: dropout before the output layer, one mask per sequence.
        allowed, allowed_start, allowed_end: as those of `CRF`.

    Call arguments:
        sequence: `[batch, time, features]`.
        mask: boolean `[batch, time]`.
        training: whether to drop.

    Returns:
        Chain scores `[batch, time, tags, tags]`, or logits `[batch, time, tags]`, in float32.
    """

    OPTIONS = ("tags", "kind", "dropout", "allowed", "allowed_start", "allowed_end")

    def __init__(
        self,
        tags: int,
        kind: str = "crf",
        dropout: float = 0.0,
        allowed: Sequence[Sequence[bool]] | None = None,
        allowed_start: Sequence[bool] | None = None,
        allowed_end: Sequence[bool] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in ("crf", "softmax"):
            raise ValueError(f'kind is "{kind}"; it must be "crf" or "softmax".')
        self.tags, self.kind, self.dropout = tags, kind, dropout
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name="drop")
        self.output_layer = keras.layers.Dense(tags, dtype="float32", name="output")
        self.crf = CRF(tags, allowed, allowed_start, allowed_end, name="crf") if kind == "crf" else None
        constraints = ("allowed", "allowed_start", "allowed_end")
        self.allowed, self.allowed_start, self.allowed_end = (getattr(self.crf, name, None) for name in constraints)

    def build(self, sequence_shape: Shape) -> None:
        self.output_layer.build((None, None, sequence_shape[-1]))
        if self.crf is not None:
            self.crf.build((None, None, self.tags))
        self.built = True

    def call(self, sequence: Tensor, mask: Tensor | None = None, training: bool = False) -> Tensor:
        logits = self.output_layer(self.drop(sequence, training=training))
        return logits if self.crf is None else self.crf(logits, mask=mask)

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor, Nest]:
        """The best tags `[batch, time]`, the logarithm of each one's probability, and the logarithm of its joint
        probability with the one before."""
        if self.crf is None:
            logs = tf.nn.log_softmax(scores)
            tags = tf.argmax(scores, -1, tf.int32)
            single = tf.gather(logs, tags, batch_dims=2)
            return tags, single, single + _before(single)
        tags = viterbi(scores)
        pairs = marginals(scores, self.crf.use_native)
        single = tf.gather(tf.reduce_sum(pairs, 2), tags, batch_dims=2)
        joint = tf.gather(tf.gather(pairs, _before(tags), batch_dims=2), tags, batch_dims=2)
        return tags, _log(single), _log(joint)


@keras.saving.register_keras_serializable("nlp_rnn")
class Tagger(PartsModel):
    """Tags sequences of words. The tags are those of the scheme IOBES: 0 is O, then B, I, E and S of each label.

    Args:
        embedding: features → vectors `[batch, time, features]`, such as `WordEmbedding`.
        stack: `(vectors, mask, initial_state)` → (sequence, final state), such as `RecurrentStack`.
        head: such as `TaggingHead`.

    Call arguments:
        features: `{"tokens": int32 [batch, time], …}`, right-padded with 0.
        training: whether to drop.

    Returns:
        What the head returns.

    Example:

    >>> from nlp_rnn.layers import RecurrentStack, TokenEmbedding
    >>> model = Tagger(WordEmbedding(TokenEmbedding(100, 16)), RecurrentStack("gru", 8), TaggingHead(5))
    >>> model({"tokens": keras.ops.ones((2, 7), "int32")}).shape
    TensorShape([2, 7, 5, 5])
    """

    def embed(self, features: dict[str, Tensor], training: bool) -> Tensor:
        return self.embedding(features, training=training)

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        sequence, mask, _ = self.encode(features, training)
        return self.head(sequence, mask=mask, training=training)

    def imitation(self, lesson: Lesson) -> Tensor:
        """The divergence of whole sequences of tags, which for chains is exact (Wang et al. 2021, "Structural Knowledge
        Distillation", arXiv:2010.05010)."""
        if self.head.kind == "softmax":
            return super().imitation(lesson)
        return mean_of_rows(chain_divergence(lesson.found, lesson.taught, lesson.temperature), lesson.sample_weight)

    def infer(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """The best "tags" `[batch, time]` and the "confidence" of each: at an entity the probability that it is one,
        with this label and these limits; elsewhere that of the tag. Other features are passed on."""
        tags, single, joint = self.head.best(self(features, training=False))
        passed = {name: value for name, value in features.items() if name not in ("tokens", "characters", "case")}
        return {"tags": tags, "confidence": entity_confidence(tags, single, joint, features["tokens"] != 0), **passed}


def entity_confidence(tags: Tensor, single: Tensor, joint: Tensor, mask: Tensor) -> Tensor:
    """The probability of each tag, and at all tags of an entity that of the whole entity.

    By the chain rule, p(y_s … y_e) = p(y_s) Π_t p(y_{t-1}, y_t) / p(y_{t-1}), which for a chain is exact.

    Args:
        tags: IOBES tags `[batch, time]`: 0 is O, then B, I, E and S of each label in turn.
        single: log p(y_t), `[batch, time]`.
        joint: log p(y_{t-1}, y_t), `[batch, time]`.
        mask: booleans `[batch, time]`.

    Returns:
        Probabilities `[batch, time]`.
    """
    label, prefix, before = (tags - 1) // 4, (tags - 1) % 4, _before(tags)
    after_open = (before > 0) & ((before - 1) % 4 <= 1) & ((before - 1) // 4 == label)
    inside = (tags > 0) & ((prefix == 1) | (prefix == 2)) & after_open & mask
    inside &= tf.range(tf.shape(tags)[1]) > 0
    gains = tf.reshape(tf.where(inside, joint - _before(single), single), [-1])
    entity = tf.cumsum(tf.cast(tf.reshape(~inside, [-1]), tf.int32)) - 1
    sums = tf.math.unsorted_segment_sum(gains, entity, tf.size(entity))
    return tf.reshape(tf.exp(tf.minimum(tf.gather(sums, entity), 0.0)), tf.shape(tags))


def _before(values: Tensor) -> Tensor:
    """What stands one step earlier; 0 before the first."""
    return tf.concat([tf.zeros_like(values[:, :1]), values[:, :-1]], 1)


def _log(probabilities: Tensor) -> Tensor:
    return tf.math.log(tf.maximum(probabilities, 1e-30))
