"""Sequence to sequence: an encoder's states as a memory that a recurrent decoder attends to."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.decoding.beam import Beam
from nlp_rnn.layers.base import Configured, Nest, Shape, Tensor
from nlp_rnn.layers.decoder import AttentionDecoder, Bridge, TransformerDecoder
from nlp_rnn.layers.precision import weights_cast_once
from nlp_rnn.models.parts import TokenLoss, mean_of_tokens
from nlp_rnn.text.tokenizer import BEGIN, END, PAD, UNKNOWN


@keras.saving.register_keras_serializable("nlp_rnn")
class Translator(TokenLoss, Configured, keras.Model):
    """Predicts each target token from the source and the target tokens before it (Bahdanau et al. 2015,
    arXiv:1409.0473; Luong et al. 2015, arXiv:1508.04025).

    Compiled without a loss it trains on that of `TokenLoss`, with label smoothing.

    Args:
        source_embedding: source ids → vectors, such as `TokenEmbedding`; None where `embedding` serves for both.
        stack: the encoder, such as a `RecurrentStack` of both directions.
        bridge: from the encoder's final state to the decoder's first, a `Bridge`; None for a decoder that has no state
            but what it has read.
        embedding: target ids → vectors.
        decoder: an `AttentionDecoder` or a `TransformerDecoder`.
        head: such as `SoftmaxHead`.
        label_smoothing: part of the target's mass that is spread over all words (Szegedy et al. 2016,
            arXiv:1512.00567).
        search: settings of the `Beam` that `infer` searches with; and "replace_unknown", whether the unknown token may
            be written, with the place in the source that it is aligned to, by which it is replaced.

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

    OPTIONS = ("label_smoothing", "search")
    PARTS = ("source_embedding", "stack", "bridge", "embedding", "decoder", "head")

    def __init__(
        self,
        source_embedding: keras.layers.Layer | None,
        stack: keras.layers.Layer,
        bridge: Bridge | None,
        embedding: keras.layers.Layer,
        decoder: AttentionDecoder | TransformerDecoder,
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

    def build(self, features_shape: Shape | None = None) -> None:
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
            if part is not None and not part.built:
                part.build(*shapes)
        self.built = True

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        memory = self.encode(features["source"], training)
        found, _, _ = self._read(features["target"], self._beginning(memory), memory, training)
        self.states = self.head.states(found, training)
        return self.head.logits(self.states, self.table)

    def encode(self, source: Tensor, training: bool = False, vectors: Tensor | None = None) -> dict[str, Any]:
        """Source ids → what decoding needs of them: "memory", "mask", "keys" and the encoder's "final" state.

        Args:
            source: int32 `[batch, places]`.
            training: whether to drop.
            vectors: in the place of those of the ids, `[batch, places, size]`.
        """
        if not self.built:
            self.build()
        embedding = self.source_embedding or self.embedding
        mask = ops.not_equal(source, 0)
        vectors = embedding(source, training=training) if vectors is None else vectors
        sequence, final = self.stack(vectors, mask=mask, training=training)
        keys = self.decoder.keys(sequence)
        return {"memory": sequence, "mask": mask, "final": final, **({} if keys is None else {"keys": keys})}

    def _beginning(self, memory: dict[str, Tensor]) -> Nest:
        """The decoder's state before whole targets: none, where it is no more than what was read."""
        return {"layers": None} if self.bridge is None else self.initial_state(memory)

    def initial_state(self, memory: dict[str, Tensor], grows: bool = False) -> Nest:
        """The decoder's state before the first token; that of a transformer may grow with the tokens, up to its
        context, for searches."""
        final = memory["final"]
        return self.decoder.first_state(final if self.bridge is None else self.bridge(final), grows)

    def step(self, tokens: Tensor, state: Nest, memory: dict[str, Nest]) -> tuple[Tensor, Tensor, Nest]:
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

    def nats(self, features: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Nest]:
        """-log p of given targets `[batch, time]`, and where each looked, `[batch, time, places]`: forced decoding."""
        return self.forced(self.encode(features["source"]), features["target"], targets)

    def forced(self, memory: dict[str, Any], target: Tensor, targets: Tensor) -> tuple[Tensor, Nest]:
        """The same, from what `encode` returned."""
        found, weights, _ = self._read(target, self._beginning(memory), memory, False)
        return self.head.nats(self.head.states(found), targets, self.table), weights

    def infer(self, features: dict[str, Tensor], **search: Any) -> dict[str, Any]:
        """The best translation that the search finds of each source.

        Args:
            features: as a call takes them. With "target" and "targets" among them, those are scored too.
            **search: settings as `search` has them, instead of those.

        Returns:
            "tokens" `[batch, time]`, "score" `[batch]`, where unknown words are replaced "aligned_source" as
            `candidates` has it, and for given targets their "nats" `[batch, time]`, 0 at padding.
        """
        ranked = self.candidates(features, wanted=1, **search)
        names = ("tokens", "score", "aligned_source")
        found: dict[str, Any] = {name: ranked[name][:, 0] for name in names if name in ranked}
        if "targets" in features:
            nats, _ = self.nats(features, features["targets"])
            found["nats"] = tf.where(features["targets"] != 0, nats, 0.0)
        return found

    def candidates(self, features: dict[str, Tensor], wanted: int | None = None, **search: Any) -> dict[str, Any]:
        """All translations that the search ends with, the best first: "tokens" `[batch, width, time]`, "score"
        `[batch, width]`, -1e9 where there are fewer, "attention" `[batch, width, time, places]`, and the "source".
        Where unknown words are to be replaced also "aligned_source", int32 `[batch, width, time]`: the place in the
        source that each token attended to most.

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
        return {**found, "aligned_source": tf.argmax(attention, -1, tf.int32)} if replaces else found

    def translate(
        self, memory: dict[str, Nest], beam: Beam, limits: Tensor, wanted: int | None = None, unknown: bool = False
    ) -> tuple[Tensor, Tensor, Nest]:
        """Searches for the best translations; see `Beam.search`.

        Args:
            memory: as `encode` returns it.
            beam: how.
            limits: int32 `[batch]`: tokens at most.
            wanted: how many of the best matter.
            unknown: whether the unknown token may be written.
        """
        places, banned = tf.shape(memory["memory"])[1], (PAD, BEGIN) if unknown else (PAD, BEGIN, UNKNOWN)
        state = self.initial_state(memory, grows=True)
        with weights_cast_once(self.embedding, self.decoder, self.head):
            return beam.search(partial(self.step, memory=memory), state, places, limits, BEGIN, END, banned, wanted)

    def _read(
        self, target: Tensor, state: Nest, memory: dict[str, Nest], training: bool
    ) -> tuple[Tensor, Tensor, Nest]:
        vectors = self.embedding(target, training=training)
        return self.decoder(
            vectors, state, memory["memory"], mask=memory["mask"], training=training, keys=memory.get("keys")
        )

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not (self.label_smoothing and training) or self.loss is not None:
            return loss
        margins = self.head.margins(self.states, y, self.table)
        return loss + self.label_smoothing * mean_of_tokens(margins, y, sample_weight)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: object = None) -> Translator:
        search = dict(config.get("search") or {})
        if "no_repeat" in search:  # its name in version 0.1.0
            search["no_repeat_ngram"] = search.pop("no_repeat")
        model = super().from_config({**config, "search": search}, custom_objects)
        model.build()
        return model
