"""ONNX: one file for each signature that takes numbers, its recurrent layers the operators RNN, GRU and LSTM.

`tf2onnx` converts the graph. Where a recurrent layer would run its loop, the graph that it gets has one operation that
TensorFlow never runs, and which becomes the operator; the weights are brought into ONNX's order beside it, and folded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from nlp_rnn.assets import Assets
from nlp_rnn.errors import InputError
from nlp_rnn.export.folders import describe, quiet, refuse_differences, written
from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.export.signatures import Signature, numbers_of
from nlp_rnn.layers.kernels import kind_of
from nlp_rnn.layers.recurrent import replaced_loops, run_fused

if TYPE_CHECKING:
    from types import ModuleType

Signatures: TypeAlias = Callable[[keras.Model], Mapping[str, Signature]]
_OPSET = 17
# The operator of each kind of layer, and the places of its gates in ONNX's order: Keras has i f c o, ONNX i o f c.
_OPERATORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "gru": ("GRU", (0, 1, 2)),
    "gru_reset_before": ("GRU", (0, 1, 2)),
    "tanh": ("RNN", (0,)),
    "relu": ("RNN", (0,)),
}


def export_onnx(
    path: Path,
    model: keras.Model,
    assets: Assets,
    signatures: Signatures,
    about: Mapping[str, object],
    small: bool = False,
    beside: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """Writes a folder of ONNX files, `NAME.onnx` for each signature that takes numbers, with the assets and
    `assets.extra/signature.json`. Each is run on its example and compared with the model. An output that would have the
    name of an input, such as a state, is called `next_NAME`.

    Args:
        path: the folder to write.
        model: what to export.
        assets: written beside the files, for whoever makes ids of texts.
        signatures: model → `Signature`s by name.
        about: further facts for `signature.json`.
        small: keep the weights of products as whole numbers of 8 bits, after the comparison; the results differ a
            little then.
        beside: files that are written beside, by name: a script that shows how to ask it, and what that imports.

    Raises:
        InputError: packages are missing, or no signature takes numbers.
        ExportDiffers: ONNX Runtime gives other results than the model.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ImportError:
        raise InputError('ONNX needs further packages: install them with `pip install "nlp-rnn[onnx]"`.') from None
    with written(path) as folder:
        found = {n: _apart(one) for n, one in numeric_signatures(signatures(portable_copy(model))).items()}
        for name, signature in found.items():
            _write_one(tf2onnx, onnxruntime, signature, folder / f"{name}.onnx", small)
        assets.save(folder / "assets")
        copy_tokens(assets, folder)
        for name, file in beside.items():
            if file.is_file():
                shutil.copy(file, folder / name)
        describe(folder, found, {**about, "libraries": ["onnxruntime"]})
    return path


def _write_one(tf2onnx: ModuleType, onnxruntime: ModuleType, signature: Signature, file: Path, small: bool) -> None:
    """Converts a signature and compares it with the model, on its example and on one step."""
    with quiet():
        _convert(tf2onnx, signature, file)
    try:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception as error:
        found = re.search(r"OpType: (\w+)|op_type:(\w+)| (\w+)\(-?\d+\) is not a registered", str(error))
        name = next(filter(None, found.groups())) if found else "Loop"
        missing = f" ({name})" if name != "Loop" else ""  # what is missing may be within one
        raise InputError(
            f"ONNX Runtime lacks an operation of this model{missing}: only --to savedmodel can have it."
        ) from error
    for given in (signature.arrays(), _of_one_step(signature)):
        outputs = {n: v.tolist() for n, v in run_session(session, given).items()}
        refuse_differences(outputs, signature.call(given=given), file.name)
    if small:
        with quiet():
            _shrink(file)


def copy_tokens(assets: Assets, folder: Path) -> None:
    """Puts `tokens.py` beside an export that takes ids of texts."""
    if any(asset.asset_kind == "tokenizer" for asset in assets.values()):
        shutil.copy(Path(__file__).with_name("tokens.py"), folder)


def numeric_signatures(signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """Those that take numbers alone, and have an example, by which a conversion is judged.

    Raises:
        InputError: there are none.
    """
    found = {name: one for name, one in signatures.items() if one.example and one.everywhere and one.is_numeric}
    if not found:
        raise InputError("Every signature of this task takes texts: only --to savedmodel can have them.")
    return found


def _apart(signature: Signature) -> Signature:
    """The same without texts, no output of which has the name of an input."""
    inner, names = numbers_of(signature.function, signature.specs).python_function, {s.name for s in signature.specs}

    @tf.function(input_signature=signature.specs, autograph=False)
    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"next_{n}" if n in names else n: value for n, value in inner(*values).items()}

    return replace(signature, function=call)


def _of_one_step(signature: Signature) -> dict[str, np.ndarray]:
    """The example with all axes that may have any length, but for that of the rows, cut to 1."""
    cuts = {
        spec.name: (slice(None), *(slice(1 if n is None else n) for n in spec.shape[1:])) for spec in signature.specs
    }
    return {name: value[cuts[name]] if value.ndim else value for name, value in signature.arrays().items()}


