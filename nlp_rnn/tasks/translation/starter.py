"""The starter corpus of translation: phrases that Unicode's CLDR has in many languages, put together by Babel."""

from __future__ import annotations

import datetime
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

T = TypeVar("T")
LANGUAGES = ("de", "en", "es", "fr")
_SIZES = {"train": 8000, "validation": 400, "test": 800}
_UNITS = ("length-kilometer", "length-meter", "mass-kilogram", "duration-day", "duration-hour", "duration-minute")
_CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK")
_PERIODS: tuple[tuple[Literal["second", "minute", "hour", "day", "week"], int], ...] = (
    ("second", 1),
    ("minute", 60),
    ("hour", 3600),
    ("day", 86_400),
    ("week", 604_800),
)
_TERRITORIES = (
    "DE FR ES IT PT AT CH BE NL DK SE NO FI PL CZ HU GR TR RU UA "
    "GB IE US CA MX BR AR CL PE JP CN IN AU NZ EG MA ZA KE NG ET"
)
_TONGUES = "de fr es it pt nl da sv nb fi pl cs hu el tr ru uk en ja zh hi ar sw am"


def split_pairs(split: str, source: str = "en", target: str = "de") -> list[dict[str, str]]:
    """The phrases of a split as records; no phrase of the test, and no date of it, is in training.

    Args:
        split: "train", "validation" or "test".
        source, target: languages of `LANGUAGES`.
    """
    draw = random.Random(f"phrases {split}")
    kinds = (_date, _relative, _amount, _measure, _territories, _tongues, _period)
    seen: set[str] = set()
    pairs = []
    for phrase in _phrases(draw, split, kinds):
        texts = [phrase(source), phrase(target)]
        if texts[0] in seen:
            continue
        seen.add(texts[0])
        pairs.append({"source": texts[0], "target": texts[1]})
        if len(pairs) == _SIZES[split]:
            return pairs
    return pairs


Phrase = Callable[[str], str]


def _phrases(draw: random.Random, split: str, kinds: tuple[Callable[..., Phrase], ...]) -> Iterator[Phrase]:
    if split == "train":  # every name by itself
        for name in (*_TERRITORIES.split(), *_TONGUES.split()):
            yield _names([name])
    for number in range(20 * _SIZES[split]):
        yield kinds[number % len(kinds)](draw, split)


def _kind(value: str) -> str:
    """The split that a number, a day or a list belongs to, by its checksum."""
    return {8: "validation", 9: "test"}.get(zlib.crc32(value.encode()) % 10, "train")


def _drawn(split: str, draw: Callable[[], T]) -> T:
    """Draws until what comes belongs to the split."""
    while True:
        value = draw()
        if _kind(str(value)) == split:
            return value


def _number(draw: random.Random, split: str, most: int) -> int:
    return _drawn(split, lambda: draw.randrange(2, most))


def _day(draw: random.Random, split: str) -> datetime.date:
    first = datetime.date(1950, 1, 1)
    return _drawn(split, lambda: first + datetime.timedelta(draw.randrange(36_524)))


def _date(draw: random.Random, split: str) -> Phrase:
    from babel.dates import format_date

    day, form = _day(draw, split), draw.choice(("long", "full", "medium"))
    return lambda language: str(format_date(day, form, locale=language))


def _period(draw: random.Random, split: str) -> Phrase:
    from babel.dates import format_interval

    day = _day(draw, split)
    end = day + datetime.timedelta(draw.randrange(1, 20))
    return lambda language: str(format_interval(day, end, "yMMMd", locale=language))


def _relative(draw: random.Random, split: str) -> Phrase:
    from babel.dates import format_timedelta

    unit, seconds = draw.choice(_PERIODS)
    delta = datetime.timedelta(seconds=seconds * draw.choice((-1, 1)) * _number(draw, split, 200))
    return lambda language: str(
        format_timedelta(delta, granularity=unit, threshold=10_000, add_direction=True, locale=language)
    )


def _amount(draw: random.Random, split: str) -> Phrase:
    from babel.numbers import format_currency

    value, currency = _number(draw, split, 90_000) + draw.randrange(100) / 100, draw.choice(_CURRENCIES)
    return lambda language: str(format_currency(value, currency, locale=language, format_type="name"))


def _measure(draw: random.Random, split: str) -> Phrase:
    from babel.lists import format_list
    from babel.units import format_unit

    parts = [(_number(draw, split, 900), unit) for unit in draw.sample(_UNITS, draw.choice((1, 2)))]
    return lambda language: str(
        format_list([format_unit(n, unit, locale=language) for n, unit in parts], locale=language)
    )


def _territories(draw: random.Random, split: str) -> Phrase:
    return _names(_some(draw, split, _TERRITORIES))


def _tongues(draw: random.Random, split: str) -> Phrase:
    return _names(_some(draw, split, _TONGUES))


def _some(draw: random.Random, split: str, codes: str) -> list[str]:
    return _drawn(split, lambda: draw.sample(codes.split(), draw.choice((2, 3, 4))))


def _names(codes: list[str]) -> Phrase:
    from babel import Locale
    from babel.lists import format_list

    def phrase(language: str) -> str:
        locale = Locale(language)
        names = [locale.territories[code] if code.isupper() else locale.languages[code] for code in codes]
        return str(format_list(names, locale=locale))

    return phrase
