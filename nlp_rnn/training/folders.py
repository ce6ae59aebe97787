"""Where a run is written, and that one process alone writes there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nlp_rnn.errors import InputError

# What a run that was ended before its first checkpoint leaves: it may be written over.
_BEFORE_TRAINING = {".lock", "config.yaml", "assets", "metrics.jsonl", "checkpoints"}


def new_folder(out: Path | None, recipe: str) -> Path:
    """The folder of a new run, by default one that is named after the recipe.

    Raises:
        InputError: the one that is given holds something.
    """
    if out is None:
        out, number = Path("runs") / recipe, 1
        while out.exists():
            number += 1
            out = Path("runs") / f"{recipe}-{number}"
    elif (out / "report.json").exists():
        raise InputError(f"{out} holds a finished run; choose another --out.")
    elif any((out / "checkpoints").glob("step-*")):
        raise InputError(f"{out} holds an unfinished run: continue it with --resume {out}, or choose another --out.")
    elif out.is_dir() and {path.name for path in out.iterdir() if ".tmp" not in path.name} - _BEFORE_TRAINING:
        raise InputError(f"{out} holds other files; choose another --out.")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another --out.")
    return out


@contextmanager
def sole_owner(out: Path) -> Iterator[None]:
    """Holds the run directory's lock; the system releases it even if this process is killed. A new directory in which
    nothing was trained, because something was refused, is removed."""
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another --out.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process is training in {out}: wait for it, or choose another --out.") from None
        try:
            yield
        except InputError:
            if made and not any((out / "checkpoints").glob("step-*")):
                shutil.rmtree(out, ignore_errors=True)
                with contextlib.suppress(OSError):
                    for path in made[1:]:
                        path.rmdir()
            raise
