"""A run that is killed at any moment, and continued, ends bit for bit like one that never was: in every task."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nlp_rnn.testing import assert_same_run
from tests.subjects import SUBJECTS

# Where a kill lands: what exists of the run directory then, and how long after it came to be.
MOMENTS = {
    "start-up": "",
    "the folder": ".lock",
    "the first checkpoint": "checkpoints",
    "a checkpoint": "checkpoints/step-*",
    "the best weights": "checkpoints/best-*",
    "the metrics": "logs",
    "saving": ".model.tmp.keras",
    "the plots": "plots",
    "the report": "card.md",
}


def wait_for(process: subprocess.Popen[bytes], out: Path, pattern: str, seconds: float) -> None:
    deadline = time.monotonic() + 120
    while pattern and process.poll() is None and time.monotonic() < deadline and not any(out.glob(pattern)):
        time.sleep(0.0005)
    if process.poll() is None:
        time.sleep(seconds)


@pytest.mark.slow  # twenty processes that start TensorFlow, for each task
@pytest.mark.parametrize("task", SUBJECTS)
def test_killed_at_twenty_moments(task, tmp_path):
    subject, out, generator = SUBJECTS[task], tmp_path / "run", random.Random(task)
    settings = {**subject.sections, "train": {**subject.sections["train"], "checkpoint_seconds": 0.0}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "nlp_rnn", "train"]
    begin = [*command, task, "--config", str(tmp_path / "settings.yaml"), "--out", str(out)]
    whole = tmp_path / "whole"
    subprocess.run([*begin[:-1], str(whole)], check=True, capture_output=True)
    places = [*MOMENTS.values(), *generator.choices([*MOMENTS.values()], k=20 - len(MOMENTS))]
    kills = 0
    for place in places:
        # Each time from a copy: most moments come once in a run.
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(begin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(process, out, place, generator.random() * (8 if not place else 0.3))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        if (out / "report.json").exists():
            continue
        has_begun = (out / "config.yaml").exists() and (out / "assets" / "assets.json").exists()
        again = [*command, task, "--resume", str(out)] if has_begun else begin
        done = subprocess.run(again, capture_output=True, text=True)
        assert done.returncode == 0, f"killed at {place!r}: {done.stderr}"
        assert_same_run(whole, out)
    assert kills >= 15
