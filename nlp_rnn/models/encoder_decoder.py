"""A forecaster of two networks: one reads the steps so far, the other those to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Tensor
from nlp_rnn.layers.quantiles import OrderedQuantiles
from nlp_rnn.models.forecaster import Forecaster


@keras.saving.register_keras_serializable("nlp_rnn")
class EncoderDecoder(Forecaster):
    """An encoder reads all channels step by step, with what is known of each; a decoder goes on from its state and
    gives the quantiles of each step to come, from what is known of it and a vector of its position (a
    sequence-to-quantiles network, as in Wen et al. 2017, arXiv:1711.11053). Where the encoder's states are not what its
    layers give in the end, since these are normalised, have feed-forward blocks, or are those of a transformer, the
    decoder reads its last output too, at each step (as Cho et al. 2014, arXiv:1406.1078, do).

    Args:
        reads_output: whether it does; None for where it should.
        **options: those of `Forecaster`.

    Example:

    >>> model = EncoderDecoder(channels=2, lookback=48, horizon=24, units=16)
    >>> model({"history": keras.ops.ones((3, 48, 2))}).shape
    TensorShape([3, 24, 2, 7])
    """

    OPTIONS = (*Forecaster.OPTIONS, "reads_output")

    def __init__(self, *sizes: Any, reads_output: bool | None = None, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.stack, self.decoder = self._stack(), self._stack("decoder")
        others = self.normalization != "none" or self.feedforward > 0 or self.cell == "transformer"
        self.reads_output = others if reads_output is None else reads_output
        levels = len(self.levels)
        self.head = OrderedQuantiles(levels, self.channels, self.dropout, dtype=self.dtype_policy, name="head")

    def _build_parts(self) -> None:
        normal = keras.initializers.RandomNormal(stddev=1.0)
        shape = (self.horizon, self.units // 2 + 1)
        self.positions = self.add_weight(shape, normal, "float32", name="positions", autocast=False)
        self.stack.build((None, None, self.channels + self.covariates + self.past))
        self.decoder.build((None, None, shape[1] + self.covariates + self.reads_output * self.units))
        if self.horizon == 1:  # a convolution over two steps then has one to read
            for layer in getattr(self.decoder, "forward_layers", ()):
                if hasattr(layer, "kernel_before"):
                    layer.kernel_before.trainable = False
        self.head.build((None, None, self.units))

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> Tensor:
        history = features["history"]
        shift, spread = self.scale_of(history)
        covariates, past = self.covariates_of(features), self.past_of(features)
        read = [(history - shift) / spread] + ([] if past is None else [past])
        batch = tf.shape(history)[0]
        ahead = [tf.tile(self.positions[None], [batch, 1, 1])]
        if covariates is not None:
            read.append(covariates[:, : self.lookback])
            ahead.append(covariates[:, self.lookback :])
        encoded, state = self.stack(ops.cast(tf.concat(read, -1), self.compute_dtype), training=training)
        if self.reads_output:
            ahead.append(tf.repeat(tf.cast(encoded[:, -1:], tf.float32), self.horizon, axis=1))
        following = ops.cast(tf.concat(ahead, -1), self.compute_dtype)
        sequence, _ = self.decoder(following, initial_state=state, training=training)
        return self.head(sequence, training=training)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Forecaster:
        return super().from_config({"reads_output": False, **config}, custom_objects)  # as those saved before it was
