"""Tables of values over time → signals in the order of their rows, with the stretches that are known to be anomalous.

Unlike series that are forecast, signals need no regular step: what came is judged, row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.frames import TABULAR, frame_of_file, read_frame
from nlp_rnn.data.grids import parse_times
from nlp_rnn.data.histories import is_of_rows, series_of_rows
from nlp_rnn.data.labels import is_normal
from nlp_rnn.data.readers import Form
from nlp_rnn.data.records import LINE
from nlp_rnn.data.series import NAMES, Columns, Series, filled, find_columns, numbers_of
from nlp_rnn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("label", "anomaly", "is_anomaly", "is_outlier", "outlier")
"""What the column of labels is called where that is not said, in any case."""
_WINDOWS = ("windows.json", "combined_windows.json", "labels/combined_windows.json")
_APART, _LARGEST = 1.5, 1e100


@dataclass(frozen=True, eq=False)
class Signal:
    """A series in the order of its rows, and what is known of it.

    Args:
        series: its values, with the times of the rows as they were.
        labels: int `[steps]`: 0 where it is normal, else the number of the anomalous stretch; None if not known.
    """

    series: Series
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.series)

    def __repr__(self) -> str:
        labels = "" if self.labels is None else hashlib.blake2b(self.labels.tobytes(), digest_size=8).hexdigest()
        return f"Signal({self.series!r}, {labels})"

    def until(self, end: int) -> Signal:
        """Its first steps."""
        return Signal(self.series.until(end), None if self.labels is None else self.labels[:end])


@dataclass(frozen=True)
class SignalForm:
    """How signals stand in tables.

    Args:
        form: how files are written.
        columns: which column is what, as far as that is said.
        label: the column of labels; empty for one that is called so.
        normal: labels of normal rows.
        windows: a JSON file of anomalous stretches by signal, `{"name": [["2026-01-31 10:00", "2026-01-31 12:00"]]}`.
        timezone: that times without one are in.
    """

    form: Form
    columns: Columns
    label: str = ""
    normal: tuple[str, ...] = ("0",)
    windows: str = ""
    timezone: str = ""


def read_signals(
    sources: Sequence[str], split: str, form: SignalForm, starter: Any = None
) -> tuple[list[Signal], Columns, tuple[str, ...]] | None:
    """The signals of one split of sources; of a folder of tables each file is one.

    Args:
        sources: files, folders, names on the hub, "starter" or "-".
        split: "train", "validation" or "test"; of other sources than the hub's and folders of splits "train" alone.
        form: how they are written.
        starter: split → a frame, for "starter".

    Returns:
        The signals, their columns, and notes; None where no source has the split.

    Raises:
        InputError: a source cannot be read, or its columns are not there.
    """
    found: list[Signal] = []
    columns, counts, windows = form.columns, Counter[str](), _windows(form.windows)
    texts = {columns.time, columns.series, form.label, *NAMES["time"], *NAMES["series"]} - {""}
    for source in sources:
        files = _files_of(source)
        if source == "starter" and starter is not None:
            frames = [(starter(split), "starter", "")]
        elif files:
            there = next((Path(source) / name for name in _WINDOWS if (Path(source) / name).is_file()), None)
            windows = windows or _windows(str(there) if there else "")
            files = files if split == "train" else []
            frames = [(frame_of_file(file, form.form, texts), str(file), _name_of(file, source)) for file in files]
        else:
            one = read_frame([source], split, form.form, texts)
            frames = [(one[0], one[1], "")] if one else []
        for frame, shown, name in frames:
            signals, columns = _signals_of(frame, replace(form, columns=columns), windows, shown, name, counts)
            found += signals
    if not found:
        return None
    if form.windows and all(signal.labels is None for signal in found):
        names = sorted(str(name) for name in windows)[:3]
        raise InputError(
            f"{form.windows} has windows of {', '.join(names)}, and no signal is called so: they are called "
            f"{', '.join(sorted({signal.series.name or str(source) for signal in found for source in sources})[:3])}."
        )
    return found, columns, tuple(f"{what}: {count:,}" for what, count in counts.items() if count)


def _files_of(source: str) -> list[Path]:
    """The tables in a folder and in those within it, unless they are named after splits."""
    folder = Path(source)
    if source in ("-", "starter") or not folder.is_dir():
        return []
    files = [file for file in sorted(folder.rglob("*")) if _plain(file).suffix[1:] in TABULAR[:-1]]
    if any(_plain(file).stem.split("-")[0] in ("train", "validation", "test") for file in files):
        return []
    if not files:
        raise InputError(f"{source} has no tables ({', '.join(TABULAR[:-1])}).")
    return files


def _plain(file: Path) -> Path:
    return file.with_suffix("") if file.suffix == ".gz" else file


def _name_of(file: Path, folder: str) -> str:
    return _plain(file).relative_to(folder).as_posix()


def _windows(path: str) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(found, dict) or not all(isinstance(part, list) for part in found.values()):
        raise InputError(
            f'{path} must hold stretches by signal: {{"name": [["2026-01-31 10:00", "2026-01-31 12:00"]]}}.'
        )
    return found


def _signals_of(
    frame: pd.DataFrame, form: SignalForm, windows: Mapping[str, object], shown: str, file: str, counts: Counter[str]
) -> tuple[list[Signal], Columns]:
    if is_of_rows(frame):
        return [Signal(in_range(one)) for one in series_of_rows(frame, "", shown)], form.columns
    frame = frame.copy(deep=False)
    lower = {str(name).lower(): name for name in reversed([*frame.columns])}
    if form.label and form.label not in frame.columns:
        there = [str(name) for name in frame.columns if name != LINE]
        raise InputError(
            f'{shown} has no column "{form.label}"; it has: {", ".join(there)}.{did_you_mean(form.label, there)}'
        )
    asked = {form.columns.time, form.columns.series, *form.columns.targets}
    label = form.label or next((lower[n] for n in LABELS if n in lower and lower[n] not in asked), None)
    given = None if label is None else frame.pop(label)
    columns = find_columns(frame, form.columns, shown)
    for name in columns.targets:
        frame[name] = numbers_of(frame, name, shown, counts)
    names = frame[columns.series].astype(str) if columns.series else None
    if columns.time:
        frame[columns.time] = parse_times(frame, columns.time, form.timezone, shown, names)
    if given is not None:
        frame["\0odd"] = ~given.map(lambda value: is_normal(value, form.normal))
    groups = [(file, frame)] if names is None else [(str(name), g) for name, g in frame.groupby(names, sort=False)]
    return [_signal(group, name, columns, windows, shown, counts) for name, group in groups], columns


def _signal(
    group: pd.DataFrame, name: str, columns: Columns, windows: Mapping[str, object], shown: str, counts: Counter[str]
) -> Signal:
    where = f'{shown}, series "{name}"' if columns.series else shown
    times = np.arange(len(group))
    if columns.time:
        times = group[columns.time].to_numpy(np.int64)
        if (np.diff(times) < 0).any():
            counts["signals whose times ran backwards, which were sorted"] += 1
            group = group.sort_values(columns.time, kind="stable")
            times = group[columns.time].to_numpy(np.int64)
        gaps = np.diff(times)
        counts["times that repeat"] += int((gaps == 0).sum())
        late = int((gaps > _APART * np.median(gaps)).sum()) if len(gaps) else 0
        counts["gaps in the times; rows count as steps all the same"] += late
    values = within_range(group[list(columns.targets)].to_numpy(np.float64))
    observed = np.isfinite(values)
    if empty := [target for target, any_there in zip(columns.targets, observed.any(0), strict=True) if not any_there]:
        raise InputError(f'{where} has no value of "{empty[0]}".')
    counts["missing values, which are not judged, nor those after them"] += int((~observed).sum())
    labels = None
    if "\0odd" in group.columns:
        odd = group["\0odd"].to_numpy(bool)
        labels = np.cumsum(np.diff(odd.astype(int), prepend=0) == 1) * odd
    elif key := key_of(windows, name, "" if columns.series else shown):
        labels = _labels(times, windows[key], name, bool(columns.time), counts)
    return Signal(Series(name, times, filled(values), observed, {}, bool(columns.time)), labels)


def key_of(windows: Mapping[str, object], name: str, shown: str) -> str:
    """What a signal is called among the windows: by its name, or by its file, with folder and ending or without."""
    files = [Path(name), Path(shown), _plain(Path(name)), _plain(Path(shown))]
    names = (name, *map(str, files), *(file.name for file in files), *(file.stem for file in files[2:]))
    return next((one for one in names if one and one in windows), "")


def within_range(values: np.ndarray) -> np.ndarray:
    """Values with NaN for what is infinite, or so large that its square would be."""
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def in_range(series: Series) -> Series:
    """A series whose values out of range are missing."""
    known = within_range(series.known)
    return replace(series, values=filled(known), observed=np.isfinite(known))


def _labels(times: np.ndarray, windows: Any, name: str, has_times: bool, counts: Counter[str]) -> np.ndarray:
    """Numbers of the stretches whose first and last times are given, or first and last rows."""
    import pandas as pd

    labels = np.zeros(len(times), np.int64)
    for number, window in enumerate(sorted(windows), 1):
        try:
            first, last = window
            edges = (
                [int(pd.Timestamp(edge).tz_localize(None).timestamp()) for edge in (first, last)]
                if has_times
                else [int(first), int(last)]
            )
        except (TypeError, ValueError):
            raise InputError(
                f'A window of "{name}" must be two times, its first and its last; it is {window}.'
            ) from None
        if edges[1] < edges[0]:
            raise InputError(f'A window of "{name}" ends before it begins: {first} to {last}.')
        is_in = (times >= edges[0]) & (times <= edges[1])
        counts["windows outside their signal"] += not is_in.any()
        labels[is_in] = number
    return labels
