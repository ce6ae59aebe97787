"""The command `serve` in a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from nlp_rnn.serving import Client, RemoteError
from tests.conftest import ROOT
from tests.subjects import SUBJECTS

pytest.importorskip("kserve", reason="serving needs the extra `serve`")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """→ its URL and its process."""
    port = free_port()
    places = [str(SUBJECTS["sentiment"].path), f"entities={SUBJECTS['ner'].exported}"]
    command = [sys.executable, "-m", "nlp_rnn", "serve", *places, "--port", str(port)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/v2/health/ready")
            break
        except OSError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.5)
    yield url, process
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143


def post(url, body, content_type="application/json"):
    request = urllib.request.Request(url, body.encode(), {"Content-Type": content_type} if content_type else {})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_as_the_runs_predict(server):
    client = Client(server[0])
    run = SUBJECTS["sentiment"].run
    texts = list(SUBJECTS["sentiment"].inputs)
    name = run.path.name
    for row, expected in zip(client[name](texts), run(texts), strict=True):
        assert row["label"] == expected.label
        assert row["probability"] == pytest.approx(expected.probability, abs=1e-4)
    found = client["entities"]("Ada met Bob .", "spans")
    assert (found["texts"], found["labels"]) == (["Ada", "Bob"], ["PER", "PER"])


def test_the_open_inference_protocol(server):
    url = f"{server[0]}/v2/models/entities"
    with urllib.request.urlopen(url) as response:
        about = json.load(response)
    assert about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    text = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["Ada met Bob .", "é 🐈"]}
    status, answer = post(f"{url}/infer", json.dumps({"id": "7", "inputs": [text]}))
    assert (status, answer["id"]) == (200, "7")
    outputs = {one["name"]: one for one in answer["outputs"]}
    assert outputs["text"]["data"] == ["Ada met Bob .", "é 🐈"]
    assert outputs["tags"]["shape"] == [2, 4]
    assert outputs["tags"]["data"][:4] == ["S-PER", "O", "S-PER", "O"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models/entities:predict", "{", 400, "The request is not valid JSON."),
        ("/v1/models/entities:predict", '{"instances": [5]}', 400, '"text" must hold texts.'),
        ("/v1/models/nothing:predict", '{"instances": ["a"]}', 404, "nothing does not exist"),
        ("/v1/models/entities:predict", '{"instances": ["a"], "signature_name": "x"}', 400, "has no signature"),
        (
            "/v1/models/entities:predict",
            '{"instances": ["' + "a" * 21_000_000 + '"]}',
            413,
            "A request may have 20,000,000",
        ),
        ("/v2/models/entities/infer", '{"inputs": []}', 400, 'needs "text"'),
    ],
)
def test_bad_requests_get_a_sentence(server, path, body, status, message):
    found, answer = post(server[0] + path, body)
    assert (found, message in answer["error"]) == (status, True), answer
    assert post(f"{server[0]}/v1/models/entities:predict", '{"instances": ["Ada"]}')[0] == 200


def test_a_request_without_a_content_type(server):
    status, answer = post(f"{server[0]}/v1/models/entities:predict", '{"instances": ["Ada"]}', "text/plain")
    assert (status, len(answer["predictions"])) == (200, 1)
    assert post(f"{server[0]}/v1/models/entities:predict", "{", "text/plain") == (
        400,
        {"error": "The request is not valid JSON."},
    )


def test_a_port_in_use_is_refused_before_anything_is_loaded(server):
    port = server[0].rpartition(":")[2]
    command = [sys.executable, "-m", "nlp_rnn", "serve", str(SUBJECTS["ner"].exported), "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be used (Address already in use); choose another --port." in done.stderr


def test_a_client_is_told_what_is_wrong(server):
    with pytest.raises(RemoteError, match="has no signature") as error:
        Client(server[0])["entities"]("Ada", "x")
    assert error.value.status == 400
