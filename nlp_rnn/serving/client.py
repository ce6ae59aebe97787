"""A client for models that are served: it predicts as a run does."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.registry import get_task
from nlp_rnn.tasks.base import Asked, changed_options

if TYPE_CHECKING:
    from nlp_rnn.config.sections import Settings
    from nlp_rnn.data.records import Record, Records
    from nlp_rnn.tasks.base import Answers, AnyTask

_BUSY = (429, 503)
_ROWS = 100


class RemoteError(InputError):
    """The server's answer to a request that it could not serve; `status` is the HTTP status, 0 if there is none."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Models behind a server of this package, of TensorFlow Serving or of KServe.

    Args:
        url: of the server.
        timeout: seconds that a request may take.
        retries: how often a request is sent anew after 429 or 503, with growing pauses.

    Example:

        client = Client("http://localhost:8501")
        client["imdb"]("A joyless slog.").label
    """

    def __init__(self, url: str, timeout: float = 30.0, retries: int = 3) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise InputError(f"{url} is no URL of a server: give one such as http://localhost:8501.")
        self.url, self.timeout = url.rstrip("/"), timeout
        self._http = requests.Session()
        again = Retry(
            retries,
            connect=0,
            read=0,
            status_forcelist=_BUSY,
            allowed_methods=None,
            backoff_factor=0.2,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, HTTPAdapter(pool_maxsize=64, max_retries=again))

    def __getitem__(self, name: str) -> RemoteModel:
        return RemoteModel(self, name)

    def ask(self, path: str, payload: object = None) -> Any:
        """The JSON answer to a JSON request, or to none.

        Raises:
            InputError: a number is infinite.
            RemoteError: the server refuses it, or does not answer.
        """
        method, payload = "GET" if payload is None else "POST", as_json(payload)
        try:
            response = self._http.request(method, self.url + path, json=payload, timeout=self.timeout)
        except (requests.RequestException, ValueError) as error:
            raise RemoteError(f"{self.url} does not answer ({type(error).__name__}).", 0) from None
        try:
            content = response.json()
        except requests.JSONDecodeError:
            content = {}
        if response.status_code != 200:
            message = content.get("error") if isinstance(content, dict) else None
            raise RemoteError(str(message or f"{self.url}{path} answers {response.status_code}."), response.status_code)
        return content


def as_json(value: object) -> Any:
    """A value as JSON has it: null for NaN.

    Raises:
        InputError: a number is infinite.
    """
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, Mapping):
        return {name: as_json(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        if math.isinf(value):
            raise InputError("A number is infinite, which JSON does not have.")
        return None
    return value


class RemoteModel:
    """A model of a server. Called with one input it gives a prediction, with several a list, as a `Run` does; what this
    package knows no task of gives rows of outputs by name."""

    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name = client, name

    @classmethod
    def at(cls, url: str) -> RemoteModel:
        """The model at a URL such as http://localhost:8501/imdb.

        Raises:
            InputError: it names none.
        """
        server, _, name = url.rstrip("/").rpartition("/")
        if "://" in url and not server.partition("//")[2]:
            raise InputError(f"{url} does not say which model: give a URL such as {url.rstrip('/')}/imdb.")
        return cls(Client(server.removesuffix("/v1/models")), name)

    def rows(self, inputs: Sequence[Any], signature: str = "serving_default") -> list[Any]:
        """What a signature answers: for each input its outputs by name.

        Raises:
            RemoteError: the server refuses them.
        """
        if isinstance(inputs, (str, bytes, Mapping)):
            raise InputError("Give a list of inputs.")
        payload = {"signature_name": signature, "instances": list(inputs)}
        found: list[Any] = self.client.ask(f"/v1/models/{self.name}:predict", payload)["predictions"]
        return found

    def columns(self, inputs: Mapping[str, Any], signature: str = "serving_default") -> dict[str, Any]:
        """What a signature of several arguments answers: its outputs by name.

        Raises:
            RemoteError: the server refuses them.
        """
        payload = {"signature_name": signature, "inputs": dict(inputs)}
        found = self.client.ask(f"/v1/models/{self.name}:predict", payload)["outputs"]
        return found if isinstance(found, dict) else {next(iter(self.about["signatures"][signature]["outputs"])): found}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the model says of itself; {} from a server that is not of this package.

        Raises:
            RemoteError: there is no such model.
        """
        try:
            found = self.client.ask(f"/v1/models/{self.name}/metadata").get("metadata", {})
        except RemoteError as error:
            if error.status == 404 and "does not exist" not in str(error):
                return {}
            raise
        return found if "task" in found else {}

    @cached_property
    def task(self) -> AnyTask | None:
        """The task that it was trained for; None if that is not known."""
        return get_task(self.about["task"]) if self.about else None

    @cached_property
    def config(self) -> Settings | None:
        """The settings that it was trained with."""
        return override(self.task.Config(), self.about["settings"]) if self.task else None

    def predict(self, inputs: Iterable[Any] | Records, options: Any = None) -> Iterator[Any]:
        """Predictions as `Run.predict` gives them; some inputs are sent at a time.

        Raises:
            InputError: the options are the server's.
            RemoteError: the server refuses an input.
        """
        task = self.task
        if isinstance(inputs, (str, bytes, Mapping)):
            raise InputError(f"predict takes several inputs: give a list, or call {self.name} for one.")
        if task is None:
            yield from self.rows(list(inputs))
            return
        records, answers = self._records(task, inputs), task.answers
        if answers is None:
            while some := list(itertools.islice(records, _ROWS)):
                yield from self._rows_of_columns(task.input.serving_arguments([one[task.input.name] for one in some]))
            return
        settings = task.options(self.config)
        options = settings if options is None else options
        if options != settings and not answers.takes_options:
            changed = [
                f.name for f in dataclasses.fields(options) if getattr(options, f.name) != getattr(settings, f.name)
            ]
            raise InputError(f"{', '.join(changed)}: a model is served with the settings of its run; leave this out.")
        while some := list(itertools.islice(records, _ROWS)):
            for row, record in zip(self._answered(task, answers, some), some, strict=True):
                yield answers.prediction(row, options, Asked(record, self.config))

    def _records(self, task: AnyTask, inputs: Iterable[Any] | Records) -> Iterator[Record]:
        """Inputs as the run that is served would read them."""
        from nlp_rnn.data.memory import is_table
        from nlp_rnn.data.records import Records
        from nlp_rnn.saved import read_records

        assert self.config is not None
        if isinstance(inputs, Records):
            return iter(inputs)
        if is_table(inputs):
            return iter(read_records(task, self.config, inputs, "predict"))
        return ({task.input.name: task.input.parse(one)} for one in inputs)

    def _answered(self, task: AnyTask, answers: Answers[Any], records: list[Record]) -> Iterable[dict[str, Any]]:
        """The rows of the signature that predictions are made of."""
        values = ["" if one[task.input.name] is None else one[task.input.name] for one in records]
        refuse = getattr(task.input, "refuse", None)
        for one in values if refuse else ():
            refuse(one, self.config)  # type: ignore[misc]
        arguments = answers.arguments(values, self.about) if answers.arguments else None
        arguments = task.input.serving_arguments(values) if arguments is None else arguments
        if list(arguments) == [task.input.name]:
            return self.rows(arguments[task.input.name], answers.signature)
        return self._rows_of_columns(arguments, answers.signature)

    def _rows_of_columns(
        self, arguments: Mapping[str, Any], signature: str = "serving_default"
    ) -> Iterator[dict[str, Any]]:
        """What a signature of several arguments answers, row by row."""
        found = self.columns(arguments, signature)
        return (dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True))

    def __call__(self, inputs: Any, **changes: Any) -> Any:
        """The prediction of one input, or those of several; `changes` are those of `Run.options`.

        Raises:
            InputError: there is no such option, or it is the server's.
            RemoteError: the server refuses them.
        """
        from nlp_rnn.data.memory import is_table

        if self.task is None and isinstance(inputs, Mapping):
            raise InputError("Give an input or a list of inputs; .columns() takes lists by name.")
        is_one = isinstance(inputs, (str, Mapping))
        if self.task is not None:
            is_one = is_one or (not is_table(inputs) and self.task.input.is_one(inputs))
        if not is_one and not hasattr(inputs, "__iter__"):
            raise InputError(f"{self.name} takes an input or a list of inputs, not {inputs!r}.")
        options = None
        if self.task is not None and changes:
            assert self.config is not None
            options = changed_options(self.task, self.config, changes)
        found = list(self.predict([inputs] if is_one else inputs, options))
        return found[0] if is_one else found
