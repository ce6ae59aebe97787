"""An interrupted run, continued, ends bit for bit like one that never stopped.

That it does so in every task is part of tests/test_contract.py; here real processes get real signals, and run
directories are damaged and changed.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.cli import run_command
from nlp_rnn.errors import InputError
from nlp_rnn.testing import assert_same_run
from nlp_rnn.testing.subjects import copied_at
from nlp_rnn.trainer import resume
from nlp_rnn.training import checkpoints
from nlp_rnn.training.callbacks import Checkpointer
from nlp_rnn.training.folders import new_folder, sole_owner
from tests.conftest import slow
from tests.subjects import SUBJECTS

SETTINGS = {
    "--data.validation_fraction": 0.2,
    "--tokenizer.kind": "word",
    "--tokenizer.min_count": 1,
    "--embedding.size": 8,
    "--embedding.word_dropout": 0.1,
    "--embedding.dropout": 0.1,
    "--stack.units": 6,
    "--stack.dropout": 0.2,
    "--stack.weight_drop": 0.2,
    "--train.average": 0.9,
    "--train.epochs": 3,
    "--train.patience": 2,
    "--train.average_epochs": 2,
    "--train.batch_size": 8,
    "--train.checkpoint_seconds": 0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.csv"
    rows = [f"text number {i} is {'fine' if i % 2 else 'bad'},{'good' if i % 2 else 'poor'}" for i in range(200)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path


def begin(out: Path, data: Path) -> list[str]:
    options = [str(part) for pair in SETTINGS.items() for part in pair]
    return [sys.executable, "-m", "nlp_rnn", "train", "sentiment", "--data", str(data), "--out", str(out), *options]


def interrupt(process: subprocess.Popen[str], folder: Path, number: int, after: int) -> str:
    """Sends a process a signal once `after` batches are done: → what it wrote to standard error."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        steps = [int(path.name.split("-")[1]) for path in folder.glob("checkpoints/step-*")]
        if max(steps, default=-1) >= after:
            os.kill(process.pid, number)
            break
        time.sleep(0.002)
    return process.communicate(timeout=300)[1]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def ended(tmp_path_factory, data) -> tuple[Path, int]:
    """A run whose process was killed in the middle of an epoch: → its folder and the exit code."""
    folder = tmp_path_factory.mktemp("ended") / "killed"
    process = start(begin(folder, data))
    interrupt(process, folder, signal.SIGKILL, 30)
    return folder, process.returncode


@pytest.fixture(scope="module")
def whole_and_cut_off(tmp_path_factory, data) -> tuple[Path, Path]:
    """A finished run, and its directory as a power cut in the middle of an epoch would have left it."""
    folder = tmp_path_factory.mktemp("resume")
    with copied_at(folder / "cut-off", 1, 5):
        assert run_command(None, begin(folder / "whole", data)[3:]) == 0
    return folder / "whole", folder / "cut-off"


@pytest.fixture
def uninterrupted(whole_and_cut_off) -> Path:
    return whole_and_cut_off[0]


@pytest.fixture
def killed(whole_and_cut_off, tmp_path) -> Path:
    """A copy of what was cut off."""
    return shutil.copytree(whole_and_cut_off[1], tmp_path / "killed")


@pytest.fixture
def cut_off(tmp_path) -> Path:
    """A copy of another run that was cut off, which every test has."""
    return shutil.copytree(SUBJECTS["sentiment"].cut_off, tmp_path / "cut-off")


def test_a_teacher_that_a_run_did_not_begin_with_is_refused(cut_off):
    with pytest.raises(InputError, match="began without a teacher"):
        resume(cut_off, teacher="runs/other")


@pytest.mark.slow  # processes that are killed; the task contract resumes within one
def test_killed_in_the_middle_of_an_epoch(ended, uninterrupted, capfd):
    killed, code = ended
    assert code == -signal.SIGKILL
    with pytest.raises(InputError, match="not finished: continue it"):
        nlp_rnn.load(killed)
    resume(killed)
    assert_same_run(uninterrupted, killed)
    with pytest.raises(InputError, match="is finished"):
        resume(killed)


