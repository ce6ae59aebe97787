"""An inspection as text, as pictures, and as one page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nlp_rnn.display.page import as_document, embedded, table
from nlp_rnn.metrics.inspection import Inspection, calibration_error, readings

_LONGEST = 200


def as_text(found: Inspection) -> str:
    """What it means, and the tables, for a terminal."""
    lines = [f"Looked at {found.records}.", "", *readings(found), ""]
    for heading, rows in tables(found):
        lines += _aligned(heading, rows)
    if found.hardest:
        lines += ["Most important errors:", *(f"  {line}" for line in found.hardest[:5]), ""]
    for doubt in (found.doubts.most if found.doubts else [])[:10]:
        text = " ".join(doubt.text.split())[:90]
        lines.append(f"  line {doubt.line}: {doubt.label} (p {doubt.probability:.1%}), likely {doubt.likely}: {text}")
    return "\n".join(lines).rstrip()


def _aligned(heading: str, rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"{heading}:", *(f"  {line}" for line in lines), ""]


def tables(found: Inspection) -> list[tuple[str, list[list[str]]]]:
    """Headings and rows, of which the first is that of the columns."""
    made = []
    if found.memory:
        rows = [
            [name, f"{found.reach[name][-1]:.2%}", "all" if steps is None else f"{steps:,}"]
            for name, steps in found.memory.items()
        ]
        head = ["derivative by", f"left after {len(next(iter(found.reach.values()))) - 1:,} {found.unit}", "below 1 %"]
        made.append(("Derivative of the last output by what was read before", [head, *rows]))
    if found.gates:
        rows = [[g.layer, g.gate, f"{g.mean:.2f}", f"{g.shut:.0%}", f"{g.open:.0%}"] for g in found.gates]
        made.append(("Gates", [["layer", "gate", "mean", "shut (< 0.05)", "open (> 0.95)"], *rows]))
    if found.units:
        rows = [[u.layer, f"{u.units:,}", f"{u.dead:.0%}"] for u in found.units]
        head = ["layer", "units", "never change"]
        if any(u.saturated is not None for u in found.units):
            head.append("values beyond 0.95")
            rows = [
                [*row, "" if u.saturated is None else f"{u.saturated:.0%}"]
                for row, u in zip(rows, found.units, strict=True)
            ]
        made.append(("Units", [head, *rows]))
    if found.heads:
        rows = [[h.layer, f"{h.head}", f"{h.entropy:.0%}", f"{h.distance:.1f}", f"{h.own:.0%}"] for h in found.heads]
        head = ["layer", "head", "entropy, of that of equal weights", f"{found.unit} away", "on the step itself"]
        made.append(("What the heads look at, on average", [head, *rows]))
    if found.attention:
        row = [f"{np.mean(found.attention):.0%}", f"{np.min(found.attention):.0%}"]
        made.append(("Entropy of the attention, of that of equal weights", [["mean", "sharpest"], row]))
    if found.needed:
        rows = [[f"{count:,}", f"{value:.4g}"] for count, value in found.needed]
        made.append((f"Quality by how many {found.unit} are read", [[f"last {found.unit}", found.metric], *rows]))
    if found.neighbours:
        rows = [
            [word, "  ".join(f"{other} {cosine:.2f}" for other, cosine in others)]
            for word, others in found.neighbours.items()
        ]
        made.append(("Nearest vectors (cosine)", [["token", "neighbours"], *rows]))
    return made


def plot_reach(found: Inspection) -> Figure:
    """Derivatives by distance, a line for each level."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, reach in found.reach.items():
        axes.plot(np.maximum(reach, 1e-8), label=name)
    axes.axhline(0.01, color="#999", linestyle=":")
    axes.set(yscale="log", xlabel=f"{found.unit} back", ylabel="derivative of the last output, relative")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def plot_states(found: Inspection) -> Figure:
    """The states of the last layer over one input, units across, steps along."""
    states = np.asarray(found.states)[:_LONGEST]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    limit = max(float(np.abs(states).max()), 1e-9)
    image = axes.imshow(states.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    steps = found.steps[:_LONGEST]
    if steps and len(steps) <= 40:
        axes.set_xticks(range(len(steps)), [step.strip() or "␣" for step in steps], rotation=60, ha="right")
        for label in axes.get_xticklabels():
            label.set_parse_math(False)
    axes.set(xlabel="" if steps and len(steps) <= 40 else found.unit, ylabel="unit")
    figure.colorbar(image)
    return figure


def plot_heads(found: Inspection) -> Figure:
    """The weights of each head over one input: a row of pictures for each layer; what looks down, what is seen
    across."""
    layers = list(dict.fromkeys(name.split(",")[0] for name in found.attention_by_head))
    heads = len(found.attention_by_head) // len(layers)
    figure = Figure(figsize=(min(2.4 * heads, 14), 2.4 * len(layers)), layout="constrained")
    grid = figure.subplots(len(layers), heads, squeeze=False)
    for axes, (name, weights) in zip(grid.flat, found.attention_by_head.items(), strict=True):
        axes.imshow(weights, cmap="Blues", vmin=0, interpolation="nearest")
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=6)
        steps = found.steps[: len(weights)]
        if steps and len(steps) <= 25:
            names = [step.strip() or "␣" for step in steps]
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
            for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
                label.set_parse_math(False)
    return figure


def plot_calibration(found: Inspection) -> Figure:
    """The part that is right by confidence."""
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    sure, right, counts = (np.array(part) for part in zip(*found.calibration, strict=True))
    axes.plot([0, 1], [0, 1], ":", color="#999")
    axes.plot(sure, right, color="#6da3ce")
    axes.scatter(sure, right, s=20 + 180 * counts / counts.max(), color="#6da3ce")
    axes.set(xlabel="confidence", ylabel="part that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    return figure


def as_page(found: Inspection) -> str:
    """One HTML page."""
    body = [f'<p class="advice">{html.escape(" ".join(readings(found)))}</p>']
    body += [f'<p class="note">Looked at {html.escape(found.records)}.</p>']
    pictures = {
        "How far back the last output still depends": plot_reach(found) if found.reach else None,
        "States of the last layer over one input": plot_states(found) if found.states else None,
        "What the heads look at, in that input: from the step of the row to that of the column": plot_heads(found)
        if found.attention_by_head
        else None,
        f"Calibration: off by {calibration_error(found.calibration):.1%}": plot_calibration(found)
        if found.calibration
        else None,
    }
    for heading, figure in pictures.items():
        if figure is not None:
            body += [f"<h2>{html.escape(heading)}</h2>", embedded(figure, heading)]
    for heading, rows in tables(found):
        body += [f"<h2>{html.escape(heading)}</h2>", table(rows)]
    if found.hardest:
        body += ["<h2>Most important errors</h2><ul>"]
        body += [*(f"<li>{html.escape(line)}</li>" for line in found.hardest), "</ul>"]
    if found.doubts is not None:
        rows = [[str(d.line), d.label, f"{d.probability:.1%}", d.likely, d.text] for d in found.doubts.most]
        heading = "Labels of the training data that are likely wrong"
        body += [f"<h2>{heading}</h2>", table([["line", "label", "its probability", "likely", "text"], *rows])]
    return as_document(f"Inside a run: {found.task}, {found.cell}", "\n".join(body))
