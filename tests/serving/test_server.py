"""The command `serve` in a process of its own, asked over HTTP."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from nlp_rnn.serving import Client, RemoteError
from nlp_rnn.tasks.language_modeling import generate
from tests.conftest import ROOT
from tests.subjects import SUBJECTS

# Not imported: its messages for gRPC and those of Triton's client cannot be in one process.
if importlib.util.find_spec("kserve") is None:
    pytest.skip("serving needs the extra `serve`", allow_module_level=True)
pytestmark = pytest.mark.slow  # four exports; one run is served by default, in test_serve.py
SERVED = {"reviews": "sentiment", "entities": "ner", "text": "language-modeling", "words": "translation"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """→ its URL, and the port for gRPC."""
    port = free_port()
    subjects = {name: SUBJECTS[task] for name, task in SERVED.items()}
    places = [f"{name}={one.path if name == 'reviews' else one.exported}" for name, one in subjects.items()]
    grpc_port = free_port()
    command = [sys.executable, "-m", "nlp_rnn", "serve", *places, "--port", str(port), "--grpc_port", str(grpc_port)]
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
    yield url, grpc_port
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143


def post(url, body, content_type="application/json"):
    request = urllib.request.Request(url, body.encode(), {"Content-Type": content_type} if content_type else {})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("name", "task"),
    [("reviews", "sentiment"), ("entities", "ner"), ("text", "language-modeling"), ("words", "translation")],
)
def test_the_client_predicts_as_the_run(server, name, task):
    subject, model = SUBJECTS[task], Client(server[0])[name]
    texts = list(subject.inputs)
    for found, expected in zip(model(texts), subject.run(texts), strict=True):
        assert type(found) is type(expected)
        close_to(dataclasses.asdict(found), dataclasses.asdict(expected))
    close_to(dataclasses.asdict(model(texts[0])), dataclasses.asdict(subject.run(texts[0])))


def close_to(found, expected):
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            close_to(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
    else:
        assert found == expected


def test_the_command_predicts_with_a_served_model(server, command, tmp_path):
    run = SUBJECTS["ner"].path
    for more in (("Ada met Bob .",), ("Ada met Bob .", "--json"), ("Ada met Bob .", "--min_confidence", "1")):
        code, out, error = command("predict", "--url", f"{server[0]}/entities", *more)
        assert (code, error) == (0, "")
        assert out.split("confidence")[0] == command("predict", run, *more)[1].split("confidence")[0]
    (tmp_path / "in.txt").write_text("Ada met Bob .\nBob .\n")
    arguments = ("--input", tmp_path / "in.txt", "--output", tmp_path / "out.csv")
    assert command("predict", f"--url={server[0]}/entities", *arguments)[0] == 0
    assert (tmp_path / "out.csv").read_text().count("Ada met Bob .") == 1
    for url, more, message in [
        (f"{server[0]}/nothing", (), "nothing does not exist; there are: reviews, entities, text, words."),
        (server[0], (), "does not say which model"),
        ("http://127.0.0.1:9/x", (), "does not answer"),
        (f"{server[0]}/entities", ("--plot", "-"), "--plot needs a run"),
        (f"{server[0]}/words", ("--beam", "7"), "width: a model is served with the settings of its run"),
    ]:
        code, out, error = command("predict", "--url", url, "Ada", *more)
        assert (code, out, message in error) == (2, "", True), error


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
        ("/v1/models/entities:predict", '{"instances": [' + "[" * 600 + "]" * 600 + "]}", 400, "nested too deeply"),
        ("/v2/models/entities/infer", '{"inputs": []}', 400, 'needs "text"'),
    ],
)
def test_bad_requests_get_a_sentence(server, path, body, status, message):
    found, answer = post(server[0] + path, body)
    assert (found, message in answer["error"]) == (status, True), answer
    assert post(f"{server[0]}/v1/models/entities:predict", '{"instances": ["Ada"]}')[0] == 200


def test_clients_of_triton_move_here_unchanged(server):
    import tritonclient.grpc
    import tritonclient.http

    texts = np.array([b"Ada met Bob .", "é 🐈".encode()], object)
    for kind, address in (
        (tritonclient.http, server[0].removeprefix("http://")),
        (tritonclient.grpc, f"127.0.0.1:{server[1]}"),
    ):
        client = kind.InferenceServerClient(address)
        assert client.is_server_live()
        assert client.is_model_ready("entities")
        about = client.get_model_metadata("entities", **({"as_json": True} if kind is tritonclient.grpc else {}))
        assert (about["inputs"][0]["name"], about["inputs"][0]["datatype"]) == ("text", "BYTES")
        given = kind.InferInput("text", [2], "BYTES")
        given.set_data_from_numpy(texts)
        found = client.infer("entities", [given])
        assert found.as_numpy("text").tolist() == texts.tolist()
        assert found.as_numpy("tags").tolist()[0] == [b"S-PER", b"O", b"S-PER", b"O"]
        assert found.as_numpy("confidences").dtype == np.float32
        wanted = kind.InferRequestedOutput("tags")
        assert client.infer("entities", [given], outputs=[wanted]).as_numpy("confidences") is None
        for version, answers in (("1", True), ("9", False)):
            if answers:
                assert client.infer("entities", [given], model_version=version).get_response()
                continue
            with pytest.raises(tritonclient.utils.InferenceServerException, match="served in version 1, not 9"):
                client.infer("entities", [given], model_version=version)
        given = kind.InferInput("text", [1], "INT32")
        given.set_data_from_numpy(np.array([1], np.int32))
        with pytest.raises(tritonclient.utils.InferenceServerException, match='"text" must hold texts'):
            client.infer("entities", [given])


def test_the_open_inference_protocol_takes_json_and_bytes_that_are_no_text(server):
    import tritonclient.http

    client = tritonclient.http.InferenceServerClient(server[0].removeprefix("http://"))
    given = tritonclient.http.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"Ada met Bob ."], object), binary_data=False)
    assert client.infer("entities", [given]).as_numpy("tags").tolist()[0][0] == b"S-PER"
    given.set_data_from_numpy(np.array([b"\xff\xfe"], object))
    with pytest.raises(tritonclient.utils.InferenceServerException, match="are its texts in UTF-8"):
        client.infer("entities", [given])
    for body in ("[]", "{", '{"inputs": [{"name": "text", "shape": "x"}]}'):
        status, answer = post(f"{server[0]}/v2/models/entities/infer", body)
        assert (status, answer["error"].startswith("The request does not fit the protocol: ")) == (400, True)


def test_text_comes_as_it_is_written(server):
    run = SUBJECTS["language-modeling"].run
    settings = {"max_tokens": 60, "temperature": 0.9, "seed": 4}
    body = json.dumps({"text_input": "the cat", "parameters": settings})
    request = urllib.request.Request(
        f"{server[0]}/v2/models/text/generate_stream", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in response.read().decode().split("\n\n") if line]
    expected = "".join(generate(run, "the cat", length=60, temperature=0.9, seed=4))
    assert len(events) > 3
    assert events[-1]["done"] is True
    assert "".join(event["text_output"] for event in events) == expected
    assert post(f"{server[0]}/v2/models/text/generate", body)[1]["text_output"] == expected
    status, answer = post(f"{server[0]}/v2/models/reviews/generate_stream", body)
    assert (status, answer["error"]) == (400, "reviews writes no texts: it is a model of sentiment.")


def test_versions_and_descriptions(server):
    with urllib.request.urlopen(f"{server[0]}/v1/models/words/metadata") as response:
        about = json.load(response)
    assert about["model_spec"] == {"name": "words", "signature_name": "", "version": "1"}
    example = about["metadata"]["signatures"]["serving_default"]["example"]
    url = f"{server[0]}/v1/models/words/versions"
    status, answer = post(f"{url}/1:predict", json.dumps({"inputs": example["inputs"]}))
    assert (status, answer["outputs"]["translation"]) == (200, example["outputs"]["translation"])
    status, answer = post(f"{url}/2:predict", json.dumps({"inputs": example["inputs"]}))
    assert (status, answer["error"]) == (404, "words is served in version 1, not 2.")
    with urllib.request.urlopen(f"{url}/1") as response:
        assert json.load(response)["model_version_status"][0]["state"] == "AVAILABLE"
    with urllib.request.urlopen(f"{server[0]}/v2/models/words/versions/1/ready") as response:
        assert json.load(response)["ready"] is True
    for action in ("load", "unload"):
        assert post(f"{server[0]}/v2/repository/models/words/{action}", "")[0] == 403
    assert post(f"{url}/1:predict", json.dumps({"inputs": example["inputs"]}))[0] == 200


def test_the_page_shows_texts_as_texts(server):
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tried in a browser")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("the page is tried in Chromium")
    hostile = "Ada met <img src=x onerror=document.title='bad'> Bob 🐈 ."
    with playwright.sync_playwright() as control:
        browser = control.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page, problems = browser.new_page(), []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server[0])
        page.wait_for_selector("#model option:nth-child(4)", state="attached")

        def shown(model, text):
            page.select_option("#model", model)
            page.fill("#text", text)
            page.press("#text", "Control+Enter")
            page.wait_for_selector("#run:enabled")
            return page.inner_text("#result")

        assert "img src=" in shown("entities", hostile)
        assert page.query_selector("#result img") is None
        marks = [mark.inner_text().split("PER")[0].strip() for mark in page.query_selector_all("mark")]
        assert {"Ada", "Bob"} <= set(marks)
        assert "positive" in shown("reviews", "Loved it, a fine film .")
        assert page.query_selector_all("#result .token.for")
        subject = SUBJECTS["translation"]
        source = next(text for text in subject.inputs if text.strip())
        assert subject.run(source).translation in shown("words", source)
        assert shown("text", "the cat").startswith("the cat")
        shown("text", "\x00Ж")
        assert "not in the vocabulary" in page.inner_text("#status.wrong")
        assert page.title() == "nlp-rnn"
        assert [problem for problem in problems if "400" not in problem] == []
        browser.close()


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
        Client(server[0])["entities"].rows(["Ada"], "x")
    assert error.value.status == 400
