"""A SavedModel that takes raw input: tokenizer, model and decoding in one graph."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.assets import Assets
from nlp_rnn.errors import InputError
from nlp_rnn.layers.precision import float32_copy


class Served(tf.Module):
    """What a SavedModel keeps alive: the weights and the tables of the assets.

    The signatures hold no Python code; loading needs `tensorflow` and the libraries that the assets name.
    """

    def __init__(self, model: keras.Model, assets: Assets) -> None:
        super().__init__()
        self.variables_ = [variable.value for variable in model.variables]
        self.tables = [table for asset in assets.values() for table in getattr(asset, "tables", [])]


def export_saved_model(
    path: Path,
    model: keras.Model,
    assets: Assets,
    signatures: Callable[[keras.Model], Mapping[str, Any]],
) -> Path:
    """Writes a SavedModel and, in `assets.extra`, the names of its labels and of its signatures.

    The graph is built for any device: a model trained with cuDNN is exported with the plain loop.

    Args:
        path: the folder to write.
        model: what to export.
        assets: whose tables the SavedModel keeps alive.
        signatures: model → `tf.function`s by name.

    Raises:
        InputError: the folder exists and holds something else.
    """
    if path.exists() and any(path.iterdir()) and not (path / "saved_model.pb").exists():
        raise InputError(f"{path} holds other files; choose another folder with --out.")
    model = portable_copy(model)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write(temporary, Served(model, assets), assets, signatures(model))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return path


def _write(folder: Path, served: Served, assets: Assets, signatures: Mapping[str, Any]) -> None:
    concrete = {name: _also_of_nothing(function).get_concrete_function() for name, function in signatures.items()}
    tf.saved_model.save(served, str(folder), signatures=concrete)
    extra = folder / "assets.extra"
    extra.mkdir()
    for name, values in (("labels", assets.get("labels", ())), ("signatures", concrete)):
        content = json.dumps({name: list(values)}, ensure_ascii=False)
        (extra / f"{name}.json").write_text(content + "\n", encoding="utf-8")


def _also_of_nothing(function: Any) -> Any:
    """A signature that takes batches without rows too: it is then called with one row, of which nothing is returned."""
    specs = tf.nest.flatten(function.get_concrete_function().structured_input_signature)
    have_rows = [spec.shape.rank and spec.shape[0] is None for spec in specs]
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
    return tf.fill(shape, tf.constant("" if value.dtype == tf.string else 1, value.dtype))


def portable_copy(model: keras.Model) -> keras.Model:
    """A copy with the same weights, in float32, whose recurrent layers use TensorFlow's own operations: its graph runs
    anywhere."""
    copy = float32_copy(model)
    for layer in copy._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.RNN):  # Keras's own too, in a model of the user's
            layer.use_cudnn = False
        layer.use_native = False
    return copy


def libraries_of(assets: Assets) -> list[str]:
    """The packages whose operations the graph holds, beside TensorFlow."""
    return sorted({name for asset in assets.values() for name in getattr(asset, "libraries", ())})
