"""`serve`: runs and exports → answers over HTTP."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nlp_rnn.config.options import parse
from nlp_rnn.errors import InputError


@dataclass(frozen=True)
class ServeOptions:
    """Options of the verb."""

    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN_OR_EXPORT …")]
    """Run directories or exports; each is served under the name of its folder, or as NAME=FOLDER says."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all of this machine's."""
    port: int = 8501
    """Port to listen on."""
    batch_size: int = 64
    """Texts of concurrent requests that are answered together, at most; 1 answers each request by itself."""
    batch_milliseconds: float = 2.0
    """Time that a request waits for others."""
    seconds: float = 30.0
    """Time that a request may take."""


def run(task: str | None, arguments: list[str]) -> int:
    """Loads the models, and answers requests until it is told to end."""
    from nlp_rnn.cli import program

    options = parse(ServeOptions, arguments, program(task, "serve"), "Answers requests over HTTP.")
    from nlp_rnn.serving.server import check_port, import_kserve, serve

    places = _places(options.models)
    check_port(options.host, options.port)
    import_kserve()
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()
    with tempfile.TemporaryDirectory(prefix="nlp-rnn-serve-") as folder:
        endpoints = [_endpoint(name, place, Path(folder), options) for name, place in places.items()]
        where = f"http://{options.host}:{options.port}"
        for endpoint in endpoints:
            print(f"{where}/v1/models/{endpoint.name}:predict  {endpoint.about['task']}", file=sys.stderr, flush=True)
        serve(endpoints, options.host, options.port)
    return 0


def _places(models: tuple[str, ...]) -> dict[str, Path]:
    """The folder of each model by its name."""
    places: dict[str, Path] = {}
    for model in models:
        name, equals, place = model.rpartition("=")
        path = Path(place)
        # models/imdb/1 is version 1 of imdb, as TensorFlow Serving has it.
        name = name if equals else path.resolve().parent.name if path.resolve().name.isdigit() else path.resolve().name
        if name in places:
            raise InputError(f'Two models have the name "{name}": give one as NAME=FOLDER.')
        places[name] = path
    if not places:
        raise InputError("Say what to serve: nlp-rnn serve RUN_OR_EXPORT …")
    return places


def _endpoint(name: str, place: Path, folder: Path, options: Any) -> Any:
    from nlp_rnn.run import load
    from nlp_rnn.serving.endpoints import Batching, Endpoint, Limits

    if (place / "config.yaml").is_file():
        place = load(place).export(folder / name)
    batching = Batching(options.batch_size, options.batch_milliseconds)
    endpoint = Endpoint(name, place, Limits(seconds=options.seconds), batching)
    endpoint.warm_up()
    return endpoint
