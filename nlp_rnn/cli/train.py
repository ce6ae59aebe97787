"""`train`: data → run directory."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any

import tyro

from nlp_rnn.cli.options import parse, peek, rename
from nlp_rnn.errors import InputError, Interrupted


@dataclass(frozen=True)
class TrainOptions:
    """Options of the verb itself."""

    recipe: str = "starter"
    """Named settings to begin with; `nlp-rnn recipes` lists them."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of settings; they win over the recipe's, and options win over both."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The run directory; by default runs/<recipe>, then -2, -3."""
    resume: Annotated[str | None, tyro.conf.arg(metavar="RUN")] = None
    """Continue this interrupted run; it ends as if it had never stopped."""
    json: bool = False
    """Print the final metrics as one JSON object."""


def run(task: str, arguments: list[str]) -> int:
    """Trains, shows the results and tries the model on a few held-out records."""
    from nlp_rnn import api
    from nlp_rnn.cli import program

    arguments = rename(arguments, "--data", "--data.train")
    names = peek(arguments, recipe="starter", config=None, out=None, resume=None)
    settings = api.settings_for(task, names["recipe"] or "starter", names["config"])
    kind = make_dataclass(
        "Options",
        [("settings", Annotated[type(settings), tyro.conf.arg(name="")], field(default=settings))],
        bases=(TrainOptions,),
        frozen=True,
    )
    options: Any = parse(kind, arguments, program(task, "train"), f"Trains a model for the task {task}.")
    if options.resume:
        others = options.config or options.out or options.recipe != TrainOptions.recipe
        if others or options.settings != settings:
            raise InputError("--resume takes no other settings: a resumed run keeps those it began with.")
    from nlp_rnn.training.devices import is_chief

    try:
        if options.resume:
            finished = api.resume(options.resume, task)
        else:
            finished = api.train_with(task, options.settings, options.out, options.recipe)
    except Interrupted as interrupted:
        where = options.resume or str(interrupted)
        raise Interrupted(
            f"Interrupted; a checkpoint is saved. Go on with: {program(task, 'train')} --resume {where}"
        ) from None
    if is_chief():
        _show(finished, options.json, task)
    return 0


def _show(finished: Any, as_json: bool, task: str) -> None:
    from nlp_rnn.cli import program
    from nlp_rnn.report import flat, result_table
    from nlp_rnn.training.progress import console

    report = finished.report
    console.print(result_table(report["metrics"]))
    facts = [
        f"best epoch {report['best_epoch']} of {report['epochs']}",
        f"{report['training_seconds']:.0f} s of training",
        f"{report['tokens_per_second']:,.0f} tokens/s",
        f"peak memory {report['peak_memory_bytes'] / 1e9:.1f} GB",
        str(finished.path),
    ]
    console.print(" · ".join(facts))
    if as_json:
        print(json.dumps({**flat(finished.metrics), "run": str(finished.path)}))
        return
    records = finished.held_out(5)
    if records is not None and sys.stdout is not None:
        print("\nHeld-out records, which the model was not trained on:")
        for record, prediction in zip(records, finished.predict(records), strict=True):
            print(finished.task.show(prediction, record))
    console.print(f"\nTry your own: {program(task, 'predict')} {finished.path}")
