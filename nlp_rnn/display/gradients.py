"""How far back a language model learns and remembers, drawn; `nlp_rnn.analysis.gradients` measures it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def plot_gradient_reach(reaches: Mapping[str, np.ndarray]) -> Figure:
    """Gradients by distance, a line for each model.

    Args:
        reaches: by name what `gradient_reach` returns.
    """
    figure, axes = _axes("steps back", "gradient norm, relative to the last step")
    for name, reach in reaches.items():
        axes.plot(reach / reach[0], label=name)
    axes.set(yscale="log")
    _add_legend(axes)
    return figure


def plot_loss_by_place(losses: Mapping[str, np.ndarray]) -> Figure:
    """Losses by place in the window, a line for each model.

    Args:
        losses: by name what `loss_by_place` returns.
    """
    figure, axes = _axes("tokens read before", "mean loss (nats)")
    for name, loss in losses.items():
        axes.plot(loss, label=name)
    _add_legend(axes)
    return figure


def _add_legend(axes: Axes) -> None:
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)  # names of models are text


def _axes(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    return figure, axes
