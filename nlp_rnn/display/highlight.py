"""Text with weights behind its words, for the terminal and for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from rich.text import Text

from nlp_rnn.display.console import visible

Weights = Sequence[tuple[int, int, float]]


def highlighted_html(text: str, weights: Weights, heading: str = "") -> str:
    """HTML in which the background of each token is as strong as its weight, after a heading in bold."""
    parts = [
        f'<span style="background: rgba(255, 165, 0, {strength:.2f})">{html.escape(piece)}</span>'
        if strength
        else html.escape(piece)
        for piece, strength in _pieces(text, weights)
    ]
    begin = f"<b>{html.escape(heading)}</b> " if heading else ""
    return f'{begin}<span style="line-height: 1.8; white-space: pre-wrap">{"".join(parts)}</span>'


def highlighted_text(heading: str, text: str, weights: Weights) -> Text:
    """The same for a terminal, after a heading in bold."""
    shown = Text(visible(heading), style="bold")
    for piece, strength in _pieces(text, weights):
        level = round(200 * strength)
        shown.append(
            visible(piece),
            style=f"not bold black on rgb(255,{255 - level // 2},{255 - level})" if level else "not bold",
        )
    return shown


def _pieces(text: str, weights: Weights) -> Iterator[tuple[str, float]]:
    """The text in pieces, each with its weight as a part of the largest."""
    largest = max((weight for _, _, weight in weights), default=0.0) or 1.0
    place = 0
    for start, end, weight in sorted(weights):
        start = max(start, place)
        if end <= start:
            continue
        if start > place:
            yield text[place:start], 0.0
        yield text[start:end], weight / largest
        place = end
    yield text[place:], 0.0
