"""How results are printed: as JSON, in colour on a terminal, or as lines."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, TextIO

from nlp_rnn.tasks.base import Shown


def print_result(result: Shown, as_json: bool) -> None:
    """Prints one result of a command; one that has `stream()` as its pieces come."""
    if as_json:
        print(to_json(result.as_dict()))
    elif hasattr(result, "stream"):
        from nlp_rnn.display.console import visible

        for piece in result.stream():
            sys.stdout.write(visible(piece) if sys.stdout.isatty() else piece)
            sys.stdout.flush()
        print()
    else:
        print_shown(sys.stdout, result, str(result))


def print_shown(sink: TextIO, result: object, line: str) -> None:
    """Writes a result in colour where that is a terminal and the result knows how, else the line."""
    from nlp_rnn.display.console import PlainConsole, visible

    if sink.isatty() and hasattr(result, "__rich__"):
        PlainConsole(file=sink).print(result)
    else:
        sink.write((visible(line) if sink.isatty() else line) + "\n")


def to_json(values: object) -> str:
    """One line of JSON: letters of all scripts as they are, control characters escaped, and null for numbers that JSON
    does not have."""
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(values), ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(values: object) -> Any:
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
