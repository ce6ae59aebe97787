"""`serve` in a process of its own; what it is told wrongly is said before anything is loaded."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from nlp_rnn.serving import Client
from tests.conftest import ROOT
from tests.subjects import SUBJECTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to serve"),
        (["nothing"], "nothing does not exist; give the directory"),
        (["a=nothing", "a=other"], 'Two models have the name "a": give one as NAME=FOLDER.'),
        (["nothing", "--batch_size", "0"], "--batch_size is 0; it must be above 0."),
        (["nothing", "--seconds", "nan"], "--seconds is nan; it must be above 0."),
        (["nothing", "--port", "70000"], "--port is 70000; ports go from 0 to 65535."),
        (["nothing", "--port", "8501", "--grpc_port", "8501"], "--port and --grpc_port are the same; choose two."),
        (["a/b=nothing"], '"a/b" is no name for a model'),
        (["nothing", "--reload_seconds", "-1"], "--reload_seconds is -1.0; it must be at least 0."),
        (["nothing", "--host", "nope.invalid"], "choose another --host"),
        (["nothing", "--host", "203.0.113.1"], "203.0.113.1:8501 cannot be used"),
    ],
)
def test_bad_options(command, monkeypatch, arguments, message):
    # KServe's messages for gRPC cannot be in a process that has those of another client.
    for name in ("check_kserve", "import_kserve"):
        monkeypatch.setattr(f"nlp_rnn.serving.server.{name}", lambda: None)
    code, out, error = command("serve", *arguments)
    assert (code, out) == (2, "")
    assert message in error


def test_a_missing_extra_is_named(command, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "kserve" else find(name, *a))
    code, _, error = command("serve", SUBJECTS["sentiment"].path, "--port", "0")
    assert (code, 'pip install "nlp-rnn[serve]"' in error) == (2, True)


@pytest.mark.skipif(importlib.util.find_spec("kserve") is None, reason="serving needs the extra `serve`")
def test_a_run_is_served_until_it_is_told_to_end():
    reviews = SUBJECTS["sentiment"]
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    command = [sys.executable, "-m", "nlp_rnn", "serve", f"reviews={reviews.path}", "--port", port]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"

    def got(path, body=None):
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as response:
            return response.read()

    try:
        for _ in range(240):
            try:
                got("/v2/health/ready")
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.25)
        expected = reviews.run("a fine film")
        (found,) = json.loads(got("/v1/models/reviews:predict", b'{"instances": ["a fine film"]}'))["predictions"]
        assert found["label"] == expected.label
        assert Client(url)["reviews"]("a fine film").probability == pytest.approx(expected.probability, abs=1e-4)
        text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a fine film"]}
        answer = json.loads(got("/v2/models/reviews/infer", json.dumps({"inputs": [text]}).encode()))
        assert {one["name"]: one["data"] for one in answer["outputs"]}["label"] == [expected.label]
        assert json.loads(got("/v2/models/reviews"))["inputs"][0]["name"] == "text"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
