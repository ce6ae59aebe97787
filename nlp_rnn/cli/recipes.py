"""`recipes`: named settings, with what they reach."""

from __future__ import annotations

import json

from nlp_rnn.config.recipes import recipe_header, recipe_names
from nlp_rnn.registry import get_task, task_names


def run(arguments: list[str]) -> int:
    """Lists the recipes of every task with their commands and results."""
    resources = {name: get_task(name).resources for name in task_names()}
    found = {task: {name: recipe_header(of, name) for name in recipe_names(of)} for task, of in resources.items()}
    if "--json" in arguments:
        print(json.dumps(found))
        return 0
    for task, recipes in found.items():
        for name, header in recipes.items():
            print(f"{task} · {name}")
            print("\n".join(f"    {line}" for line in header.splitlines()))
    return 0
