"""The LSTM whose gates and cell are normalised over the units of a layer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, Shape, Tensor

EPSILON = 1e-3  # Keras's: where units are all alike, as after a step of zeros, the gradient grows by its root only


def normalized(x: Tensor) -> Tensor:
    """The last axis with mean 0 and variance 1, as far as it has one; no less exact than float32."""
    x = wide(x)
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    # Not `tf.nn.moments`, whose second derivatives take the mean for a constant.
    return centred * tf.math.rsqrt(tf.reduce_mean(centred**2, -1, keepdims=True) + EPSILON)


def wide(x: Tensor) -> Tensor:
    """A value of half precision in float32; others as they are."""
    x = tf.convert_to_tensor(x)
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x


@keras.saving.register_keras_serializable("nlp_rnn")
class LayerNormLSTMCell(keras.layers.LSTMCell):
    """A step of `LayerNormLSTM`, for `keras.layers.RNN`.

    Args:
        units: size of the states h and c.
        **kwargs: those of `keras.layers.LSTMCell`.

    Call arguments:
        inputs: `[batch, features]`.
        states: list of h and c, `[batch, units]`.
        training: whether to drop.

    Returns:
        h, and the list of h and c.

    Example:

    >>> keras.layers.RNN(LayerNormLSTMCell(8))(keras.ops.ones((2, 5, 3))).shape
    TensorShape([2, 8])
    """

    def build(self, inputs_shape: Shape) -> None:
        super().build(inputs_shape)
        for name, size in (("input_gain", 4), ("recurrent_gain", 4), ("cell_gain", 1)):
            setattr(self, name, self.add_weight(name=name, shape=(size * self.units,), initializer="ones"))
        self.cell_bias = self.add_weight(name="cell_bias", shape=(self.units,), initializer="zeros")

    def call(self, inputs: Tensor, states: Nest, training: bool = False) -> tuple[Tensor, list[Tensor]]:
        h, c = states
        dropped = self.get_dropout_mask(inputs) if training and self.dropout else None
        forgotten = self.get_recurrent_dropout_mask(h) if training and self.recurrent_dropout else None
        gates = normalized(_product(inputs, dropped, self.kernel)) * wide(self.input_gain)
        gates += normalized(_product(h, forgotten, self.recurrent_kernel)) * wide(self.recurrent_gain)
        i, f, g, o = ops.split(gates + wide(self.bias) if self.use_bias else gates, 4, -1)
        after = self.recurrent_activation(f) * wide(c) + self.recurrent_activation(i) * self.activation(g)
        shown = self.activation(normalized(after) * wide(self.cell_gain) + wide(self.cell_bias))
        h, c = (ops.cast(value, c.dtype) for value in (self.recurrent_activation(o) * shown, after))
        return h, [h, c]

    def inner_weights(self) -> Tensor:
        """What the loop needs beside U: the gains of the products h·U and of c, and its bias, `[6 × units]`."""
        return tf.concat([wide(weight) for weight in (self.recurrent_gain, self.cell_gain, self.cell_bias)], 0)


def _product(x: Tensor, masks: Nest, kernel: Tensor) -> Tensor:
    """x·W; with the dropout mask of x, or one for each of the four gates."""
    if isinstance(masks, (list, tuple)):
        parts = zip(masks, ops.split(kernel, len(masks), -1), strict=True)
        return ops.concatenate([ops.matmul(x * mask, part) for mask, part in parts], -1)
    return ops.matmul(x if masks is None else x * masks, kernel)


def with_normalized_cell(layer: Any) -> None:
    """Puts a `LayerNormLSTMCell` of the same settings in the place of the cell of a `keras.layers.LSTM`, before it is
    built."""
    before = layer.cell
    layer._tracker.untrack(before)  # for which Keras has no public name: else the seed of its dropout would stay
    layer.cell = LayerNormLSTMCell.from_config(before.get_config())
