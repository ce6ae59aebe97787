"""Times as they were written → the step between them, and their places on its grid."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.errors import InputError
from nlp_rnn.series.steps import DAY, Step, time_text

if TYPE_CHECKING:
    import pandas as pd

LINE = "\0line"
_LOOKED_AT, _CHUNK = 20, 10
_SPARSE = 50


def parse_times(frame: pd.DataFrame, name: str, timezone: str, shown: str) -> np.ndarray:
    """A column of times in any usual form, or of seconds or milliseconds since 1970 → seconds since 1970, int64.

    Times with an offset are taken as they are; others are in `timezone`, or if none is given are read as UTC, which
    keeps their clock.

    Raises:
        InputError: a value is no time, with its line, or the zone is unknown.
    """
    import pandas as pd

    column = frame[name]
    if column.dtype == object and column.astype("string").str.strip().str.fullmatch(r"\d+(\.0*)?").fillna(False).all():
        column = pd.to_numeric(column)
    if column.dtype.kind in "iuf":
        return _of_numbers(frame, column, name, shown)
    parsed = _parsed(column)
    wrong = parsed.isna()
    if wrong.any():
        place = wrong.idxmax()
        found = column[place]
        is_missing = found is None or found != found or not str(found).strip()
        what = "a time is missing" if is_missing else f'"{found}" is no time'
        raise InputError(f'{shown}, line {frame[LINE][place]}: {what} in "{name}"; times look like 2026-01-31 13:00.')
    if parsed.dt.tz is None and timezone:
        try:
            # Of the hour that a clock shows twice, what comes first in the column is the first.
            is_first = (~parsed.duplicated()).to_numpy()
            parsed = parsed.dt.tz_localize(timezone, ambiguous=is_first, nonexistent="shift_forward")
        except Exception:
            raise InputError(f'There is no time zone "{timezone}"; they look like Europe/Berlin.') from None
    if parsed.dt.tz is not None:
        parsed = parsed.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.asarray(parsed).astype("datetime64[s]").astype(np.int64)


def looks_like_times(column: pd.Series) -> bool:
    """Whether texts, as far as they are looked at, are times."""
    some = column.dropna().head(_LOOKED_AT)
    if column.dtype.kind == "M":
        return True
    are_texts = len(some) and some.map(lambda value: isinstance(value, str) and bool(re.search(r"\d", value))).all()
    return bool(are_texts and _parsed(some).notna().all())


def _parsed(column: pd.Series) -> pd.Series:
    """Times of one form, NaT for what is none: ISO 8601 in its varieties; days before months or after them, whichever
    gives times, and more regular ones; or another form that pandas finds."""
    import pandas as pd

    if column.dtype.kind == "M":
        return column
    texts = column.astype("string").str.strip()
    first = str(texts.dropna().iloc[0]) if texts.notna().any() else ""
    has_offset = re.search(r"(Z|[+-]\d\d:?\d\d)$", first) is not None and len(first) > 10
    options: list[dict[str, Any]] = [{}]
    if re.match(r"\d{4}-\d\d", first):
        options = [{"format": "ISO8601"}]
    elif match := re.match(r"\d{1,2}([./-])\d{1,2}[./-]\d{2,4}", first):
        orders = (True, False) if match[1] == "." else (False, True)
        options = [{"dayfirst": order} for order in orders]
    found = []
    for option in options:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of days and months, which are tried both ways
            try:
                found.append(pd.to_datetime(texts, errors="coerce", utc=has_offset, **option))
            except (ValueError, TypeError, OverflowError):
                found.append(pd.Series(pd.NaT, index=column.index, dtype="datetime64[ns]"))
    return max(found, key=lambda times: (times.notna().sum(), _regularity(times)))


def _regularity(times: pd.Series) -> float:
    """The part of the distances between neighbours that is the commonest one."""
    distances = times.dropna().drop_duplicates().sort_values().diff().dropna()
    return float(distances.value_counts(normalize=True).iloc[0]) if len(distances) else 0.0


def _of_numbers(frame: pd.DataFrame, column: pd.Series, name: str, shown: str) -> np.ndarray:
    """Seconds or milliseconds since 1970; a year, such as 1987, or 198703, 19870331."""
    import pandas as pd

    if column.isna().any():
        raise InputError(f'{shown}, line {frame[LINE][column.isna().idxmax()]}: a time is missing in "{name}".')
    low, high = float(column.min()), float(column.max())
    for least, most, form in ((1000, 3000, "%Y"), (100_001, 300_012, "%Y%m"), (10_000_101, 30_001_231, "%Y%m%d")):
        if least <= low and high <= most:
            parsed = pd.to_datetime(column.astype("int64").astype(str), format=form, errors="coerce")
            if parsed.notna().all():
                return np.asarray(parsed).astype("datetime64[s]").astype(np.int64)
    if low > 1e11:
        return (column // 1000).astype("int64").to_numpy()
    if low > 1e8:
        return column.astype("int64").to_numpy()
    raise InputError(
        f'{shown}: the numbers in "{name}" are no times; times look like 2026-01-31 13:00, or are seconds since 1970; '
        f"leave the column out where steps are only counted."
    )


def infer_step(series: Sequence[np.ndarray], shown: str) -> str:
    """The step between times that most neighbours have, as pandas calls it.

    Args:
        series: the times of each, int64 `[steps]`, sorted.
        shown: what they are called in messages.

    Raises:
        InputError: there is none.
    """
    import pandas as pd

    votes: Counter[str] = Counter()
    longest = sorted((np.unique(times) for times in series), key=len, reverse=True)[:_LOOKED_AT]
    for times in longest:
        for start in np.unique(np.linspace(0, max(len(times) - _CHUNK, 0), _LOOKED_AT).astype(int)):
            chunk = times[start : start + _CHUNK]
            alias = pd.infer_freq(chunk.astype("datetime64[s]")) if len(chunk) > 2 else None
            votes[_known(alias, chunk)] += 1
    votes.pop("", None)
    if votes:
        return votes.most_common(1)[0][0]
    gaps = Counter(np.concatenate([np.diff(times) for times in longest]).tolist())
    gap, count = gaps.most_common(1)[0] if gaps else (0, 0)
    if not gaps or count * 2 < gaps.total():
        raise InputError(
            f"{shown}: the times have no regular step; say which one the series is to have (frequency), such as h, "
            f"D, MS, or name the column that tells the series apart."
        )
    for size, name in ((DAY, "D"), (3600, "h"), (60, "min"), (1, "s")):
        if gap % size == 0:
            return f"{gap // size}{name}" if gap != size else name
    raise AssertionError(gap)


def _known(alias: str | None, times: np.ndarray) -> str:
    """An alias of pandas that `Step` knows, else none; seven days, and not five, are days."""
    if alias is None:
        return ""
    try:
        step = Step(alias)
    except InputError:
        return ""
    return alias if step.unit != "business day" or len(times) > 7 else ""


class Grid:
    """The places of times on the grid of a step that begins at the first of them.

    Args:
        times: int64 `[rows]`, sorted, not empty.
        step: between neighbours.
        where: what they are called in messages.

    Raises:
        InputError: the grid would have very many more places than there are times.
    """

    def __init__(self, times: np.ndarray, step: Step, where: str) -> None:
        times = np.asarray(times, np.int64)
        self.first, self.step = times[0], step
        if step.unit in ("second", "position"):
            places = np.rint((times - times[0]) / step.count).astype(np.int64)
        else:
            guess = np.rint((times - times[0]) / step.seconds).astype(np.int64)
            around = guess[:, None] + np.arange(-3, 4)
            distance = np.abs(step.ahead(np.full_like(around, times[0]), around) - times[:, None])
            places = guess + distance.argmin(1) - 3
        self.places, self.size = places, int(places[-1]) + 1
        self.moved = int((step.ahead(np.full_like(places, times[0]), places) != times).sum())
        if self.moved > len(times) / 2:
            raise InputError(f"{where}: the times do not go on in steps of {step.alias} (frequency).")
        if self.size > _SPARSE * len(times) + 1000:
            raise InputError(
                f"{where}: {len(times):,} times span {self.size:,} steps of {step.alias}: say the step that they have "
                f"(frequency)."
            )

    def times(self, count: int) -> np.ndarray:
        """The times of the first places, int64 `[count]`."""
        return self.step.ahead(np.full(count, self.first), np.arange(count))

    def shown(self, place: int) -> str:
        """The time of a place, for messages."""
        return time_text(self.times(place + 1)[place], self.step.has_times)
