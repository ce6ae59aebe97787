"""Copies of models for other uses than training."""

from __future__ import annotations

from typing import Any

import keras

_MIXED = ("mixed_float16", "mixed_bfloat16")


def float32_copy(model: keras.Model) -> keras.Model:
    """A copy with the same weights that computes in float32, whatever the model was trained in.

    Mixed precision casts the weights anew in each call, which one step at a time costs more than it gains.
    """
    copy = type(model).from_config(_in_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _in_float32(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_float32(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_in_float32(part) for part in value)
    return "float32" if value in _MIXED else value
