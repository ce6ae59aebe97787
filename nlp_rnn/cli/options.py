"""From arguments to typed options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from nlp_rnn.errors import InputError

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], prog: str, description: str, default: Any = None) -> T:
    """Parses arguments into a dataclass; a mistake prints its explanation and exits with code 2."""
    keywords = {} if default is None else {"default": default}
    return tyro.cli(
        kind, args=spell_booleans(arguments), prog=prog, description=description, use_underscores=True, **keywords
    )


def spell_booleans(arguments: Sequence[str]) -> list[str]:
    """Settings are written as in YAML too: `--stack.residual true` → `--stack.residual True`."""
    spelled = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_value = before.startswith("--") and "." in before and argument in ("true", "false")
        spelled.append(argument.capitalize() if is_value else argument)
    return spelled


def rename(arguments: Sequence[str], short: str, full: str) -> list[str]:
    """Spells a short option out: `--data x` → `--data.train x`."""
    renamed = []
    for argument in arguments:
        if argument == short or argument.startswith(f"{short}="):
            argument = full + argument[len(short) :]
        renamed.append(argument)
    return renamed


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


def first_path(arguments: Sequence[str], prog: str) -> str:
    """The run directory, which comes first."""
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"Say which run: {prog} RUN …, where RUN is the directory that training wrote.")
    return arguments[0]
