"""A comparison of models as a table, a picture and a page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from nlp_rnn.display.page import as_document, embedded, table
from nlp_rnn.metrics.comparison import Candidate, Comparison, advice


def headings(comparison: Comparison) -> list[str]:
    """Those of the table."""
    return [
        "model",
        comparison.metric,
        *(["±"] if _has_spread(comparison) else []),
        "short / middle / long",
        *([f"with {' / '.join(f'{count:,}' for count in counts)} records"] if (counts := _counts(comparison)) else []),
        "s to reach the weakest's best",
        f"{comparison.unit}/s in training",
        "records/s in prediction",
        "memory, MB",
        "file, MB",
        "weights",
        "units",
        "epochs",
        "s of training",
    ]


def _has_spread(comparison: Comparison) -> bool:
    return max(len(one.qualities) for one in comparison.candidates) > 1


def _counts(comparison: Comparison) -> list[int]:
    """The numbers of training records with which all models were trained too."""
    return [count for count, _ in comparison.candidates[0].by_labels]


def rows(comparison: Comparison) -> list[list[str]]:
    """The table's cells, the best model first; `=` marks those that chance cannot tell from the best."""
    tied = comparison.ties()
    has_spread = _has_spread(comparison)
    found = [_row(one, "=" if one in tied and len(tied) > 1 else "", has_spread) for one in comparison.ranked()]
    blank = [""] * (len(headings(comparison)) - 2)
    return found + [[f"({name})", f"{value:.4g}", *blank] for name, value in comparison.baselines.items()]


def _row(one: Candidate, mark: str, has_spread: bool) -> list[str]:
    return [
        one.name,
        f"{one.quality:.4g}{mark}",
        *([f"{one.spread:.2g}"] if has_spread else []),
        " / ".join(f"{value:.4g}" for value in one.by_length),
        *([" / ".join(f"{value:.4g}" for _, value in one.by_labels)] if one.by_labels else []),
        "" if one.seconds_to_reach is None else f"{one.seconds_to_reach:,.0f}",
        f"{one.training_speed:,.0f}",
        f"{one.prediction_speed:,.0f}",
        f"{one.memory / 1e6:,.0f}",
        f"{one.size / 1e6:,.1f}",
        f"{one.parameters:,}",
        f"{one.units:,}",
        f"{one.epochs:,}",
        f"{one.seconds:,.1f}",
    ]


def as_text(comparison: Comparison) -> str:
    """The table and the advice for a terminal: a line for each fact, a column for each model."""
    columns = [headings(comparison), *rows(comparison)]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return "\n".join([f"Measured on {_measured_on(comparison)}.", "", *lines, "", advice(comparison)])


def _measured_on(comparison: Comparison) -> str:
    what = f"{comparison.records:,} {comparison.split} records"
    return what if comparison.split == "test" else f"{what}, which chose the best epochs, for want of test data"


def plot_curves(curves: Mapping[str, Sequence[tuple[float, float]]], metric: str) -> Figure:
    """The validation metric against seconds of training; `curves`: for each model (seconds, value) of each epoch."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel(f"validation {metric}")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_qualities(comparison: Comparison) -> Figure:
    """The metric of each seed, and the mean, by model."""
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(comparison.candidates)), layout="constrained")
    axes = figure.subplots()
    ranked = comparison.ranked()[::-1]
    for place, one in enumerate(ranked):
        axes.plot(one.qualities, [place] * len(one.qualities), "o", color="#6da3ce")
        axes.plot([one.quality], [place], "|", color="#222", markersize=18)
    axes.set_yticks(range(len(ranked)), [one.name for one in ranked])
    axes.set_xlabel(comparison.metric + (" (less is better)" if comparison.lower_is_better else ""))
    axes.margins(0.08, 0.4 / len(ranked))
    axes.grid(axis="x", alpha=0.3)
    return figure


def plot_labels(comparison: Comparison) -> Figure:
    """The metric by the number of training records; all of them stand at the right."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    counts = [f"{count:,}" for count in _counts(comparison)]
    for one in comparison.ranked():
        axes.plot([*counts, "all"], [*(value for _, value in one.by_labels), one.quality], marker="o", label=one.name)
    axes.set_xlabel("training records")
    axes.set_ylabel(comparison.metric)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def as_page(comparison: Comparison, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """One HTML page that needs no other file."""
    tied = {one.name for one in comparison.ties()}
    found = rows(comparison)
    best = [place for place, row in enumerate(found, 1) if row[0] in tied]
    pictures = [
        embedded(plot_qualities(comparison), "The metric of each seed"),
        embedded(plot_curves(curves, comparison.metric), "Learning curves"),
        *([embedded(plot_labels(comparison), "How few labels are needed")] if _counts(comparison) else []),
    ]
    seeds = len(comparison.candidates[0].qualities)
    trainings = "one training" if seeds == 1 else f"{seeds} trainings"
    body = f"""<p class="advice">{html.escape(advice(comparison))}</p>
{table([headings(comparison), *found], best)}
<p class="note">Measured on {_measured_on(comparison)}. About equally many weights, {comparison.budget:,.0f} s and
{trainings} each. Where several models are green and marked =, their differences are no more than chance brings about
(a test over trainings and parts of the data, 95 %).</p>
{"".join(pictures)}"""
    return as_document(f"Models compared: {comparison.task}", body)
