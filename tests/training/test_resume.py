"""An interrupted run, continued, ends bit for bit like one that never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.api import resume
from nlp_rnn.errors import InputError
from nlp_rnn.training import checkpoints
from tests.conftest import ROOT

SETTINGS = {
    "--embedding.size": 8,
    "--embedding.word_dropout": 0.1,
    "--embedding.dropout": 0.1,
    "--stack.units": 6,
    "--stack.dropout": 0.2,
    "--stack.weight_drop": 0.2,
    "--train.average": 0.9,
    "--train.epochs": 4,
    "--train.patience": 2,
    "--train.average_epochs": 2,
    "--train.batch_size": 64,
    "--train.checkpoint_seconds": 0,
}


def command(*arguments: object, task: str = "sentiment") -> list[str]:
    return [sys.executable, "-m", "nlp_rnn", "train", task, *map(str, arguments)]


def begin(out: Path, task: str = "sentiment") -> list[str]:
    return command("--out", out, *(str(part) for pair in SETTINGS.items() for part in pair), task=task)


def finish(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


def assert_same(one: Path, other: Path) -> None:
    a, b = nlp_rnn.load(one), nlp_rnn.load(other)
    for x, y in zip(a.model.variables, b.model.variables, strict=True):
        if "seed" not in x.path:
            np.testing.assert_array_equal(x.numpy(), y.numpy(), err_msg=x.path)
    first, second = (checkpoints.load_checkpoint(path / "checkpoints") for path in (one, other))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]
    for name, array in first[0].items():
        np.testing.assert_array_equal(array, second[0][name], err_msg=name)
    timing = {"seconds", "tokens_per_second"}
    rows = [
        [{k: v for k, v in json.loads(line).items() if k not in timing} for line in lines]
        for lines in ((path / "metrics.jsonl").read_text().splitlines() for path in (one, other))
    ]
    assert rows[0] == rows[1]


def interrupt(arguments: list[str], folder: Path, number: int, after: int) -> subprocess.Popen[str]:
    """Starts a command and sends it a signal once `after` batches are done."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        steps = [int(path.name.split("-")[1]) for path in folder.glob("checkpoints/step-*")]
        if max(steps, default=-1) >= after:
            os.kill(process.pid, number)
            break
        time.sleep(0.002)
    process.wait(timeout=300)
    return process


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("resume") / "whole"
    finish(begin(out))
    return out


def test_killed_in_the_middle_of_an_epoch(uninterrupted, tmp_path):
    out = tmp_path / "run"
    process = interrupt(begin(out), out, signal.SIGKILL, after=30)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="not finished: continue it"):
        nlp_rnn.load(out)
    done = finish(command("--resume", out))
    assert "Resuming in epoch" in done.stderr
    assert_same(uninterrupted, out)
    with pytest.raises(InputError, match="is finished"):
        resume(out)


