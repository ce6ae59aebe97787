"""The feed-forward block between layers that take in the past: each step by itself."""

from __future__ import annotations

from typing import Any

import keras

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor

NORMALIZATIONS = {"layer": keras.layers.LayerNormalization, "rms": keras.layers.RMSNormalization}


def normalization_of(kind: str, dtype: keras.DTypePolicy | str, name: str) -> keras.layers.Layer:
    """The normalisation of a kind over the features of each step."""
    if kind not in NORMALIZATIONS:
        raise ValueError(f'normalization is "{kind}"; it must be none, {", ".join(NORMALIZATIONS)}.')
    layer = NORMALIZATIONS[kind](epsilon=1e-6, dtype=dtype, name=name)
    layer.supports_masking = True  # each step is normalised by itself
    return layer


@keras.saving.register_keras_serializable("nlp_rnn")
class FeedForward(SequenceLayer):
    """Two matrices with GELU between them, around which the input goes (Vaswani et al. 2017, pre-norm).

        y = x + dropout(gelu(norm(x)·W_1 + b_1)·W_2 + b_2)

    Args:
        units: features between the matrices.
        normalization: "layer", "rms" or "none".
        dropout: of what is added.
        variational: whether one mask serves a whole sequence.

    Call arguments:
        sequence: `[batch, time, features]`.
        training: whether to drop.

    Returns:
        `[batch, time, features]`.

    Example:

    >>> FeedForward(16)(keras.ops.ones((2, 5, 4))).shape
    TensorShape([2, 5, 4])
    """

    OPTIONS = ("units", "normalization", "dropout", "variational")

    def __init__(
        self, units: int, normalization: str = "rms", dropout: float = 0.0, variational: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.normalization, self.dropout, self.variational = units, normalization, dropout, variational
        policy = self.dtype_policy
        self.norm = None if normalization == "none" else normalization_of(normalization, policy, "norm")
        self.expand = keras.layers.Dense(units, dtype=policy, name="expand")
        drop = keras.layers.SpatialDropout1D if variational else keras.layers.Dropout
        self.drop = drop(dropout, dtype=policy, name="drop")
        self.contract: keras.layers.Dense | None = None

    def build(self, sequence_shape: Shape) -> None:
        features = sequence_shape[-1]
        self.contract = keras.layers.Dense(features, dtype=self.dtype_policy, name="contract")
        if self.norm is not None:
            self.norm.build((None, None, features))
        self.expand.build((None, None, features))
        self.contract.build((None, None, self.units))
        self.built = True

    def compute_mask(self, sequence: Tensor, mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
        """The mask as it came: each step is computed by itself."""
        return mask

    def compute_output_shape(self, sequence_shape: Shape) -> Shape:
        """That of the input."""
        return sequence_shape

    def call(self, sequence: Tensor, training: bool = False) -> Tensor:
        assert self.contract is not None
        read = sequence if self.norm is None else self.norm(sequence)
        inner = keras.ops.gelu(self.expand(read), approximate=True)
        return sequence + self.drop(self.contract(inner), training=training)
