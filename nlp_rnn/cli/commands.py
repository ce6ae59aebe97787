"""Verbs that belong to one task, such as sentiment's `explain`."""

from __future__ import annotations

from nlp_rnn.cli.options import first_path


def run(task: str | None, verb: str, arguments: list[str]) -> int:
    """Loads the run, which comes first, and hands the other arguments to the task's command."""
    from nlp_rnn.cli import program
    from nlp_rnn.registry import get_task, task_names
    from nlp_rnn.run import load

    prog = program(task, verb)
    if {"-h", "--help"} & set(arguments):
        owner = task or next(name for name in task_names() if verb in get_task(name).commands)
        return get_task(owner).commands[verb](None, ["--help"], prog)
    found = load(first_path(arguments, prog), task)
    return found.task.commands[verb](found, arguments[1:], prog)
