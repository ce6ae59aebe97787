"""The folder of an export: written whole, or not at all, with a description of what is in it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nlp_rnn.errors import ExportDiffers, InputError
from nlp_rnn.export import DESCRIPTION, EXTRA
from nlp_rnn.export.signatures import Signature

TOLERANCE = 1e-4


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes its place if all goes well; an earlier export is replaced.

    Raises:
        InputError: the folder exists and holds something else.
    """
    if path.is_file():
        raise InputError(f"{path} is a file; choose another folder with --out.")
    marks = (path / "saved_model.pb", path / EXTRA / DESCRIPTION)
    if path.exists() and any(path.iterdir()) and not any(mark.exists() for mark in marks):
        raise InputError(f"{path} holds other files; choose another folder with --out.")
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


@contextmanager
def quiet() -> Iterator[None]:
    """While a converter tells, on the standard error of the process, what it does."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def describe(folder: Path, signatures: Mapping[str, Signature], about: Mapping[str, object]) -> None:
    """Writes `signature.json`, which says what each signature takes and gives, and two files of names alone."""
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    described = {name: one.description() for name, one in signatures.items()}
    whole = {"format": 1, **about, "signatures": described}
    names = {"labels": {"labels": whole["labels"]}, "signatures": {"signatures": list(signatures)}}
    for name, content in {**names, "signature": whole}.items():
        text = json.dumps(content, ensure_ascii=False, indent=1 if name == "signature" else None)
        (extra / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def refuse_differences(found: Mapping[str, object], expected: Mapping[str, object], what: str) -> None:
    """Plain outputs by name must be as expected, numbers within a ten-thousandth.

    Raises:
        ExportDiffers: they are not.
    """
    for name, value in expected.items():
        one, other = np.array(found[name]), np.array(value)
        is_number = other.dtype.kind in "fiu"
        same = one.shape == other.shape and (
            np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE) if is_number else one.tolist() == other.tolist()
        )
        if not same:
            raise ExportDiffers(f"{what} gives other {name} than the model; it was not written.")
