"""Verbs that belong to one task, such as sentiment's `explain`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, make_dataclass
from typing import Any

from nlp_rnn.cli.output import print_result
from nlp_rnn.config.options import RunPath, own_options, parse
from nlp_rnn.config.values import check_ranges
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import AnyTask, Command


@dataclass(frozen=True)
class CommandOptions:
    """Options of every verb of a task."""

    run: RunPath
    """The run directory."""


def run(task: AnyTask, verb: str, arguments: list[str], prog: str) -> int:
    """Loads the run, which comes first, and prints what the task's command finds."""
    from nlp_rnn.run import load

    command = _command(task, verb)
    options = _parsed(command, arguments, prog)
    check_ranges(own_options(command.Options, options))
    found = load(options.run, task.name)
    for result in command.results(found, own_options(command.Options, options)):
        print_result(result, options.json)
        sys.stdout.flush()  # a stream of results may be read as it comes
    return 0


def _command(task: AnyTask, verb: str) -> Command[Any]:
    for command in task.commands:
        if command.name == verb:
            return command
    raise InputError(f'The task {task.name} has no command "{verb}".')


def _parsed(command: Command[Any], arguments: list[str], prog: str) -> Any:
    json = ("json", bool, False)
    kind = make_dataclass("Options", [json], bases=(command.Options, CommandOptions), frozen=True, kw_only=True)
    kind.__doc__ = "Options."
    return parse(kind, arguments, prog, command.help)
