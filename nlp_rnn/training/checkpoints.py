"""Checkpoints that hold everything, written so that a kill at any instant leaves the old or the new one.

A checkpoint is a folder: `arrays.npz` and `state.json` with the array file's checksum. It is written under a
temporary name, synced, and renamed. The newest two are kept, so that one that the disk damaged is not the last.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

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
        content = path.read_bytes()
    except OSError:
        return None
    if _digest(content) != checksum:
        return None
    with np.load(io.BytesIO(content)) as archive:
        return {name: archive[name] for name in archive.files}


def save_checkpoint(folder: Path, step: int, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> Path:
    """Writes `folder/step-…` and removes all but the newest two, and what none of these refers to."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:09d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        checksum = save_arrays(temporary / "arrays.npz", arrays)
        _write_synced(temporary / "state.json", json.dumps({**state, "step": step, "arrays": checksum}).encode())
        _sync_folder(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _remove_old(folder)
    return final


def load_checkpoint(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], list[Path]] | None:
    """Reads the newest checkpoint that is whole.

    Returns:
        Its arrays, its state, and the newer ones that were found damaged; None where none is whole.
    """
    damaged: list[Path] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            arrays = load_arrays(path / "arrays.npz", state["arrays"])
        except (OSError, ValueError, KeyError):
            arrays = None
        if arrays is not None:
            return arrays, state, damaged
        damaged.append(path)
    return None


def _remove_old(folder: Path) -> None:
    checkpoints = sorted(folder.glob("step-*"))
    for path in checkpoints[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)
    used = set()
    for path in checkpoints[-KEPT:]:
        try:
            used.update(json.loads((path / "state.json").read_text(encoding="utf-8"))["best_files"])
        except (OSError, ValueError, KeyError):
            return
    for path in folder.glob("best-*.npz"):
        if path.name not in used:
            path.unlink(missing_ok=True)


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
