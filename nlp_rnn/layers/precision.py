"""Inference with models of mixed precision or of packed weights: weights cast once, copies in float32."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from nlp_rnn.layers.packing import PackedVariable

if TYPE_CHECKING:
    from collections.abc import Callable

    from nlp_rnn.layers.base import Nest, Tensor


def _read(variable: keras.Variable, dtype: str) -> Tensor:
    return tf.cast(variable.value, dtype)


class _CastOnce(keras.StatelessScope):
    """Casts a weight where it is asked for first, but outside of the loop that asks."""

    def __init__(self, casts: dict[int, Callable[[], Tensor]]) -> None:
        super().__init__()
        self.casts, self.graph = casts, None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()

    def get_current_value(self, variable: keras.Variable) -> Tensor | None:
        cast = self.casts.pop(id(variable), None)
        if cast is not None:
            with nullcontext() if self.graph is None else self.graph.as_default():
                self.add_update((variable, cast()))
        return super().get_current_value(variable)


def weights_cast_once(*layers: keras.layers.Layer) -> keras.StatelessScope:
    """A scope in which layers of mixed precision, each of one policy throughout, find their matrices cast already, and
    layers of packed weights theirs unpacked: for loops, which would do so anew in each step. Nothing that is assigned
    in it lasts.

    Example:

    >>> layer = keras.layers.Dense(2, dtype="mixed_bfloat16")
    >>> layer.build((None, 3))
    >>> with weights_cast_once(layer):
    ...     layer.kernel.value.dtype
    tf.bfloat16
    """
    casts: dict[int, Callable[[], Tensor]] = {}
    for layer in layers:
        for variable in layer.variables:
            if isinstance(variable, PackedVariable):
                casts[id(variable)] = partial(_read, variable, variable.dtype)
        if layer.compute_dtype != layer.variable_dtype:
            for variable in layer.trainable_variables + layer.non_trainable_variables:
                if variable.dtype == layer.variable_dtype and len(variable.shape) > 1:
                    casts[id(variable)] = partial(_read, variable, layer.compute_dtype)
    return _CastOnce(casts)


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
