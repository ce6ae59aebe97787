"""Where a model looked: a map of attention, for the terminal, as a figure and in notebooks."""

from __future__ import annotations

import html
from collections.abc import Sequence

from matplotlib.figure import Figure

from nlp_rnn.display.console import visible

_SHADES = " ░▒▓█"


def attention_text(source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """A map as plain text: a row for each target token, a column for each source token, darker where more weight is.

    Args:
        source: the tokens attended to, written from top to bottom over their columns.
        target: the tokens that attend.
        weights: `[target, source]`, each row adds up to 1.

    Example:

    >>> print(attention_text(["a", "cat"], ["eine", "Katze"], [[0.9, 0.1], [0.2, 0.8]]))
            c
            a
          a t
     eine ██
    Katze ░░██
    """
    edge = max((len(token) for token in target), default=0)
    height = max((len(token) for token in source), default=0)
    columns = [token.rjust(height) for token in source]
    lines = [" " * (edge + 1) + " ".join(column[line] for column in columns) for line in range(height)]
    for token, row in zip(target, weights, strict=True):
        shades = (_SHADES[min(round(float(weight) * len(_SHADES)), len(_SHADES) - 1)] for weight in row)
        lines.append(f"{token.rjust(edge)} " + "".join(shade * 2 for shade in shades))
    return "\n".join(line.rstrip() for line in lines)


def attention_html(source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """The same as a table of HTML, in which a cell says its weight when it is pointed at."""
    head = "".join(f'<th style="writing-mode: vertical-rl">{html.escape(token)}</th>' for token in source)
    rows = [f"<tr><th></th>{head}</tr>"]
    for token, row in zip(target, weights, strict=True):
        cells = "".join(
            f'<td title="{weight:.2f}" style="background: rgba(255, 140, 0, {weight:.2f})"></td>' for weight in row
        )
        rows.append(f"<tr><th>{html.escape(token)}</th>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def plot_attention(source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> Figure:
    """The same as a figure.

    Args:
        source: the tokens attended to, from left to right.
        target: the tokens that attend, from top to bottom.
        weights: `[target, source]`.
    """
    size = (1.5 + 0.3 * len(source), 1.2 + 0.3 * len(target))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    if source and target:  # else there is nothing to draw
        axes.imshow(weights, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
    below, beside = [visible(token) for token in source], [visible(token) for token in target]
    axes.set_xticks(range(len(source)), below, rotation=60, ha="left", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(target)), beside, parse_math=False)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure
