"""Search spaces: which settings a sweep varies, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.values import Setting, check_ranges, override, read_yaml, settings_of
from nlp_rnn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from nlp_rnn.config.sections import Settings

Value = str | int | float | bool


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        values: to choose from.
    """

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Between:
    """A number between two bounds, both of which it may be.

    Args:
        low, high: the bounds, whole numbers where the setting is one.
        log: whether each order of magnitude is as likely as another.
        step: between numbers that may be chosen; None for 1 of whole numbers, and for any of others.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None


Space = Mapping[str, Choice | Between]
_EXAMPLE = "such as [32, 64, 128] or {low: 0.0001, high: 0.01, log: true}"


def read_space(path: str | Path, settings: Settings) -> dict[str, Choice | Between]:
    """The space in a YAML file: dotted names of settings, or sections with settings below them; a list is a choice, a
    mapping with `low` and `high` a range.

    Args:
        path: of the file.
        settings: the configuration whose settings they are.

    Returns:
        By dotted name, in the order of the file.

    Raises:
        InputError: there is no such setting, or it cannot have such values.
    """
    known = {setting.dotted: setting for setting, _ in settings_of(settings)}
    found = {}
    for name, values in _flat(read_yaml(path), known):
        if name not in known:
            raise InputError(f'{path}: there is no setting "{name}".{did_you_mean(name, known)}')
        found[name] = _dimension(name, values, known[name], str(path))
        for value in _extremes(found[name]):
            try:
                check_ranges(override(settings, nested({name: value})))
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
    if not found:
        raise InputError(f"{path} names no setting: give some, each with a list of values or a range, {_EXAMPLE}.")
    return found


def nested(values: Mapping[str, Value]) -> dict[str, Any]:
    """Values by dotted name as sections.

    Example:

    >>> nested({"train.epochs": 3, "train.seed": 1, "lookback": 5})
    {'train': {'epochs': 3, 'seed': 1}, 'lookback': 5}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return found


def dotted(sections: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of settings in sections.

    Example:

    >>> list(dotted({"train": {"epochs": 3, "seed": 1}, "lookback": 5}))
    ['train.epochs', 'train.seed', 'lookback']
    """
    for name, value in sections.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _flat(values: Mapping[Any, Any], known: Mapping[str, Setting], section: str = "") -> list[tuple[str, Any]]:
    """Dotted names and what is asked of each."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{section}{key}"
        is_section = isinstance(value, dict) and name not in known and any(k.startswith(f"{name}.") for k in known)
        found += _flat(value, known, f"{name}.") if is_section else [(name, value)]
    return found


def _dimension(name: str, values: object, setting: Setting, path: str) -> Choice | Between:
    if isinstance(values, list) and len(values) > 1 and all(isinstance(value, Value) for value in values):
        if len({(type(value), value) for value in values}) < len(values):
            raise InputError(f"{path}: {name} has a value twice.")
        return Choice(tuple(values))
    if not isinstance(values, dict):
        raise InputError(f"{path}: {name} needs two values or more, or a range, {_EXAMPLE}.")
    if unknown := sorted(set(map(str, values)) - {"low", "high", "log", "step"}):
        raise InputError(f'{path}: {name} has "{unknown[0]}"; a range has low, high, log and step.')
    if setting.hint not in (int, float):
        raise InputError(f"{path}: {name} is no number and has no range; give a list of values.")
    numbers = {key: _number(values.get(key), f"{path}: {name}.{key}") for key in ("low", "high", "step")}
    low, high, step, log = numbers["low"], numbers["high"], numbers["step"], values.get("log", False)
    if low is None or high is None or low >= high:
        raise InputError(f"{path}: {name} needs low and high, the lower first, {_EXAMPLE}.")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise InputError(f"{path}: {name}: log is true or false; with true, low is above 0 and there is no step.")
    if step is not None and not 0 < step <= high - low:
        raise InputError(f"{path}: {name}.step is {step:g}; it must be above 0 and at most {high - low:g}.")
    if setting.hint is int and any(number is not None and number != int(number) for number in numbers.values()):
        raise InputError(f"{path}: {name} is a whole number: low, high and step must be whole too.")
    kind = setting.hint
    return Between(kind(low), kind(high), log, None if step is None else kind(step))


def _number(value: Any, where: str) -> float | None:
    try:
        if value is None or isinstance(value, bool):
            raise TypeError
        return float(value)  # YAML reads 1e-3 as text
    except (TypeError, ValueError):
        if value is None:
            return None
        raise InputError(f"{where} is {value!r}; it must be a number.") from None


def _extremes(dimension: Choice | Between) -> tuple[Any, ...]:
    if isinstance(dimension, Choice):
        return dimension.values
    return dimension.low, dimension.high