def run_session(session: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a session of ONNX Runtime by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _convert(tf2onnx: ModuleType, signature: Signature, path: Path) -> None:
    specs = signature.specs
    with replaced_loops(_as_operation):
        concrete = numbers_of(signature.function, specs).get_concrete_function()
    inputs = {f"{spec.name}:0": spec.name for spec in specs}
    outputs = {tensor.name: name for name, tensor in concrete.structured_outputs.items()}
    tf2onnx.convert.from_graph_def(
        _frozen(concrete),
        path.stem,
        list(inputs),
        list(outputs),
        opset=_OPSET,
        custom_op_handlers={"PyFunc": (_as_operator, [])},
        tensors_to_rename={**inputs, **outputs},
        output_path=str(path),
    )


def _shrink(file: Path) -> None:
    """Weights of 8 bits, with the scale of each product; states and sums stay float32."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = file.with_suffix(".large")
    file.rename(large)
    quantize_dynamic(large, file, weight_type=QuantType.QInt8)
    large.unlink()


def _frozen(concrete: Any) -> tf.types.experimental.ConcreteFunction:
    """A function's graph whose variables, and other tensors that it found outside, are constants."""
    found = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    graph = found.graph.as_graph_def(add_shapes=True)
    outside = {inside.op.name: value for value, inside in concrete.graph.captures if value.dtype != tf.resource}
    for node in graph.node:
        if node.op == "Placeholder" and node.name in outside:
            value = outside[node.name]
            node.op = "Const"
            node.attr.pop("shape", None)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy(), value.dtype))
    return graph


def _as_operation(
    layers: Sequence[Any], sequences: Any, states: Sequence[Any], mask: Any, backwards: tuple[bool, ...]
) -> tuple[Any, list[Any]] | None:
    """The operation that stands for a recurrent layer, with the inputs and outputs of ONNX's operator; loops where it
    has none, or None for the usual loop.

    The operator's are time-major: X `[time, batch, features]`, W `[directions, gates × units, features]`, R likewise, B
    with the biases of both products, the lengths, and the states `[directions, batch, units]`.
    """
    kind, units, directions = kind_of(layers[0]), layers[0].units, len(layers)
    if kind not in _OPERATORS:
        return _in_forward_loops(layers, sequences, states, mask, backwards) if any(backwards) else None
    name, order = _OPERATORS[kind]
    shape, size = tf.shape(sequences), len(order) * units
    weights = [[_in_order(layer.cell.kernel, order), _in_order(layer.cell.recurrent_kernel, order)] for layer in layers]
    biases = []
    for layer in layers:
        none = tf.zeros([size])
        given = tf.unstack(layer.cell.bias) if kind == "gru" and layer.cell.use_bias else [layer.cell.bias, none]
        both = given if layer.cell.use_bias else [none, none]
        biases.append(tf.concat([_in_order(bias, order) for bias in both], 0))
    lengths = tf.fill(shape[:1], shape[1]) if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), 1)
    direction = "bidirectional" if directions == 2 else "reverse" if backwards[0] else "forward"
    inputs = [
        tf.transpose(sequences, [1, 0, 2]),
        *(tf.stack([tf.transpose(part) for part in parts]) for parts in zip(*weights, strict=True)),
        tf.stack(biases),
        lengths,
        *(tf.stack(tf.split(state, directions, -1)) for state in states),
    ]
    outputs = tf.raw_ops.PyFunc(
        input=inputs, token=f"{name} {direction} {units} {kind}", Tout=[tf.float32] * (1 + len(states))
    )
    sequence = tf.transpose(tf.ensure_shape(outputs[0], [None, directions, None, units]), [2, 0, 1, 3])
    sequence = tf.reshape(sequence, [shape[0], shape[1], directions * units])
    last = [tf.unstack(tf.ensure_shape(output, [directions, None, units])) for output in outputs[1:]]
    return sequence, [tf.concat(parts, -1) for parts in last]


def _in_forward_loops(
    layers: Sequence[Any], sequences: Any, states: Sequence[Any], mask: Any, backwards: tuple[bool, ...]
) -> tuple[Any, list[Any]]:
    """Each layer in a loop that writes its steps from the first to the last, since `tf2onnx` takes no other."""
    outputs, after = [], []
    of_layers = zip(*(tf.split(state, len(layers), -1) for state in states), strict=True)
    for layer, turned, own in zip(layers, backwards, of_layers, strict=True):
        read = tf.reverse(sequences, [1]) if turned else sequences
        real = tf.reverse(mask, [1]) if turned and mask is not None else mask
        output, last = run_fused([layer], read, list(own), real, False, (False,), False)
        outputs.append(tf.reverse(output, [1]) if turned else output)
        after.append(last)
    return tf.concat(outputs, -1), [tf.concat(parts, -1) for parts in zip(*after, strict=True)]


def _in_order(weight: object, order: Sequence[int]) -> tf.Tensor:
    parts = tf.split(tf.convert_to_tensor(weight), len(order), -1)
    return tf.concat([parts[place] for place in order], -1)


def _as_operator(context: Any, node: Any, name: str, arguments: Any) -> None:
    """The operation as the operator that it stands for; `tf2onnx` calls this."""
    operator, direction, units, kind = node.get_attr_str("token").split(" ")
    node.type = operator
    for attribute in list(node.attr):
        del node.attr[attribute]
    node.set_attr("hidden_size", int(units))
    node.set_attr("direction", direction)
    if operator == "GRU":
        node.set_attr("linear_before_reset", int(kind == "gru"))
    if kind == "relu":
        node.set_attr("activations", ["Relu"] * (2 if direction == "bidirectional" else 1))
