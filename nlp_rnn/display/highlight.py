"""Text with weights behind its words, for the terminal and for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from rich.text import Text

from nlp_rnn.display.console import visible

Weights = Sequence[tuple[int, int, float]]


_PLAIN, _FOR, _AGAINST = (255, 165, 0), (40, 170, 80), (225, 70, 60)


def highlighted_html(text: str, weights: Weights, heading: str = "", signed: bool = False) -> str:
    """HTML in which the background of each token is as strong as its weight, after a heading in bold; of signed weights
    green where they are positive and red where they are negative."""
    parts = []
    for piece, strength in _pieces(text, weights):
        color = "{}, {}, {}".format(*_color(strength, signed))
        shown = html.escape(piece)
        parts.append(
            f'<span style="background: rgba({color}, {abs(strength):.2f})">{shown}</span>' if strength else shown
        )
    begin = f"<b>{html.escape(heading)}</b> " if heading else ""
    return f'{begin}<span style="line-height: 1.8; white-space: pre-wrap">{"".join(parts)}</span>'


def highlighted_text(heading: str, text: str, weights: Weights, signed: bool = False) -> Text:
    """The same for a terminal, after a heading in bold."""
    shown = Text(visible(heading), style="bold")
    for piece, strength in _pieces(text, weights):
        part = 0.8 * abs(strength)
        red, green, blue = (round(255 - part * (255 - full)) for full in _color(strength, signed))
        shown.append(visible(piece), style=f"not bold black on rgb({red},{green},{blue})" if part else "not bold")
    return shown


def _color(strength: float, signed: bool) -> tuple[int, int, int]:
    if not signed:
        return _PLAIN
    return _FOR if strength > 0 else _AGAINST


def _pieces(text: str, weights: Weights) -> Iterator[tuple[str, float]]:
    """The text in pieces, each with its weight as a part of the largest."""
    largest = max((abs(weight) for _, _, weight in weights), default=0.0) or 1.0
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
