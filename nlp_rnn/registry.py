"""Task names → tasks. Others join by `register` or through the entry-point group "nlp_rnn.tasks"."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from nlp_rnn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from nlp_rnn.tasks.base import AnyTask

BUILT_IN = {
    "anomaly": "nlp_rnn.tasks.anomaly:TASK",
    "anomaly-values": "nlp_rnn.tasks.anomaly_values:TASK",
    "forecasting": "nlp_rnn.tasks.forecasting:TASK",
    "language-modeling": "nlp_rnn.tasks.language_modeling:TASK",
    "ner": "nlp_rnn.tasks.ner:TASK",
    "sentiment": "nlp_rnn.tasks.sentiment:TASK",
    "speech": "nlp_rnn.tasks.speech:TASK",
    "translation": "nlp_rnn.tasks.translation:TASK",
}
_registered: dict[str, AnyTask] = {}


def register(task: AnyTask) -> None:
    """Adds a task for this process; it replaces one of the same name."""
    _registered[task.name] = task


def task_names() -> list[str]:
    """Names of all tasks there are."""
    return sorted({*BUILT_IN, *_registered, *(point.name for point in entry_points(group="nlp_rnn.tasks"))})


def get_task(name: str) -> AnyTask:
    """Looks a task up.

    Raises:
        InputError: there is no such task.
    """
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group="nlp_rnn.tasks"):
        if point.name == name:
            return point.load()
    raise InputError(f'There is no task "{name}".{did_you_mean(name, task_names())}')
