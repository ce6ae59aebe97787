"""Weights that take less room: kept in 16 or in 8 bits, computed with in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf
from keras import ops

if TYPE_CHECKING:
    from nlp_rnn.layers.base import Tensor

_FEWEST = 4096  # of the weights of a matrix that is worth packing
_NARROWEST = 16  # rows with fewer columns would need as much for their scales as they save


class PackedVariable(keras.Variable):
    """A matrix of a model in float32 that is kept in bfloat16, or in whole numbers of 8 bits with a scale for each row
    (the largest of its absolute values is 127), and unpacked where it is read."""

    scale: tf.Variable | None

    @classmethod
    def pack(cls, variable: keras.Variable, weights: str) -> None:
        """Packs a variable in its place, for good: it cannot be trained or assigned afterwards.

        Args:
            variable: of float32.
            weights: "bfloat16" or "int8".
        """
        value = tf.convert_to_tensor(variable.value)
        scale = None
        if weights == "int8" and value.shape[-1] >= _NARROWEST:
            largest = tf.reduce_max(tf.abs(value), -1, keepdims=True) / 127
            scale = tf.Variable(largest, trainable=False)
            packed = tf.cast(tf.round(tf.math.divide_no_nan(value, largest)), tf.int8)
        else:
            packed = tf.cast(value, tf.bfloat16)
        variable.__class__ = cls
        variable._value, variable.scale = tf.Variable(packed, trainable=False), scale

    @property
    def parts(self) -> list[tf.Variable]:
        """What it is kept in."""
        return [self._value, *([] if self.scale is None else [self.scale])]

    @property
    def value(self) -> Tensor:
        """The matrix in float32, or that of a scope in which it was unpacked before."""
        found = super().value
        return _unpacked(found, self.scale) if found is self._value else tf.cast(found, tf.float32)

    def rows(self, ids: Tensor) -> Tensor:
        """Some rows in float32; no others are unpacked."""
        return _unpacked(tf.gather(self._value, ids), None if self.scale is None else tf.gather(self.scale, ids))


def _unpacked(packed: Tensor, scale: Tensor | None) -> Tensor:
    value = tf.cast(packed, tf.float32)
    return value if scale is None else value * scale


def pack_weights(model: keras.Model, weights: str) -> None:
    """Packs all matrices of a model in their place, but for small ones; see `PackedVariable`.

    Example:

    >>> model = keras.Sequential([keras.layers.Embedding(1000, 16)])
    >>> model.build((None, None))
    >>> before = model.layers[0].embeddings.numpy()
    >>> pack_weights(model, "int8")
    >>> [part.dtype.name for part in model.layers[0].embeddings.parts]
    ['int8', 'float32']
    >>> float(abs(model.layers[0].embeddings.numpy() - before).max()) < 0.05 / 127
    True
    """
    for variable in model.variables:
        shape = variable.shape
        if variable.dtype == "float32" and len(shape) > 1 and shape.num_elements() >= _FEWEST:
            PackedVariable.pack(variable, weights)


def rows_of(table: keras.Variable, ids: Tensor) -> Tensor:
    """Rows of a variable, `[…]` → `[…, columns]`, of a packed one without unpacking the others."""
    return table.rows(ids) if isinstance(table, PackedVariable) else ops.take(table, ids, axis=0)
