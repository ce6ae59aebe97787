"""Trainings that are processes of their own: their memory is their own, and their run directories can be resumed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from nlp_rnn.config.sections import Settings
from nlp_rnn.config.values import to_dict
from nlp_rnn.errors import InputError, Interrupted
from nlp_rnn.paths import replacing

_INTERRUPTED = 130
_PR_SET_PDEATHSIG = 1


class TrainingFailed(InputError):
    """A training ended without a run; the message says why."""


def train_apart(
    task: str,
    settings: Settings,
    recipe: str,
    folder: Path,
    goes_on: Callable[[], bool] | None = None,
    every: float = 1.0,
) -> bool:
    """Trains in a process of its own, from where the run directory stands.

    What it says goes to a file beside the run directory, `<name>.log`; its settings stand in `<name>.yaml`.

    Args:
        task: name of the task.
        settings: of the run.
        recipe: name of the settings, for the report.
        folder: the run directory. A finished one is left as it is.
        goes_on: asked now and then; a training that shall not go on is ended, with a checkpoint.
        every: seconds from question to question.

    Returns:
        Whether the run is finished; otherwise `goes_on` ended it.

    Raises:
        TrainingFailed: the training did.
        Interrupted: Ctrl-C or SIGTERM ended it, with a checkpoint.
    """
    if (folder / "report.json").exists():
        return True
    log = folder.with_name(f"{folder.name}.log")
    code, ended = _run(_command(task, settings, recipe, folder), log, goes_on, every)
    if (folder / "report.json").exists():
        return True
    if ended:
        return False
    if code == _INTERRUPTED:
        said = f"; {folder.name} is saved" if (folder / "config.yaml").exists() else ""
        raise Interrupted(f"Interrupted{said}. The same command goes on.")
    raise TrainingFailed(f"Training {folder.name} failed: {_last_words(log, code)} ({log} says more.)")


def _command(task: str, settings: Settings, recipe: str, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "nlp_rnn", "train", task]
    if (folder / "config.yaml").exists():
        return [*command, "--resume", str(folder)]
    path = folder.with_name(f"{folder.name}.yaml")
    with replacing(path) as place:
        place.write_text(yaml.safe_dump(to_dict(settings), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return [*command, "--config", str(path), "--recipe", recipe, "--out", str(folder)]


def _run(command: list[str], log: Path, goes_on: Callable[[], bool] | None, every: float) -> tuple[int, bool]:
    """Runs a command: → its exit code, and whether `goes_on` ended it. Ctrl-C waits until it has saved what it has."""
    with open(log, "a", encoding="utf-8") as written:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=written,
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches this process alone, which passes it on: a second one ends without saving
            preexec_fn=_end_with(os.getpid()),
        )
        try:
            while goes_on is not None:
                try:
                    return process.wait(every), False
                except subprocess.TimeoutExpired:
                    if not goes_on():
                        process.send_signal(signal.SIGINT)
                        return process.wait(), True
            return process.wait(), False
        except BaseException as error:
            process.send_signal(signal.SIGINT)
            process.wait()
            if isinstance(error, KeyboardInterrupt):
                return _INTERRUPTED, False
            raise


def _end_with(parent: int) -> Callable[[], None] | None:
    """What a child does first, so that it gets SIGINT, and saves what it has, when its parent is gone; on Linux."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)

    def ask() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it was gone before
            os.kill(os.getpid(), signal.SIGINT)

    return ask


def refuse_standard_input(settings: Settings, verb: str) -> None:
    """Data that several processes read must be files.

    Raises:
        InputError: they are standard input.
    """
    if any("-" in getattr(settings.data, split) for split in ("train", "validation", "test")):
        raise InputError(f"{verb} reads the data anew for each training: give a file instead of standard input.")


def _last_words(log: Path, code: int) -> str:
    if code == -signal.SIGKILL:
        return "the system ended it, probably for want of memory."
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it says nothing."]
    return lines[-1].removeprefix("error: ")
