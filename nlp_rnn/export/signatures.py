"""The functions of a SavedModel: what they take, with what defaults, and an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Signature:
    """A function of a SavedModel, documented.

    Args:
        function: a `tf.function` with an input signature of named tensors, which gives a dict of tensors.
        about: what it does, in one sentence.
        example: its inputs by name, as plain values; those of the task's example where it is the default signature.
        defaults: of inputs that are settings; TensorFlow knows no defaults, so they are for whoever calls it.
        independent: whether the results of a row do not depend on the others of its batch.
        everywhere: whether runtimes other than TensorFlow may have it, if it takes numbers alone.
        lengths: of rows, for runtimes that know fixed shapes only; by default those of tokens.
        ranges: of inputs, the least and the highest value.
        counts: inputs that say how many steps of a row of another are no padding, 1 or more: the name of the other.
        ahead: inputs that have so many steps more than another: its name, and the number.
        missing: inputs in which NaN stands for a value that is missing.
        binary: inputs that are bytes, and no text.
    """

    function: Any
    about: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    independent: bool = True
    everywhere: bool = True
    lengths: tuple[int, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)
    ahead: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()

    def __call__(self, *values: Any, **named: Any) -> dict[str, tf.Tensor]:
        """Calls the function."""
        return self.function(*values, **named)

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """The types and shapes of its inputs, in order."""
        return tf.nest.flatten(self.function.get_concrete_function().structured_input_signature)

    @property
    def is_numeric(self) -> bool:
        """Whether it takes numbers alone and gives some, so that runtimes without texts can have it."""
        outputs = self.function.get_concrete_function().structured_outputs.values()
        takes_texts = any(spec.dtype == tf.string for spec in self.specs)
        return not takes_texts and any(value.dtype != tf.string for value in outputs)

    def arrays(self) -> dict[str, np.ndarray]:
        """The inputs of the example."""
        given = {**self.defaults, **self.example}
        return {spec.name: np.array(given[spec.name], spec.dtype.as_numpy_dtype) for spec in self.specs}

    def call(self, function: Any = None, given: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
        """What the function, or another of the same inputs, gives for the example, or for other inputs: plain values by
        name."""
        values = {**self.defaults, **self.example} if given is None else given
        inputs = {spec.name: tf.constant(values[spec.name], spec.dtype) for spec in self.specs}
        outputs = self.function(*inputs.values()) if function is None else function(**inputs)
        return {name: _plain(value.numpy().tolist()) for name, value in outputs.items()}

    def description(self) -> dict[str, Any]:
        """What a client must know, as JSON holds it."""
        outputs = self.function.get_concrete_function().structured_outputs
        found: dict[str, Any] = {
            "about": self.about,
            "independent": self.independent,
            "inputs": {spec.name: _described(spec) for spec in self.specs},
            "outputs": {name: _described(value) for name, value in outputs.items()},
        }
        for name, about in found["inputs"].items():
            about |= {"default": self.defaults[name]} if name in self.defaults else {}
            about |= dict(zip(("minimum", "maximum"), self.ranges.get(name, ()), strict=False))
            about |= {"counts": self.counts[name]} if name in self.counts else {}
            about |= {"ahead": dict(zip(("of", "steps"), self.ahead[name], strict=True))} if name in self.ahead else {}
            about |= {"missing": True} if name in self.missing else {}
            about |= {"binary": True} if name in self.binary else {}
        if self.example:
            found["example"] = {"inputs": {**self.defaults, **self.example}, "outputs": self.call()}
        return found


def as_signature(value: object) -> Signature:
    """A signature, or a plain `tf.function` as one."""
    return value if isinstance(value, Signature) else Signature(value)


def numbers_of(function: Any, specs: Sequence[tf.TensorSpec]) -> tf.types.experimental.PolymorphicFunction:
    """A function traced anew for inputs of these shapes; what it gives as text is left out."""
    inner = function.python_function

    @tf.function(input_signature=list(specs), autograph=False)
    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: value for name, value in inner(*values).items() if value.dtype != tf.string}

    return call


def never_of_padding(ids: tf.Tensor, unknown: int = 1) -> tf.Tensor:
    """Ids `[rows, steps]`, padded with 0, with one step more: a row of nothing else begins with the unknown id, as the
    tokenizers have it."""
    longer = tf.pad(ids, [[0, 0], [0, 1]])
    is_empty = tf.reduce_all(longer == 0, 1, keepdims=True)
    is_first = tf.range(tf.shape(longer)[1]) == 0
    return tf.where(is_empty & is_first, unknown, longer)


def also_of_nothing(function: Any) -> tf.types.experimental.PolymorphicFunction:
    """A function that takes batches without rows too: it is then called with one row, of which nothing is returned."""
    specs = tf.nest.flatten(function.get_concrete_function().structured_input_signature)
    have_rows = [bool(spec.shape.rank) and spec.shape[0] is None for spec in specs]
    if not any(have_rows):
        return function

    @tf.function(input_signature=specs, autograph=False)
    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(values[have_rows.index(True)])[0]
        given = []
        for value, spec, has_rows in zip(values, specs, have_rows, strict=True):
            if has_rows:
                value = tf.cond(count == 0, lambda v=value: _one_row(v), lambda v=value: tf.identity(v))
                value.set_shape(spec.shape)
            given.append(value)
        results = function(*given)
        return {n: v[:count] if v.shape.rank and v.shape[0] is None else v for n, v in results.items()}

    return call


def _one_row(value: tf.Tensor) -> tf.Tensor:
    """A row of some value, at least one step long."""
    shape = tf.concat([[1], tf.maximum(tf.shape(value)[1:], 1)], 0)
    return tf.fill(shape, tf.constant("") if value.dtype == tf.string else tf.cast(1, value.dtype))


def _described(spec: Any) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": list(spec.shape)}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
