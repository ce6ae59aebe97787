"""A SavedModel that takes raw input: tokenizer, model and decoding in one graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from nlp_rnn.assets import Assets
from nlp_rnn.export import EXTRA
from nlp_rnn.export.folders import describe, refuse_differences, written
from nlp_rnn.export.signatures import Signature, also_of_nothing
from nlp_rnn.export.warm_up import FILE as WARM_UP
from nlp_rnn.export.warm_up import write_warm_up
from nlp_rnn.layers.packing import PackedVariable, pack_weights
from nlp_rnn.layers.precision import float32_copy, weights_cast_once

Plain: TypeAlias = dict[str, Any]
"""Plain values by name."""
NATIVE = "nlp_rnn.layers.native.operations"
"""The module that registers the compiled kernels."""
_DEFAULT = "serving_default"


class Served(tf.Module):
    """What a SavedModel keeps alive: the weights and the tables of the assets.

    The signatures hold no Python code; loading needs `tensorflow` and the libraries that the assets name.
    """

    def __init__(self, model: keras.Model, assets: Assets) -> None:
        super().__init__()
        self.variables_ = [
            variable.parts if isinstance(variable, PackedVariable) else variable.value for variable in model.variables
        ]
        self.tables = [table for asset in assets.values() for table in getattr(asset, "tables", [])]


def export_saved_model(
    path: Path,
    model: keras.Model,
    assets: Assets,
    signatures: Callable[[keras.Model], Mapping[str, Signature]],
    predicted: Callable[[keras.Model], list[Plain]],
    about: Mapping[str, object],
    weights: str = "float32",
    kernels: str = "portable",
) -> Path:
    """Writes a SavedModel and, in `assets.extra`, what a client must know: `signature.json` has the inputs and outputs
    of each signature with an example, `labels.json` and `signatures.json` names alone, `assets` the vocabularies; and
    requests with which TensorFlow Serving warms up.

    The graph is built for any device: a model trained with cuDNN is exported with the plain loop. What was written is
    loaded and compared with the model before it takes its place.

    Args:
        path: the folder to write.
        model: what to export.
        assets: whose tables the SavedModel keeps alive.
        signatures: model → `Signature`s by name.
        predicted: model → what is predicted for the example, each result as plain values by name.
        about: further facts for `signature.json`.
        weights: "float32", or "bfloat16" or "int8", with which the results differ a little from those of the model;
            what was written is then compared with a copy whose weights are the same.
        kernels: "portable", TensorFlow's operations alone, or "native", the compiled ones for CPUs.

    Raises:
        InputError: the folder exists and holds something else.
        ExportDiffers: what was written gives other results than the model.
    """
    with written(path) as temporary:
        expected = predicted(model if model.compute_dtype == "float32" else float32_copy(model))
        model = portable_copy(model) if kernels == "portable" else float32_copy(model)
        if weights != "float32":
            pack_weights(model, weights)
            expected = []
        found = signatures(model)
        if weights != "float32":
            found = {name: _unpacking_once(one, model) for name, one in found.items()}
        whole = path.resolve()
        name = whole.parent.name if whole.name.isdigit() else whole.name
        _write(temporary, name, Served(model, assets), assets, found, about)
        _compare(temporary, found, expected)
    return path


def _write(
    folder: Path,
    name: str,
    served: Served,
    assets: Assets,
    signatures: Mapping[str, Signature],
    about: Mapping[str, object],
) -> None:
    concrete = {name: also_of_nothing(one.function).get_concrete_function() for name, one in signatures.items()}
    tf.saved_model.save(served, str(folder), signatures=concrete)
    describe(folder, signatures, about)
    assets.save(folder / EXTRA / "assets")
    write_warm_up(folder / EXTRA / WARM_UP, name, signatures)


def _compare(folder: Path, signatures: Mapping[str, Signature], predicted: list[Plain]) -> None:
    """Loads what was written, and compares it with the model, and with what is predicted for the example.

    Raises:
        ExportDiffers: they differ.
    """
    loaded = tf.saved_model.load(str(folder))
    for name, signature in signatures.items():
        if not signature.example:
            continue
        found, what = signature.call(loaded.signatures[name]), f"The signature {name} of the SavedModel"
        refuse_differences(found, signature.call(), what)
        if name == _DEFAULT and predicted:
            plain = [n for n, v in predicted[0].items() if n in found and isinstance(v, (str, int, float))]
            refuse_differences(found, {n: [row[n] for row in predicted] for n in plain}, what)


def _unpacking_once(signature: Signature, model: keras.Model) -> Signature:
    """The same, whose loops find the weights unpacked already."""
    inner = signature.function.python_function

    @tf.function(input_signature=signature.specs, autograph=False)
    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        with weights_cast_once(model):
            return inner(*values)

    return replace(signature, function=call)


def portable_copy(model: keras.Model) -> keras.Model:
    """A copy with the same weights, in float32, whose recurrent layers use TensorFlow's own operations: its graph runs
    anywhere."""
    copy = float32_copy(model)
    for layer in copy._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.RNN):  # Keras's own too, in a model of the user's
            layer.use_cudnn = False
        layer.use_native = False
    return copy


def libraries_of(assets: Assets, kernels: str = "portable") -> list[str]:
    """The modules that register the operations of the graph, beside TensorFlow."""
    found = {name for asset in assets.values() for name in getattr(asset, "libraries", ())}
    return sorted(found) + [NATIVE] * (kernels == "native")
