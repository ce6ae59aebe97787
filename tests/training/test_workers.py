"""Training on several machines, here two processes on the loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.cli import run_command
from nlp_rnn.errors import InputError
from nlp_rnn.training.devices import is_chief
from tests.subjects import SUBJECTS

STILL = ["--embedding.size", "8", "--stack.units", "4", "--embedding.word_dropout", "0", "--head.dropout", "0"]
TRAIN = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 2, "batch_size": 8, "buckets": 1, "average": 0.9}
PARTS = {"test_fraction": 0.2, "validation_fraction": 0.2}
OPTIONS = [
    *("--data", *SUBJECTS["sentiment"].data["train"], "--tokenizer.min_count", "1", *STILL),
    *(word for name, value in PARTS.items() for word in (f"--data.{name}", str(value))),
    *(word for name, value in TRAIN.items() for word in (f"--train.{name}", str(value))),
]


def start(index, ports, *arguments):
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    environment = {
        **os.environ,
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
    }
    command = [sys.executable, "-m", "nlp_rnn", "train", "sentiment", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_both(*arguments):
    """Two workers on ports that are free."""
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return [start(index, ports, *arguments) for index in range(2)]


def finish(workers):
    results = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], results[0][1][-3000:] + results[1][1][-3000:]
    return results


def assert_same_weights(path, other):
    one, two = (nlp_rnn.load(folder).model.get_weights() for folder in (path, other))
    for value, wanted in zip(one, two, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one worker."""
    path = tmp_path_factory.mktemp("alone") / "run"
    assert run_command("sentiment", ["train", "--out", str(path), *OPTIONS]) == 0
    return path


@pytest.mark.slow  # two processes that start TensorFlow beside the other tests
def test_two_workers_end_with_the_weights_of_one(tmp_path, alone):
    results = finish(start_both("--out", tmp_path / "run", *OPTIONS, "--json"))
    assert json.loads(results[0][0])["run"] == str(tmp_path / "run")
    assert results[1][0] == "", "only the chief prints results"
    assert_same_weights(tmp_path / "run", alone)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in (alone / "metrics.jsonl").read_text().splitlines()]
    assert [row["val_accuracy"] for row in rows] == [row["val_accuracy"] for row in expected]
    assert rows[1]["loss"] == pytest.approx(expected[1]["loss"], abs=2e-3)


@pytest.mark.slow  # processes that wait
def test_a_worker_that_waits_says_so_and_can_be_interrupted(tmp_path):
    worker, other = start_both("--out", tmp_path / "run", *OPTIONS)
    other.kill()
    lines = iter(worker.stderr.readline, "")
    assert any(line == "This is worker 0. Waiting for worker 1 …\n" for line in lines)
    time.sleep(1)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=30)
    assert worker.returncode == -signal.SIGINT


@pytest.mark.slow  # four processes for each
@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_is_killed_ends_the_run_and_it_resumes(tmp_path, alone, killed):
    out = tmp_path / "run"
    workers = start_both("--out", out, *OPTIONS, "--train.checkpoint_seconds", 0)
    deadline = time.monotonic() + 120
    while not any((out / "checkpoints").glob("*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    workers[killed].kill()
    _, errors = workers[1 - killed].communicate(timeout=240)
    assert workers[1 - killed].returncode == 1
    assert "A worker no longer answers" in errors
    assert f"--resume {out}" in errors
    assert "Traceback" not in errors
    finish(start_both("--resume", out))
    assert_same_weights(out, alone)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("not JSON", "TF_CONFIG is not JSON of the form"),
        ("[]", "TF_CONFIG is not JSON of the form"),
        ('{"cluster": 3}', "TF_CONFIG is not JSON of the form"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}', "TF_CONFIG is not JSON of the form"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "TF_CONFIG says that this is worker 2; its cluster has worker 0, worker 1.",
        ),
        (
            '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "TF_CONFIG says that this is ps 0; its cluster has chief 0, worker 0.",
        ),
    ],
)
def test_a_description_of_the_workers_that_makes_no_sense(monkeypatch, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=message):
        is_chief()


@pytest.mark.parametrize(("kind", "index", "writes"), [("chief", 0, True), ("worker", 0, False), ("worker", 1, False)])
def test_only_the_chief_of_a_cluster_that_has_one_writes(monkeypatch, kind, index, writes):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
    assert is_chief() == writes
