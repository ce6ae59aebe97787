"""What `serve` is told wrongly is said before anything is loaded."""

from __future__ import annotations

import importlib.util

import pytest

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
