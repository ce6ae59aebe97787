"""Series that are given by themselves: as lists, as JSON, or as rows with lists in them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.grids import parse_times
from nlp_rnn.data.records import LINE
from nlp_rnn.data.series import NAMES, Series, filled
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

VALUES = ("history", "values", "target", "y")
"""What the values are called where a row is a series."""


def as_steps(value: object, where: str) -> list[list[float]]:
    """A list of numbers, or of steps with as many numbers each, None for missing ones → `[steps][channels]`.

    Raises:
        InputError: it is something else, or empty.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    steps: Iterable[Any] = value if isinstance(value, (list, tuple)) else []
    try:
        rows = [step.tolist() if hasattr(step, "tolist") else step for step in steps]
        found = [
            [np.nan if x is None else float(x) for x in (row if isinstance(row, (list, tuple)) else [row])]
            for row in rows
        ]
    except (TypeError, ValueError):
        found = []
    if not found or len({len(row) for row in found}) != 1 or not found[0]:
        raise InputError(
            f"{where} must be a list of numbers, or of steps with as many numbers each: [[0.5, 1], [0, 2]]."
        )
    return found


def is_of_rows(frame: pd.DataFrame) -> bool:
    """Whether the rows of a frame are whole series, with lists of values, as GluonTS and `predict` have them."""
    name = next((name for name in VALUES if name in frame.columns), None)
    if name is None:
        return False
    value = next((value for value in frame[name] if value is not None), None)
    return name == "history" or isinstance(value, (list, tuple, dict, np.ndarray))


def series_of_rows(frame: pd.DataFrame, step: str, shown: str) -> list[Series]:
    """The series of a frame in which each row is one.

    Raises:
        InputError: a row holds no list of numbers, or its times do not fit.
    """
    names = [name for name in frame.columns if name != LINE]
    found = []
    for row in frame.to_dict("records"):
        given = {name: row[name] for name in names if not _is_missing(row[name])}
        value = given.pop("history", None)
        inner = _of_json(value)
        given |= inner if isinstance(inner, Mapping) else {} if inner is None else {"history": inner}
        found.append(history_of(given, f"{shown}, line {row[LINE]}", step))
    return found


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def history_of(value: object, where: str, step: str = "") -> Series:
    """A series by itself: a list or array of steps, `{"values": …}` with what else is known, either as JSON, or a
    series or frame of pandas that is nothing but values, with times as its index or none. Its times are "times", or go
    on from "start" by the step.

    Raises:
        InputError: it is something else.
    """
    import pandas as pd

    value = _of_pandas(value) if hasattr(value, "iloc") else _of_json(value)
    given = dict(value) if isinstance(value, Mapping) else {"values": value}
    steps = np.array(as_steps(_taken(given, VALUES), where), np.float64)
    times, start, name = (_taken(given, names) for names in (("times", "ds"), ("start",), ("name", *NAMES["series"])))
    stamps = np.arange(len(steps))
    if times is None and isinstance(start, str) and step:
        times = [str(time) for time in pd.date_range(start, periods=len(steps), freq=step)]
    if times is not None:
        rows = pd.DataFrame({"times": list(times), LINE: range(1, len(times) + 1)})
        stamps = parse_times(rows, "times", "", where)
        if len(stamps) != len(steps):
            raise InputError(f"{where} has {len(steps)} steps and {len(stamps)} times.")
    observed = np.isfinite(steps)
    if not observed.any(0).all():
        raise InputError(f"{where} has no value.")
    covariates = {n: _covariate(n, v, where) for n, v in given.items() if v is not None}
    values = filled(np.where(observed, steps, np.nan))
    return Series("" if name is None else str(name), stamps, values, observed, covariates, times is not None)


def _covariate(name: str, value: object, where: str) -> Any:
    """What is known beside the values: a number or text for all steps, or one for each."""
    if isinstance(value, (str, int, float)):
        return value
    found = np.array(value, ndmin=1)
    missing = [place for place, one in enumerate(found.tolist(), 1) if one is None or one != one]
    if missing:
        raise InputError(f'{where} has no "{name}" at step {missing[0]:,}: give one for each step.')
    return found


def _of_pandas(value: Any) -> dict[str, Any]:
    """The values, with the times of the index, if it has some, and the name."""
    import pandas as pd

    kinds = value.dtypes if isinstance(value, pd.DataFrame) else pd.Series({str(value.name): value.dtype})
    if others := [str(name) for name, kind in kinds.items() if kind.kind not in "iufb"]:
        raise InputError(
            f'The frame has "{others[0]}", which is no number: give one frame with all series by itself, or set '
            f"the times as its index."
        )
    name = value.name if isinstance(value, pd.Series) and isinstance(value.name, str) else None
    has_times = isinstance(value.index, (pd.DatetimeIndex, pd.PeriodIndex))
    times = {"times": value.index.astype(str).tolist()} if has_times else {}
    return {"values": value.to_numpy(), **({"name": name} if name else {}), **times}


def _of_json(value: object) -> Any:
    """A text as the value that it stands for in JSON, itself if it is none; another value as it is."""
    with contextlib.suppress(ValueError):
        return json.loads(value) if isinstance(value, str) else value
    return value


def _taken(given: dict[str, object], names: Iterable[str]) -> Any:
    """Takes the first of the names that is there out of a dict."""
    name = next((name for name in names if name in given), None)
    return None if name is None else given.pop(name)
