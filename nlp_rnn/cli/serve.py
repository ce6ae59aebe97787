"""`serve`: runs and exports → answers over HTTP."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from nlp_rnn.config.options import parse
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.serving.models import Place


@dataclass(frozen=True)
class ServeOptions:
    """Options of the verb."""

    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN_OR_EXPORT …")]
    """Run directories or exports; each is served under the name of its folder, or as NAME=FOLDER says."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all of this machine's."""
    port: int = 8501
    """Port for HTTP."""
    grpc_port: int = 0
    """Port for gRPC, such as 8500; 0 for none."""
    batch_size: int = 64
    """Texts of concurrent requests that are answered together, at most; 1 answers each request by itself."""
    threads: int = 2
    """Batches that are computed at once."""
    waiting: int = 1000
    """Requests that may wait; those beyond are turned away with status 429."""
    seconds: float = 30.0
    """Time that a request may take, or a step of a stream."""
    inputs: int = 1000
    """Inputs that a request may have."""
    characters: int = 200_000
    """Characters that a text may have."""
    megabytes: float = 20.0
    """Size that a request may have."""
    reload_seconds: float = 10.0
    """How often to look whether another model stands in the place of one; 0 for never."""


def run(task: str | None, arguments: list[str]) -> int:
    """Loads the models, and answers requests until it is told to end."""
    from nlp_rnn.cli import program

    options = parse(ServeOptions, arguments, program(task, "serve"), "Answers requests over HTTP.")
    from nlp_rnn.serving.server import check_kserve, check_port, import_kserve, serve

    _check(options)
    places = _places(options.models)
    check_port(options.host, options.port)
    if options.grpc_port:
        check_port(options.host, options.grpc_port, "--grpc_port")
    check_kserve()
    from nlp_rnn.startup import import_tensorflow

    tensorflow = import_tensorflow()  # first: KServe would import it without keeping it quiet
    # A loop keeps a thread for as long as it goes on: each of what may be computed at once has its own.
    at_once = 2 * options.threads * len(places)
    with contextlib.suppress(RuntimeError):  # where TensorFlow has begun already, its threads are what they are
        tensorflow.config.threading.set_inter_op_parallelism_threads(max(at_once + 2, os.cpu_count() or 1))
    import_kserve()
    from nlp_rnn.serving.batching import Batching
    from nlp_rnn.serving.inputs import Limits
    from nlp_rnn.serving.models import Model

    limits = Limits(options.inputs, options.characters, int(options.megabytes * 1e6), options.seconds)
    batching = Batching(options.batch_size, options.threads, options.waiting)
    models = [Model(place, limits, batching) for place in places]
    where = f"http://{options.host}:{options.port}"
    print(f"{where}/  a page to try them", file=sys.stderr)
    for model in models:
        about = f"{model.endpoint.about['task']}, version {model.version}"
        print(f"{where}/v1/models/{model.place.name}:predict  {about}", file=sys.stderr, flush=True)
    serve(models, options.host, options.port, options.grpc_port, options.reload_seconds)
    return 0


def _check(options: ServeOptions) -> None:
    for name in ("batch_size", "threads", "waiting", "inputs", "characters", "megabytes", "seconds"):
        if not getattr(options, name) > 0:
            raise InputError(f"--{name} is {getattr(options, name)}; it must be above 0.")
    for name in ("grpc_port", "port"):
        if not 0 <= getattr(options, name) <= 65535:
            raise InputError(f"--{name} is {getattr(options, name)}; ports go from 0 to 65535.")
    if options.grpc_port and options.grpc_port == options.port:
        raise InputError("--port and --grpc_port are the same; choose two.")
    if not options.reload_seconds >= 0:
        raise InputError(f"--reload_seconds is {options.reload_seconds}; it must be at least 0.")


def _places(models: tuple[str, ...]) -> list[Place]:
    """The place of each model, no two of one name."""
    from nlp_rnn.serving.models import Place

    places = [Place.parse(model) for model in models]
    names = [place.name for place in places]
    if not places:
        raise InputError("Say what to serve: nlp-rnn serve RUN_OR_EXPORT …")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f'Two models have the name "{twice[0]}": give one as NAME=FOLDER.')
    return places
