"""What a finished run says about itself: report.json, card.md, plots, and the table on the screen."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rich.table import Table

from nlp_rnn.card import model_card, scalars, shown
from nlp_rnn.display.curves import save_confusion, save_curves
from nlp_rnn.machine import peak_memory
from nlp_rnn.saved import weights_digest
from nlp_rnn.training import checkpoints
from nlp_rnn.training.devices import describe_device, describe_kernels

if TYPE_CHECKING:
    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import Metrics
    from nlp_rnn.training.fit import Fitted


def write_report(
    run: AnyRun,
    splits: Mapping[str, Records],
    batches: EpochSource,
    fitted: Fitted,
    results: Mapping[str, Metrics],
    fingerprints: Mapping[str, str],
    recipe: str,
    seconds: float,
) -> None:
    """Writes `report.json`, `card.md` and `plots/` into the run directory, and puts the report into the run.

    Args:
        run: the finished run.
        splits: the records by the name of the split.
        batches: those that it was trained on.
        fitted: how training went.
        results: the metrics of each split that was measured.
        fingerprints: of the training data and the vocabulary.
        recipe: the settings that it began with.
        seconds: that all of it took.
    """
    assert run.path is not None
    speed = f"{run.task.unit}_per_second"
    run.report = {
        "task": run.task.name,
        "recipe": recipe,
        "metrics": results,
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "parameters": run.model.count_params(),
        "records": {name: len(records) for name, records in splits.items()},
        "fingerprint": fingerprints["training data"],
        "assets": fingerprints["vocabulary"],
        "padding": round(batches.padding, 4),
        "training_seconds": round(fitted.seconds, 2),
        "seconds": round(seconds, 2),
        speed: max((row[speed] for row in fitted.history), default=0.0),
        "peak_memory_bytes": peak_memory(),
        "device": describe_device(),
        "kernels": describe_kernels(run.model),
        "versions": _versions(),
        "command": " ".join(sys.argv),
        "weights": weights_digest(run.model),
        **_teacher(run, fingerprints),
    }
    _write_plots(run, fitted)
    checkpoints.write_bytes(run.path / "card.md", model_card(run).encode())
    content = json.dumps(run.report, indent=1) + "\n"
    checkpoints.write_bytes(run.path / "report.json", content.encode())  # last: it says that the run is finished


def _teacher(run: AnyRun, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """The run that it learned from beside the data, if there was one."""
    if "teacher" not in fingerprints:
        return {}
    train = run.config.train
    about = {"run": train.teacher, "weights": fingerprints["teacher"], "weight": train.teacher_weight}
    return {"teacher": {**about, "temperature": train.teacher_temperature}}


def _write_plots(run: AnyRun, fitted: Fitted) -> None:
    assert run.path is not None
    plots = run.path / "plots"
    plots.mkdir(exist_ok=True)
    save_curves(fitted.history, plots / "curves.png")
    final = run.metrics
    if "confusion" in final:
        save_confusion(final["confusion"], final.get("confusion_labels") or run.assets.labels, plots / "confusion.png")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("nlp-rnn", "tensorflow", "keras", "tensorflow-text", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def result_table(results: dict[str, dict[str, Any]]) -> Table:
    """The metrics of each split side by side, then those of each label."""
    table = Table(title="Results", title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    every = {key: value for values in reversed(results.values()) for key, value in values.items()}
    first = {**next(iter(results.values())), **every}  # in the order of the first
    for key in scalars(first):
        table.add_row(key, *(shown(values.get(key)) for values in results.values()))
    for key in (k for k, v in first.items() if isinstance(v, dict)):
        for label in first[key]:
            table.add_row(f"{key} · {label}", *(shown(values.get(key, {}).get(label)) for values in results.values()))
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
