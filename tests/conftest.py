"""What tests share: quiet TensorFlow, private caches, one small trained run."""

from __future__ import annotations

import copy
import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from nlp_rnn.testing import Subject
from tests.subjects import SUBJECTS

settings.register_profile("quick", derandomize=True, deadline=None, max_examples=8)
settings.register_profile("thorough", derandomize=True, deadline=None, max_examples=100)
gc.set_threshold(200_000, 50, 100)  # tracing makes millions of objects: a sixth of the time would go into looking
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # products of full float32 on a GPU too
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores: threads of each would wait for each other
    for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")


def pytest_configure(config: pytest.Config) -> None:
    """Loads the profile of hypothesis: "thorough" with NLP_RNN_THOROUGH=1 or `-m slow`, else "quick"."""
    wants_slow = "slow" in config.option.markexpr.replace("not slow", "")
    thorough = wants_slow or os.environ.get("NLP_RNN_THOROUGH") == "1"
    settings.load_profile("thorough" if thorough else "quick")
    if not thorough and not config.getoption(
        "numprocesses", None
    ):  # only where tests run, not where they are dealt out
        _leave_graphs_as_they_are()
        _sketch_figures()


def _leave_graphs_as_they_are() -> None:
    """Most graphs here run once: to rewrite them first takes a tenth of the time. Child processes do, and `-m slow`."""
    from nlp_rnn.startup import import_tensorflow

    tf = import_tensorflow()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _sketch_figures() -> None:
    """Figures are drawn, but coarsely and as they lie: to make room for labels takes most of the time."""
    from matplotlib.figure import Figure

    savefig = Figure.savefig

    def sketched(self: Figure, place: object, **options: object) -> None:
        self.set_layout_engine("none")
        savefig(self, place, **{**options, "dpi": 20})

    Figure.savefig = sketched  # type: ignore[method-assign]


# Files in the order in which workers take them. What one worker trains, the others use, and they wait for it: while one
# trains for the contract, the other has the layers to test. Short files come last, so that both end at about one time.
_FIRST = (
    "test_contract.py",
    "test_notebooks.py",
    "test_resume.py",
    "layers",
    "test_translation.py",
    "test_translator.py",
    "test_anomaly.py",
    "test_formats.py",
    "test_training.py",
    "test_speech.py",
    "test_readme.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first."""

    def place(item: pytest.Item) -> int:
        names = (item.path.name, item.path.parent.name)
        return next((number for number, name in enumerate(_FIRST) if name in names), len(_FIRST))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Arrow files go to a folder of their own, so that tests see no other run's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["HF_HOME"] = str(folder)
    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    import datasets

    datasets.config.HF_DATASETS_CACHE = folder / "datasets"


@pytest.fixture(scope="session", autouse=True)
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """What one worker has trained and exported serves the others."""
    if worker_id != "master":
        Subject.shared = tmp_path_factory.getbasetemp().parent / "subjects"


@pytest.fixture(scope="session")
def waveforms(tmp_path_factory: pytest.TempPathFactory):
    """The example package, installed into a folder of its own: found by its entry point here and in child processes."""
    source, target = ROOT / "examples" / "waveforms", tmp_path_factory.mktemp("installed")
    copy_of = shutil.copytree(source, tmp_path_factory.mktemp("example") / "waveforms")  # building leaves files behind
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options, str(copy_of)], check=True)
    sys.path.insert(0, str(target))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return target


@pytest.fixture(scope="session")
def reviews():
    """A run of the sentiment task on a few reviews."""
    return SUBJECTS["sentiment"].run


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
def at_hand(monkeypatch: pytest.MonkeyPatch):
    """Lets commands take a run that is in memory, so that they need not load and trace it anew."""

    def call(run: object) -> None:
        monkeypatch.setattr("nlp_rnn.run.load", lambda path, task=None: copy.copy(run))

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


def slow(*values: object):
    """Values of a parameter with which a test runs under `-m slow` alone: others stand for them by default."""
    return pytest.param(*values, marks=pytest.mark.slow)


EXPORTED = ("sentiment", "ner", "language-modeling")
"""The tasks whose subjects are exported by default; each export takes many seconds."""


def all_tasks(*names: str):
    """All tasks as values of a parameter; those that are not named run under `-m slow` alone."""
    return [name if name in names else slow(name) for name in SUBJECTS]
