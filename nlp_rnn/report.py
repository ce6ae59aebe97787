"""What a finished run says about itself: report.json, card.md, plots, and the table on the screen."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from nlp_rnn.plots.curves import save_confusion, save_curves
from nlp_rnn.training import checkpoints
from nlp_rnn.training.devices import describe_device, describe_kernels, peak_memory

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import Run
    from nlp_rnn.training.fit import Fitted


def write_report(
    run: Run,
    splits: Mapping[str, Records],
    batches: Batches,
    fitted: Fitted,
    results: Mapping[str, dict[str, Any]],
    fingerprints: dict[str, str],
    recipe: str,
    seconds: float,
) -> None:
    """Writes `report.json`, `card.md` and `plots/` into the run directory, and puts the report into the run."""
    assert run.path is not None
    rates = [row["tokens_per_second"] for row in fitted.history]
    run.report = {
        "task": run.task.name,
        "recipe": recipe,
        "metrics": results,
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "parameters": run.model.count_params(),
        "records": {name: len(records) for name, records in splits.items()},
        "fingerprint": fingerprints["training data"],
        "padding": round(batches.padding, 4),
        "training_seconds": round(fitted.seconds, 2),
        "seconds": round(seconds, 2),
        "tokens_per_second": max(rates, default=0.0),
        "peak_memory_bytes": peak_memory(),
        "device": describe_device(),
        "kernels": describe_kernels(run.model),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("nlp-rnn", "tensorflow", "keras", "tensorflow-text", "numpy")},
        },
        "command": " ".join(sys.argv),
    }
    content = json.dumps(run.report, indent=1) + "\n"
    checkpoints.write_bytes(run.path / "report.json", content.encode())
    checkpoints.write_bytes(run.path / "card.md", model_card(run).encode())
    plots = run.path / "plots"
    plots.mkdir(exist_ok=True)
    save_curves(fitted.history, plots / "curves.png")
    final = run.metrics
    if "confusion" in final:
        labels = final.get("confusion_labels", run.assets.labels)
        save_confusion(final["confusion"], labels, plots / "confusion.png")


def model_card(run: Run) -> str:
    """What the model is, what it was trained on, how well it does, in Markdown."""
    report = run.report
    lines = [
        f"# {run.task.name}: {Path(run.path or '').name}",
        "",
        f"Trained by nlp-rnn {report['versions']['nlp-rnn']} with the recipe `{report['recipe']}` on "
        f"{report['records']['train']:,} records (fingerprint `{report['fingerprint']}`) in "
        f"{report['training_seconds'] / 60:.1f} minutes on {report['device']}; "
        f"{report['parameters']:,} parameters, best epoch {report['best_epoch']} of {report['epochs']}.",
        "",
        "| | " + " | ".join(report["metrics"]) + " |",
        "|---|" + "---|" * len(report["metrics"]),
    ]
    for name in _scalars(run.metrics):
        values = " | ".join(_shown(results.get(name)) for results in report["metrics"].values())
        lines.append(f"| {name} | {values} |")
    if run.assets.labels:
        lines += ["", f"Labels: {', '.join(run.assets.labels)}."]
    lines += [
        "",
        "The model has learned from these records alone: expect it to do worse on texts of another kind, and to "
        "repeat what is one-sided in them."
        + (" Probabilities are calibrated on the validation records." if hasattr(run.model, "calibrate") else ""),
        "",
    ]
    return "\n".join(lines)


def result_table(results: dict[str, dict[str, Any]]) -> Table:
    """The metrics of each split side by side, then those of each label."""
    table = Table(title="Results", title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    first = next(iter(results.values()))
    for key in _scalars(first):
        table.add_row(key, *(_shown(values.get(key)) for values in results.values()))
    for key in (k for k, v in first.items() if isinstance(v, dict)):
        for label in first[key]:
            table.add_row(f"{key} · {label}", *(_shown(values[key].get(label)) for values in results.values()))
    return table


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without lists, those of each label beside the others.

    Example:

    >>> flat({"accuracy": 0.5, "recall": {"good": 1.0}, "confusion": [[1, 0], [1, 0]]})
    {'accuracy': 0.5, 'recall.good': 1.0}
    """
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= {f"{name}.{label}": figure for label, figure in value.items()}
        elif not isinstance(value, list):
            found[name] = value
    return found


def _scalars(metrics: dict[str, Any]) -> list[str]:
    return [key for key, value in metrics.items() if isinstance(value, (int, float))]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
