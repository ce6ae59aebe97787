"""Requests that TensorFlow Serving answers before it takes others, so that no client waits for the first of a kind.

The file is a TFRecord of `PredictionLog`s (tensorflow_serving/apis/prediction_log.proto). Its messages are put together
here, since the package with their classes is not one that a trainer should need.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from nlp_rnn.export.signatures import Signature

FILE = "tf_serving_warmup_requests"
# PredictionLog.predict_log.request: {model_spec: {name, signature_name}, inputs: map of names to tensors}
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS = 6, 1, 1, 2
_NAME, _SIGNATURE = 1, 3
_KEY, _VALUE = 1, 2


def write_warm_up(path: Path, name: str, signatures: Mapping[str, Signature]) -> None:
    """Writes the example of each signature as a request.

    Args:
        path: the file.
        name: of the model, as TensorFlow Serving is told it.
        signatures: by name; those without an example are left out.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature_name, signature in signatures.items():
            if signature.example:
                writer.write(_log(name, signature_name, signature))


def _log(name: str, signature_name: str, signature: Signature) -> bytes:
    given = {**signature.defaults, **signature.example}
    spec = _field(_NAME, name.encode()) + _field(_SIGNATURE, signature_name.encode())
    request = _field(_MODEL_SPEC, spec)
    for one in signature.specs:
        tensor = tf.make_tensor_proto(tf.constant(given[one.name], one.dtype).numpy(), one.dtype)
        request += _field(_INPUTS, _field(_KEY, one.name.encode()) + _field(_VALUE, tensor.SerializeToString()))
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """A field of a length that stands before it, as Protocol Buffers have it."""
    size, prefix = len(content), bytearray([number << 3 | 2])
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + content
