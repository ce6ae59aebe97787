"""The starter corpus of language modelling: the documentation that comes with Python, read from the running one."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def documents() -> tuple[str, ...]:
    """The help topics, and the docstrings of the standard library's modules, one text per topic and module.

    They differ from version to version of Python; the fingerprint of the training data in a run's report tells which.
    """
    from pydoc_data.topics import topics

    return (*(text.strip() for _, text in sorted(topics.items())), *_modules())


def _modules() -> Iterator[str]:
    """Docstrings of the modules that are files of their own; none where Python has no sources."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
        text = "\n\n".join(doc for doc in found if doc)
        if text:
            yield text


def split_documents(split: str) -> list[str]:
    """The lines of a split: of every twenty documents one is for validation and one for testing."""
    place = {"validation": 9, "test": 19}
    chosen = [
        text
        for number, text in enumerate(documents())
        if (number % 20 == place[split] if split in place else number % 20 not in place.values())
    ]
    return "\n\n".join(chosen).splitlines()
