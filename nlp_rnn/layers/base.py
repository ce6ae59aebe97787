"""What the layers of this package share: how they are configured, saved and loaded, and how they treat masks."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = tf.Tensor | keras.KerasTensor
"""A tensor: eager, of a graph, or symbolic; its shape stands in the docstring."""
Nest: TypeAlias = Any
"""Tensors in dicts, lists and tuples, such as the states of a stack."""
Shape: TypeAlias = tuple[Any, ...]
"""Sizes of a tensor's axes; None where they vary."""


class Configured:
    """Saves and loads a layer or model by the arguments that it was made with, which are its attributes.

    A class names them: in `OPTIONS` plain values, in `PARTS` layers.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ()
    PARTS: ClassVar[tuple[str, ...]] = ()

    def get_config(self) -> dict[str, Any]:
        """All that makes the same layer again."""
        options = {name: getattr(self, name) for name in self.OPTIONS}
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self.PARTS}
        return {**super().get_config(), **options, **parts}  # type: ignore[misc]

    @classmethod
    def from_config(cls, config: dict[str, object], custom_objects: object = None) -> Self:
        """Makes it again from what `get_config` returned."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in cls.PARTS
            if name in config
        }
        return cls(**{**config, **parts})


def add_constants(layer: keras.layers.Layer, size: int, **values: Any) -> list[Any]:
    """Weights `[size]` by name that training does not touch, in float32 whatever the policy, which begin with values or
    arrays, such as means and spreads."""

    def one(name: str, value: Any) -> keras.Variable:
        return layer.add_weight(
            name=name,
            shape=(size,),
            initializer=lambda shape, dtype: keras.ops.broadcast_to(keras.ops.cast(value, dtype), shape),
            trainable=False,
            dtype="float32",
            autocast=False,
        )

    return [one(name, value) for name, value in values.items()]


class SequenceLayer(Configured, keras.layers.Layer):
    """A layer that gets masks as arguments of its call, and attaches none to what comes out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        """None."""
