"""Frames of pandas → series on a regular grid of times: columns found, times parsed, gaps and duplicates counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.grids import Grid, has_zone, infer_step, looks_like_times, parse_times
from nlp_rnn.data.records import LINE
from nlp_rnn.errors import InputError, did_you_mean
from nlp_rnn.series.steps import DAY, Step, time_text

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "time": ("ds", "date", "time", "timestamp", "datetime", "timestamps"),
    "series": ("unique_id", "item_id", "series", "series_id"),
    "target": ("y", "target", "value", "values", "history"),
}
"""What columns are called where that is not said, in any case."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what.

    Args:
        time: of the times; empty for series that count their steps.
        series: of the name of the series that a row belongs to; empty where there is one.
        targets: what is forecast.
        future: what is known of times to come as well, such as holidays.
        past: what is known of the past alone.
        static: what does not change within a series.
    """

    time: str
    series: str
    targets: tuple[str, ...]
    future: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    @property
    def covariates(self) -> tuple[str, ...]:
        """All but times, names and targets."""
        return (*self.future, *self.past, *self.static)


@dataclass(frozen=True, eq=False, repr=False)
class Series:
    """A series of numbers on a regular grid.

    Args:
        name: of the series; empty where there is one.
        times: seconds since 1970, int64 `[steps]`; of series without times their positions.
        values: float64 `[steps, channels]`, what is missing filled.
        observed: booleans `[steps, channels]`: which values were there.
        covariates: by column, `[steps + ahead]` of those known of the future, `[steps]` of those of the past, one value
            of static ones; floats or texts.
        has_times: whether times were given.
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    covariates: Mapping[str, Any] = field(default_factory=dict)
    has_times: bool = True

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Series({self.name!r}, {len(self)} steps, {self.digest()})"

    def digest(self) -> str:
        """Of all that it holds."""
        found = hashlib.blake2b(self.name.encode(), digest_size=8)
        for part in (self.times, self.values, self.observed):
            found.update(np.ascontiguousarray(part).tobytes())
        for name, values in sorted(self.covariates.items()):
            found.update(f"{name}{list(np.atleast_1d(values))}".encode())
        return found.hexdigest()

    @property
    def known(self) -> np.ndarray:
        """The values that were there, NaN for the others: `[steps, channels]`."""
        return np.where(self.observed, self.values, np.nan)

    def until(self, end: int) -> Series:
        """The first steps, with what is known of the steps after them."""
        return replace(self, times=self.times[:end], values=self.values[:end], observed=self.observed[:end])


@dataclass(frozen=True)
class Policy:
    """What is done with what is not regular.

    Args:
        step: the step between times, as `Step` has it; empty to find it out.
        duplicates: "refuse", or which value of several of one time is kept: "first", "last", "mean", "sum".
        gaps: "refuse", or what stands in for values that are missing: "previous", "zero". They are never learned or
            measured as if they had been there.
        timezone: that times without one are in.
    """

    step: str = ""
    duplicates: str = "refuse"
    gaps: str = "previous"
    timezone: str = ""


def find_columns(frame: pd.DataFrame, asked: Columns, shown: str) -> Columns:
    """The columns of a frame: those that were asked for, others by their usual names; without any target all columns of
    numbers that are nothing else.

    Raises:
        InputError: one is not there, or none holds numbers.
    """
    there = [name for name in frame.columns if name != LINE]
    for name in (asked.time, asked.series, *asked.targets, *asked.covariates):
        if name and name not in there:
            near = did_you_mean(name, there)
            near = near if "Did you mean" in near else ""
            raise InputError(f'{shown} has no column "{name}"; it has: {", ".join(there)}.{near}')
    given = [name for name in (asked.time, asked.series, *asked.targets, *asked.covariates) if name]
    if twice := [name for name in given if given.count(name) > 1 and name != asked.series]:
        raise InputError(f'"{twice[0]}" is named twice: a column is a time, a target or a covariate of one kind.')
    lower = {name.lower(): name for name in reversed(there)}
    taken = {asked.time, asked.series, *asked.targets, *asked.covariates}

    def usual(kind: str) -> str:
        found = [lower[name] for name in NAMES[kind] if name in lower and lower[name] not in taken]
        return found[0] if found else ""

    series = asked.series or usual("series")
    time = asked.time or usual("time") or _first_of_times(frame, {series, *taken})
    targets = asked.targets or tuple(filter(None, [usual("target")]))
    if not targets:
        used = {time, series, *asked.covariates}
        targets = tuple(name for name in there if name not in used and _is_numeric(frame[name]))
    if not targets:
        raise InputError(f"{shown} has no column of numbers to forecast; it has: {', '.join(there)}: name it (target).")
    return replace(asked, time=time, series=series, targets=targets)


