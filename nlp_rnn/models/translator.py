"""Sequence to sequence: an encoder's states as a memory that a recurrent decoder attends to."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.decoding.beam import Beam
from nlp_rnn.layers.decoder import AttentionDecoder, Bridge
from nlp_rnn.layers.precision import weights_cast_once
from nlp_rnn.models.parts import TokenLoss, mean_of_tokens
from nlp_rnn.text.tokenizer import BEGIN, END, PAD, UNKNOWN

_PARTS = ("source_embedding", "stack", "bridge", "embedding", "decoder", "head")


@keras.saving.register_keras_serializable("nlp_rnn")
class Translator(TokenLoss, keras.Model):
    """Predicts each target token from the source and the target tokens before it (Bahdanau et al. 2015,
    arXiv:1409.0473; Luong et al. 2015, arXiv:1508.04025).

    Compiled without a loss it trains on that of `TokenLoss`, with label smoothing.

    Args:
        source_embedding: source ids → vectors, such as `TokenEmbedding`; None where `embedding` serves for both.
        stack: the encoder, such as a `RecurrentStack` of both directions.
        bridge: from the encoder's final state to the decoder's first, a `Bridge`.
        embedding: target ids → vectors.
        decoder: an `AttentionDecoder`.
        head: such as `SoftmaxHead`.
        label_smoothing: part of the target's mass that is spread over all words (Szegedy et al. 2016,
            arXiv:1512.00567).
        search: settings of the `Beam` that `infer` searches with; and "replace_unknown", whether the unknown token may
            be written, and where each token "looked" is told, to be replaced by what is there.

    Call arguments:
        features: `{"source": int32 [batch, places], "target": int32 [batch, time]}`, right-padded with 0; the target
            begins with the begin token and lacks its last one.
        training: whether to drop.

    Returns:
        float32 logits of the next target tokens `[batch, time, vocabulary]`.

    Example:

    >>> from nlp_rnn.layers import Attention, RecurrentStack, SoftmaxHead, TokenEmbedding
    >>> decoder = AttentionDecoder(RecurrentStack("gru", 8, bidirectional=False), Attention("additive", 8), 8)
    >>> parts = (TokenEmbedding(30, 8), RecurrentStack("gru", 8), Bridge(8, 1, 1), TokenEmbedding(40, 8), decoder)
    >>> model = Translator(*parts, SoftmaxHead(40, 8))
    >>> ids = keras.ops.ones((2, 5), "int32")
    >>> model({"source": ids, "target": ids}).shape
    TensorShape([2, 5, 40])
    """

    def __init__(
        self,
        source_embedding: keras.layers.Layer | None,
        stack: keras.layers.Layer,
        bridge: Bridge,
        embedding: keras.layers.Layer,
        decoder: AttentionDecoder,
        head: keras.layers.Layer,
        label_smoothing: float = 0.0,
        search: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.search = search or {}
        self.source_embedding, self.stack, self.bridge = source_embedding, stack, bridge
        self.embedding, self.decoder, self.head = embedding, decoder, head
        self.label_smoothing = label_smoothing

    def build(self, features_shape: Any = None) -> None:
        source = self.source_embedding or self.embedding
        memory = (None, None, self.stack.output_size)
        for part, shapes in (
            (source, [(None, None)]),
            (self.embedding, [(None, None)]),
            (self.stack, [(None, None, source.output_dim)]),
            (self.bridge, [memory]),
            (self.decoder, [(None, None, self.embedding.output_dim), memory]),
            (self.head, [(None, None, self.decoder.units)]),
        ):
            if not part.built:
                part.build(*shapes)
        self.built = True

    def call(self, features: dict[str, Any], training: bool = False) -> Any:
        memory = self.encode(features["source"], training)
        found, _, _ = self._read(features["target"], self.initial_state(memory), memory, training)
        self.states = self.head.states(found, training)
        return self.head.logits(self.states, self.table)

    def encode(self, source: Any, training: bool = False) -> dict[str, Any]:
        """Source ids → what decoding needs of them: "memory", "mask", "keys" and the encoder's "final" state."""
        if not self.built:
            self.build()
        embedding = self.source_embedding or self.embedding
        mask = ops.not_equal(source, 0)
        sequence, final = self.stack(embedding(source, training=training), mask=mask, training=training)
        memory: dict[str, Any] = {"memory": sequence, "mask": mask, "final": final}
        if self.decoder.attention is not None:
            memory["keys"] = self.decoder.attention.keys(sequence)
        return memory

    def initial_state(self, memory: dict[str, Any]) -> Any:
        """The decoder's state before the first token."""
        return self.decoder.first_state(self.bridge(memory["final"]))

    def step(self, tokens: Any, state: Any, memory: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Goes on by one token.

        Args:
            tokens: int32 `[batch]`; a multiple of the memory's rows, side by side, where several go on from one source.
            state: as `initial_state` and this return it.
            memory: as `encode` returns it.

        Returns:
            logits of the next tokens `[batch, vocabulary]`, the attention's weights `[batch, places]`, and the state.
        """
        found, weights, state = self._read(tokens[:, None], state, memory, False)
        return self.head.logits(self.head.states(found), self.table)[:, 0], weights[:, 0], state

    def nats(self, features: dict[str, Any], targets: Any) -> tuple[Any, Any]:
        """-log p of given targets `[batch, time]`, and where each looked, `[batch, time, places]`: forced decoding."""
        memory = self.encode(features["source"])
        found, weights, _ = self._read(features["target"], self.initial_state(memory), memory, False)
        return self.head.nats(self.head.states(found), targets, self.table), weights

    def infer(self, features: dict[str, Any]) -> dict[str, Any]:
        """The best "tokens" `[batch, time]` that the search finds, their "score" `[batch]`, and where they "looked", as
        `candidates` has it; with "target" and "targets" among the features also the "nats" of those, 0 at padding."""
        ranked = self.candidates(features, wanted=1)
        found: dict[str, Any] = {name: ranked[name][:, 0] for name in ("tokens", "score", "looked") if name in ranked}
        if "targets" in features:
            nats, _ = self.nats(features, features["targets"])
            found["nats"] = tf.where(features["targets"] != 0, nats, 0.0)
        return found

    def candidates(self, features: dict[str, Any], wanted: int | None = None, **search: Any) -> dict[str, Any]:
        """All translations that the search ends with, the best first: "tokens" `[batch, width, time]`, "score"
        `[batch, width]`, -1e9 where there are fewer, "attention" `[batch, width, time, places]`, and the "source".
        Where unknown ones are to be replaced, also the place that each "looked" at most: int32 `[batch, width, time]`.

        Args:
            features: as a call takes them; the target is not looked at.
            wanted: the so many best are what matters, by default all: the fewer, the sooner the search may stop.
            **search: settings as `search` has them, instead of those.
        """
        memory = self.encode(features["source"])
        lengths = tf.reduce_sum(tf.cast(memory["mask"], tf.int32), 1)
        settings = {**self.search, **search}
        replaces = settings.pop("replace_unknown", False)
        limits = lengths + lengths // 2 + 10
        tokens, score, attention = self.translate(memory, Beam(**settings), limits, wanted, replaces)
        found = {"source": features["source"], "tokens": tokens, "score": score, "attention": attention}
        return {**found, "looked": tf.argmax(attention, -1, tf.int32)} if replaces else found

    def translate(
        self, memory: dict[str, Any], beam: Beam, limits: Any, wanted: int | None = None, unknown: bool = False
    ) -> tuple[Any, Any, Any]:
        """Searches for the best translations; see `Beam.search`.

        Args:
            memory: as `encode` returns it.
            beam: how.
            limits: int32 `[batch]`: tokens at most.
            wanted: how many of the best matter.
            unknown: whether the unknown token may be written.
        """
        places, banned = tf.shape(memory["memory"])[1], (PAD, BEGIN) if unknown else (PAD, BEGIN, UNKNOWN)
        state = self.initial_state(memory)
        with weights_cast_once(self.embedding, self.decoder, self.head):
            return beam.search(partial(self.step, memory=memory), state, places, limits, BEGIN, END, banned, wanted)

    def _read(self, target: Any, state: Any, memory: dict[str, Any], training: bool) -> tuple[Any, Any, Any]:
        vectors = self.embedding(target, training=training)
        return self.decoder(
            vectors, state, memory["memory"], mask=memory["mask"], training=training, keys=memory.get("keys")
        )

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not (self.label_smoothing and training) or self.loss is not None:
            return loss
        margins = self.head.margins(self.states, y, self.table)
        return loss + self.label_smoothing * mean_of_tokens(margins, y, sample_weight)

    def get_config(self) -> dict[str, Any]:
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in _PARTS}
        return {**super().get_config(), **parts, "label_smoothing": self.label_smoothing, "search": self.search}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Translator:
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects) for name in _PARTS
        }
        model = cls(**{**config, **parts})
        model.build()
        return model
