"""The code in the README and in the docstrings runs as it stands."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest

import nlp_rnn
from tests.conftest import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
# `plain` are scripts that are copied beside exports.
MODULES = [m.name for m in pkgutil.walk_packages(nlp_rnn.__path__, "nlp_rnn.")]
MODULES = [name for name in MODULES if not name.endswith((".__main__", ".plain"))]


@contextmanager
def no_warnings():
    """What users run prints no warnings."""
    with warnings.catch_warnings():
        for kind in (UserWarning, RuntimeWarning, FutureWarning):
            warnings.simplefilter("error", kind)
        yield


@pytest.mark.slow  # a training and two evaluations
def test_notebook_block(tmp_path, monkeypatch):
    monkeypatch.setenv("NLP_RNN_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("review,verdict\nLoved it.,positive\nIt broke.,negative\n")
    (tmp_path / "test.csv").write_text("review,verdict\nLoved it.,positive\nIt broke.,negative\n")
    (block,) = (block for block in BLOCKS if "nlp_rnn.train(" in block)
    names: dict[str, object] = {}
    with no_warnings():
        exec(block, names)
    run = names["run"]
    assert isinstance(run, nlp_rnn.Run)
    assert 0 <= run.metrics["accuracy"] <= 1
    assert nlp_rnn.load("runs/mine")("Loved it.").label in run.assets.labels
    assert (tmp_path / "export" / "mine" / "saved_model.pb").is_file()


@pytest.mark.slow  # trains and exports, as the example package does by default
def test_block_of_a_task_of_your_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in BLOCKS if "nlp_rnn.register(" in block)
    rows = [f"{text} {i},{label}" for i in range(20) for text, label in (("the cat", "en"), ("die Katze", "de"))]
    (tmp_path / "languages.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    train = ["train", "--data", "languages.csv", "--train.epochs", "8", "--tokenizer.kind", "word", "--out", "runs/x"]
    for arguments in (train, ["evaluate", "runs/x", "--data", "languages.csv"], ["export", "runs/x"]):
        monkeypatch.setattr(sys, "argv", ["language_id.py", *arguments])
        with pytest.raises(SystemExit) as exit, no_warnings():
            exec(block, {})
        assert exit.value.code == 0
    assert nlp_rnn.load("runs/x")("die Katze 3").label == "de"


@pytest.mark.slow  # trains and exports; tests/layers/test_tagging.py does too
def test_block_of_the_crf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "ner.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ids = np.arange(24).reshape(4, 6)
    with no_warnings():
        code = block.replace("# model.fit(...)", "model.fit(ids, tags, verbose=0)")
        exec(code, {"ids": ids, "tags": np.where(ids, ids % 5, -1)})
    assert (tmp_path / "export" / "tagger" / "saved_model.pb").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, extraglobs={"np": np})
    assert found.failed == 0


def test_importing_the_package_and_what_verbs_run_does_not_import_tensorflow(python):
    """It is imported later, with its chatter kept back."""
    verbs = ("comparer", "ensembler", "inspector", "planner", "report", "run", "sweeper", "trainer", "transfer")
    names = ", ".join(["nlp_rnn.cli", "nlp_rnn.tasks.sentiment", *(f"nlp_rnn.{name}" for name in verbs)])
    assert python(f"import sys, nlp_rnn, {names}; print('tensorflow' in sys.modules)").split()[-1] == "False"


def test_every_name_of_the_package_is_there():
    for name in nlp_rnn.__all__:
        assert getattr(nlp_rnn, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        nlp_rnn.nothing  # noqa: B018