def _first_of_times(frame: pd.DataFrame, others: set[str]) -> str:
    """The first column of texts that look like times."""
    for name in frame.columns:
        if name not in others and name != LINE and frame[name].dtype.kind in "OMU" and looks_like_times(frame[name]):
            return str(name)
    return ""


def _is_numeric(column: pd.Series) -> bool:
    return column.dtype.kind in "iuf" and bool(column.notna().any())


def series_of(
    frame: pd.DataFrame, columns: Columns, policy: Policy, shown: str
) -> tuple[list[Series], Step, Counter[str]]:
    """The series of a frame.

    Args:
        frame: with the columns, and `LINE`.
        columns: which is what.
        policy: what to do with what is not regular.
        shown: the frame's name for messages.

    Returns:
        The series in the order of the frame, their step, and what was counted on the way.

    Raises:
        InputError: times do not parse, repeat, or have no regular step; values are no numbers; a series has none.
    """
    counts: Counter[str] = Counter()
    frame = frame.copy(deep=False)
    for name in columns.targets:
        frame[name] = numbers_of(frame, name, shown, counts)
    for name in columns.covariates:
        frame[name] = _covariate(frame[name])
    if columns.time:
        names = frame[columns.series] if columns.series else None
        is_zoned = bool(policy.timezone) or has_zone(frame[columns.time])
        frame[columns.time] = parse_times(frame, columns.time, policy.timezone, shown, names)
    else:
        frame["\0position"] = (
            frame.groupby(columns.series, sort=False).cumcount() if columns.series else range(len(frame))
        )
    time = columns.time or "\0position"
    groups = _groups(frame, columns, shown)
    if columns.time:
        backwards = sum(int((group[time].diff().iloc[1:] < 0).any()) for _, group in groups)
        counts["series whose times ran backwards, which were sorted"] += backwards
    groups = [(name, group.sort_values(time, kind="stable")) for name, group in groups]
    step = (
        Step(policy.step or infer_step([group[time].to_numpy() for _, group in groups], shown))
        if columns.time
        else Step("1")
    )
    if columns.time and is_zoned and step.unit == "second" and step.seconds < DAY:
        counts["times of a zone, in UTC from here on"] += len(frame)
    found = [_series_of(name, group, time, columns, step, policy, shown, counts) for name, group in groups]
    return found, step, +counts


def _groups(frame: pd.DataFrame, columns: Columns, shown: str) -> list[tuple[str, pd.DataFrame]]:
    if not columns.series:
        return [("", frame)]
    nameless = frame[columns.series].isna()
    if nameless.any():
        raise InputError(f"{shown}, line {frame[LINE][nameless].iloc[0]}: the series has no name ({columns.series}).")
    return [(str(name), group) for name, group in frame.groupby(columns.series, sort=False)]


def numbers_of(frame: pd.DataFrame, name: str, shown: str, counts: Counter[str]) -> pd.Series:
    """A column as float64; what is infinite counts as missing."""
    import pandas as pd

    found = pd.to_numeric(frame[name], errors="coerce").astype("float64")
    wrong = found.isna() & frame[name].notna() & (frame[name].astype(str).str.strip() != "")
    if wrong.any():
        place = wrong.idxmax()
        raise InputError(f'{shown}, line {frame[LINE][place]}: "{frame[name][place]}" in "{name}" is no number.')
    infinite = np.isinf(found)
    counts["values that were infinite, taken as missing"] += int(infinite.sum())
    return found.mask(infinite)


def _covariate(column: pd.Series) -> pd.Series:
    """Numbers and truth values as float64, anything else as texts."""
    if column.dtype.kind in "iufb":
        return column.astype("float64")
    lower = column.dropna().astype(str).str.lower()
    if len(lower) and lower.isin(["true", "false"]).all():
        return column.astype(str).str.lower().map({"true": 1.0, "false": 0.0})
    return column.where(column.isna(), column.astype(str))


