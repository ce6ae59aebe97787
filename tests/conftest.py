"""What tests share: quiet TensorFlow, private caches, one small trained run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # products of full float32 on a GPU too
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Arrow files go to a folder of their own, so that tests see no other run's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["HF_HOME"] = str(folder)
    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    import datasets

    datasets.config.HF_DATASETS_CACHE = folder / "datasets"


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory):
    """A run on the starter corpus, trained for two epochs."""
    import nlp_rnn

    out = tmp_path_factory.mktemp("runs") / "starter"
    return nlp_rnn.train("sentiment", out=out, train={"epochs": 2})


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that a test registers are gone after it."""
    monkeypatch.setattr("nlp_rnn.registry._registered", {})


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process: → exit code, stdout, stderr."""
    from nlp_rnn.cli import run_command

    def call(*arguments: object, task: str | None = None) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = run_command(task, [str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def python():
    """Runs code in a fresh process without GPUs: → stdout."""

    def call(code: str, *arguments: object, timeout: float = 300) -> str:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


ROOT = Path(__file__).parent.parent
