"""What version 0.1.0 wrote before the package was rearranged loads, predicts the same, and resumes.

tests/runs_of_0_1_0 holds a run of each task, what it predicted, and an interrupted one. Checkpoints, logs and plots of
finished runs were taken out, and model files were packed more tightly.
"""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import nlp_rnn
from nlp_rnn.testing import assert_close
from nlp_rnn.trainer import resume
from tests.conftest import ROOT

RUNS = ROOT / "tests" / "runs_of_0_1_0"
EXPECTED = json.loads((RUNS / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", sorted(EXPECTED["inputs"]))
def test_a_run_predicts_what_it_did(task):
    run = nlp_rnn.load(RUNS / task)
    found = [dataclasses.asdict(prediction) for prediction in run(EXPECTED["inputs"][task])]
    assert_close(found, EXPECTED["predictions"][task])
    assert run.report["tokens_per_second"] > 0
    assert run.metrics[run.task.metric.name] == next(iter(run.metrics.values()))


def test_settings_by_their_names_of_then():
    assert nlp_rnn.load(RUNS / "sentiment").config.data.kept_part == "both"
    assert nlp_rnn.load(RUNS / "language-modeling").config.train.bptt == 8
    assert nlp_rnn.load(RUNS / "translation").options().no_repeat_ngram == 3


def test_an_interrupted_run_resumes_and_ends_as_one_that_never_stopped(tmp_path, monkeypatch):
    shutil.copytree(RUNS / "interrupted", tmp_path / "run")
    shutil.copy(RUNS / "l.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    run = resume("run")
    whole = nlp_rnn.load(RUNS / "language-modeling").history
    assert [row["val_perplexity"] for row in run.history] == pytest.approx(
        [row["val_perplexity"] for row in whole], rel=1e-3
    )
