"""From a sequence to one vector."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nlp_rnn.layers.attention import AdditivePooling
from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor


@keras.saving.register_keras_serializable("nlp_rnn")
class SequencePooling(SequenceLayer):
    """Pools a sequence over time, padding left out.

    Args:
        kind: "last" (the final outputs of the recurrent directions), "mean", "max", several of these joined
            by "+" and then concatenated, or "attention" (`AdditivePooling`).
        attention_units: size of the hidden layer of attention.

    Call arguments:
        sequence: `[batch, time, features]`.
        mask: boolean `[batch, time]`, True for tokens.
        last: `[batch, features]`, what "last" takes; by default the output at the last token.

    Returns:
        The vector `[batch, features × kinds]` and float32 weights `[batch, time]` that sum to 1: attention's,
        or each token's equal share.

    Example:

    >>> vector, weights = SequencePooling("mean+max")(keras.ops.ones((2, 5, 3)))
    >>> vector.shape
    TensorShape([2, 6])
    """

    OPTIONS = ("kind", "attention_units")

    def __init__(self, kind: str = "attention", attention_units: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind, self.attention_units = kind, attention_units
        self.parts = kind.split("+")
        if kind != "attention" and not set(self.parts) <= {"last", "mean", "max"}:
            raise ValueError(f'pooling "{kind}" must be "attention", or of last, mean, max joined by "+".')
        if kind == "attention":
            self.attention = AdditivePooling(attention_units, dtype=self.dtype_policy, name="attention")

    def build(self, sequence_shape: Shape) -> None:
        if self.kind == "attention":
            self.attention.build(sequence_shape)
        self.built = True

    def call(self, sequence: Tensor, mask: Tensor | None = None, last: Tensor | None = None) -> tuple[Tensor, Nest]:
        if self.kind == "attention":
            return self.attention(sequence, mask=mask)
        if mask is None:
            mask = ops.ones(ops.shape(sequence)[:2], "bool")
        present = ops.cast(mask, sequence.dtype)
        share = present / ops.sum(present, axis=1, keepdims=True)
        pooled = {
            "mean": lambda: ops.einsum("bt,btf->bf", share, sequence),
            "max": lambda: ops.max(ops.where(ops.expand_dims(mask, -1), sequence, _lowest(sequence)), axis=1),
            "last": lambda: _at_last_token(sequence, mask) if last is None else last,
        }
        return ops.concatenate([pooled[part]() for part in self.parts], axis=-1), ops.cast(share, "float32")


def _lowest(sequence: Tensor) -> Tensor:
    """A finite value below all others, also in 16 bits."""
    return ops.cast(-6e4, sequence.dtype)


def _at_last_token(sequence: Tensor, mask: Tensor) -> Tensor:
    index = ops.sum(ops.cast(mask, "int32"), axis=1) - 1
    return ops.squeeze(ops.take_along_axis(sequence, index[:, None, None], axis=1), axis=1)
