"""A sweep as a table, pictures and a page."""

from __future__ import annotations

import html

import numpy as np
from matplotlib.figure import Figure

from nlp_rnn.display.page import as_document, embedded, table
from nlp_rnn.metrics.trials import Sweep, Trial, conclusions, is_number

_SHOWN = 10


def as_text(sweep: Sweep) -> str:
    """The best trials, what matters, and a warning, for a terminal."""
    table = [_headings(sweep), *(_row(sweep, trial) for trial in sweep.ranked()[:_SHOWN])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, "", *conclusions(sweep)])


def _headings(sweep: Sweep) -> list[str]:
    return ["trial", sweep.metric, *sweep.names(), "epochs", "s", "state"]


def _row(sweep: Sweep, trial: Trial) -> list[str]:
    settings = [_cell(trial.settings.get(name, "")) for name in sweep.names()]
    value = "" if trial.value is None else f"{trial.value:.4g}"
    seconds = "" if trial.seconds is None else f"{trial.seconds:,.0f}"
    return [str(trial.number), value, *settings, str(trial.epochs), seconds, trial.state]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plot_trials(sweep: Sweep) -> Figure:
    """The metric of each trial in their order, and the best so far."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for state, color in (("finished", "#2b6ca3"), ("pruned", "#bbb")):
        some = [trial for trial in sweep.trials if trial.state == state and trial.value is not None]
        axes.plot(
            [t.number for t in some], np.array([t.value for t in some]), "o", color=color, markersize=4, label=state
        )
    finished = [trial for trial in sweep.trials if trial.state == "finished" and trial.value is not None]
    best = (np.minimum if sweep.lower_is_better else np.maximum).accumulate(np.array([t.value for t in finished]))
    axes.step([t.number for t in finished], best, where="post", color="#c55", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"validation {sweep.metric}")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_settings(sweep: Sweep) -> Figure:
    """The metric of the finished trials against each setting."""
    names = sweep.names()
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).flatten()
    for axes, name in zip(panels, names, strict=False):
        some = [trial for trial in sweep.ranked() if name in trial.settings]
        values = [trial.settings[name] for trial in some]
        numeric = all(map(is_number, values))
        shown = values if numeric else [str(value) for value in values]
        axes.plot(shown, np.array([trial.value for trial in some]), "o", color="#2b6ca3", markersize=4, alpha=0.7)
        if numeric and min(values) > 0 and max(values) > 30 * min(values):
            axes.set_xscale("log")
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    panels[0].set_ylabel(sweep.metric)
    return figure


def as_page(sweep: Sweep) -> str:
    """One HTML page that needs no other file."""
    ranked = sweep.ranked()
    others = [trial for trial in sweep.trials if trial not in ranked]
    said = "".join(f'<p class="advice">{html.escape(sentence)}</p>' for sentence in conclusions(sweep))
    pictures = ""
    if ranked:
        pictures = embedded(plot_trials(sweep), "The metric of each trial")
        pictures += embedded(plot_settings(sweep), "The metric against each setting")
    found = [_headings(sweep), *(_row(sweep, trial) for trial in [*ranked, *others])]
    shown = table(found, best=[1] if ranked else [])
    return as_document(f"{sweep.task}: {len(sweep.trials)} trials", f"{said}\n{pictures}\n{shown}")