@pytest.mark.parametrize(("number", "left"), [slow(signal.SIGINT, 10), slow(signal.SIGTERM, 1)])
def test_a_signal_ends_it_with_a_checkpoint(uninterrupted, data, tmp_path, monkeypatch, capsys, number, left):
    """Within an epoch, and in the last batch of one."""
    original = Checkpointer.on_train_batch_end

    def interrupt(self, batch, logs=None):
        if (self.position.epoch, self.position.batch + left) == (0, self.steps_per_epoch):
            os.kill(os.getpid(), number)
        original(self, batch, logs)

    monkeypatch.setattr(Checkpointer, "on_train_batch_end", interrupt)
    out = tmp_path / "run"
    assert run_command(None, begin(out, data)[3:]) == 130
    message = capsys.readouterr().err
    assert f"--resume {out}" in message
    assert "Traceback" not in message
    monkeypatch.undo()
    resume(out)
    assert_same_run(uninterrupted, out)


@pytest.mark.slow  # two trainings resumed
@pytest.mark.parametrize("exchanged", [False, True])
def test_ended_while_what_is_learned_after_training_is_written(tmp_path, monkeypatch, exchanged):
    """Such as the scores that normal data have, which are assets; before their file was exchanged, and after it."""
    subject = SUBJECTS["anomaly"]
    out = shutil.copytree(subject.cut_off, tmp_path / "run")
    before = (out / "assets" / "judge.json").read_bytes()

    def ended(self, path):
        self.save_settings(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nlp_rnn.Run, "save", ended)
        with pytest.raises(KeyboardInterrupt):
            resume(out)
    assert (out / "assets" / "judge.json").read_bytes() != before
    if not exchanged:
        (out / "assets" / "judge.json").write_bytes(before)
    resume(out)
    assert_same_run(subject.path, out)
    assert nlp_rnn.load(out).assets.judge == subject.run.assets.judge


def test_what_was_given_is_what_is_refused(cut_off, command):
    code, _, error = command("train", "sentiment", "--resume", cut_off, "--train.epochs", 9)
    assert (code, "--resume takes no --train.epochs" in error) == (2, True)


def test_what_another_training_left_there_is_no_part_of_the_run(tmp_path):
    run = SUBJECTS["sentiment"].run
    (tmp_path / "run" / "assets" / "tokenizer").mkdir(parents=True)
    (tmp_path / "run" / "assets" / "tokenizer" / "model.spm").write_bytes(b"of another kind")
    run.save_settings(tmp_path / "run")
    assert nlp_rnn.saved.load_assets(tmp_path / "run").labels == run.assets.labels


def test_two_live_runs_in_one_directory_are_refused(tmp_path):
    with sole_owner(tmp_path), pytest.raises(InputError, match="Another process is training"), sole_owner(tmp_path):
        pass


def test_changed_data_are_noticed(cut_off, tmp_path):
    data, config = Path(SUBJECTS["sentiment"].data["train"][0]), cut_off / "config.yaml"
    header, *rows = data.read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([header, *rows[::-1]]) + "\n")
    config.write_text(config.read_text().replace(str(data), str(tmp_path / "other.csv")))
    with pytest.raises(InputError, match=r"The training data of .* changed since this run began: restore it"):
        resume(cut_off)


