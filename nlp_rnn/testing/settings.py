"""What can be asked of the settings of any task."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import get_type_hints

import numpy as np

from nlp_rnn.config.values import Range


def documented(kind: type, section: str = "") -> Iterator[tuple[str, str]]:
    """The dotted names of settings and their docstrings, those that their classes inherit too."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                is_doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                docs[node.target.id] = after.value.value if is_doc else ""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from documented(hints[field.name], f"{section}{field.name}.")
        else:
            yield f"{section}{field.name}", docs[field.name]


def outside(allowed: Range, kind: type) -> float | None:
    """A number that is not allowed, if there is one."""
    if allowed.low > -np.inf:
        return kind(allowed.low if allowed.above else allowed.low - 1)
    return kind(allowed.high if allowed.below else allowed.high + 1) if allowed.high < np.inf else None
