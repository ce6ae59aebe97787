"""Requests as several interfaces have them → inputs by name, and outputs → responses."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from nlp_rnn.serving.batching import Batcher
from nlp_rnn.serving.endpoints import DEFAULT
from nlp_rnn.serving.inputs import RequestError
from nlp_rnn.serving.models import Model

TYPES = {
    "string": "BYTES",
    "int32": "INT32",
    "int64": "INT64",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
}


_DATATYPES = ("BYTES", "BOOL", *(f"{sign}INT{size}" for sign in ("", "U") for size in (8, 16, 32, 64)))
_DATATYPES += ("FP16", "FP32", "FP64")
_OF_V1 = ("instances", "inputs", "signature_name")


async def answer_v1(model: Batcher, payload: object) -> dict[str, Any]:
    """TensorFlow Serving's REST interface, KServe's V1: answers `{"instances": […]}` by rows, or `{"inputs": {…}}` by
    columns; "signature_name" names the signature.

    Raises:
        RequestError: the request makes no sense.
    """
    if not isinstance(payload, Mapping):
        raise RequestError('A JSON object with "instances" or "inputs" is needed.')
    if unknown := [name for name in payload if name not in _OF_V1]:
        raise RequestError(
            f'"{unknown[0]}" is not known here; a request has "instances" or "inputs", "signature_name".'
        )
    signature = payload.get("signature_name", DEFAULT)
    if not isinstance(signature, str):
        raise RequestError('"signature_name" must be a text.')
    if ("instances" in payload) == ("inputs" in payload):
        raise RequestError('Give either "instances", a list of inputs, or "inputs", lists by name.')
    wanted = list(model.endpoint.signatures.get(signature, {}).get("inputs", {}))
    if "inputs" in payload:
        given = _with_bytes(payload["inputs"])
        if not isinstance(given, Mapping):
            given = {_only(wanted, signature): given}
        found = await model.answer(given, signature)
        plain = {name: plain_of(value) for name, value in found.items()}
        return {"outputs": next(iter(plain.values())) if len(plain) == 1 else plain}
    instances = _with_bytes(payload["instances"])
    if not isinstance(instances, list):
        raise RequestError('"instances" must be a list.')
    found = await model.answer(_by_name(instances, wanted, signature), signature)
    columns = {name: plain_of(value) for name, value in found.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    if any(value.ndim == 0 for value in found.values()):
        raise RequestError(f'{signature} gives no rows: ask with "inputs" instead of "instances".')
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


async def answer_v2(model: Model, request: Any) -> Any:
    """The Open Inference Protocol: a KServe `InferRequest` → its `InferResponse`; the parameter "signature_name" names
    the signature.

    Raises:
        RequestError: the request makes no sense.
    """
    from kserve import InferOutput, InferResponse

    model.check_version(request.model_version or "")
    given = {one.name: _array_of(one) for one in request.inputs}
    if len(given) < len(request.inputs):
        raise RequestError("Two inputs have the same name.")
    signature = _plain_parameter((request.parameters or {}).get("signature_name", DEFAULT))
    if not isinstance(signature, str):
        raise RequestError('"signature_name" must be a text.')
    found = await model.answer(given, signature)
    wanted = [one.name for one in request.request_outputs or ()] or list(found)
    if unknown := [name for name in wanted if name not in found]:
        raise RequestError(f'{signature} gives no "{unknown[0]}"; it gives: {", ".join(found)}.')
    outputs, binary = [], bool(request.use_binary_outputs)
    for name in wanted:
        value = found[name]
        output = InferOutput(name, list(value.shape), "BYTES" if value.dtype == object else TYPES[value.dtype.name])
        if value.dtype == object and not (binary or request.from_grpc):
            value = np.array([*map(plain_of, value.ravel()), None], object)[:-1].reshape(value.shape)
        output.set_data_from_numpy(value, binary_data=binary)
        outputs.append(output)
    about = {"from_grpc": request.from_grpc, "use_binary_outputs": binary, "requested_outputs": request.request_outputs}
    about["model_version"] = model.version
    return InferResponse(request.id or str(uuid.uuid4()), model.endpoint.name, outputs, **about)


def _with_bytes(value: object) -> Any:
    """Values with bytes where there is `{"b64": …}`, TensorFlow Serving's way of sending them."""
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"b64"} or not isinstance(value["b64"], str):
        return {name: _with_bytes(item) for name, item in value.items()}
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        raise RequestError('"b64" must hold bytes in base 64.') from None


def _array_of(given: Any) -> np.ndarray:
    if given.datatype not in _DATATYPES:
        known = ", ".join(_DATATYPES)
        raise RequestError(f'"{given.name}" has the datatype "{given.datatype}", which is none; there are: {known}.')
    if not all(isinstance(size, int) and size >= 0 for size in given.shape):
        raise RequestError(f'The shape of "{given.name}" must be of whole numbers.')
    try:
        values = np.asarray(given.as_numpy())
        return values.reshape(given.shape) if values.dtype == object else values
    except Exception as error:  # KServe's, of many kinds
        reason = str(getattr(error, "reason", "")).strip().splitlines()
        what = f": {reason[0][:200]}" if reason else f" as {given.datatype} of the shape {given.shape}."
        raise RequestError(f'"{given.name}" cannot be read{what}') from None


def _plain_parameter(value: Any) -> Any:
    return value.string_param if hasattr(value, "string_param") else value


def types_of(named: dict[str, Any]) -> list[dict[str, Any]]:
    """Inputs or outputs of a signature as V2's metadata have them."""
    return [
        {"name": name, "datatype": TYPES[about["dtype"]], "shape": [-1 if n is None else n for n in about["shape"]]}
        for name, about in named.items()
    ]


def metadata_of(model: Model) -> dict[str, Any]:
    """A model as V2's metadata have it."""
    default = model.endpoint.signatures[DEFAULT]
    about = {"name": model.endpoint.name, "versions": [model.version], "platform": "tensorflow"}
    return {**about, "inputs": types_of(default["inputs"]), "outputs": types_of(default["outputs"])}


def plain_of(value: object) -> Any:
    """An array as lists, texts decoded."""

    def decoded(item: object) -> Any:
        if isinstance(item, list):
            return [decoded(part) for part in item]
        return item.decode("utf-8", "replace") if isinstance(item, bytes) else item

    if not isinstance(value, np.ndarray):
        return decoded(value)
    return decoded(value.tolist()) if value.dtype == object else value.tolist()


def _by_name(instances: list[Any], wanted: list[str], signature: str) -> dict[str, list[Any]]:
    if not instances:
        return {name: [] for name in wanted}
    if not any(isinstance(instance, Mapping) for instance in instances):
        return {_only(wanted, signature): instances}
    names = list(instances[0]) if isinstance(instances[0], Mapping) else []
    if not all(isinstance(instance, Mapping) and set(instance) == set(names) for instance in instances):
        raise RequestError("All instances must have the same names.")
    return {name: [instance[name] for instance in instances] for name in names}


def _only(wanted: list[str], signature: str) -> str:
    if len(wanted) > 1:
        raise RequestError(f"{signature} takes several inputs: give them by name ({', '.join(wanted)}).")
    return wanted[0] if wanted else "text"
