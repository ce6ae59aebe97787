"""What `serve` is told wrongly is said before anything is loaded."""

from __future__ import annotations

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
        (["nothing", "--port", "70000"], "--port is 70000; ports go up to 65535."),
        (["nothing", "--host", "203.0.113.1"], "203.0.113.1:8501 cannot be used"),
    ],
)
def test_bad_options(command, arguments, message):
    pytest.importorskip("grpc", reason="serving needs the extra `serve`")
    code, out, error = command("serve", *arguments)
    assert (code, out) == (2, "")
    assert message in error


def test_a_missing_extra_is_named(command, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "kserve", None)
    monkeypatch.setitem(sys.modules, "kserve.model_server", None)
    code, _, error = command("serve", SUBJECTS["sentiment"].path, "--port", "0")
    assert (code, 'pip install "nlp-rnn[serve]"' in error) == (2, True)