def _series_of(
    name: str,
    group: pd.DataFrame,
    time: str,
    columns: Columns,
    step: Step,
    policy: Policy,
    shown: str,
    counts: Counter[str],
) -> Series:
    where = f'{shown}, series "{name}"' if name else shown
    targets = group[list(columns.targets)]
    has_any = targets.notna().any(axis=1).to_numpy()
    if not has_any.any():
        raise InputError(f"{where} has no value of {', '.join(columns.targets)}.")
    grid = Grid(group[time].to_numpy(), step, where, policy.gaps == "zero")
    counts["times between the steps, moved to the nearest"] += grid.moved
    group, places = _without_duplicates(group, grid.places, columns, policy, where, counts)
    targets = group[list(columns.targets)]
    # Rows after the last value say what is known of the future.
    last = int(places[targets.notna().any(axis=1).to_numpy()].max()) + 1
    values = np.full((last, len(columns.targets)), np.nan)
    within = places < last
    values[places[within]] = targets.to_numpy()[within]
    observed = np.isfinite(values)
    empty = [column for column, any_there in zip(columns.targets, observed.any(0), strict=True) if not any_there]
    if empty:
        raise InputError(f'{where} has no value of "{empty[0]}".')
    missing = int((~observed).sum())
    if missing and policy.gaps == "refuse":
        when = grid.shown(int(np.flatnonzero(~observed.all(1))[0]))
        raise InputError(f"{where} has {missing:,} missing values, the first at {when}: fill them, or say how (gaps).")
    counts[f"missing values, filled ({policy.gaps}) and not counted as known"] += missing
    covariates = _covariates_of(group, places, last, grid.size, columns, where, counts)
    return Series(name, grid.times(last), filled(values, policy.gaps), observed, covariates, step.has_times)


def _without_duplicates(
    group: pd.DataFrame, places: np.ndarray, columns: Columns, policy: Policy, where: str, counts: Counter[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """One row for each place."""
    repeated = int((np.diff(places) == 0).sum())
    if not repeated:
        return group, places
    if policy.duplicates == "refuse":
        at = int(np.flatnonzero(np.diff(places) == 0)[0]) + 1
        raise InputError(
            f"{where}, line {group[LINE].iloc[at]}: the time {time_text(group[columns.time].iloc[at])} repeats "
            f"({repeated:,} do): keep one of them, or say which counts with --data.duplicates first, last, mean or "
            f"sum; is there a column that names the series?"
        )
    counts[f"rows of a time that repeats ({policy.duplicates})"] += repeated
    rules: dict[str, Any] = dict.fromkeys([*group.columns], "first" if policy.duplicates == "first" else "last")
    if policy.duplicates in ("mean", "sum"):
        rules |= dict.fromkeys(columns.targets, policy.duplicates)
        if policy.duplicates == "sum":  # of nothing but what is missing it is missing
            rules |= dict.fromkeys(columns.targets, lambda part: part.sum(min_count=1))
    found = group.groupby(places, sort=True).agg(rules)
    return found, found.index.to_numpy()


def _covariates_of(
    group: pd.DataFrame,
    places: np.ndarray,
    last: int,
    size: int,
    columns: Columns,
    where: str,
    counts: Counter[str],
) -> dict[str, Any]:
    import pandas as pd

    found: dict[str, Any] = {}
    for name in (*columns.future, *columns.past):
        length = size if name in columns.future else last
        column = pd.Series(group[name].to_numpy(), index=places).reindex(range(length))
        if column[:last].isna().all():
            raise InputError(f'{where}: the column "{name}" is empty.')
        unknown = np.flatnonzero(column[last:].isna())  # of times to come nothing is made up
        column = column[: last + int(unknown[0])] if len(unknown) else column
        counts[f'missing values of "{name}", taken from those before'] += int(column.isna().sum())
        column = column.ffill()
        leading = column.mean() if column.dtype.kind == "f" else column.bfill().iloc[0]
        found[name] = column.fillna(leading).to_numpy()
    for name in columns.static:
        values = group[name].dropna().unique()
        if len(values) != 1:
            raise InputError(f'{where}: "{name}" must have one value in a series (static); it has {len(values)}.')
        found[name] = values[0]
    return found


def filled(values: np.ndarray, how: str = "previous") -> np.ndarray:
    """Values with something where NaN is: the one before, or 0, and not one that is later, which a forecast must not
    know; before the first one the mean of the channel."""
    import pandas as pd

    frame = pd.DataFrame(values)
    frame = frame.fillna(0.0) if how == "zero" else frame.ffill()
    return frame.fillna(frame.mean()).to_numpy()
