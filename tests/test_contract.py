"""What every task must do: the built-in ones, and the example of one that is not about text."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import ClassVar

import numpy as np
import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.testing import Subject, TaskContract, assert_close
from tests.conftest import slow
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


# What is exported, resumed and copied by default; the others are slow. Records apart, and a text that goes on.
BY_DEFAULT = ("sentiment", "language-modeling")
HEAVY = (
    "test_a_pickled_run_is_the_same",
    "test_a_run_that_was_cut_off_resumes_bit_for_bit",
    "test_a_saved_copy_is_the_same_and_is_not_written_over",
    "test_the_verbs_of_all_tasks",
)


@pytest.mark.usefixtures("waveforms")
class TestTasks(TaskContract):
    subjects: ClassVar = [*SUBJECTS.values(), WAVEFORMS]

    def pytest_generate_tests(self, metafunc):
        if "subject" in metafunc.fixturenames:
            asks_elsewhere = "elsewhere" in metafunc.fixturenames
            default = ("sentiment",) if asks_elsewhere else BY_DEFAULT
            is_heavy = asks_elsewhere or metafunc.function.__name__ in HEAVY
            slow_ones = [one for one in self.subjects if is_heavy and one.task not in default]
            values = [slow(one) if one in slow_ones else one for one in self.subjects]
            metafunc.parametrize("subject", values, ids=[str(one) for one in self.subjects])


class InParallel(Subject):
    """The subject of a task, with cells whose steps run in parallel, or a transformer."""

    def __init__(self, task: str, cell: str) -> None:
        plain = SUBJECTS[task]
        stack = {"cell": cell, "layers": 2, "residual": True, "normalization": "rms", "feedforward": 24}
        stack |= {"heads": 2, "weight_drop": 0.0} if cell == "transformer" else {}
        settings = {**plain.settings, "stack": {**plain.settings["stack"], **stack}}
        super().__init__(task, settings, plain.write, plain.inputs, plain.environment)
        self.cell = cell

    def __str__(self) -> str:
        return f"{self.task}-{self.cell}"


CELLS = {
    "anomaly": "minlstm",
    "anomaly-values": "mingru",
    "forecasting": "rglru",
    "language-modeling": "qrnn",
    "ner": "sru",
    "sentiment": "mingru",
    "speech": "minlstm",
    "translation": "qrnn",
}


@pytest.mark.slow  # every task once more
class TestTasksInParallel(TaskContract):
    subjects: ClassVar = [InParallel(task, cell) for task, cell in CELLS.items()]


@pytest.mark.slow  # every task once more
class TestTasksWithTransformers(TaskContract):
    subjects: ClassVar = [InParallel(task, "transformer") for task in CELLS]


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
    assert [json.loads(line)["id"] for line in out.splitlines()] == [0, 1, 2], log
    code, _, log = command("predict", "runs/waves", "[[0, 3], [1]]")
    assert code == 2
    assert "must be a list of numbers, or of steps with as many numbers each" in " ".join(log.split())
    assert command("evaluate", "runs/waves", "--data", "starter", "--json")[0] == 0
    code, out, log = command("export", "runs/waves")
    assert code == 0, log
    assert "serve(values=tf.constant([[[0.0, 0.1]" in out
    assert "tensorflow_text" not in out


@pytest.mark.usefixtures("waveforms")
def test_a_series_is_the_same_as_a_list_an_array_and_json():
    run, wave = WAVEFORMS.run, WAVES[0]
    expected = run(wave)
    for same in (np.array(wave), [np.array(step) for step in wave], json.dumps(wave), tuple(map(tuple, wave))):
        assert_close(dataclasses.asdict(run(same)), dataclasses.asdict(expected))
    assert run([json.dumps(wave), np.array(wave)])[1].label == expected.label


@pytest.mark.usefixtures("waveforms")
@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([0.5, 1.0, 0.0], "Series 1 has 1 number in a step; it must have 2."),
        ([[0.5, 1.0, 0.0]], "Series 1 has 3 numbers in a step; it must have 2."),
        ([[0.5, float("nan")]], "must be a list of numbers, or of steps"),
        ([[0.5, 1.0], [2.0]], "must be a list of numbers, or of steps"),
        ("a text", "must be a list of numbers, or of steps"),
    ],
)
def test_a_series_that_does_not_fit_is_refused_in_python_and_at_the_command_line(command, series, message):
    with pytest.raises(InputError, match=re.escape(message)):
        WAVEFORMS.run(series)
    given = series if isinstance(series, str) else json.dumps(series)
    code, out, error = command("predict", WAVEFORMS.path, given)
    assert (code, out) == (2, "")
    assert message in " ".join(error.split())


@pytest.mark.usefixtures("waveforms")
def test_series_of_different_channels_are_refused_in_training(command, tmp_path):
    rows = [{"values": [[0.0] * (1 + i % 2)] * 3, "label": "ab"[i % 2]} for i in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, error = command("train", "waveforms", "--data", tmp_path / "data.jsonl", "--out", tmp_path / "run")
    assert code == 2
    assert "in a step; it must have" in " ".join(error.split())
