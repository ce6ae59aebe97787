"""Text with its entities in place, for the terminal and for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from rich.text import Text

from nlp_rnn.display.console import visible

Marks = Sequence[tuple[int, int, str, float]]
"""Start, end, label, confidence."""

_COLOURS = (
    "#ffd54f",
    "#81d4fa",
    "#a5d6a7",
    "#ffab91",
    "#ce93d8",
    "#b0bec5",
    "#fff59d",
    "#80cbc4",
    "#f48fb1",
    "#c5e1a5",
)


def entities_html(text: str, entities: Marks) -> str:
    """HTML in which each entity has a background and its label behind it."""
    parts = []
    for piece, mark in _pieces(text, entities):
        if mark is None:
            parts.append(html.escape(piece))
            continue
        label, confidence = mark
        parts.append(
            f'<mark style="background: {_colour(label)}; color: #000; padding: 0.15em 0.3em; border-radius: 0.3em" '
            f'title="{html.escape(label)} {confidence:.0%}">{html.escape(piece)} '
            f'<small style="opacity: 0.7">{html.escape(label)}</small></mark>'
        )
    return f'<div style="line-height: 2; white-space: pre-wrap">{"".join(parts)}</div>'


def entities_text(text: str, entities: Marks) -> Text:
    """The same for a terminal."""
    shown = Text()
    for piece, mark in _pieces(text, entities):
        if mark is None:
            shown.append(visible(piece))
            continue
        label, confidence = mark
        shown.append(visible(f" {piece} "), style=f"bold black on {_colour(label)}")
        shown.append(visible(f"{label} {confidence:.0%} "), style=f"black on {_colour(label)}")
    return shown


def _colour(label: str) -> str:
    """The same for a label everywhere."""
    return _COLOURS[sum(label.encode()) % len(_COLOURS)]


def _pieces(text: str, entities: Marks) -> Iterator[tuple[str, tuple[str, float] | None]]:
    place = 0
    for start, end, label, confidence in sorted(entities):
        if start > place:
            yield text[place:start], None
        yield text[start:end], (label, confidence)
        place = end
    if place < len(text):
        yield text[place:], None
