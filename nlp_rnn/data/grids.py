"""Times as they were written → the step between them, and their places on its grid."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.records import LINE
from nlp_rnn.errors import InputError
from nlp_rnn.series.steps import DAY, Step, time_text

if TYPE_CHECKING:
    import pandas as pd

_LOOKED_AT, _CHUNK = 20, 10
_OFFSET = r"(Z|[+-]\d\d:?\d\d)$"
_SPARSE, _VERY_SPARSE, _NEAR = 10, 1000, 0.1


def parse_times(
    frame: pd.DataFrame, name: str, timezone: str, shown: str, series: pd.Series | None = None
) -> np.ndarray:
    """A column of times in any usual form, or of seconds, milli-, micro- or nanoseconds since 1970 → seconds since
    1970, int64.

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
    clock = parsed if parsed.dt.tz is None else _parsed(column.astype("string").str.replace(_OFFSET, "", regex=True))
    if (parsed.dt.tz is not None or timezone) and clock.notna().all() and (clock - clock.dt.normalize()).nunique() == 1:
        parsed, timezone = clock, ""  # days, months: dates, whatever the zone
    if parsed.dt.tz is None and timezone:
        try:
            # Of the hour that a clock shows twice, what comes first in a series is the first.
            keys = pd.DataFrame({"time": parsed, "series": 0 if series is None else series})
            is_first = (~keys.duplicated()).to_numpy()
            parsed = parsed.dt.tz_localize(timezone, ambiguous=is_first, nonexistent="shift_forward")
        except Exception:
            raise InputError(f'There is no time zone "{timezone}"; they look like Europe/Berlin.') from None
    if parsed.dt.tz is not None:
        parsed = parsed.dt.tz_convert("UTC").dt.tz_localize(None)
    if (parsed.dt.microsecond != 0).any() and parsed.dt.floor("s").nunique() < parsed.nunique():
        raise InputError(
            f'{shown}: times in "{name}" are less than a second apart; leave the column out, so that steps are counted.'
        )
    return np.asarray(parsed).astype("datetime64[s]").astype(np.int64)


def has_zone(column: pd.Series) -> bool:
    """Whether times have an offset, or a zone."""
    if column.dtype.kind in "iuf":
        return False
    return _parsed(column.dropna().head(1)).dt.tz is not None if column.notna().any() else False


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
    has_offset = re.search(_OFFSET, first) is not None and len(first) > 10
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
    """How full the grid of the commonest distance between neighbours is, 1 where no time is missing."""
    found = times.dropna().drop_duplicates().sort_values()
    distances = found.diff().dropna()
    if not len(distances):
        return 0.0
    step = distances.value_counts().index[0]
    return float(min(len(found) / ((found.iloc[-1] - found.iloc[0]) / step + 1), 1.0))


def _of_numbers(frame: pd.DataFrame, column: pd.Series, name: str, shown: str) -> np.ndarray:
    """Seconds since 1970, or thousandths of them and less; a year, such as 1987, or 198703, 19870331."""
    import pandas as pd

    if column.isna().any():
        raise InputError(f'{shown}, line {frame[LINE][column.isna().idxmax()]}: a time is missing in "{name}".')
    low, high = float(column.min()), float(column.max())
    for least, most, form in ((1000, 3000, "%Y"), (100_001, 300_012, "%Y%m"), (10_000_101, 30_001_231, "%Y%m%d")):
        if least <= low and high <= most:
            parsed = pd.to_datetime(column.astype("int64").astype(str), format=form, errors="coerce")
            if parsed.notna().all():
                return np.asarray(parsed).astype("datetime64[s]").astype(np.int64)
    for size, unit in ((1e17, 1_000_000_000), (1e14, 1_000_000), (1e11, 1000)):
        if low > size:
            return (column.astype("int64") // unit).to_numpy()
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
        may_be_sparse: whether most places may be empty.

    Raises:
        InputError: the grid would have very many more places than there are times.
    """

    def __init__(self, times: np.ndarray, step: Step, where: str, may_be_sparse: bool = False) -> None:
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
        distance = np.abs(step.ahead(np.full_like(places, times[0]), places) - times)
        self.moved = int((distance > 0).sum())
        if (distance > max(step.seconds, 1) * _NEAR).sum() > len(times) / 2:
            raise InputError(f"{where}: the times do not go on in steps of {step.alias} (frequency).")
        if self.size > (_VERY_SPARSE if may_be_sparse else _SPARSE) * len(times) + 100:
            raise InputError(
                f"{where}: {len(times):,} times span {self.size:,} steps of {step.alias}: say the step that they have "
                f"(frequency), or, if what is missing is 0, that (gaps zero)."
            )

    def times(self, count: int) -> np.ndarray:
        """The times of the first places, int64 `[count]`."""
        return self.step.ahead(np.full(count, self.first), np.arange(count))

    def shown(self, place: int) -> str:
        """The time of a place, for messages."""
        return time_text(self.times(place + 1)[place], self.step.has_times)
