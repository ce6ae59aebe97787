"""What a setting may be, said beside its type, and checked wherever its value comes from.

    batch_size: Annotated[int, AtLeast(1)] = 32
    bptt: Annotated[int, AtLeast(1), Formerly("window")] = 64

A setting that was renamed is still understood by its old name: in recipes, run directories and on the command line.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from nlp_rnn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may have.

    Args:
        low, high: the bounds.
        above, below: whether the bounds themselves are left out.

    Example:

    >>> str(Range(0, 1, below=True)), 1.0 in Range(0, 1, below=True)
    ('at least 0 and below 1', False)
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        fits_low = value > self.low if self.above else value >= self.low
        return fits_low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        parts = [f"{'above' if self.above else 'at least'} {self.low:g}"] if self.low > -math.inf else []
        parts += [f"{'below' if self.below else 'at most'} {self.high:g}"] if self.high < math.inf else []
        return " and ".join(parts) or "a number"


def AtLeast(low: float) -> Range:  # noqa: N802
    """Numbers from `low` on."""
    return Range(low)


def Above(low: float) -> Range:  # noqa: N802
    """Numbers greater than `low`."""
    return Range(low, above=True)


ANY_NUMBER = Range()
"""For a number that needs no bounds: every number of a configuration says its range."""

Count = Annotated[int, AtLeast(1)]
Size = Annotated[int, Range(1, 65_536)]
"""Of vectors and layers, which take memory."""
Natural = Annotated[int, AtLeast(0)]
NotNegative = Annotated[float, AtLeast(0)]
Positive = Annotated[float, Above(0)]
Fraction = Annotated[float, Range(0, 1, below=True)]


@dataclass(frozen=True)
class Formerly:
    """The name that a setting had in earlier versions."""

    name: str


@dataclass(frozen=True)
class Setting:
    """One setting of a configuration.

    Args:
        section: the dotted name of its section, empty at the top.
        name: its own name.
        hint: its type, without annotations.
        ranges: what numbers of it may be.
        former: its name in earlier versions, if it had another.
    """

    section: str
    name: str
    hint: Any
    ranges: tuple[Range, ...]
    former: str | None

    @property
    def dotted(self) -> str:
        """Its name as on the command line."""
        return f"{self.section}{self.name}"

    def check(self, value: object) -> None:
        """Numbers must be in range.

        Raises:
            InputError: one is not.
        """
        for item in value if isinstance(value, tuple) else (value,):
            for allowed in self.ranges:
                if isinstance(item, (int, float)) and not isinstance(item, bool) and item not in allowed:
                    raise InputError(f"{self.dotted} is {item}; it must be {allowed}.")


def settings_of(config: DataclassInstance, section: str = "") -> Iterator[tuple[Setting, Any]]:
    """All settings of a configuration, also those of its sections, each with its value."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from settings_of(value, f"{section}{field.name}.")
        else:
            hint, notes = _parts(hints[field.name])
            _, inner = _parts(get_args(hint)[0]) if get_origin(hint) is tuple else (None, ())
            ranges = tuple(note for note in (*notes, *inner) if isinstance(note, Range))
            former = next((note.name for note in notes if isinstance(note, Formerly)), None)
            yield Setting(section, field.name, hint, ranges, former), value


def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type and its annotations."""
    return (get_args(hint)[0], hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())


def check_levels(levels: Sequence[float]) -> None:
    """Refuses levels of quantiles that do not increase, or are not symmetric around 0.5.

    Raises:
        InputError: they are none.
    """
    symmetric = all(abs(a + b - 1) < 1e-6 for a, b in zip(levels, reversed(levels), strict=True))
    if list(levels) != sorted({*levels}) or not symmetric or 0.5 not in levels or len(levels) < 3 or levels[-1] >= 1:
        raise InputError(
            f"model.levels must increase and be symmetric around 0.5, such as 0.1 0.5 0.9; they are {tuple(levels)}."
        )


def check_ranges(config: DataclassInstance) -> None:
    """Every number of a configuration must be in its range.

    Raises:
        InputError: one is not.

    Example:

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     layers: Annotated[int, AtLeast(1)] = 0
    >>> check_ranges(Config())
    Traceback (most recent call last):
    nlp_rnn.errors.InputError: layers is 0; it must be at least 1.
    """
    for setting, value in settings_of(config):
        setting.check(value)


def former_names(config: DataclassInstance) -> dict[str, str]:
    """Dotted names of earlier versions → today's."""
    return {f"{s.section}{s.former}": s.dotted for s, _ in settings_of(config) if s.former}


