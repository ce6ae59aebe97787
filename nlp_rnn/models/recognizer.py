"""Speech recognition: samples → spectra → recurrent stack → classes of each step, for CTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.ctc import blank_at_padding
from nlp_rnn.layers.spectral import FrameStacking, LogMel, SpecAugment
from nlp_rnn.models.parts import PartsModel


@keras.saving.register_keras_serializable("nlp_rnn")
class SoundEmbedding(SequenceLayer):
    """Samples → what a recurrent stack reads: spectra, masked while training, several frames in a step.

    Args:
        mel: a `LogMel`.
        augment: a `SpecAugment`.
        stacking: a `FrameStacking`.
        dropout: of the numbers of a step, one mask per row.
        normalization: what is subtracted from the spectra beside what is usual in training: "none"; "recording", the
            mean of the whole row; "running", the mean so far. Both are blended with zeros that count as `prior` frames,
            since a short word has a mean of its own.
        prior: frames.

    Call arguments:
        samples: float32 `[batch, time]`.
        lengths: int32 `[batch]`, samples of each row.
        training: whether to mask and drop.

    Returns:
        `[batch, steps, output_dim]`.
    """

    OPTIONS = ("dropout", "normalization", "prior")
    PARTS = ("mel", "augment", "stacking")

    def __init__(
        self,
        mel: LogMel,
        augment: SpecAugment,
        stacking: FrameStacking,
        dropout: float = 0.0,
        normalization: str = "none",
        prior: int = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.mel, self.augment, self.stacking, self.dropout = mel, augment, stacking, dropout
        self.normalization, self.prior = normalization, prior
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name="drop")

    @property
    def output_dim(self) -> int:
        """Numbers in a step."""
        return self.stacking.output_dim

    @property
    def samples_per_step(self) -> int:
        """From the beginning of a step to that of the next."""
        return self.mel.step * self.stacking.factor

    def steps_of(self, lengths: Tensor) -> Tensor:
        """How many steps so many samples make; of arrays or tensors."""
        return (self.mel.frames_of(lengths) + self.stacking.factor - 1) // self.stacking.factor

    def build(self, samples_shape: Shape | None = None, lengths_shape: Shape | None = None) -> None:
        frames, steps = (None, None, self.mel.mels), (None, None, self.output_dim)
        for part, shape in ((self.mel, (None, None)), (self.stacking, frames), (self.drop, steps)):
            if not part.built:  # parts that were loaded come built
                part.build(shape)
        self.built = True

    def call(self, samples: Tensor, lengths: Tensor, training: bool = False) -> Tensor:
        count = self.mel.frames_of(lengths)
        frames = self.normalized(self.mel(samples), count)
        frames = self.augment(frames, count, training=training)
        return self.drop(self.stacking(frames, count, training=training), training=training)

    def normalized(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Spectra `[batch, frames, mels]` less their own mean, as `normalization` says."""
        if self.normalization == "none":
            return frames
        real = frames * tf.sequence_mask(lengths, tf.shape(frames)[1], frames.dtype)[..., None]
        if self.normalization == "recording":
            count = tf.cast(lengths, frames.dtype)[:, None, None]
            return frames - tf.reduce_sum(real, 1, keepdims=True) / (count + self.prior)
        count = tf.range(1, tf.shape(frames)[1] + 1)[None, :, None]
        return frames - tf.cumsum(real, 1) / (tf.cast(count, frames.dtype) + self.prior)

    def steps_from(self, frames: Tensor) -> Tensor:
        """The steps of a part of a recording.

        Args:
            frames: `[batch, factor · steps + 2 · context, mels]`, normalised, with the frames before and after them
                that the steps look at.
        """
        stacking = self.stacking
        return stacking.stacked(stacking.convolved(ops.cast(frames, stacking.compute_dtype)))

    def compute_output_spec(self, samples: Tensor, lengths: Tensor, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor((samples.shape[0], None, self.output_dim), self.compute_dtype)


@keras.saving.register_keras_serializable("nlp_rnn")
class SpeechRecognizer(PartsModel):
    """Samples of sound → logits of classes at each step, of which class 0 is the blank of CTC.

    Args:
        embedding: a `SoundEmbedding`.
        stack: such as a `RecurrentStack`.
        head: `[batch, steps, features]` → logits, such as a `Dense`.
        pieces: what each class adds to a text.
        lookahead: steps after each that the stack reads before the step is decided, where it reads in one direction;
            zeros stand for those after the end.

    Call arguments:
        features: `{"samples": float32 [batch, time], "lengths": int32 [batch]}`.
        training: whether to mask and drop.

    Returns:
        float32 logits `[batch, steps, classes]`, at padded steps as `blank_at_padding` has them.
    """

    OPTIONS = (*PartsModel.OPTIONS, "pieces", "lookahead")

    def __init__(
        self, *parts: Any, pieces: Sequence[str] = (), lookahead: int = 0, reads: str = "samples", **kwargs: Any
    ) -> None:
        super().__init__(*parts, **{"reads": reads, **kwargs})
        self.pieces, self.lookahead = list(pieces), lookahead

    def mask(self, features: dict[str, Tensor]) -> Tensor:
        """Booleans `[batch, steps]`."""
        longest = self.embedding.steps_of(tf.shape(features["samples"])[1])
        return tf.sequence_mask(self.embedding.steps_of(features["lengths"]), longest)

    def embed(self, features: dict[str, Tensor], training: bool) -> Tensor:
        return self.embedding(features["samples"], features["lengths"], training=training)

    def followed(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The features with the silence after the end that is read before the last step is decided."""
        wait = self.lookahead * self.embedding.samples_per_step
        if not wait:
            return features
        samples = tf.pad(features["samples"], [[0, 0], [0, wait]])
        return {**features, "samples": samples, "lengths": features["lengths"] + wait}

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        sequence, _, _ = self.encode(self.followed(features), training)
        logits = ops.cast(self.head(sequence), "float32")[:, self.lookahead :]
        return blank_at_padding(logits, self.mask(features))

    def advance(self, frames: Tensor, state: Nest = None) -> tuple[Tensor, Nest]:
        """Goes on from a state, for sound that comes bit by bit; the stack must read in one direction.

        Args:
            frames: `[batch, factor · steps + 2 · context, mels]`, as `LogMel` gives them, with the frames before and
                after them that the steps look at.
            state: as returned; None at the beginning.

        Returns:
            Logits `[batch, steps, classes]`, each of the step `lookahead` steps before it, and the state after the last
            step.
        """
        sequence, state = self.stack(self.embedding.steps_from(frames), initial_state=state)
        return ops.cast(self.head(sequence), "float32"), state