@pytest.mark.slow  # the language model's and the classifier's are tested each time
def test_a_tagger_killed_in_the_middle_of_an_epoch(tmp_path):
    """Its words are replaced at random, and its batches hold characters."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    finish(begin(whole, "ner"))
    process = interrupt(begin(out, "ner"), out, signal.SIGKILL, after=30)
    assert process.returncode == -signal.SIGKILL
    finish(command("--resume", out, task="ner"))
    assert_same(whole, out)


def test_a_language_model_killed_in_the_middle_of_an_epoch(tmp_path):
    """Its state, carried from window to window, is part of the checkpoint."""
    text = tmp_path / "text.txt"
    text.write_text((ROOT / "LICENSE").read_text() * 4)
    own = ("--data", text, "--train.window", 16, "--train.activation_penalty", 1)
    whole, out = tmp_path / "whole", tmp_path / "run"
    finish([*begin(whole, "language-modeling"), *map(str, own)])
    process = interrupt([*begin(out, "language-modeling"), *map(str, own)], out, signal.SIGKILL, after=60)
    assert process.returncode == -signal.SIGKILL
    finish(command("--resume", out, task="language-modeling"))
    assert_same(whole, out)


def test_interrupted_by_the_user_says_how_to_go_on(uninterrupted, tmp_path):
    out = tmp_path / "run"
    process = interrupt(begin(out), out, signal.SIGINT, after=10)
    assert process.returncode == 130
    assert process.stderr is not None
    message = process.stderr.read()
    assert f"--resume {out}" in message
    assert "Traceback" not in message
    finish(command("--resume", out))
    assert_same(uninterrupted, out)


def test_damaged_checkpoint_is_passed_over(uninterrupted, tmp_path):
    out = tmp_path / "run"
    interrupt(begin(out), out, signal.SIGKILL, after=30)
    newest = max(out.glob("checkpoints/step-*"))
    content = (newest / "arrays.npz").read_bytes()
    (newest / "arrays.npz").write_bytes(content[: len(content) // 2])
    done = finish(command("--resume", out))
    assert f"{newest.name} is damaged" in done.stderr.replace("\n", "")
    assert_same(uninterrupted, out)


def test_two_live_runs_in_one_directory_are_refused(tmp_path):
    from nlp_rnn.api import _sole_owner

    with _sole_owner(tmp_path), pytest.raises(InputError, match="Another process is training"), _sole_owner(tmp_path):
        pass


def test_changed_data_are_noticed(tmp_path):
    data = tmp_path / "data.csv"
    rows = [f"text number {i},{'good' if i % 2 else 'bad'}" for i in range(200)]
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    out = tmp_path / "run"
    interrupt([*begin(out), "--data", str(data)], out, signal.SIGKILL, after=2)
    data.write_text("text,label\n" + "\n".join(rows[::-1]) + "\n")
    with pytest.raises(InputError, match=r"The training data of .* changed since this run began: put back"):
        resume(out)


def test_a_changed_vocabulary_and_changed_settings_are_noticed(tmp_path):
    """Of parallel text, in a checkpoint that has the weights of several epochs."""
    for name, line in (("a", "one dog"), ("b", "ein Hund")):
        (tmp_path / name).write_text("\n".join(f"{line} {i}" for i in range(120)) + "\n")
    out, pair = tmp_path / "run", [str(tmp_path / name) for name in "ab"]
    own = ["--tokenizer.kind", "word", "--decoder.units", "8", "--decoder.attention_units", "8", "--search.width", "1"]
    settings = [part for pair in SETTINGS.items() for part in map(str, pair)]
    command_ = [*command("--data", *pair, "--out", out, *own, *settings, task="translation"), "--train.batch_size", "8"]
    process = interrupt(command_, out, signal.SIGKILL, after=16)
    assert process.returncode == -signal.SIGKILL
    vocabulary, config = out / "assets" / "target" / "vocabulary.json", out / "config.yaml"
    before = vocabulary.read_text()
    vocabulary.write_text(json.dumps([*json.loads(before), "Katze"]))
    with pytest.raises(InputError, match=r"The vocabulary of .* changed since this run began: put back"):
        resume(out)
    vocabulary.write_text(before)
    config.write_text(config.read_text().replace("attention_units: 8", "attention_units: 9"))
    with pytest.raises(InputError, match="make another model than the one that this run began with"):
        resume(out)
    state = max(out.glob("checkpoints/step-*")) / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "format": 0}))
    with pytest.raises(InputError, match="written by another version of nlp-rnn: go on with that version, or train"):
        resume(out)


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    arrays = {"model/00000": np.arange(5.0)}
    checkpoints.save_checkpoint(tmp_path, 1, arrays, {"epoch": 0})

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_sync_folder", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save_checkpoint(tmp_path, 2, arrays, {"epoch": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    found = checkpoints.load_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["step"] == 1
    np.testing.assert_array_equal(found[0]["model/00000"], arrays["model/00000"])


@pytest.mark.slow
def test_killed_at_twenty_random_moments(uninterrupted, tmp_path):
    generator = random.Random(7)
    total = max(int(path.name.split("-")[1]) for path in uninterrupted.glob("checkpoints/step-*"))
    out, arguments = tmp_path / "run", begin(tmp_path / "run")
    kills = 0
    for step in sorted(generator.sample(range(1, total), 20)):
        process = interrupt(arguments, out, signal.SIGKILL, after=step)
        if process.returncode == 0:
            break
        kills += 1
        time.sleep(generator.random() * 0.01)
        arguments = command("--resume", out)
    if not (out / "report.json").exists():
        finish(arguments)
    assert kills >= 15
    assert_same(uninterrupted, out)
