"""Decoders of several translators side by side, and what leads from the encoders to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.base import Nest, Shape, Tensor
from nlp_rnn.layers.ensemble import Members, by_counts, side_by_side


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleBridge(Members):
    """From the final states of the encoders to the first ones of the decoders, with the contract of a `Bridge`.

    Args:
        members: `Bridge`s.
        sizes: of the features of each encoder.
        layers: of each encoder.
    """

    OPTIONS = (*Members.OPTIONS, "layers")

    def __init__(self, members: Sequence[Any], sizes: Sequence[int], layers: Sequence[int], **kwargs: Any) -> None:
        super().__init__(members, sizes, **kwargs)
        self.layers = [int(count) for count in layers]

    def call(self, final_state: list[list[Tensor]]) -> list[list[Tensor]]:
        every = zip(self.members, by_counts(final_state, self.layers), strict=True)
        return [layer for member, state in every for layer in member(state)]


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleDecoder(Members):
    """Decoders side by side, with the contract of an `AttentionDecoder`.

    Args:
        members: `AttentionDecoder`s or `TransformerDecoder`s.
        sizes: of the vectors that each reads.
        memories: of the features of each one's memory.
    """

    OPTIONS = (*Members.OPTIONS, "memories")
    FACTS = ("input_feeding",)

    def __init__(self, members: Sequence[Any], sizes: Sequence[int], memories: Sequence[int], **kwargs: Any) -> None:
        super().__init__(members, sizes, **kwargs)
        self.memories = [int(size) for size in memories]

    def shapes_of(self, number: int, shapes: Sequence[Shape]) -> list[Shape]:
        return [(None, None, self.sizes[number]), (None, None, self.memories[number])]

    @property
    def units(self) -> int:
        """Features of the output."""
        return self.total("units")

    @property
    def layers(self) -> int:
        """Of all members together."""
        return self.total("layers")

    def keys(self, memory: Tensor) -> Nest:
        """What of the attention depends on the memory alone; None without attention."""
        every = zip(self.members, tf.split(memory, self.memories, -1), strict=True)
        found = [member.keys(part) for member, part in every]
        return None if found[0] is None else side_by_side(found)

    def first_state(self, layers: Any, grows: bool = False) -> dict[str, Any]:
        """The state before the first step."""
        counts = [member.layers for member in self.members]
        given = by_counts(layers, counts) if len(layers) == sum(counts) else [layers] * len(counts)
        return _joined([member.first_state(one, grows) for member, one in zip(self.members, given, strict=True)])

    def call(
        self,
        vectors: Tensor,
        state: Nest,
        memory: Tensor,
        mask: Tensor | None = None,
        training: bool = False,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Nest]:
        count = len(self.members)
        sizes = [m.key_size(features) for m, features in zip(self.members, self.memories, strict=True)]
        every = zip(
            self.members,
            self.parts(vectors),
            self._states_of(state),
            tf.split(memory, self.memories, -1),
            [None] * count if keys is None else tf.split(keys, sizes, -1),
            strict=True,
        )
        found = [member(*own, mask=mask, training=training, keys=key) for member, *own, key in every]
        outputs, weights, states = zip(*found, strict=True)
        return side_by_side(outputs), tf.add_n(list(weights)) / count, _joined(states)

    def _states_of(self, state: Nest) -> list[Nest]:
        if state["layers"] is None:
            return [state] * len(self.members)
        layers = by_counts(state["layers"], [member.layers for member in self.members])
        if "fed" not in state:
            return [{"layers": one} for one in layers]
        fed = tf.split(state["fed"], [member.units for member in self.members], -1)
        return [{"layers": one, "fed": part} for one, part in zip(layers, fed, strict=True)]


def _joined(states: Sequence[Nest]) -> Nest:
    """The states of several decoders as that of one."""
    joined: dict[str, Any] = {"layers": [layer for state in states for layer in state["layers"]]}
    return {**joined, "fed": side_by_side([state["fed"] for state in states])} if "fed" in states[0] else joined
