"""Recipes: named settings of a task, each a YAML file whose first lines give its command, result and minutes.

A task says where its recipes are by the name of a package that holds a folder `recipes`; a package of your own brings
its own. Beside it a folder `starter` may hold a corpus to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from nlp_rnn.config.values import parse_yaml
from nlp_rnn.errors import InputError, did_you_mean


def load_recipe(resources: str, task: str, name: str) -> dict[str, Any]:
    """Reads a recipe as nested dicts. A task without recipes has an empty "starter".

    Args:
        resources: the package that holds them; empty for none.
        task: name of the task, for messages.
        name: of the recipe.

    Raises:
        InputError: there is no such recipe.
    """
    found = dict(_recipes(resources))
    if name in found:
        return parse_yaml(found[name], f"recipe {name}")
    if name == "starter" and not found:
        return {}
    raise InputError(f'Task "{task}" has no recipe "{name}".{did_you_mean(name, found)}')


def recipe_names(resources: str) -> list[str]:
    """Names of the recipes in a package."""
    return sorted(name for name, _ in _recipes(resources))


def recipe_header(resources: str, name: str) -> str:
    """The comment at the top of a recipe: its command, result and minutes."""
    header = []
    for line in dict(_recipes(resources))[name].splitlines():
        if not line.startswith("#"):
            break
        header.append(line.lstrip("# "))
    return "\n".join(header)


def starter_folder(resources: str) -> Path | None:
    """The folder with the starter corpus that a package brings, if it brings one."""
    folder = Path(str(files(resources))) / "starter" if resources else None
    return folder if folder is not None and folder.is_dir() else None


def _recipes(resources: str) -> Iterator[tuple[str, str]]:
    folder = files(resources) / "recipes" if resources else None
    for path in folder.iterdir() if folder is not None and folder.is_dir() else ():
        if path.name.endswith(".yaml"):
            yield path.name.removesuffix(".yaml"), path.read_text(encoding="utf-8")