def override(config: C, values: dict[str, Any], where: str = "") -> C:
    """Returns a copy of a configuration with the nested `values` put in, each checked against its type.

    Raises:
        InputError: a key is unknown, or a value has the wrong type.

    Example:

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     epochs: Annotated[int, AtLeast(1), Formerly("passes")] = 10
    >>> override(Config(), {"epochs": 3}), override(Config(), {"passes": 4})
    (Config(epochs=3), Config(epochs=4))
    """
    names = [field.name for field in dataclasses.fields(config)]
    own = {setting.name: setting for setting, _ in settings_of(config) if not setting.section}
    former = {setting.former: setting.name for setting in own.values() if setting.former}
    changes = {}
    for key, value in values.items():
        name, dotted = former.get(key, key), f"{where}{key}"
        if name not in names:
            raise InputError(f'There is no setting "{dotted}".{did_you_mean(str(key), names)}')
        current = getattr(config, name)
        if dataclasses.is_dataclass(current) and not isinstance(current, type):
            if not isinstance(value, dict):
                raise InputError(f'"{dotted}" is a section: give its settings below it.')
            changes[name] = override(current, value, f"{dotted}.")
        else:
            changes[name] = _checked(value, own[name].hint, dotted)
    return dataclasses.replace(config, **changes)


def _checked(value: Any, hint: Any, dotted: str) -> Any:
    hint, _ = _parts(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f'"{dotted}" is {value!r}; it must be one of: {", ".join(map(str, arguments))}.')
        return value
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_checked(item, arguments[0], dotted) for item in items)
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f'"{dotted}" must be a mapping, such as {{0: negative, 1: positive}}.')
        return {str(k): str(v) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f'"{dotted}" is {value!r}; it must be of type {hint.__name__}.')
    return value


def refuse_settings(section: object, where: str, task: str, *names: str) -> None:
    """Settings of a section, `where`, that a task has no use for must be as they are by default.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if getattr(section, name) != getattr(type(section)(), name):
            raise InputError(f"--{where}.{name} has no effect in {task}: leave it out.")


_LARGEST = 1 << 20


class _Loader(yaml.SafeLoader):
    """Plain values alone; no aliases, with which a few lines could stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem=f"an alias (*{event.anchor})", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file of nested mappings.

    Raises:
        InputError: the file is missing, is not YAML, or is not a mapping.
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(f"Config file {path} {'is no file' if place.exists() else 'does not exist'}.")
    if place.stat().st_size > _LARGEST:
        raise InputError(f"Config file {path} is larger than any settings are: is it the right file?")
    try:
        return parse_yaml(place.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise InputError(f"Config file {path} is not UTF-8.") from None


def parse_yaml(text: str, shown: str) -> dict[str, Any]:
    """Nested mappings from YAML; `shown` is the name for messages.

    Raises:
        InputError: it is not YAML, or not a mapping.
    """
    try:
        values = yaml.load(text, _Loader) or {}
    except RecursionError:
        raise InputError(f"{shown} is nested too deeply.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"{shown}{line} is not valid YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{shown} must hold sections such as `train:` with settings below them.")
    return values


def to_dict(config: DataclassInstance) -> dict[str, Any]:
    """A configuration as nested dicts of plain values, as written to `config.yaml`."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(budget: str) -> float:
    """Seconds of a time such as 90s, 5m or 1h.

    Raises:
        InputError: it is none.

    Example:

    >>> seconds_of("1.5m")
    90.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", budget.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f'The budget "{budget}" is no time: give seconds, minutes or hours, such as 90s, 5m or 1h.')
    return float(match[1]) * _SECONDS[match[2]]
