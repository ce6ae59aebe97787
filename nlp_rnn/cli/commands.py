"""Verbs that belong to one task, such as sentiment's `explain`."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any

from nlp_rnn.cli.output import print_result
from nlp_rnn.config.options import RunPath, own_options, parse, run_path, wants_help
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import AnyTask, Command


@dataclass(frozen=True)
class CommandOptions:
    """Options of every verb of a task."""

    run: RunPath
    """The run directory."""


def run(task: str | None, verb: str, arguments: list[str]) -> int:
    """Loads the run, which comes first, and prints what the task's command finds."""
    from nlp_rnn.cli import program
    from nlp_rnn.run import load
    from nlp_rnn.saved import task_of

    prog = program(task, verb)
    if wants_help(arguments):
        command = _command(_owner(task, verb), verb)
    else:
        command = _command(task_of(run_path(arguments, prog), task), verb)
    options = _parsed(command, arguments, prog)
    found = load(options.run, task)
    for result in command.results(found, own_options(command.Options, options)):
        print_result(result, options.json)
    return 0


def _owner(task: str | None, verb: str) -> AnyTask:
    """The task that has the verb, for its help."""
    from nlp_rnn.registry import get_task, task_names

    tasks = [get_task(name) for name in ([task] if task is not None else task_names())]
    return next(task for task in tasks if any(command.name == verb for command in task.commands))


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
