"""From arguments to typed options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import tyro

from nlp_rnn.errors import InputError

T = TypeVar("T")
V = TypeVar("V")

if TYPE_CHECKING:
    RunPath = str
else:
    RunPath = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]


def parse(kind: type[T], arguments: Sequence[str], prog: str, description: str, default: T | None = None) -> T:
    """Parses arguments into a dataclass; a mistake prints its explanation and exits with code 2."""
    keywords: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        kind, args=spell_booleans(arguments), prog=prog, description=description, use_underscores=True, **keywords
    )


def with_options(verb: type[V], kind: type, values: object) -> type[V]:
    """The options of a verb and those of a task in one dataclass.

    Args:
        verb: a dataclass of the verb's options.
        kind: a dataclass of the task's.
        values: one of that class; its values are the defaults.
    """
    hints = get_type_hints(kind, include_extras=True)
    own: list[Any] = [(f.name, hints[f.name], field(default=getattr(values, f.name))) for f in fields(kind)]
    found = make_dataclass("Options", own, bases=(verb, kind), frozen=True, kw_only=True)
    found.__doc__ = verb.__doc__
    return found


def own_options(kind: type[T], options: object) -> T:
    """The task's part of what `with_options` made."""
    return kind(**{f.name: getattr(options, f.name) for f in fields(kind)})  # type: ignore[arg-type]


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for help."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def spell_booleans(arguments: Sequence[str]) -> list[str]:
    """Settings are written as in YAML too: `--stack.residual true` → `--stack.residual True`."""
    spelled = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_value = before.startswith("--") and "." in before and argument in ("true", "false")
        spelled.append(argument.capitalize() if is_value else argument)
    return spelled


def rename(arguments: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Options by another name: `rename(["--data", "x"], {"--data": "--data.train"})` → `["--data.train", "x"]`."""
    renamed = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        renamed.append(names.get(option, option) + equals + value)
    return renamed


def rename_settings(arguments: Sequence[str], former: Mapping[str, str]) -> list[str]:
    """Settings by the names of earlier versions, `--train.window 64`, as they are called now; a note says so."""
    for old, new in former.items():
        if any(argument.partition("=")[0] == f"--{old}" for argument in arguments):
            print(f"--{old} has been renamed to --{new}.", file=sys.stderr)
    return rename(arguments, {f"--{old}": f"--{new}" for old, new in former.items()})


def peek(arguments: Sequence[str], **defaults: str | None) -> dict[str, str | None]:
    """The values of a few options, before the rest can be understood."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in defaults:
        parser.add_argument(f"--{name}", nargs="?")
    try:
        found, _ = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError:
        return dict(defaults)
    return {name: getattr(found, name) or default for name, default in defaults.items()}


def run_path(arguments: Sequence[str], prog: str) -> str:
    """The run directory, which comes first.

    Raises:
        InputError: it is missing.
    """
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"Say which run: {prog} RUN …, where RUN is the directory that training wrote.")
    return arguments[0]


def texts_or_lines(texts: Sequence[str]) -> Sequence[str]:
    """Texts that were given as arguments; without any, the lines of standard input."""
    return texts or [line.rstrip("\r\n") for line in sys.stdin]
