"""The client, against prepared answers; against the server it is in test_server.py."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.serving import Client, RemoteError


@pytest.fixture
def answering():
    """A server that gives prepared answers, one after the other: → its URL, and the requests that it got."""
    answers, got = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            status, content = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers, got
    server.shutdown()


def test_the_client_sends_what_tensorflow_serving_takes_and_retries_only_where_that_helps(answering):
    url, answers, got = answering
    client = Client(url)
    answers += [(429, {"error": "busy"}), (503, {"error": "busy"}), (200, {"predictions": [{"label": "x"}]})]
    assert client["reviews"].rows(["Loved it."]) == [{"label": "x"}]
    payload = {"signature_name": "serving_default", "instances": ["Loved it."]}
    assert got == [("/v1/models/reviews:predict", payload)] * 3
    answers += [(200, {"predictions": [1, 2]})]
    assert client["reviews"].rows(["a", "b"], "tokens") == [1, 2]
    del got[:]
    for status, content, message in [
        (400, {"error": "Give a list."}, "Give a list."),
        (500, b"<html>", "reviews:predict answers 500."),
    ]:
        answers += [(status, content)]
        with pytest.raises(RemoteError, match=message) as error:
            client["reviews"].rows(["a"])
        assert error.value.status == status
    assert len(got) == 2
    answers += [(429, {"error": "busy"})] * 3
    with pytest.raises(RemoteError, match="busy"):
        Client(url, retries=2)["reviews"].rows(["a"])
    for given in ({"text": ["a"]}, "a"):
        with pytest.raises(InputError, match="Give a list of inputs"):
            client["reviews"].rows(given)
    for url in ("localhost:8501", "ftp://localhost", 5):
        with pytest.raises(InputError, match="is no URL of a server"):
            Client(url)
    with pytest.raises(InputError, match="A number is infinite") as error:
        client["reviews"].rows([[float("inf")]])
    assert not isinstance(error.value, RemoteError)
    with pytest.raises(RemoteError, match="does not answer"):
        Client("http://127.0.0.1:9")["reviews"].rows(["a"])
