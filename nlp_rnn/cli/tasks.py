"""`tasks`: what there is to train."""

from __future__ import annotations

import json

from nlp_rnn.registry import get_task, task_names


def run(arguments: list[str]) -> int:
    """Lists the tasks with the first line of their module's documentation."""
    rows = {name: _what(name) for name in task_names()}
    if "--json" in arguments:
        print(json.dumps(rows))
    else:
        for name, what in rows.items():
            print(f"{name:<20} {what}")
    return 0


def _what(name: str) -> str:
    import sys

    task = get_task(name)
    module = sys.modules.get(task.resources) or sys.modules.get(task.read.__module__)
    return ((module.__doc__ if module else "") or "").strip().split("\n")[0]
