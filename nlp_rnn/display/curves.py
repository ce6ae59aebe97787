"""Learning curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nlp_rnn.display.console import visible
from nlp_rnn.display.figures import save_figure


def plot_curves(history: Sequence[dict[str, object]]) -> Figure:
    """Loss, and the metric that decides, by epoch: of training and of validation.

    Args:
        history: the rows of `metrics.jsonl`.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    losses = [("loss", "training"), ("val_cross_entropy", "validation")]
    for name, label in losses:
        if history and name in history[0]:
            left.plot(epochs, [row[name] for row in history], marker="o", markersize=3, label=label)
    left.set(xlabel="epoch", ylabel="loss (nats)")
    decisive = next((k.removeprefix("val_") for k in (history[0] if history else {}) if k.startswith("val_")), "")
    for name, label in ((decisive, "training"), (f"val_{decisive}", "validation")):
        if history and name in history[0]:
            right.plot(epochs, [row[name] for row in history], marker="o", markersize=3, label=label)
    right.set(xlabel="epoch", ylabel=decisive.replace("_", " "))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Counts of true (rows) against predicted (columns) labels."""
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 1.6 + 0.7 * len(labels)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks, names = range(len(labels)), [visible(label) for label in labels]
    axes.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="true")
    axes.set_xticklabels(names, rotation=45 if len(labels) > 4 else 0, parse_math=False)
    axes.set_yticklabels(names, parse_math=False)
    if len(labels) <= 20:
        for row in ticks:
            for column in ticks:
                colour = "white" if share[row, column] > 0.6 else "black"
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour)
    return figure


def save_curves(history: Sequence[dict[str, object]], path: Path) -> None:
    """Writes `plot_curves` as PNG."""
    save_figure(plot_curves(history), path)


def save_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Writes `plot_confusion` as PNG."""
    save_figure(plot_confusion(confusion, labels), path)
