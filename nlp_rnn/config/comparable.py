"""What a comparison of models takes, and what it chooses itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast, get_args

from nlp_rnn.config.sections import Cell, RecurrentSettings, Settings
from nlp_rnn.errors import InputError, did_you_mean

_CHOSEN = {
    **dict.fromkeys(("train.epochs", "train.passes", "train.steps", "train.patience"), "the budget decides"),
    "stack.cell": "the models decide",
    "train.init_from": "all models are trained from scratch, with equally many weights",
}


def cells_of(models: str | Iterable[str]) -> list[str]:
    """The cells that are named.

    Raises:
        InputError: there is no such cell, one is named twice, or there is only one.

    Example:

    >>> cells_of("lstm, gru")
    ['lstm', 'gru']
    """
    given = models.split(",") if isinstance(models, str) else models or ()
    names, known = [str(name).strip() for name in given if str(name).strip()], get_args(Cell)
    for name in names:
        if name not in known:
            raise InputError(f'There is no cell "{name}".{did_you_mean(name, known)}')
        if names.count(name) > 1:
            raise InputError(f"The models name {name} twice.")
    if len(names) < 2:
        raise InputError("A comparison needs two models or more, such as lstm,gru.")
    return names


def counts_of(labels: str | int | Iterable[int] | None) -> list[int]:
    """Numbers of training records, the smallest first.

    Raises:
        InputError: one is none.

    Example:

    >>> counts_of("1000, 100")
    [100, 1000]
    """
    parts: Iterable[str | int] = [labels] if isinstance(labels, int) else labels or ()
    if isinstance(labels, str):
        parts = labels.split(",")
    try:
        found = sorted({int(part) for part in parts if str(part).strip()})
    except (TypeError, ValueError):
        found = [0]
    if found and found[0] < 1:
        raise InputError(f"Numbers of training records such as 100,1000 are needed, not {labels}.")
    return found


def check_comparable(task: str, settings: Settings, given: Iterable[str] = ()) -> RecurrentSettings:
    """Refuses a task whose models have no cells, and settings that a comparison chooses.

    Args:
        task: its name.
        settings: of the task.
        given: the dotted names of the settings that the user gave.

    Returns:
        The settings.

    Raises:
        InputError: it is such a task, or one of them is given.
    """
    if not hasattr(getattr(settings, "stack", None), "cell"):
        raise InputError(f"The task {task} has no recurrent layers whose cells could be compared.")
    begun = ["train.init_from"] if settings.train.init_from else []
    for name in (*given, *begun):
        if name in _CHOSEN:
            raise InputError(f"compare chooses {name} itself: leave it out ({_CHOSEN[name]}).")
    return cast("RecurrentSettings", settings)
