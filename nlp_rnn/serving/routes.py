"""What the server has beside KServe's routes: the page, descriptions, versions, streams, limits, our errors."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from nlp_rnn.serving.inputs import RequestError
from nlp_rnn.serving.listening import Listening, encoding_of
from nlp_rnn.serving.models import Model
from nlp_rnn.serving.protocols import metadata_of
from nlp_rnn.serving.streams import event, pieces

if TYPE_CHECKING:
    from starlette.responses import Response

_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:"
_TYPES = {"page.css": "text/css", "page.js": "text/javascript", "charts.js": "text/javascript"}
_LISTEN = "/listen_stream"
_NAME = {"parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]}


class Routes:
    """Routes of models by their names."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.models = models

    def add_to(self, app: Any, served: Mapping[str, Any]) -> None:
        """Adds them to an application of FastAPI, before KServe does; `served` are the models as KServe has them."""
        from fastapi.exceptions import RequestValidationError
        from starlette.exceptions import HTTPException

        app.add_exception_handler(RequestError, _refusal)
        app.add_exception_handler(RequestValidationError, _invalid)
        app.add_exception_handler(HTTPException, _unknown)
        app.add_middleware(Front, models=self.models, served=served)
        for path, function in (("/", self.page), *((f"/{part}", self.part) for part in _TYPES)):
            app.add_api_route(path, _plain(function), include_in_schema=False)
        for path, function, method in (
            ("/v1/models/{name}/metadata", self.metadata, "GET"),
            ("/v1/models/{name}", self.status, "GET"),
            ("/v2/models/{name}", self.about, "GET"),
            ("/v2/models/{name}/generate", self.generate, "POST"),
            ("/v2/models/{name}/generate_stream", self.stream, "POST"),
        ):
            app.add_api_route(path, _plain(function), methods=[method], tags=[path[1:3].upper()], openapi_extra=_NAME)
        app.add_api_route("/v1/models/{name}:explain", _plain(self.explain), methods=["POST"], include_in_schema=False)
        app.add_api_route("/v2/repository/{rest:path}", _plain(self.refuse), methods=["POST"], include_in_schema=False)

    async def page(self, request: Any) -> Response:
        """The page on which models can be tried; a probe that wants JSON is told that the server lives."""
        from starlette.responses import JSONResponse, Response

        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"status": "alive"})
        return Response(_file("page.html"), media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def part(self, request: Any) -> Response:
        """What belongs to the page."""
        from starlette.responses import Response

        name = request.url.path.lstrip("/")
        return Response(_file(name), media_type=_TYPES[name])

    async def metadata(self, request: Any) -> Response:
        """What a model says of itself: its signatures with examples, labels and settings."""
        from starlette.responses import JSONResponse

        model = self._model(request)
        spec = {"name": model.endpoint.name, "signature_name": "", "version": model.version}
        return JSONResponse({"model_spec": spec, "metadata": model.endpoint.about})

    async def about(self, request: Any) -> Response:
        """The Open Inference Protocol's metadata of a model."""
        from starlette.responses import JSONResponse

        return JSONResponse(metadata_of(self._model(request)))

    async def explain(self, request: Any) -> Response:
        """No model has explanations over the network."""
        raise RequestError(f"{self._model(request).endpoint.name} explains nothing over the network.", 404)

    async def status(self, request: Any) -> Response:
        """Whether a model is ready, as KServe says it and as TensorFlow Serving does."""
        from starlette.responses import JSONResponse

        model = self._model(request)
        state = {"version": model.version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return JSONResponse({"name": model.endpoint.name, "ready": True, "model_version_status": [state]})

    async def generate(self, request: Any) -> Response:
        """Text that goes on from a prompt, at once."""
        from starlette.responses import JSONResponse

        model = self._model(request)
        text = "".join([piece async for piece in pieces(model, await _json_of(request))])
        return JSONResponse({"model_name": model.endpoint.name, "text_output": text})

    async def stream(self, request: Any) -> Response:
        """The same as it is written, in server-sent events; it ends when the client goes."""
        from starlette.responses import StreamingResponse

        model = self._model(request)
        name, found = model.endpoint.name, pieces(model, await _json_of(request))
        first = await anext(found, "")  # what is wrong is seen before the answer begins

        async def events() -> AsyncIterator[str]:
            try:
                yield event(name, first)
                async for piece in found:
                    yield event(name, piece)
                yield event(name, "", {"done": True})
            except RequestError as error:
                yield f"data: {json.dumps({'error': str(error)})}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def refuse(self, request: Any) -> Response:
        """Nobody loads or unloads models over the network."""
        raise RequestError("Models are chosen where the server is started.", 403)

    def _model(self, request: Any) -> Model:
        name = request.path_params["name"]
        if name not in self.models:
            raise no_model(name, self.models)
        return self.models[name]


def no_model(name: str, models: Iterable[str]) -> RequestError:
    """Says which there are."""
    return RequestError(f"Model with name {name} does not exist; there are: {', '.join(models)}.", 404)


class Front:
    """What every request meets first: it may not be too large, whatever it says of its size; versions are looked at;
    and V1's `:predict` goes straight to its model, past the routes, which take longer than a short text."""

    def __init__(self, app: Any, models: Mapping[str, Model], served: Mapping[str, Any]) -> None:
        self.app, self.models = app, models
        self.body, self.listening = max(one.limits.body for one in models.values()), Listening()
        self.paths = {f"/v1/models/{name}:predict": model for name, model in served.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = b"0" if scope["path"].endswith(_LISTEN) else headers.get(b"content-length", b"0")
        if not given.isdigit() or int(given) > self.body:
            while (await receive()).get("more_body"):  # a client that is still sending would not hear the answer
                pass
            await _refused(self._too_large)(scope, receive, send)
            return
        try:
            scope = {**scope, "path": self._without_version(scope["path"])}
            self._check_version_asked(scope)
        except RequestError as error:
            await _refused(error)(scope, receive, send)
            return
        if scope["path"].endswith("/infer") and b"inference-header-content-length" not in headers:
            scope["headers"] = [*{**headers, b"content-type": b"application/json"}.items()]
        received, answered = 0, False

        async def counted() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.body:
                raise self._too_large
            return message

        async def noted(message: Any) -> None:
            nonlocal answered
            answered = True
            await send(message)

        model = self.paths.get(scope["path"]) if scope["method"] == "POST" else None
        streams = re.fullmatch(rf"/v2/models/([^/]+){_LISTEN}", scope["path"]) if scope["method"] == "POST" else None
        try:
            if streams is not None:
                await self._heard(streams[1], scope, receive, noted)
            elif model is None:
                await self.app(scope, counted, noted)
            else:
                await _predicted(model, scope, counted, noted)
        except RequestError as error:
            if answered:
                raise
            await _refused(error)(scope, receive, send)

    async def _heard(self, name: str, scope: Any, receive: Any, send: Any) -> None:
        """Words of a stream of sound, which may be of any size, as they are said."""
        if name not in self.models:
            raise no_model(name, self.models)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        await self.listening.answer(self.models[name].endpoint, encoding_of(given), receive, send)

    def _without_version(self, path: str) -> str:
        found = re.fullmatch(r"(/v[12]/models/([^/]+))/versions/([^/:]+)(.*)", path)
        if found is None:
            return path
        if found[2] not in self.models:
            raise no_model(found[2], self.models)
        self.models[found[2]].check_version(found[3])
        return found[1] + found[4]

    def _check_version_asked(self, scope: Any) -> None:
        """A version after the question mark is looked at here, and goes no further: KServe answers 501 to any."""
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        found = re.match(r"/v[12]/models/([^/:]+)", scope["path"])
        if found and found[1] in self.models:
            for name, value in given:
                if name == "model_version":
                    self.models[found[1]].check_version(value)
        rest = [pair for pair in given if pair[0] != "model_version"]
        if len(rest) < len(given):
            scope["query_string"] = urlencode(rest).encode()

    @property
    def _too_large(self) -> RequestError:
        return RequestError(f"A request may have {self.body:,} bytes.", 413)


async def _predicted(model: Any, scope: Any, receive: Any, send: object) -> None:
    """V1's answer of a KServe model."""
    import orjson
    from kserve.errors import InvalidInput
    from starlette.requests import Request
    from starlette.responses import Response

    try:
        found, more = await model(await _json_of(Request(scope, receive)))
    except InvalidInput as error:
        raise RequestError(f"{error.reason}.") from None
    except RecursionError:
        raise RequestError("The request is nested too deeply.") from None
    content = orjson.dumps(found)
    await Response(content, headers=more or None, media_type="application/json")(scope, receive, send)


def _plain(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """A route that is given the request as it is."""
    from fastapi import Request

    async def route(request: Request) -> Response:
        return await function(request)

    route.__annotations__ = {"request": Request}
    route.__doc__, route.__name__ = function.__doc__, function.__name__
    return route


async def _invalid(_: object, error: Any) -> Response:
    """What does not fit an interface's schema, in a sentence that does not repeat it."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "bytes", "InferenceRequest"))
    return _refused(RequestError(f"The request does not fit the protocol: {place or 'the body'}: {first['msg']}."))


async def unreadable(_: object, error: object) -> Response:
    """What KServe could not read of a request."""
    return _refused(RequestError("The request cannot be read: are its texts in UTF-8?"))


async def _unknown(request: Any, error: Any) -> Response:
    """A path or a method that there is not."""
    what = f"{request.method} {request.url.path}"
    return _refused(RequestError(f"{what}: {error.detail}; /openapi.json lists what there is.", error.status_code))


async def _refusal(_: object, error: Any) -> Response:
    return _refused(error)


def _refused(error: RequestError) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": str(error)}, error.status)


async def _json_of(request: Any) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestError("The request is not valid JSON.") from None


def _file(name: str) -> bytes:
    return (files("nlp_rnn.serving") / "page" / name).read_bytes()
