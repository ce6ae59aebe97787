"""The LSTM whose gates and cell are normalised over the units of a layer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, Shape, Tensor

EPSILON = 1e-5


def normalized(x: Tensor) -> Tensor:
    """The last axis with mean 0 and variance 1, as far as it has one."""
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + EPSILON)


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
        if training and self.dropout:
            inputs = inputs * self.get_dropout_mask(inputs)
        if training and self.recurrent_dropout:
            h = h * self.get_recurrent_dropout_mask(h)
        gates = normalized(ops.matmul(inputs, self.kernel)) * self.input_gain
        gates += normalized(ops.matmul(h, self.recurrent_kernel)) * self.recurrent_gain
        i, f, g, o = ops.split(gates + self.bias if self.use_bias else gates, 4, -1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        h = self.recurrent_activation(o) * self.activation(normalized(c) * self.cell_gain + self.cell_bias)
        return h, [h, c]

    def inner_weights(self) -> Tensor:
        """What the loop needs beside U: the gains of the products h·U and of c, and its bias, `[6 × units]`."""
        return tf.concat([tf.convert_to_tensor(w) for w in (self.recurrent_gain, self.cell_gain, self.cell_bias)], 0)


def with_normalized_cell(layer: Any) -> None:
    """Puts a `LayerNormLSTMCell` of the same settings in the place of the cell of a `keras.layers.LSTM`, before it is
    built."""
    settings: dict[str, Any] = layer.cell.get_config()
    del layer.cell
    layer.cell = LayerNormLSTMCell.from_config(settings)
