"""Attention layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def masked_softmax(scores: Any, mask: Any = None) -> Any:
    """Softmax over the last axis, in float32; places where the mask is False get exactly 0."""
    scores = ops.cast(scores, "float32")
    if mask is None:
        return ops.softmax(scores, axis=-1)
    weights = ops.softmax(ops.where(mask, scores, -1e9), axis=-1)
    return weights * ops.cast(mask, "float32")


@keras.saving.register_keras_serializable("nlp_rnn")
class AdditivePooling(keras.layers.Layer):
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

    def __init__(self, units: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="tanh", dtype=self.dtype_policy, name="hidden")
        self.score = keras.layers.Dense(1, use_bias=False, dtype=self.dtype_policy, name="score")

    def build(self, sequence_shape: Any) -> None:
        self.hidden.build((None, None, sequence_shape[-1]))
        self.score.build((None, None, self.units))
        self.built = True

    def call(self, sequence: Any, mask: Any = None) -> tuple[Any, Any]:
        scores = ops.squeeze(self.score(self.hidden(sequence)), axis=-1)
        weights = masked_softmax(scores, mask)
        vector = ops.einsum("bt,btf->bf", ops.cast(weights, sequence.dtype), sequence)
        return vector, weights

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        """Masks are passed as arguments; none is attached to what comes out."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
