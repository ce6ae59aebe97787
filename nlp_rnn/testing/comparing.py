"""Results and run directories, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOLERANCE = 1e-4


def assert_close(found: Any, expected: Any, where: str = "") -> None:
    """Plain values must be equal, numbers nearly so.

    Raises:
        AssertionError: with where they differ.
    """
    if isinstance(expected, dict):
        assert sorted(found) == sorted(expected), where
        for key, value in expected.items():
            assert_close(found[key], value, f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(one, other, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), where
    else:
        assert found == expected, where


def assert_same_run(one: Path, other: Path) -> None:
    """Two run directories must hold the same, bit for bit: weights, checkpoints, and results but for the time taken.

    Raises:
        AssertionError: with what differs.
    """
    import nlp_rnn
    from nlp_rnn.training import checkpoints

    a, b = nlp_rnn.load(one), nlp_rnn.load(other)
    for x, y in zip(a.model.variables, b.model.variables, strict=True):
        if "seed" not in x.path:
            np.testing.assert_array_equal(x.numpy(), y.numpy(), err_msg=x.path)
    newest = [next(checkpoints.stored(path / "checkpoints")) for path in (one, other)]
    (_, state, arrays), (_, other_state, other_arrays) = newest
    assert state is not None
    assert other_state is not None
    for found in (state, other_state):
        found.pop("history", None)  # it has times; it is compared below
    assert state == other_state
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)
    rows = [[{k: v for k, v in row.items() if not _is_time(k)} for row in run.history] for run in (a, b)]
    for row, again in zip(*rows, strict=True):
        assert row == again


def _is_time(name: str) -> bool:
    return name == "seconds" or name.endswith("_per_second")
