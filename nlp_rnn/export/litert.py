"""LiteRT, once TensorFlow Lite: one file, in which each signature that takes numbers stands for some fixed lengths."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.assets import Assets
from nlp_rnn.errors import InputError
from nlp_rnn.export.folders import describe, quiet, refuse_differences, written
from nlp_rnn.export.onnx import Signatures, copy_tokens, numeric_signatures
from nlp_rnn.export.savedmodel import Served, portable_copy
from nlp_rnn.export.signatures import Signature, numbers_of

FILE = "model.tflite"
LENGTHS = (16, 64, 256)
_INNER = 24  # of a third axis, such as the characters of a word, where settings do not say how many are seen


def export_litert(
    path: Path,
    model: keras.Model,
    assets: Assets,
    signatures: Signatures,
    about: Mapping[str, Any],
    small: bool = False,
) -> Path:
    """Writes a folder with `model.tflite`, the assets and `assets.extra/signature.json`.

    A signature stands for one row. Where it takes several steps, there is one for each of some lengths, such as
    `tokens_64`, to which rows are padded with 0, up to the longest that the model was trained for; one that also
    takes a state goes on by one step. Each is run and compared with the model.

    Args:
        path: the folder to write.
        model: what to export.
        assets: written beside it.
        signatures: model → `Signature`s by name.
        about: further facts for `signature.json`.
        small: keep the weights of products as whole numbers of 8 bits; the results differ a little then, and are not
            compared.

    Raises:
        InputError: packages are missing, or no signature takes numbers.
        ExportDiffers: LiteRT gives other results than the model.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise InputError('LiteRT needs a further package: install it with `pip install "nlp-rnn[litert]"`.') from None
    with written(path) as folder:
        copy = portable_copy(model)
        found = _of_fixed_lengths(numeric_signatures(signatures(copy)), *_sizes(about["settings"]))
        content = _converted(Served(copy, assets), found, small)
        interpreter = Interpreter(model_content=content, num_threads=1)
        for name, signature in {} if small else found.items():
            outputs = interpreter.get_signature_runner(name)(**signature.arrays())
            refuse_differences({n: v.tolist() for n, v in outputs.items()}, signature.call(), f"{FILE}, {name},")
        (folder / FILE).write_bytes(content)
        assets.save(folder / "assets")
        copy_tokens(assets, folder)
        describe(folder, found, {**about, "libraries": ["ai_edge_litert"]})
    return path


def _sizes(settings: Mapping[str, Any]) -> tuple[list[int], int]:
    """The lengths of rows, and that of a third axis, by the settings of a run."""
    longest = settings.get("data", {}).get("max_tokens") or LENGTHS[-1]
    inner = settings.get("embedding", {}).get("max_characters") or _INNER
    return [*(length for length in LENGTHS if length < longest), longest], inner


def _of_fixed_lengths(signatures: Mapping[str, Signature], lengths: Sequence[int], inner: int) -> dict[str, Signature]:
    """Signatures for one row, each for some lengths, or for one step where a state goes in.

    Raises:
        InputError: a signature takes a state and beside it numbers of any length, as a decoder with attention does.
    """
    found = {}
    for name, signature in signatures.items():
        floats = [spec.shape[1:].is_fully_defined() for spec in signature.specs if spec.dtype.is_floating]
        if True in floats and False in floats:
            raise InputError(f"LiteRT cannot have {name}, which looks at a memory of any length; use --to onnx.")
        for length in (1,) if True in floats else signature.lengths or lengths:
            specs = [_fixed(spec, (1, length, inner)) for spec in signature.specs]
            example = {spec.name: _example(spec, signature.example.get(spec.name)) for spec in specs}
            one = Signature(numbers_of(signature.function, specs), signature.about, example)
            found[name if True in floats else f"{name}_{length}"] = one
    return found


def _fixed(spec: tf.TensorSpec, sizes: tuple[int, int, int]) -> tf.TensorSpec:
    shape = [size if size is not None else sizes[min(axis, 2)] for axis, size in enumerate(spec.shape)]
    return tf.TensorSpec(shape, spec.dtype, spec.name)


def _example(spec: tf.TensorSpec, given: object) -> Any:
    """The example of a signature, its first row padded to the shape."""
    value = np.zeros(spec.shape, spec.dtype.as_numpy_dtype)
    if given is not None:
        part = np.asarray(given, value.dtype)[tuple(slice(size) for size in spec.shape)]
        value[tuple(slice(size) for size in part.shape)] = part
    return value.tolist()


def _converted(served: tf.Module, signatures: Mapping[str, Signature], small: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder, quiet():
        concrete = {name: one.function.get_concrete_function() for name, one in signatures.items()}
        tf.saved_model.save(served, folder, signatures=concrete)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        if small:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return bytes(converter.convert())
        except Exception as error:
            found = re.search(r'fused\["(\w+):', str(error))
            missing = f" ({found[1]})" if found else ""
            raise InputError(
                f"LiteRT lacks an operation of this model{missing}: only --to savedmodel can have it."
            ) from error
