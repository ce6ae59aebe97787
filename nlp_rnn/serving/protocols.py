"""Requests of TensorFlow Serving's REST interface (KServe's V1) → inputs by name, and outputs → responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlp_rnn.serving.endpoints import DEFAULT, Endpoint, RequestError


def answer_v1(endpoint: Endpoint, payload: Any) -> dict[str, Any]:
    """Answers `{"instances": […]}` by rows, or `{"inputs": {…}}` by columns; "signature_name" names the signature.

    Raises:
        RequestError: the request makes no sense.
    """
    if not isinstance(payload, Mapping):
        raise RequestError('A JSON object with "instances" or "inputs" is needed.')
    signature = payload.get("signature_name", DEFAULT)
    if not isinstance(signature, str):
        raise RequestError('"signature_name" must be a text.')
    if ("instances" in payload) == ("inputs" in payload):
        raise RequestError('Give either "instances", a list of inputs, or "inputs", lists by name.')
    wanted = list(endpoint.signatures.get(signature, {}).get("inputs", {}))
    if "inputs" in payload:
        given = payload["inputs"]
        if not isinstance(given, Mapping):
            given = {_only(wanted, signature): given}
        found = endpoint.answer(given, signature)
        plain = {name: plain_of(value) for name, value in found.items()}
        return {"outputs": next(iter(plain.values())) if len(plain) == 1 else plain}
    instances = payload["instances"]
    if not isinstance(instances, list):
        raise RequestError('"instances" must be a list.')
    found = endpoint.answer(_by_name(instances, wanted, signature), signature)
    columns = {name: plain_of(value) for name, value in found.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def plain_of(value: np.ndarray) -> Any:
    """An array as lists, texts decoded."""

    def decoded(item: Any) -> Any:
        if isinstance(item, list):
            return [decoded(part) for part in item]
        return item.decode("utf-8", "replace") if isinstance(item, bytes) else item

    return decoded(value.tolist())


def _by_name(instances: list[Any], wanted: list[str], signature: str) -> dict[str, list[Any]]:
    if not any(isinstance(instance, Mapping) for instance in instances):
        return {_only(wanted, signature): instances}
    names = list(instances[0]) if isinstance(instances[0], Mapping) else []
    if not all(isinstance(instance, Mapping) and list(instance) == names for instance in instances):
        raise RequestError("All instances must have the same names.")
    return {name: [instance[name] for instance in instances] for name in names}


def _only(wanted: list[str], signature: str) -> str:
    if len(wanted) > 1:
        raise RequestError(f"{signature} takes several inputs: give them by name ({', '.join(wanted)}).")
    return wanted[0] if wanted else "text"
