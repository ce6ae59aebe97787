"""From states to the words of a vocabulary."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("nlp_rnn")
class SoftmaxHead(keras.layers.Layer):
    """Logits of a vocabulary: z = W·h + b, with W of its own or that of the embedding.

    Tied (Inan et al. 2016, arXiv:1611.01462; Press and Wolf 2016, arXiv:1608.05859), a word's vector is also what the
    state is compared with; where the sizes differ, a projection without activation comes before.

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
    """

    def __init__(self, vocabulary: int, tied_size: int = 0, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.tied_size, self.dropout = vocabulary, tied_size, dropout
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name="drop")
        self.projection: keras.layers.Dense | None = None

    def build(self, sequence_shape: Any) -> None:
        features = sequence_shape[-1]
        if self.tied_size and self.tied_size != features:
            self.projection = keras.layers.Dense(self.tied_size, dtype=self.dtype_policy, name="projection")
            self.projection.build((None, None, features))
        if not self.tied_size:
            self.kernel = self.add_weight(name="kernel", shape=(features, self.vocabulary))
        self.bias = self.add_weight(name="bias", shape=(self.vocabulary,), initializer="zeros")
        self.built = True

    def call(self, sequence: Any, embeddings: Any = None, training: bool = False) -> Any:
        sequence = self.drop(sequence, training=training)
        if self.projection is not None:
            sequence = self.projection(sequence)
        kernel = self.kernel if not self.tied_size else ops.transpose(ops.cast(embeddings, sequence.dtype))
        logits = ops.matmul(sequence, kernel)
        return ops.cast(logits, "float32") + ops.cast(self.bias, "float32")

    def get_config(self) -> dict[str, Any]:
        names = ("vocabulary", "tied_size", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
