"""Inference with models of mixed precision: weights cast once, copies in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from nlp_rnn.layers.base import Nest


def weights_cast_once(*layers: keras.layers.Layer) -> keras.StatelessScope:
    """A scope in which layers of mixed precision, each of one policy throughout, find their matrices cast already: for
    loops, which would cast them anew in each step. Nothing that is assigned in it lasts.

    Example:

    >>> layer = keras.layers.Dense(2, dtype="mixed_bfloat16")
    >>> layer.build((None, 3))
    >>> with weights_cast_once(layer):
    ...     layer.kernel.value.dtype
    tf.bfloat16
    """
    scope = keras.StatelessScope()
    for layer in layers:
        if layer.compute_dtype != layer.variable_dtype:
            for variable in layer.trainable_variables + layer.non_trainable_variables:
                if variable.dtype == layer.variable_dtype and len(variable.shape) > 1:
                    scope.add_update((variable, tf.cast(variable.value, layer.compute_dtype)))
    return scope


_MIXED = ("mixed_float16", "mixed_bfloat16")


def float32_copy(model: keras.Model) -> keras.Model:
    """A copy with the same weights that computes in float32, whatever the model was trained in.

    Mixed precision casts the weights anew in each call, which one step at a time costs more than it gains.
    """
    copy = type(model).from_config(_in_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _in_float32(value: Nest) -> Nest:
    if isinstance(value, dict):
        return {key: _in_float32(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_in_float32(part) for part in value)
    return "float32" if value in _MIXED else value
