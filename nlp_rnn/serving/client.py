"""A client for models that are served: the rows that they answer, as in-process prediction gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_BUSY = (429, 503)


class RemoteError(Exception):
    """The server's answer to a request that it could not serve; `status` is the HTTP status."""

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
        client["imdb"]("A joyless slog.")["label"]
    """

    def __init__(self, url: str, timeout: float = 30.0, retries: int = 3) -> None:
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

    def post(self, path: str, payload: Any) -> Any:
        """The JSON answer to a JSON request.

        Raises:
            RemoteError: the server refuses it, or does not answer.
        """
        try:
            response = self._http.post(self.url + path, json=payload, timeout=self.timeout)
        except requests.RequestException as error:
            raise RemoteError(f"{self.url} does not answer ({type(error).__name__}).", 0) from None
        try:
            content = response.json()
        except requests.JSONDecodeError:
            content = {}
        if response.status_code != 200:
            message = content.get("error") if isinstance(content, dict) else None
            raise RemoteError(str(message or f"{self.url}{path} answers {response.status_code}."), response.status_code)
        return content


class RemoteModel:
    """A model of a server: called with one input, it gives a row of outputs, with a list, a list of rows."""

    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name = client, name

    def __call__(self, inputs: str | Sequence[Any], signature: str = "serving_default") -> Any:
        """Answers inputs.

        Raises:
            RemoteError: the server refuses them.
        """
        is_one = isinstance(inputs, str)
        payload = {"signature_name": signature, "instances": [inputs] if is_one else list(inputs)}
        rows = self.client.post(f"/v1/models/{self.name}:predict", payload)["predictions"]
        return rows[0] if is_one else rows
