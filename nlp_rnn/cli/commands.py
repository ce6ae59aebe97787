"""Verbs that belong to one task, such as sentiment's `explain`."""

from __future__ import annotations

from nlp_rnn.cli.options import first_path


def run(task: str | None, verb: str, arguments: list[str]) -> int:
    """Loads the run, which comes first, and hands the other arguments to the task's command."""
    from nlp_rnn.cli import program
    from nlp_rnn.run import load

    found = load(first_path(arguments, program(task, verb)), task)
    return found.task.commands[verb](found, arguments[1:])
