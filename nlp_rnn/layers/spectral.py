"""Samples of sound → frames: spectra on the mel scale, masked while training, put together into steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from nlp_rnn.audio.spectra import fourier_filters, mel_filters
from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor, add_constants

_CURVES = 4
_LEAST = 1e-7  # of the energy in a filter: about that of the steps of 16 bits


@keras.saving.register_keras_serializable("nlp_rnn")
class LogMel(SequenceLayer):
    """Samples → the logarithm of the energy in each filter of a mel bank, frame by frame, shifted and scaled by what is
    usual in training.

        x_t = (log(M · |F(w ∘ s_t)|² + ε) - mean) / spread

    with the frame s_t of samples, a Hann window w, the discrete Fourier transform F, and the filters M. The transform
    is a convolution, so that every runtime has it.

    Args:
        rate: samples in a second.
        mels: filters.
        window, hop: seconds of a frame, and from frame to frame.
        lowest: hertz, where the first filter begins; the last one ends at half the rate.
        mean, spread: of each filter, `[mels]`; they are kept as weights that training does not touch.

    Call arguments:
        samples: float32 `[batch, time]` from -1 to 1, as padded; what is shorter than a frame is padded with zeros.

    Returns:
        float32 `[batch, frames, mels]`, frames as `frames_of` counts them.

    Example:

    >>> LogMel(8000, 40)(keras.ops.zeros((2, 8000))).shape
    TensorShape([2, 98, 40])
    """

    OPTIONS = ("rate", "mels", "window", "hop", "lowest")

    def __init__(
        self,
        rate: int,
        mels: int = 80,
        window: float = 0.025,
        hop: float = 0.01,
        lowest: float = 60.0,
        mean: Sequence[float] | None = None,
        spread: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.rate, self.mels, self.window, self.hop, self.lowest = rate, mels, window, hop, lowest
        self.size, self.step = round(window * rate), round(hop * rate)
        self._scaling = {"mean": 0.0 if mean is None else mean, "spread": 1.0 if spread is None else spread}
        self._fourier = tf.constant(fourier_filters(self.size)[:, None])
        self._bank = tf.constant(mel_filters(self.size, rate, mels, lowest, rate / 2))

    def build(self, samples_shape: Shape | None = None) -> None:
        self.mean, self.spread = add_constants(self, self.mels, **self._scaling)
        self.built = True

    def frames_of(self, lengths: Tensor) -> Tensor:
        """How many frames so many samples have: those that fit, and at least one; of numbers, arrays or tensors."""
        maximum = tf.maximum if tf.is_tensor(lengths) else np.maximum
        return maximum(lengths - self.size, 0) // self.step + 1

    def call(self, samples: Tensor) -> Tensor:
        return (self.spectra(samples) - self.mean) / self.spread

    def spectra(self, samples: Tensor) -> Tensor:
        """The logarithms as they are, `[batch, frames, mels]`."""
        samples = ops.cast(samples, "float32")
        missing = tf.maximum(self.size - tf.shape(samples)[1], 0)
        padded = tf.pad(samples, [[0, 0], [0, missing]])
        parts = tf.nn.conv1d(padded[..., None], self._fourier, self.step, "VALID")
        real, imaginary = tf.split(parts, 2, -1)
        energy = tf.square(real) + tf.square(imaginary)
        return tf.math.log(tf.tensordot(energy, self._bank, 1) / self.size + _LEAST)

    def compute_output_spec(self, samples: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((samples.shape[0], None, self.mels), "float32")


@keras.saving.register_keras_serializable("nlp_rnn")
class SpecAugment(SequenceLayer):
    """Changes spectra while training: masks bands of filters and stretches of time (Park et al. 2019, arXiv:1904.08779,
    without warping in time), makes vocal tracts longer or shorter (Jaitly and Hinton 2013, "Vocal Tract Length
    Perturbation (VTLP) Improves Speech Recognition"), and changes the sound of microphone and room, which is a smooth
    curve over the filters.

    Args:
        bands: how many bands of filters, each of up to `width` filters.
        width: filters of a band at most.
        stretches: how many stretches of time.
        longest: frames of a stretch at most; and never more than a fifth of the row.
        warp: frequencies become higher or lower by up to this part.
        tilt: spread of the curve, in spreads of the filters.

    Call arguments:
        frames: `[batch, frames, mels]`.
        lengths: int32 `[batch]`, frames of each row.
        training: whether to mask; what is masked is 0, the mean.

    Returns:
        Frames of the same shape.
    """

    OPTIONS = ("bands", "width", "stretches", "longest", "warp", "tilt")

    def __init__(
        self,
        bands: int = 2,
        width: int = 8,
        stretches: int = 2,
        longest: int = 20,
        warp: float = 0.0,
        tilt: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.bands, self.width, self.stretches, self.longest = bands, width, stretches, longest
        self.warp, self.tilt = warp, tilt
        self._seed = keras.random.SeedGenerator()

    def call(self, frames: Tensor, lengths: Tensor, training: bool = False) -> Tensor:
        if not training:
            return frames
        frames = self._tilted(self._warped(frames))
        batch, steps, filters = tf.shape(frames)[0], tf.shape(frames)[1], frames.shape[-1]
        kept = tf.ones([batch, steps, filters], tf.bool)
        limits = tf.minimum(tf.cast(lengths, tf.float32) / 5, float(self.longest))
        for _ in range(self.stretches):
            kept &= ~self._drawn(batch, tf.cast(lengths, tf.float32), limits, steps)[:, :, None]
        for _ in range(self.bands):
            wide = tf.fill([batch], float(min(self.width, filters // 2)))
            kept &= ~self._drawn(batch, tf.fill([batch], float(filters)), wide, filters)[:, None, :]
        return tf.where(kept, frames, tf.zeros([], frames.dtype))

    def _warped(self, frames: Tensor) -> Tensor:
        """Each row reads its filters at places that are drawn: filter m at m · a, which is where the mel scale of a
        frequency lies that is higher by about as much."""
        if not self.warp:
            return frames
        filters = frames.shape[-1]
        drawn = keras.random.uniform((tf.shape(frames)[0], 1), 1 - self.warp, 1 + self.warp, seed=self._seed)
        places = tf.minimum(tf.range(filters, dtype=tf.float32)[None] * drawn, filters - 1.0)
        apart = tf.abs(places[:, None, :] - tf.range(filters, dtype=tf.float32)[None, :, None])
        weights = tf.maximum(1.0 - apart, 0.0)  # between neighbours
        return tf.matmul(frames, tf.cast(weights, frames.dtype))

    def _tilted(self, frames: Tensor) -> Tensor:
        """Each row with a curve added, of some slow cosines."""
        if not self.tilt:
            return frames
        filters = frames.shape[-1]
        drawn = keras.random.normal((tf.shape(frames)[0], _CURVES), stddev=self.tilt, seed=self._seed)
        angles = tf.range(_CURVES, dtype=tf.float32)[:, None] * (tf.range(filters, dtype=tf.float32) + 0.5)[None]
        curve = tf.matmul(drawn, tf.cos(angles * (math.pi / filters)))
        return frames + tf.cast(curve[:, None], frames.dtype)

    def _drawn(self, batch: Tensor, room: Tensor, limits: Tensor, size: Tensor) -> Tensor:
        """A span of each row, `[batch, size]`: of uniform length and place."""
        drawn = keras.random.uniform((batch, 2), seed=self._seed)
        long = drawn[:, 0] * (limits + 1)
        long = tf.floor(tf.minimum(long, limits))
        first = tf.floor(drawn[:, 1] * (room - long + 1))
        places = tf.cast(tf.range(size), tf.float32)[None]
        return (places >= first[:, None]) & (places < (first + long)[:, None])

    def compute_output_spec(self, frames: Tensor, lengths: Tensor, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(frames.shape, frames.dtype)


@keras.saving.register_keras_serializable("nlp_rnn")
class FrameStacking(SequenceLayer):
    """Puts frames that follow each other together into one step, optionally through convolutions over time and
    frequency, in front of a recurrent stack.

    Args:
        factor: frames of a step.
        filters: of each convolution of 3 frames × 3 filters, its outputs rectified, the second with every other
            frequency alone; 0 for none.
        mels: numbers in a frame.

    Call arguments:
        frames: `[batch, frames, mels]`.
        lengths: int32 `[batch]`, frames of each row.
        training: not looked at.

    Returns:
        `[batch, steps, output_dim]`, where the last step of a row may be filled up with zeros.

    Example:

    >>> FrameStacking(3, 40)(keras.ops.ones((2, 98, 40)), keras.ops.array([98, 50])).shape
    TensorShape([2, 33, 120])
    """

    OPTIONS = ("factor", "mels", "filters")

    def __init__(self, factor: int, mels: int, filters: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor, self.mels, self.filters = factor, mels, filters
        self.convolutions = [
            keras.layers.Conv2D(
                filters, 3, (1, stride), "valid", activation="relu", dtype=self.dtype_policy, name=f"convolution_{i}"
            )
            for i, stride in enumerate((2, 2) if filters else ())
        ]

    @property
    def output_dim(self) -> int:
        """Numbers in a step."""
        size = self.mels
        for _ in self.convolutions:
            size = -(-size // 2)
        return self.factor * size * max(self.filters, 1)

    @property
    def context(self) -> int:
        """Frames to either side that a step looks at beside its own."""
        return len(self.convolutions)

    def build(self, frames_shape: Shape, lengths_shape: Shape | None = None) -> None:
        channels = 1
        for convolution in self.convolutions:
            convolution.build((None, None, None, channels))
            channels = self.filters
        self.built = True

    def call(self, frames: Tensor, lengths: Tensor, training: bool = False) -> Tensor:
        frames = ops.cast(frames, self.compute_dtype)
        inside = tf.sequence_mask(lengths, tf.shape(frames)[1], frames.dtype)[..., None]
        frames = tf.pad(frames * inside, [[0, 0], [self.context, self.context], [0, 0]])
        return self.stacked(
            self.convolved(frames) * inside
        )  # what shares the last step with padding is zeros, as alone

    def convolved(self, frames: Tensor) -> Tensor:
        """Frames with their context on either side → what convolutions make of them, `[batch, frames, features]`."""
        if not self.convolutions:
            return frames
        found, size = frames[..., None], self.mels
        for convolution in self.convolutions:
            size, even = -(-size // 2), size % 2 == 0
            found = convolution(tf.pad(found, [[0, 0], [0, 0], [1, 0 if even else 1], [0, 0]]))
        return tf.reshape(found, [tf.shape(found)[0], tf.shape(found)[1], size * self.filters])

    def stacked(self, frames: Tensor) -> Tensor:
        """`factor` frames side by side, those that are missing at the end zeros."""
        batch, count, features = tf.shape(frames)[0], tf.shape(frames)[1], frames.shape[-1]
        steps = (count + self.factor - 1) // self.factor
        padded = tf.pad(frames, [[0, 0], [0, steps * self.factor - count], [0, 0]])
        return tf.reshape(padded, [batch, steps, self.factor * features])

    def compute_output_spec(self, frames: Tensor, lengths: Tensor, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor((frames.shape[0], None, self.output_dim), self.compute_dtype)
