"""Checkpoints that hold everything, written so that a kill at any instant leaves the old or the new one.

A checkpoint is a folder: `arrays.npz`, and `state.json` with the checksums of both. It is written under a temporary
name, synced, and renamed. The newest two are kept, so that one that the disk damaged is not the last.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

State: TypeAlias = dict[str, Any]
"""What a checkpoint says beside its arrays, as JSON."""
KEPT = 2
FORMAT = 1  # of what a state holds; counted up with every change to it


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file, durably and at once."""
    temporary = path.with_name(f".{path.name}.tmp")
    _write_synced(temporary, content)
    temporary.replace(path)
    _sync_folder(path.parent)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Writes arrays to an .npz file and returns its checksum."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())
    return _digest(buffer.getvalue())


def load_arrays(path: Path, checksum: str) -> dict[str, np.ndarray] | None:
    """Reads arrays back; None where the file is missing or not what was written."""
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        return None
    if _digest(content) != checksum:
        return None
    with np.load(io.BytesIO(content)) as archive:
        return {name: archive[name] for name in archive.files}


def save_checkpoint(folder: Path, step: int, arrays: dict[str, np.ndarray], state: dict[str, object]) -> Path:
    """Writes `folder/step-…` and removes all but the newest two, and what none of these refers to."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:09d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        checksum = save_arrays(temporary / "arrays.npz", arrays)
        content = {**state, "step": step, "arrays": checksum}
        _write_synced(temporary / "state.json", json.dumps({**content, "digest": _digest_of(content)}).encode())
        _sync_folder(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _remove_old(folder)
    return final


def is_any(folder: Path) -> bool:
    """Whether a checkpoint was ever finished."""
    return any(folder.glob("step-*"))


def stored(folder: Path) -> Iterator[tuple[Path, State | None, dict[str, np.ndarray]]]:
    """The checkpoints, the newest first, each with its state and its arrays; the state is None where one is damaged."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        state, arrays = _state_of(path), None
        if state is not None:
            arrays = load_arrays(path / "arrays.npz", state["arrays"])
        yield path, state if arrays is not None else None, arrays or {}


def sweep(folder: Path) -> None:
    """Removes what writing that was cut off left behind."""
    for path in folder.glob(".*.tmp*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _state_of(path: Path) -> State | None:
    """The state of a checkpoint; None where it is not what was written."""
    try:
        if not (path / "state.json").is_file():
            return None
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if "digest" in state and state.pop("digest") != _digest_of(state):
            return None
        # States of version 0.1.0 have no digest.
        numbers = [state["epoch"], state["batch"], state["validation"]["waited"]]
        names = [state["arrays"], *state["best_files"]]
        for found in state["validation"]["kept"]:
            numbers.append(found["epoch"])
            names += [found["file"], found["checksum"]]
        is_sound = all(type(number) is int and number >= 0 for number in numbers)
        is_sound &= all(isinstance(name, str) and "/" not in name for name in names)
        return state if is_sound and {"training data", "vocabulary"} <= set(state["fingerprints"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _remove_old(folder: Path) -> None:
    checkpoints = sorted(folder.glob("step-*"))
    for path in checkpoints[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)
    states = [_state_of(path) for path in checkpoints[-KEPT:]]
    if None in states:
        return
    used = {name for state in states if state is not None for name in state["best_files"]}
    for path in folder.glob("best-*.npz"):
        if path.name not in used:
            path.unlink(missing_ok=True)


def _digest_of(state: State) -> str:
    return _digest(json.dumps(state, sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
