"""KServe's model server over endpoints: V1 as TensorFlow Serving has it, V2 (the Open Inference Protocol), health,
metadata and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from nlp_rnn.errors import InputError
from nlp_rnn.serving.endpoints import DEFAULT, Endpoint, RequestError
from nlp_rnn.serving.protocols import answer_v1, plain_of

_TYPES = {"string": "BYTES", "int32": "INT32", "int64": "INT64", "float32": "FP32", "bool": "BOOL"}
_THREADS = 128
_REFUSALS = ("RequestError", "InvalidInput", "ModelNotFound")


def check_port(host: str, port: int) -> None:
    """A port must be free.

    Raises:
        InputError: it is not, or the address is none of this machine.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise InputError(f"{host}:{port} cannot be used ({error.strerror}); choose another --port.") from None


def import_kserve() -> Any:
    """KServe's package, which reads the arguments of the process as it is imported.

    Raises:
        InputError: it is not installed.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        import kserve.model_server
    except ImportError:
        raise InputError('Serving needs KServe: install it with `pip install "nlp-rnn[serve]"`.') from None
    finally:
        sys.argv = arguments
    return kserve


def serve(endpoints: Sequence[Endpoint], host: str, port: int, grace: int = 30) -> None:
    """Answers requests until the process is told to end; requests that are being answered then are finished.

    Raises:
        InputError: the port is taken, or KServe is missing.
    """
    kserve = import_kserve()
    check_port(host, port)
    server = kserve.ModelServer(http_port=port, enable_grpc=False, grace_period=grace)
    pool = ThreadPoolExecutor(_THREADS)
    server._register_and_check_atleast_one_model_is_ready([_model(kserve, one, pool) for one in endpoints])
    from kserve.protocol.rest.server import RESTServer

    rest = RESTServer(
        "kserve.model_server:app", server.dataplane, server.model_repository_extension, port, grace_period=grace
    )
    rest.config.host = host
    for handler in logging.getLogger("kserve").handlers:
        handler.addFilter(_Brief())
    logging.getLogger("kserve").addFilter(_Brief())
    _add_to(kserve.model_server.app, max(one.limits.body for one in endpoints))
    asyncio.run(rest.start())


class _Brief(logging.Filter):
    """A request that is refused is no error of the server: it is logged in a line, without what it said."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if type(error).__name__ in _REFUSALS:
            record.exc_info, record.msg, record.args = None, f"refused: {type(error).__name__}", ()
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def _add_to(app: Any, body: int) -> None:
    """Our errors, and the limit of a request's size."""
    from fastapi.responses import JSONResponse

    async def refuse(_: Any, error: Any) -> Any:
        return JSONResponse({"error": str(error)}, error.status)

    app.add_exception_handler(RequestError, refuse)

    @app.middleware("http")
    async def limit(request: Any, following: Any) -> Any:
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > body:
            async for _ in request.stream():  # a client that is still sending would not hear the answer
                pass
            return JSONResponse({"error": f"A request may have {body:,} bytes."}, 413)
        return await following(request)


def _model(kserve: Any, endpoint: Endpoint, pool: ThreadPoolExecutor) -> Any:
    """An endpoint as a model of KServe's."""

    class Served(kserve.Model):
        def get_input_types(self) -> list[dict[str, Any]]:
            return _types(endpoint.signatures[DEFAULT]["inputs"])

        def get_output_types(self) -> list[dict[str, Any]]:
            return _types(endpoint.signatures[DEFAULT]["outputs"])

        async def predict(self, payload: Any, headers: Any = None) -> Any:
            answer = _answer_v2 if isinstance(payload, kserve.InferRequest) else _answer_json
            loop = asyncio.get_running_loop()
            waiting = loop.run_in_executor(pool, answer, endpoint, payload)
            try:
                return await asyncio.wait_for(waiting, endpoint.limits.seconds)
            except TimeoutError:
                raise RequestError(f"This took longer than {endpoint.limits.seconds:g} seconds.", 504) from None

    model = Served(endpoint.name)
    model.ready = True
    return model


def _types(named: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": _TYPES[about["dtype"]],
            "shape": [-1 if size is None else size for size in about["shape"]],
        }
        for name, about in named.items()
    ]


def _answer_json(endpoint: Endpoint, payload: Any) -> dict[str, Any]:
    if isinstance(payload, (bytes, bytearray)):  # without a Content-Type of JSON
        try:
            payload = json.loads(payload)
        except ValueError:
            raise RequestError("The request is not valid JSON.") from None
    return answer_v1(endpoint, payload)


def _answer_v2(endpoint: Endpoint, request: Any) -> Any:
    from kserve import InferOutput, InferResponse

    given = {}
    for one in request.inputs:
        values = one.as_numpy()
        if values.dtype == object:
            values = np.array(
                [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values.ravel()], object
            )
            values = values.reshape(one.shape)
        given[one.name] = values
    signature = (request.parameters or {}).get("signature_name", DEFAULT)
    outputs = []
    for name, value in endpoint.answer(given, str(getattr(signature, "string_param", signature))).items():
        datatype = _TYPES[endpoint.signatures[DEFAULT]["outputs"].get(name, {}).get("dtype", "string")]
        datatype = datatype if value.dtype == object else _TYPES[value.dtype.name]
        output = InferOutput(name, list(value.shape), datatype)
        flat = np.array(plain_of(value), object if datatype == "BYTES" else value.dtype)
        output.set_data_from_numpy(flat.reshape(value.shape), binary_data=False)
        outputs.append(output)
    return InferResponse(request.id or str(uuid.uuid4()), endpoint.name, outputs)
