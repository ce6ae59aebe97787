"""What every task must do: the built-in ones, and the example of one that is not about text."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from nlp_rnn.testing import Subject, TaskContract
from tests.subjects import SUBJECTS

WAVES = [
    [[0.0, 3.1], [0.7, 3.8], [1.0, 3.9], [0.7, 3.8], [0.0, 3.0]],
    [[1.0, 2.0]] * 4 + [[-1.0, 4.0]] * 4,
    [[0.5, 0.5]],
]
WAVEFORMS = Subject(
    "waveforms",
    {"stack": {"units": 8}, "train": {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}},
    lambda folder: {"train": ["starter"]},
    WAVES,
)


@pytest.mark.usefixtures("waveforms")
class TestTasks(TaskContract):
    subjects: ClassVar = [*SUBJECTS.values(), WAVEFORMS]


@pytest.mark.usefixtures("waveforms")
def test_every_verb_works_on_a_task_from_a_package(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("tasks")[1].splitlines()[-1].startswith("waveforms ")
    assert "starter" in json.loads(command("recipes", "--json")[1])["waveforms"]
    assert command("doctor")[0] in (0, 1)
    small = ("--stack.units", 8, "--train.epochs", 2)
    code, out, log = command("train", "waveforms", *small, "--out", "runs/waves", "--json")
    assert code == 0, log
    assert json.loads(out)["run"] == "runs/waves"
    assert "steps: median" in " ".join(log.split())
    code, out, log = command("predict", "runs/waves", "[[0, 3], [0.7, 3.7], [1, 4]]", "--json")
    assert (code, len(json.loads(out)["values"])) == (0, 3), log
    (tmp_path / "more.jsonl").write_text(
        "".join(json.dumps({"wave": wave, "id": i}) + "\n" for i, wave in enumerate(WAVES))
    )
    arguments = ("--input", "more.jsonl", "--column", "wave", "--keep", "id", "--json")
    code, out, log = command("predict", "runs/waves", *arguments)
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["0", "1", "2"], log
    code, _, log = command("predict", "runs/waves", "[[0, 3], [1]]")
    assert code == 2
    assert "must be a list of numbers, or of steps with as many numbers each" in " ".join(log.split())
    assert command("evaluate", "runs/waves", "--data", "starter", "--json")[0] == 0
    code, out, log = command("export", "runs/waves")
    assert code == 0, log
    assert "serve(values=tf.constant([[[0.0, 0.1]" in out
    assert "tensorflow_text" not in out
