"""A model of sequences of events: how surprising each is, and what was expected instead."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.models.language_model import LanguageModel


@keras.saving.register_keras_serializable("nlp_rnn")
class EventModel(LanguageModel):
    """A language model of events that also says which place each event had among those expected, and which were
    likelier.

    Args:
        expected: how many likely events are named.
        **options: those of `LanguageModel`.

    Example:

    >>> from nlp_rnn.layers import RecurrentStack, SoftmaxHead, TokenEmbedding
    >>> model = EventModel(TokenEmbedding(50, 8), RecurrentStack("gru", 8, bidirectional=False), SoftmaxHead(50, 8))
    >>> ids = keras.ops.ones((2, 5), "int32")
    >>> model.infer({"tokens": ids, "targets": ids})["expected"].shape
    TensorShape([2, 5, 3])
    """

    OPTIONS = (*LanguageModel.OPTIONS, "expected")

    def __init__(self, *parts: Any, expected: int = 3, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.expected = expected

    def infer(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """Of the "targets" among the features the "nats", -log p, and the "rank", 0 for the likeliest, both `[batch,
        time]`; and the ids that were "expected", the likeliest first, int32 `[batch, time, expected]`."""
        return self.judged(self.advance(features["tokens"])[0], features["targets"])

    def judged(self, logits: Tensor, targets: Tensor) -> dict[str, Any]:
        """The same from logits `[batch, time, vocabulary]`."""
        log_p = tf.nn.log_softmax(logits)
        nats = -tf.gather(log_p, targets, batch_dims=2)
        rank = tf.reduce_sum(tf.cast(log_p > -nats[..., None], tf.int32), -1)
        likely = tf.math.top_k(log_p[..., _SPECIAL:], min(self.expected, logits.shape[-1] - _SPECIAL)).indices
        return {"nats": nats, "rank": rank, "expected": likely + _SPECIAL}

    def go_on(self, last: Tensor, targets: Tensor, state: Nest) -> tuple[dict[str, Any], Nest]:
        """What `infer` gives of events that follow a state.

        Args:
            last: int32 `[batch]`, the id before the first.
            targets: int32 `[batch, time]`.
            state: as `advance` returns it, or None at the beginning.
        """
        tokens = tf.concat([last[:, None], targets[:, :-1]], 1)
        logits, state = self.advance(tokens, state)
        return self.judged(logits, targets), state

    def go_on_or_begin(
        self, last: Tensor, targets: Tensor, state: Nest, begin: int = 2, end: int = 3
    ) -> tuple[dict[str, Any], Nest]:
        """As `go_on`, of one stream in which session follows session: an event goes on with the one before, or that one
        has ended and it begins the next, whichever is likelier.

            p(x) = p(x | state) + p(end | state) · p(x | begin)

        Args:
            last: int32 `[1]`, the id before the first.
            targets: int32 `[1, time]`.
            state: the state before `last`, as this returns it.
            begin, end: their ids.

        Returns:
            "nats", "rank" and "expected" as `infer` has them, and which events "begins" a session; and the state.
        """
        first, after_begin = self.advance(tf.fill([1, 1], begin))
        first = tf.nn.log_softmax(first)[:, 0]
        names = {"nats": tf.float32, "rank": tf.int32, "expected": tf.int32, "begins": tf.bool}
        count = tf.shape(targets)[1]
        arrays = [tf.TensorArray(dtype, count) for dtype in names.values()]

        def one(place: Tensor, last: Tensor, state: Nest, arrays: list[Any]) -> tuple[Any, ...]:
            logits, after = self.advance(last[:, None], state)
            going, target = tf.nn.log_softmax(logits)[:, 0], targets[:, place]
            goes = tf.gather(going, target, batch_dims=1)
            anew = going[:, end] + tf.gather(first, target, batch_dims=1)
            begins = anew > goes
            found = self.judged(tf.where(begins[:, None], first, going)[:, None], target[:, None])
            found = {name: value[:, 0] for name, value in found.items()}
            found |= {"nats": -tf.reduce_logsumexp(tf.stack([goes, anew]), 0), "begins": begins}
            state = tf.nest.map_structure(
                lambda a, b: tf.where(begins[:, None], a, tf.cast(b, a.dtype)), after_begin, after
            )
            return place + 1, target, state, [a.write(place, found[n]) for a, n in zip(arrays, names, strict=True)]

        state = tf.nest.map_structure(lambda part, like: tf.cast(part, like.dtype), state, after_begin)
        _, _, state, arrays = tf.while_loop(lambda place, *_: place < count, one, (tf.constant(0), last, state, arrays))
        stacked = {name: array.stack() for name, array in zip(names, arrays, strict=True)}
        return {name: tf.transpose(v, [1, 0, *range(2, v.shape.rank)]) for name, v in stacked.items()}, state


_SPECIAL = 3  # padding, unknown and begin are never what is expected; the end is