def test_a_changed_vocabulary_and_changed_settings_are_noticed(cut_off):
    vocabulary, config = cut_off / "assets" / "tokenizer" / "vocabulary.json", cut_off / "config.yaml"
    before = vocabulary.read_text()
    vocabulary.write_text(json.dumps([*json.loads(before), "Katze"]))
    with pytest.raises(InputError, match=r"assets changed since the run was saved: restore it"):
        resume(cut_off)
    vocabulary.write_text(before)
    text = config.read_text()
    for name, begun_with, now in (("head.attention_units", 64, 9), ("train.learning_rate", 0.02, 0.1)):
        setting = name.split(".")[1]
        config.write_text(text.replace(f"{setting}: {begun_with}", f"{setting}: {now}"))
        with pytest.raises(InputError, match=f"{name} in .* is {now}; this run began with {begun_with}: restore it"):
            resume(cut_off)
    config.write_text(text)
    for state in cut_off.glob("checkpoints/step-*/state.json"):
        rewrite(state, format=0)
    with pytest.raises(InputError, match="written by another version of nlp-rnn: continue with that version, or train"):
        resume(cut_off)


def rewrite(state: Path, **changes: object) -> None:
    """Changes what a checkpoint says, as if it had been written so."""
    content = json.loads(state.read_text())
    del content["digest"]
    content |= changes
    state.write_text(json.dumps({**content, "digest": checkpoints._digest_of(content)}))


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is said of a run that resumes."""
    lines: list[str] = []
    monkeypatch.setattr("nlp_rnn.display.console.console.print", lambda *parts, **_: lines.append(str(parts[0])))
    return lines


@pytest.mark.slow  # two trainings
def test_how_long_it_trains_may_change_and_is_said(killed, said):
    config = killed / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 4").replace("patience: 2", "patience: 0"))
    run = resume(killed)
    assert "train.epochs is 4 from here on; it was 3." in said
    assert len(run.history) == 4


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGE = {
    "a list": lambda state: state.write_text("[]"),
    "no JSON": cut,
    "keys missing": lambda state: state.write_text('{"epoch": 1, "batch": 2}'),
    "no fingerprints": lambda state: rewrite(state, fingerprints={}),
    "other numbers": lambda state: state.write_text(state.read_text().replace('"batch": ', '"batch": 1')),
    "fewer than no batches": lambda state: rewrite(state, batch=-1),
    "a file elsewhere": lambda state: rewrite(state, best_files=["../../secret.npz"]),
    "no number": lambda state: rewrite(state, epoch="1"),
    "half of its arrays": lambda state: cut(state.parent / "arrays.npz"),
    "no arrays": lambda state: (state.parent / "arrays.npz").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed(cut_off, damage):
    newest = max(cut_off.glob("checkpoints/step-*"))
    damage(newest / "state.json")
    (path, state, _), (_, before, _), *_ = checkpoints.stored(
        cut_off / "checkpoints"
    )  # a third where one was just kept
    assert (path, state) == (newest, None)
    assert before is not None


def test_a_damaged_checkpoint_is_passed_over(cut_off, said):
    newest = max(cut_off.glob("checkpoints/step-*"))
    rewrite(newest / "state.json", batch=1_000_000)
    (cut_off / "checkpoints" / ".step-000000099.tmp").mkdir()
    (cut_off / ".model.tmp.keras").touch()
    resume(cut_off)
    assert any(f"{newest.name} is damaged" in line for line in said)
    assert any("Resuming in epoch" in line for line in said)
    assert_same_run(SUBJECTS["sentiment"].path, cut_off)
    assert not [path.name for path in cut_off.rglob("*") if ".tmp" in path.name]


def test_without_an_intact_checkpoint_it_says_how_to_begin_anew(cut_off):
    for state in cut_off.glob("checkpoints/step-*/state.json"):
        cut(state)
    with pytest.raises(InputError, match=r"no intact checkpoint to resume from: delete .*checkpoints to begin it anew"):
        resume(cut_off)


@pytest.mark.slow  # three processes
def test_killed_as_the_first_checkpoint_was_written(uninterrupted, killed):
    """Both ways lead on: --resume, and the same command again."""
    shutil.rmtree(killed / "logs")
    shutil.rmtree(killed / "checkpoints")
    (killed / "checkpoints" / ".step-000000000.tmp").mkdir(parents=True)
    assert new_folder(killed, "starter") == killed
    resume(killed)
    assert_same_run(uninterrupted, killed)


@pytest.mark.slow  # three processes
def test_killed_as_the_report_was_written(uninterrupted, tmp_path, monkeypatch):
    ended = shutil.copytree(uninterrupted, tmp_path / "run")
    for name in ("report.json", "card.md"):
        (ended / name).unlink()
    shutil.rmtree(ended / "plots")
    monkeypatch.setattr("nlp_rnn.report.model_card", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        resume(ended)
    assert not (ended / "report.json").exists(), "it says that a run is finished, so it comes last"
    monkeypatch.undo()
    resume(ended)
    assert_same_run(uninterrupted, ended)
    assert (ended / "card.md").is_file()
    assert (ended / "plots" / "curves.png").is_file()


@pytest.mark.slow  # two trainings
def test_metrics_that_were_cut_off_come_back(uninterrupted, killed):
    (killed / "metrics.jsonl").write_text('{"epoch": 1, "lo')
    resume(killed)
    assert_same_run(uninterrupted, killed)


@pytest.mark.slow  # two trainings
def test_lost_best_weights_are_said_as_it_resumes(killed, said):
    for path in killed.glob("checkpoints/best-*.npz"):
        cut(path)
    run = resume(killed)
    (lost,) = re.findall(r"best-(\d+)\.npz, are missing or damaged: going on without them", "\n".join(said))
    assert run.report["best_epoch"] > int(lost) + 1


@pytest.mark.slow  # two trainings
def test_data_may_have_moved_where_they_are_the_same(killed, uninterrupted, data, tmp_path, command, monkeypatch):
    config = killed / "config.yaml"
    assert f"- {data}" in config.read_text()
    config.write_text(config.read_text().replace(str(data), "gone.csv"))
    monkeypatch.chdir(tmp_path)
    code, _, error = command("train", "sentiment", "--resume", killed)
    assert (code, "gone.csv does not exist" in error) == (2, True)
    shutil.copy(data, tmp_path / "moved.csv")
    code, _, error = command("train", "sentiment", "--resume", killed, "--train.epochs", 9)
    assert (code, "--resume takes no --train.epochs" in error) == (2, True)
    code, _, error = command("train", "sentiment", "--resume", killed, "--data", "moved.csv")
    assert code == 0, error
    assert f"- {tmp_path / 'moved.csv'}" in config.read_text()


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    arrays = {"model/00000": np.arange(5.0)}
    state = {"epoch": 0, "batch": 0, "validation": {"kept": [], "waited": 0}, "best_files": []}
    state["fingerprints"] = {"training data": "a", "vocabulary": "b"}
    checkpoints.save_checkpoint(tmp_path, 1, arrays, state)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_sync_folder", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save_checkpoint(tmp_path, 2, arrays, state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    ((_, found, values),) = checkpoints.stored(tmp_path)
    assert found is not None
    assert found["step"] == 1
    np.testing.assert_array_equal(values["model/00000"], arrays["model/00000"])


@pytest.mark.slow  # twenty processes, one after the other
def test_killed_at_twenty_random_moments(uninterrupted, data, tmp_path):
    generator = random.Random(7)
    total = max(int(path.name.split("-")[1]) for path in uninterrupted.glob("checkpoints/step-*"))
    out, arguments = tmp_path / "run", begin(tmp_path / "run", data)
    kills = 0
    for step in sorted(generator.sample(range(1, total), 20)):
        process = start(arguments)
        interrupt(process, out, signal.SIGKILL, after=step)
        if process.returncode == 0:
            break
        kills += 1
        time.sleep(generator.random() * 0.01)
        arguments = [sys.executable, "-m", "nlp_rnn", "train", "sentiment", "--resume", str(out)]
    if not (out / "report.json").exists():
        subprocess.run(arguments, check=True, capture_output=True)
    assert kills >= 15
    assert_same_run(uninterrupted, out)
