"""Vectors for tokens, and for words from their characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlp_rnn.layers.base import Configured, SequenceLayer, Shape, Tensor, add_constants
from nlp_rnn.layers.packing import rows_of
from nlp_rnn.layers.stack import RecurrentStack


@keras.saving.register_keras_serializable("nlp_rnn")
class TokenEmbedding(Configured, keras.layers.Embedding):
    """A table of vectors, with what keeps a model from learning rare words by heart.

    Args:
        input_dim: size of the vocabulary.
        output_dim: dimensions of a vector.
        word_dropout: probability that a token's whole vector is dropped (Iyyer et al. 2015, "Deep Unordered
            Composition Rivals Syntactic Methods for Text Classification").
        dropout: probability that a component is dropped, for all tokens of a sequence alike (Gal and
            Ghahramani 2016, arXiv:1512.05287).
        fixed: how many of the vectors, from the last, are never trained on: those of words that training does not
            see, which would cost the optimizer time and gain nothing.
        rare: (first, end) of the ids of rare tokens.
        replace_rare: probability that a rare token is read as the unknown one, id 1, so that this has a vector worth
            having (Lample et al. 2016, arXiv:1603.01360).
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

    OPTIONS = ("word_dropout", "dropout", "fixed", "rare", "replace_rare")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        word_dropout: float = 0.0,
        dropout: float = 0.0,
        fixed: int = 0,
        rare: tuple[int, int] = (0, 0),
        replace_rare: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= fixed < input_dim:
            raise ValueError(f"fixed must be at least 0 and below input_dim, {input_dim}; it is {fixed}.")
        super().__init__(input_dim - fixed, output_dim, **kwargs)
        self.word_dropout, self.dropout, self.fixed = word_dropout, dropout, fixed
        self.rare, self.replace_rare = list(rare), replace_rare
        self._drop_words = keras.layers.Dropout(word_dropout, noise_shape=(None, None, 1), dtype=self.dtype_policy)
        self._drop_components = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy)
        self._seed = keras.random.SeedGenerator() if replace_rare else None
        self.fixed_part = None
        if fixed:
            options: dict[str, Any] = {"trainable": False, "dtype": self.dtype_policy, "name": "fixed"}
            self.fixed_part = keras.layers.Embedding(fixed, output_dim, **options)

    @property
    def vocabulary_size(self) -> int:
        """How many vectors there are, the fixed ones among them."""
        return self.input_dim + self.fixed

    def build(self, inputs_shape: Shape | None = None) -> None:
        super().build(inputs_shape)
        if self.fixed_part is not None:
            self.fixed_part.build(inputs_shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        ids = ops.cast(inputs, "int32")
        if training and self.replace_rare:
            first, end = self.rare
            drawn = keras.random.uniform(ops.shape(ids), seed=self._seed) < self.replace_rare
            ids = ops.where((ids >= first) & (ids < end) & drawn, 1, ids)
        vectors = self._drop_words(self._look_up(ids), training=training)
        return self._drop_components(vectors, training=training)

    def _look_up(self, ids: Tensor) -> Tensor:
        if self.fixed_part is None:
            return ops.cast(rows_of(self.embeddings, ids), self.compute_dtype)
        trained = rows_of(self.embeddings, ops.minimum(ids, self.input_dim - 1))
        fixed = rows_of(self.fixed_part.embeddings, ops.maximum(ids - self.input_dim, 0))
        return ops.cast(ops.where(ops.expand_dims(ids < self.input_dim, -1), trained, fixed), self.compute_dtype)

    def assign(self, table: Tensor) -> None:
        """Sets all vectors, `[input_dim, output_dim]`."""
        self.embeddings.assign(table[: self.input_dim])
        if self.fixed_part is not None:
            self.fixed_part.embeddings.assign(table[self.input_dim :])

    def compute_output_spec(self, inputs: Tensor, training: bool = False) -> keras.KerasTensor:
        return super().compute_output_spec(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "input_dim": self.vocabulary_size}


def unit_variance(size: int) -> keras.initializers.Initializer:
    """For a table of vectors of this size: each has the expected squared length 1 (Ma and Hovy 2016)."""
    limit = (3.0 / size) ** 0.5
    return keras.initializers.RandomUniform(-limit, limit)


@keras.saving.register_keras_serializable("nlp_rnn")
class CharacterEmbedding(SequenceLayer):
    """Words as vectors made from their characters, so that spelling speaks where a word was never seen.

    Args:
        input_dim: number of characters.
        output_dim: dimensions of a character's vector.
        units: features of a word.
        kind: "cnn", convolutions over `width` characters and their maximum over the word (Ma and Hovy 2016,
            arXiv:1603.01354); "lstm", the last states of an LSTM in each direction (Lample et al. 2016,
            arXiv:1603.01360), `units` even.
        width: characters that a convolution sees.
        dropout: dropout on the characters' vectors, one mask a batch.

    Call arguments:
        characters: int32 ids `[batch, time, characters]`, right-padded with 0.
        training: whether to drop.

    Returns:
        `[batch, time, units]`.

    Example:

    >>> CharacterEmbedding(100, 8, 16)(keras.ops.ones((2, 5, 7), "int32")).shape
    TensorShape([2, 5, 16])
    """

    OPTIONS = ("input_dim", "output_dim", "units", "kind", "width", "dropout")

    def __init__(
        self,
        input_dim: int,
        output_dim: int = 30,
        units: int = 30,
        kind: str = "cnn",
        width: int = 3,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in ("cnn", "lstm"):
            raise ValueError(f'kind is "{kind}"; it must be "cnn" or "lstm".')
        self.input_dim, self.output_dim, self.units, self.kind = input_dim, output_dim, units, kind
        self.width, self.dropout = width, dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        if kind == "lstm":
            self.stack = RecurrentStack("lstm", units // 2, dtype=self.dtype_policy, name="stack")

    def build(self, characters_shape: Shape) -> None:
        self.table = self.add_weight(
            name="table", shape=(self.input_dim, self.output_dim), initializer=unit_variance(self.output_dim)
        )
        if self.kind == "lstm":
            self.stack.build((None, None, self.output_dim))
        else:
            self.kernel = self.add_weight(
                name="kernel", shape=(self.output_dim, self.width * self.units), initializer=self._kernel_values
            )
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, characters: Tensor, training: bool = False) -> Tensor:
        batch, time, length = ops.shape(characters)
        words = ops.reshape(characters, (-1, length))
        table = self.drop(ops.convert_to_tensor(self.table), training=training)
        found = self._convolve(words, table) if self.kind == "cnn" else self._recur(words, table, training)
        return ops.reshape(found, (batch, time, self.units))

    def _convolve(self, words: Tensor, table: Tensor) -> Tensor:
        """A convolution of vectors that are looked up is a sum of products that are looked up: the kernel is multiplied
        with the table, not with each character's vector."""
        is_character = ops.cast(ops.arange(self.input_dim) > 0, table.dtype)[:, None]
        products = ops.split(ops.matmul(table * is_character, self.kernel), self.width, axis=1)
        length, before = ops.shape(words)[1], (self.width - 1) // 2
        by_place = ops.transpose(words)  # the axis of characters first, which is several times as fast
        padded = ops.pad(by_place, ((before, self.width - 1 - before), (0, 0)))
        low = ops.cast(ops.where(by_place != 0, 0.0, -1e4)[..., None], table.dtype)
        found = sum((ops.take(products[k], padded[k : k + length], axis=0) for k in range(self.width)), low)
        return ops.tanh(ops.max(found, axis=0) + self.bias)

    def _recur(self, words: Tensor, table: Tensor, training: bool) -> Tensor:
        # Padding has one character, since cuDNN takes no empty rows.
        mask = (words != 0) | (ops.arange(ops.shape(words)[1]) == 0)
        _, states = self.stack(ops.take(table, words, axis=0), mask=mask, training=training)
        return self.stack.last_output(states)

    def _kernel_values(self, shape: Shape, dtype: str | None = None) -> Tensor:
        """Glorot's for the convolution that the kernel stands for."""
        limit = (6.0 / (self.width * self.output_dim + self.units)) ** 0.5
        return keras.random.uniform(shape, -limit, limit, dtype=dtype)

    def compute_output_shape(self, characters_shape: Shape) -> tuple[int | None, ...]:
        return (*characters_shape[:2], self.units)


@keras.saving.register_keras_serializable("nlp_rnn")
class FrameProjection(SequenceLayer):
    """Frames of numbers → vectors: each channel is shifted and scaled, then all are projected.

        v_t = W·((x_t - mean) / spread) + b

    Args:
        channels: numbers in a frame.
        output_dim: size of a vector.
        mean, spread: of each channel, `[channels]`; they are kept as weights that training does not touch.

    Call arguments:
        frames: x, `[batch, time, channels]`.
        training: not looked at.

    Returns:
        `[batch, time, output_dim]`.

    Raises:
        ValueError: the frames have other channels.

    Example:

    >>> FrameProjection(2, 8, mean=[0.0, 1.0])(keras.ops.ones((3, 5, 2))).shape
    TensorShape([3, 5, 8])
    """

    OPTIONS = ("channels", "output_dim")

    def __init__(
        self,
        channels: int,
        output_dim: int,
        mean: Sequence[float] | None = None,
        spread: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # frames far from 0 are scaled before they are rounded
        self.channels, self.output_dim = channels, output_dim
        self._scaling = {"mean": 0.0 if mean is None else mean, "spread": 1.0 if spread is None else spread}
        self.projection = keras.layers.Dense(output_dim, dtype=self.dtype_policy, name="projection")
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: channels})

    def build(self, frames_shape: Shape | None = None) -> None:
        self.mean, self.spread = add_constants(self, self.channels, **self._scaling)
        self.projection.build((None, None, self.channels))
        self.built = True

    def call(self, frames: Tensor, training: bool = False) -> Tensor:
        scaled = (ops.cast(frames, "float32") - self.mean) / self.spread
        return self.projection(ops.cast(scaled, self.compute_dtype))

    def compute_output_shape(self, frames_shape: Shape) -> tuple[int | None, ...]:
        return (*frames_shape[:2], self.output_dim)
