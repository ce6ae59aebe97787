"""KServe's model server over models: V1 as TensorFlow Serving has it, V2 (the Open Inference Protocol) over REST and
gRPC, health, metadata and metrics; with what it lacks: limits, versions, streams, a page."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from nlp_rnn.errors import InputError
from nlp_rnn.serving.endpoints import DEFAULT
from nlp_rnn.serving.inputs import RequestError
from nlp_rnn.serving.models import Model, watch
from nlp_rnn.serving.protocols import answer_v1, answer_v2, types_of
from nlp_rnn.serving.routes import Routes, unreadable

_REFUSALS = ("RequestError", "InvalidInput", "InferenceError", "ModelNotFound")
_MISSING = 'Serving needs KServe: install it with `pip install "nlp-rnn[serve]"`.'
_GRPC_STATUS = {404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 504: "DEADLINE_EXCEEDED"}


def check_port(host: str, port: int, option: str = "--port") -> None:
    """A port must be free.

    Raises:
        InputError: it is not, or the address is none of this machine.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            what = "--host" if isinstance(error, socket.gaierror) else option
            raise InputError(f"{host}:{port} cannot be used ({error.strerror}); choose another {what}.") from None


def check_kserve() -> None:
    """KServe must be installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("kserve") is None:
        raise InputError(_MISSING)


def import_kserve() -> Any:
    """KServe's package, which reads the arguments of the process as it is imported.

    Raises:
        InputError: it is not installed.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        import kserve.model_server
    except ImportError:
        raise InputError(_MISSING) from None
    finally:
        sys.argv = arguments
    return kserve


def serve(
    models: Sequence[Model], host: str, port: int, grpc_port: int = 0, reload_seconds: float = 0.0, grace: int = 30
) -> None:
    """Answers requests until the process is told to end; requests that are being answered then are finished.

    Args:
        models: by their names.
        host: the address to listen on.
        port: for HTTP.
        grpc_port: for gRPC; 0 for none.
        reload_seconds: how often to look for other models; 0 for never.
        grace: seconds that requests have to end.

    Raises:
        InputError: a port is taken, or KServe is missing.
    """
    kserve = import_kserve()
    _log_briefly()
    server = kserve.ModelServer(http_port=port, enable_grpc=False, grace_period=grace)
    served = {model.endpoint.name: _model(kserve, model) for model in models}
    server._register_and_check_atleast_one_model_is_ready(list(served.values()))
    rest = _rest(kserve, server, host, port, grace)
    by_name = {model.endpoint.name: model for model in models}
    Routes(by_name).add_to(kserve.model_server.app, served)

    async def run() -> None:
        beside = [asyncio.create_task(watch(list(models), reload_seconds))] if reload_seconds else []
        grpc = await _grpc(server, by_name, host, grpc_port) if grpc_port else None
        try:
            await rest.start()
        finally:
            for task in beside:
                task.cancel()
            if grpc is not None:
                await grpc.stop(grace)

    try:
        asyncio.run(run())
    except KeyboardInterrupt as error:
        if not any(model.is_computing for model in models):
            raise
        # What nobody waits for any more would keep the process for as long as it takes.
        code, message = (130, "Interrupted.") if type(error) is KeyboardInterrupt else (143, "Terminated.")
        print(message, file=sys.stderr, flush=True)
        os._exit(code)


def _rest(kserve: Any, server: Any, host: str, port: int, grace: int) -> Any:
    """KServe's server for HTTP."""
    from kserve.protocol.rest.server import RESTServer

    class Rest(RESTServer):
        def _add_middlewares(self, app: object) -> None:
            """None: that of KServe writes two more lines about each request."""

        def _add_exception_handlers(self, app: Any) -> None:
            super()._add_exception_handlers(app)
            app.add_exception_handler(kserve.errors.InferenceError, unreadable)  # KServe's is 500, and says the text

    repository = server.model_repository_extension
    found = Rest("kserve.model_server:app", server.dataplane, repository, port, grace_period=grace)
    found.config.host = host
    return found


def _log_briefly() -> None:
    """A line for each request, and one for each that is refused."""
    warnings.filterwarnings("ignore", message=".*ORJSONResponse.*")
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)
    for one in (logging.getLogger("kserve"), *logging.getLogger("kserve").handlers):
        one.addFilter(_Brief())


class _Brief(logging.Filter):
    """A request that is refused is no error of the server: it is logged in a line, without what it said."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if type(error).__name__ in _REFUSALS:
            record.exc_info, record.msg, record.args = None, f"refused: {type(error).__name__}", ()
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def _model(kserve: Any, model: Model) -> Any:
    """A model as KServe has them."""

    class Served(kserve.Model):
        def get_input_types(self) -> list[dict[str, Any]]:
            return types_of(model.endpoint.signatures[DEFAULT]["inputs"])

        def get_output_types(self) -> list[dict[str, Any]]:
            return types_of(model.endpoint.signatures[DEFAULT]["outputs"])

        async def predict(self, payload: Any, headers: Any = None) -> Any:
            if isinstance(payload, kserve.InferRequest):
                return await answer_v2(model, payload)
            return await answer_v1(model, payload)

    served = Served(model.endpoint.name)
    served.ready = True
    return served


async def _grpc(server: Any, models: Mapping[str, Model], host: str, port: int) -> Any:
    """KServe's servicer on a port of our choice; it would listen on all addresses."""
    import grpc
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
    from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
    from kserve.protocol.grpc.servicer import InferenceServicer

    class Statuses(ExceptionToStatusInterceptor):
        async def handle_exception(self, ex: Exception, request: object, context: Any, method_name: str) -> None:
            if isinstance(ex, RequestError):
                status = _GRPC_STATUS.get(ex.status, "INVALID_ARGUMENT")
                await context.abort(getattr(grpc.StatusCode, status), str(ex))
            await super().handle_exception(ex, request, context, method_name)

    class Servicer(InferenceServicer):
        async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.name in models:
                models[request.name].check_version(request.version)
            return await super().ModelReady(request, context)

        async def RepositoryModelLoad(self, request: object, context: Any) -> Any:  # noqa: N802
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Models are chosen where the server is started.")

        RepositoryModelUnload = RepositoryModelLoad

    found = grpc.aio.server(interceptors=[Statuses()])
    servicer = Servicer(server.dataplane, server.model_repository_extension)
    add_GRPCInferenceServiceServicer_to_server(servicer, found)
    found.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    await found.start()
    return found
