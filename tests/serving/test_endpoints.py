"""Exports that answer requests: what they give is what runs predict, alone and together; what is wrong is refused."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.serving import Client, RemoteError
from nlp_rnn.serving.endpoints import Batching, Endpoint, Limits, RequestError
from nlp_rnn.serving.protocols import answer_v1
from tests.subjects import SUBJECTS


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request):
    return SUBJECTS[request.param]


@pytest.fixture(scope="module")
def endpoint():
    return Endpoint("reviews", SUBJECTS["sentiment"].exported, Limits(inputs=100, characters=5000))


def test_rows_are_what_the_run_predicts(subject):
    endpoint = Endpoint("model", subject.exported)
    endpoint.warm_up()
    rows = answer_v1(endpoint, {"instances": list(subject.inputs)})["predictions"]
    for row, expected in zip(rows, subject.predictions, strict=True):
        for name in set(row) & set(expected):
            if isinstance(expected[name], float):
                assert row[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-3)
            elif isinstance(expected[name], str):
                assert row[name] == expected[name]
    json.dumps(rows)
    by_name = {endpoint.about["input"]: list(subject.inputs)}
    columns = answer_v1(endpoint, {"inputs": by_name})["outputs"]
    assert {name: len(values) for name, values in columns.items()} == dict.fromkeys(rows[0], len(rows))
    assert answer_v1(endpoint, {"instances": []}) == {"predictions": []}


def test_concurrent_requests_are_put_together_and_get_their_own_answers(subject, monkeypatch):
    endpoint = Endpoint("model", subject.exported, batching=Batching(size=16, milliseconds=20))
    texts = [text for text in subject.inputs if len(text) < 1000] * 6
    alone = Endpoint("model", subject.exported, batching=Batching(size=1))
    name = endpoint.about["input"]
    expected = {text: alone.answer({name: [text]}) for text in set(texts)}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: endpoint.answer({name: [text]}), texts))
    assert endpoint._batched
    for text, outputs in zip(texts, found, strict=True):
        for output, value in expected[text].items():
            if value.dtype.kind == "f" and value.ndim == 1:
                np.testing.assert_allclose(outputs[output], value, rtol=1e-3, atol=1e-4)
            elif value.ndim == 1:
                assert outputs[output].tolist() == value.tolist(), output


@pytest.mark.parametrize(
    ("payload", "message", "status"),
    [
        ([], 'A JSON object with "instances" or "inputs" is needed', 400),
        ({}, 'Give either "instances"', 400),
        ({"instances": ["a"], "inputs": {"text": ["a"]}}, 'Give either "instances"', 400),
        ({"instances": "a"}, '"instances" must be a list', 400),
        ({"instances": [5]}, '"text" must hold texts', 400),
        ({"instances": [None]}, '"text" must hold texts', 400),
        ({"instances": [["a"], ["b", "c"]]}, '"text" must hold texts', 400),
        ({"instances": [{"txt": "a"}]}, 'takes no "txt"; it takes: text', 400),
        ({"instances": [{}]}, 'needs "text"', 400),
        ({"instances": ["a", {"text": "b"}]}, "All instances must have the same names", 400),
        ({"instances": ["a"], "signature_name": "x"}, 'has no signature "x"; it has: serving_default, tokens', 400),
        ({"instances": ["a"], "signature_name": 5}, '"signature_name" must be a text', 400),
        ({"instances": [[1, "a"]], "signature_name": "tokens"}, '"tokens" must hold int32', 400),
        ({"inputs": {"tokens": [[1], [2, 3]]}, "signature_name": "tokens"}, '"tokens" must hold int32', 400),
        ({"inputs": {"tokens": [[2**40]]}, "signature_name": "tokens"}, '"tokens" must hold int32', 400),
        ({"instances": ["a"] * 101}, "101 inputs are more than 100: send fewer at once", 413),
        ({"instances": ["a" * 5001]}, "A text of 5,001 characters is longer than 5,000", 413),
    ],
)
def test_what_makes_no_sense_is_refused(endpoint, payload, message, status):
    with pytest.raises(RequestError, match=message) as error:
        answer_v1(endpoint, payload)
    assert error.value.status == status
    assert answer_v1(endpoint, {"instances": ["a fine film"]})["predictions"][0]["label"] == "positive"


def test_half_a_character_is_answered(endpoint):
    assert len(answer_v1(endpoint, {"instances": ["fine \ud83d"]})["predictions"]) == 1


def test_settings_of_a_signature_have_defaults():
    endpoint = Endpoint("text", SUBJECTS["language-modeling"].exported)
    short = endpoint.answer({"prompt": ["the cat s"], "length": 5, "temperature": 0.0}, "generate")
    assert (
        short["text"].tolist() == endpoint.answer({"prompt": ["the cat s"], "length": 5}, "complete")["text"].tolist()
    )
    assert len(endpoint.answer({"prompt": ["the cat s"]}, "generate")["text"][0].decode()) > 5
    assert endpoint.answer({"prompt": ["the cat s"], "length": 0}, "generate")["text"].tolist() == [b""]


def test_what_is_no_export(tmp_path):
    with pytest.raises(InputError, match="does not exist; give the directory"):
        Endpoint("x", tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no run and no export"):
        Endpoint("x", tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(InputError, match="does not describe its signatures: export the run again"):
        Endpoint("x", tmp_path)
    (tmp_path / "assets.extra").mkdir()
    about = tmp_path / "assets.extra" / "signature.json"
    about.write_text('{"format": 2}')
    with pytest.raises(InputError, match="was written by a newer version"):
        Endpoint("x", tmp_path)
    about.write_text('{"format": 1, "signatures": {}, "libraries": ["no_such_library"]}')
    with pytest.raises(InputError, match="needs no_such_library: install it"):
        Endpoint("x", tmp_path)
    about.write_text('{"format": 1, "signatures": {}, "libraries": []}')
    with pytest.raises(InputError, match="cannot be loaded"):
        Endpoint("x", tmp_path)


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
    assert client["reviews"]("Loved it.") == {"label": "x"}
    payload = {"signature_name": "serving_default", "instances": ["Loved it."]}
    assert got == [("/v1/models/reviews:predict", payload)] * 3
    answers += [(200, {"predictions": [1, 2]})]
    assert client["reviews"](["a", "b"], "tokens") == [1, 2]
    del got[:]
    for status, content, message in [
        (400, {"error": "Give a list."}, "Give a list."),
        (500, b"<html>", "reviews:predict answers 500."),
    ]:
        answers += [(status, content)]
        with pytest.raises(RemoteError, match=message) as error:
            client["reviews"]("a")
        assert error.value.status == status
    assert len(got) == 2
    answers += [(429, {"error": "busy"})] * 3
    with pytest.raises(RemoteError, match="busy"):
        Client(url, retries=2)["reviews"]("a")
    with pytest.raises(RemoteError, match="does not answer"):
        Client("http://127.0.0.1:9")["reviews"]("a")
