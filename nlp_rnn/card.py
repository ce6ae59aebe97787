"""The model card: what a model is, what it was trained on, how well it does."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.display.console import visible

if TYPE_CHECKING:
    from nlp_rnn.run import AnyRun

_CALIBRATED = (
    " Probabilities are calibrated on the validation records; what is measured of them there is measured with each "
    "half calibrated on the other."
)


def model_card(run: AnyRun) -> str:
    """What the model is, what it was trained on, how well it does, in Markdown."""
    report = run.report
    lines = [
        f"# {run.task.name}: {_escaped(Path(run.path or '').name)}",
        "",
        _origin(report),
        "",
    ]
    if before := report.get("metrics_before"):
        lines += ["Its weights have been changed since, outside of the training that this describes.", ""]
        lines += _table({f"{name}, before that": values for name, values in before.items()})
    lines += _table(report["metrics"])
    lines += [_escaped(remark) for remark in run.task.remarks(run.metrics)]
    if "labels" in run.assets:
        lines += ["", f"Labels: {', '.join(map(_escaped, run.assets.labels))}."]
    lines += [
        "",
        "The model has learned only from these records: expect worse results on other kinds of data, and expect it to "
        "repeat their biases." + (_CALIBRATED if hasattr(run.model, "calibrate") else ""),
        "",
    ]
    return "\n".join(lines)


def _origin(report: Mapping[str, Any]) -> str:
    """How the model came about, in a sentence."""
    package, parameters = f"nlp-rnn {report['versions']['nlp-rnn']}", f"{report['parameters']:,} parameters"
    records = (
        f"on {report['records']['train']:,} records (fingerprint `{report['fingerprint']}`) in "
        f"{report['training_seconds'] / 60:.1f} minutes on {report['device']}"
    )
    if members := report.get("members"):
        names = ", ".join(_escaped(Path(member["run"]).name) for member in members)
        return f"The mean of {len(members)} models ({names}), trained by {package} {records} in all; {parameters}."
    recipe, best = _escaped(report["recipe"]), f"best epoch {report['best_epoch']} of {report['epochs']}"
    sentence = f"Trained by {package} with the recipe {recipe} {records}; {parameters}, {best}."
    if teacher := report.get("teacher"):
        name, share = _escaped(Path(teacher["run"]).name), f"{teacher['weight']:.0%}"
        sentence += f" It learned from another run too, {name}, whose answers counted {share} of the loss."
    return sentence


def _table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The metrics of each split side by side."""
    if not results:
        return []
    first = results.get("test") or next(iter(results.values()))
    rows = [
        f"| {_escaped(name)} | {' | '.join(shown(values.get(name)) for values in results.values())} |"
        for name in scalars(first)
    ]
    return ["| | " + " | ".join(results) + " |", "|---|" + "---|" * len(results), *rows, ""]


def _escaped(text: str) -> str:
    """A text that Markdown, and HTML in it, shows as it is, in one line."""
    shown = html.escape(visible(" ".join(text.split())), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", shown)


def scalars(metrics: Mapping[str, object]) -> list[str]:
    """The names of the metrics that are numbers, or for which there is none."""
    return [key for key, value in metrics.items() if value is None or isinstance(value, (int, float))]


def shown(value: Any) -> str:
    """A metric as tables show it."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
