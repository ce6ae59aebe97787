"""The step from one time of a series to the next: seconds, business days, months.

Times are whole seconds since 1970, int64, in NumPy or in TensorFlow: only operators are used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import numpy as np

DAY = 86_400
WEEK = 7 * DAY
YEAR = 31_556_952
"""The mean year of the calendar, 365.2425 days."""

_BEGIN = datetime(1970, 1, 1)
_FIXED = {"s": 1, "min": 60, "h": 3600, "D": DAY, "W": WEEK}
_MONTHS = {"MS": (1, "start"), "ME": (1, "end"), "QS": (3, "start"), "QE": (3, "end"), "YS": (12, "start")}
_MONTHS |= {"YE": (12, "end")}
_SEASONS = {"month": 12, "business day": 5, "position": 1}


@dataclass(frozen=True)
class Step:
    """The time between neighbours in a series.

    Args:
        alias: as pandas calls it, such as "h", "15min", "D", "W-SUN", "MS", "B"; a number is of positions, for series
            that count their steps instead of telling times.

    Raises:
        InputError: there is no such step, or it is shorter than a second.

    Example:

    >>> Step("15min").count, Step("QS-OCT").unit, Step("D").season
    (900, 'month', 7)
    """

    alias: str

    def __post_init__(self) -> None:
        digits = len(self.alias) - len(self.alias.lstrip("0123456789"))
        times, name = int(self.alias[:digits] or 1), self.alias[digits:].partition("-")[0]
        if not name and digits and times:
            unit, count, anchor = "position", times, ""
        elif name in _FIXED:
            unit, count, anchor = "second", times * _FIXED[name], ""
        elif name in _MONTHS:
            months, anchor = _MONTHS[name]
            unit, count = "month", times * months
        elif name == "B" and times == 1:
            unit, count, anchor = "business day", 1, ""
        else:
            raise InputError(
                f'A step of "{self.alias}" between times is not known; use s, min, h, D, W, MS, ME, QS, QE, YS, YE, '
                "also "
                f"with a number before it, such as 15min, or B (business days)."
            )
        for field, value in (("unit", unit), ("count", count), ("anchor", anchor)):
            object.__setattr__(self, field, value)

    unit: str = ""
    count: int = 1
    anchor: str = ""

    @property
    def seconds(self) -> float:
        """How long it is, on average."""
        return {"second": self.count, "month": self.count * YEAR / 12, "business day": DAY * 7 / 5}.get(self.unit, 0)

    @property
    def season(self) -> int:
        """How many steps make the season that is usual: a day, a week, a year."""
        if self.unit != "second":
            return max(_SEASONS[self.unit] // self.count, 1)
        for cycle in (DAY, WEEK, YEAR // WEEK * WEEK):
            if self.count < cycle:
                return max(round(cycle / self.count), 1)
        return 1

    @property
    def has_times(self) -> bool:
        """Whether it is one of times, rather than of positions."""
        return self.unit != "position"

    def ahead(self, times: Any, steps: Any) -> Any:
        """The times so many steps later; of times that lie on the grid.

        >>> import numpy as np
        >>> Step("MS").ahead(np.array([0, 2678400]), np.array([1, 12])).astype("M8[s]").astype(str).tolist()
        ['1970-02-01T00:00:00', '1971-02-01T00:00:00']
        """
        if self.unit in ("second", "position"):
            return times + steps * self.count
        days, of_day = times // DAY, times % DAY
        if self.unit == "business day":
            place = (days + 3) // 7 * 5 + (days + 3) % 7 + steps  # 1970 began on a Thursday
            return (place // 5 * 7 + place % 5 - 3) * DAY + of_day
        months = _months_of(days) + steps * self.count
        last = self.anchor == "end"
        return (_first_day_of(months + 1) - 1 if last else _first_day_of(months)) * DAY + of_day


def time_text(time: Any, has_times: bool = True) -> str:
    """A time as ISO 8601, without a clock where it is midnight; a position as its number.

    >>> time_text(86400), time_text(86460), time_text(7, has_times=False)
    ('1970-01-02', '1970-01-02T00:01:00', '7')
    """
    if not has_times:
        return str(int(time))
    text = (_BEGIN + timedelta(seconds=int(time))).isoformat()
    return text[:10] if int(time) % DAY == 0 else text


def time_texts(times: Iterable[object], has_times: bool = True) -> list[str]:
    """Times as texts: all with a clock, or none.

    >>> time_texts([0, 60])
    ['1970-01-01T00:00:00', '1970-01-01T00:01:00']
    """
    texts = [time_text(time, has_times) for time in times]
    has_clock = any("T" in text for text in texts)
    return [f"{text}T00:00:00" if has_clock and "T" not in text else text for text in texts]


def _months_of(days: Any) -> np.ndarray:
    """Days since 1970 → months since the year 0 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    since_march = (5 * of_year + 2) // 153
    january_on = since_march // 10
    return (year + era * 400 + january_on) * 12 + since_march + 2 - 12 * january_on


def _first_day_of(months: Any) -> np.ndarray:
    """Months since the year 0 → the days since 1970 of their first day."""
    year, month = months // 12, months % 12
    year = year - (13 - month) // 12  # the year that begins in March
    since_march = (month + 10) % 12
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * since_march + 2) // 5
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
