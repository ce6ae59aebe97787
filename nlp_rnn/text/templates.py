"""Lines of logs → templates: what varies from line to line is masked, so that lines of one kind become one word.

The same patterns work in Python and in TensorFlow (RE2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

BLANK = "␣"
"""What stands for blanks within a template, which is one word."""
SEPARATORS = "\\s\\x00-\\x1f\\x7f-\\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What no event has within it, as it stands in the brackets of a pattern: blanks of all scripts, control characters."""
MASKS = (
    (r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", "<id>"),
    (r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+", "<url>"),
    (r"[\w.+-]+@[\w-]+\.[\w.]+", "<mail>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.,]\d+)?(Z|[+-]\d\d:?\d\d)?", "<time>"),
    (r"\b\d{1,2}:\d\d:\d\d([.,]\d+)?\b", "<time>"),
    (r"\b\d{4}-\d\d-\d\d\b", "<date>"),
    (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(:\d+)?\b", "<address>"),
    (r"\b([0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}\b", "<address>"),
    (r"(/[\w.+@%~-]+){2,}/?", "<path>"),
    (r"\b0[xX][0-9a-fA-F]+\b", "<hex>"),
    *(
        (rf"\b[0-9a-fA-F]{{{a},}}(\d[a-fA-F]|[a-fA-F]\d)[0-9a-fA-F]{{{b},}}\b", "<hex>")
        for a, b in ((0, 6), (3, 3), (6, 0))
    ),
    (r"[-+]?\d+([.,]\d+)*", "<n>"),
    (rf"[{SEPARATORS}]+", " "),
)


def _has_odd_blanks(line: str) -> bool:
    """Whether there are several blanks in a row, or others than spaces."""
    return "  " in line or not line.isprintable()


_COMPILED = tuple((re.compile(pattern, re.ASCII), mark) for pattern, mark in MASKS)
_HEX = re.compile(r"\d[a-fA-F]|[a-fA-F]\d", re.ASCII)
_NEEDED: tuple[str | Callable[[str], Any], ...] = (
    "-",
    "://",
    "@",
    ":",
    ":",
    "-",
    ".",
    ":",
    "/",
    "0",
    *[_HEX.search] * 3,
    "",
    _has_odd_blanks,
)
"""For each pattern what a line must have for it to match: a text, or what a cheap test finds."""
_STEPS = tuple(zip(_COMPILED, _NEEDED, strict=True))


def template_of(line: str) -> str:
    """The template of a line, without blanks.

    Example:

    >>> template_of("GET /api/items/17 from 10.0.0.5 took 3.5 ms")
    'GET␣<path>␣from␣<address>␣took␣<n>␣ms'
    """
    for (pattern, mark), needed in _STEPS:
        if needed in line if isinstance(needed, str) else needed(line):
            line = pattern.sub(mark, line)
    return line.strip(" ").replace(" ", BLANK)


def templates_in_graph(lines: tf.Tensor) -> tf.Tensor:
    """As `template_of`, of strings of any shape, in the graph."""
    import tensorflow as tf

    for pattern, mark in MASKS:
        lines = tf.strings.regex_replace(lines, pattern, mark)
    lines = tf.strings.regex_replace(lines, "^ +| +$", "")
    return tf.strings.regex_replace(lines, " ", BLANK)
