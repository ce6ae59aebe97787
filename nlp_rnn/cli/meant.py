"""Which of two tasks of one kind is meant: that whose settings, recipe or run are named."""

from __future__ import annotations

from pathlib import Path

from nlp_rnn.config.options import peek
from nlp_rnn.config.recipes import recipe_names
from nlp_rnn.config.values import settings_of
from nlp_rnn.registry import get_task


def meant_task(name: str, arguments: list[str]) -> str:
    """The task, or the one that it has as `also`.

    Args:
        name: of the task that is called.
        arguments: those after the verb.
    """
    task = get_task(name)
    if not task.also:
        return name
    run = arguments[0] if arguments and (Path(arguments[0]) / "config.yaml").is_file() else ""
    if run := run or peek(arguments, resume=None)["resume"] or "":
        from nlp_rnn.saved import task_of

        return task.also if task_of(run).name == task.also else name
    other = get_task(task.also)
    recipe = peek(arguments, recipe=None)["recipe"]
    if recipe and recipe not in recipe_names(task.resources) and recipe in recipe_names(other.resources):
        return task.also
    own, others = ({setting.dotted for setting, _ in settings_of(one.Config())} for one in (task, other))
    given = {argument.partition("=")[0].removeprefix("--") for argument in arguments if argument.startswith("--")}
    return task.also if given & (others - own) else name
