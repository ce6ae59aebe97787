"""Vectors for tokens."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("nlp_rnn")
class TokenEmbedding(keras.layers.Embedding):
    """A table of vectors, with the two dropouts that suit it.

    Args:
        input_dim: size of the vocabulary.
        output_dim: dimensions of a vector.
        word_dropout: probability that a token's whole vector is dropped (Iyyer et al. 2015, "Deep Unordered
            Composition Rivals Syntactic Methods for Text Classification").
        dropout: probability that a component is dropped, for all tokens of a sequence alike (Gal and
            Ghahramani 2016, arXiv:1512.05287).
        **kwargs: those of `keras.layers.Embedding`.

    Call arguments:
        inputs: int32 ids `[batch, time]`.
        training: whether to drop.

    Returns:
        `[batch, time, output_dim]`.

    Example:

    >>> TokenEmbedding(100, 16, word_dropout=0.1)(keras.ops.ones((2, 5), "int32")).shape
    TensorShape([2, 5, 16])
    """

    def __init__(
        self, input_dim: int, output_dim: int, word_dropout: float = 0.0, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(input_dim, output_dim, **kwargs)
        self.word_dropout = word_dropout
        self.dropout = dropout
        self._drop_words = keras.layers.Dropout(word_dropout, noise_shape=(None, None, 1), dtype=self.dtype_policy)
        self._drop_components = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy)

    def call(self, inputs: Any, training: bool = False) -> Any:
        vectors = self._drop_words(super().call(inputs), training=training)
        return self._drop_components(vectors, training=training)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return super().compute_output_spec(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "word_dropout": self.word_dropout, "dropout": self.dropout}
