"""`train`: data → run directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, make_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.options import parse, peek, rename, rename_settings
from nlp_rnn.config.sections import Settings, refuse_idle
from nlp_rnn.config.values import check_ranges, former_names, override, read_yaml, settings_of
from nlp_rnn.errors import InputError, Interrupted
from nlp_rnn.registry import get_task

if TYPE_CHECKING:
    from nlp_rnn.run import AnyRun


@dataclass(frozen=True)
class TrainOptions:
    """Options of the verb itself."""

    recipe: str = "starter"
    """Named settings to begin with; `nlp-rnn recipes` lists them."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of settings. They override the recipe's; options override both."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The run directory; by default runs/<recipe>, then -2, -3."""
    resume: Annotated[str | None, tyro.conf.arg(metavar="RUN")] = None
    """Continue this interrupted run; it ends as if it had never stopped."""
    json: bool = False
    """Print the final metrics as one JSON object."""


def run(task: str, arguments: list[str]) -> int:
    """Trains, shows the results and tries the model on a few held-out records."""
    from nlp_rnn import trainer
    from nlp_rnn.cli import program

    arguments, settings = settings_before(task, arguments)
    about = f"Trains a model for the task {task}."
    options = with_settings(TrainOptions, settings, arguments, task, "train", about)
    check_ranges(options.settings)
    refuse_idle(options.settings, () if options.resume else given_names(arguments))
    moved = _moved_data(options, settings) if options.resume else None
    from nlp_rnn.training.devices import is_chief

    try:
        if options.resume:
            finished = trainer.resume(options.resume, task, moved, options.settings.train.teacher)
        else:
            finished = trainer.train_with(task, options.settings, options.out, options.recipe)
    except Interrupted as interrupted:
        where = options.resume or str(interrupted)
        raise Interrupted(
            f"Interrupted; a checkpoint is saved. Continue with: {program(task, 'train')} --resume {where}"
        ) from None
    if is_chief():
        _show(finished, options.json, task)
    return 0


def settings_before(task: str, arguments: list[str]) -> tuple[list[str], Settings]:
    """The arguments with settings under the names that they have today, and the settings that they change: those of
    `--recipe` and `--config`."""
    from nlp_rnn import trainer

    begins = dict.fromkeys(("--init-from", "--init_from"), "--train.init_from")
    arguments = rename(arguments, {"--data": "--data.train", **begins})
    names = peek(arguments, recipe="starter", config=None, out=None, resume=None)
    settings = trainer.settings_for(task, names["recipe"] or "starter", names["config"])
    return rename_settings(arguments, former_names(settings)), settings


def with_settings(kind: type, settings: Settings, arguments: list[str], task: str, verb: str, about: str) -> Any:
    """Parses the options of a verb, which get all settings as `settings`; where epochs or passes are given, the steps
    of a recipe do not count."""
    from nlp_rnn.cli import program

    if also := get_task(task).also:
        about += f" With a setting or a recipe of the task {also}, that one is meant: see nlp-rnn {verb} {also} --help."
    prog = program(task, verb)
    section = ("settings", Annotated[type(settings), tyro.conf.arg(name="")], field(default=settings))
    options: Any = parse(make_dataclass("Options", [section], bases=(kind,), frozen=True), arguments, prog, about)
    given = given_names(arguments)
    goes_on = bool(getattr(options, "resume", None))
    if given & {"train.epochs", "train.passes"} and "train.steps" not in given and not goes_on:
        options = replace(options, settings=override(options.settings, {"train": {"steps": 0}}))
    train = options.settings.train
    if (train.init_from or train.teacher) and not goes_on:
        from nlp_rnn.config.space import dotted
        from nlp_rnn.transfer import begun

        in_file = dotted(read_yaml(options.config)) if options.config else ()
        options = replace(options, settings=begun(options.settings, [*given, *in_file]))
    return options


def given_names(arguments: Iterable[str]) -> set[str]:
    """The names of the options among arguments, as settings have them."""
    return {argument.partition("=")[0].removeprefix("--").replace("-", "_") for argument in arguments}


def _moved_data(options: Any, defaults: Any) -> dict[str, Any]:
    """Where the data of a run to resume are now, if that is said; nothing else may be.

    Raises:
        InputError: something else is.
    """
    given = dict(zip(("--config", "--out"), (options.config, options.out), strict=True))
    others = [name for name, value in given.items() if value]
    others += ["--recipe"] if options.recipe != TrainOptions.recipe else []
    before = {setting.dotted: value for setting, value in settings_of(defaults)}
    now = {setting.dotted: value for setting, value in settings_of(options.settings)}
    changed = {name: value for name, value in now.items() if value != before[name]}
    moved = {name: changed.pop(f"data.{name}") for name in ("train", "validation", "test") if f"data.{name}" in changed}
    changed.pop("train.teacher", None)
    if others := [*others, *(f"--{name}" for name in changed)]:
        raise InputError(
            f"--resume takes no {others[0]}: a resumed run keeps the settings that it began with; only --data and "
            f"--train.teacher may say where its data and its teacher are now."
        )
    return moved


def _show(finished: AnyRun, as_json: bool, task: str) -> None:
    from nlp_rnn.cli import program
    from nlp_rnn.display.console import console, visible
    from nlp_rnn.report import flat, result_table

    report, unit = finished.report, finished.task.unit
    console.print(result_table(report["metrics"]))
    facts = [
        f"best epoch {report['best_epoch']} of {report['epochs']}",
        f"{report['training_seconds']:.0f} s of training",
        f"{report[f'{unit}_per_second']:,.0f} {unit}/s",
        f"peak memory {report['peak_memory_bytes'] / 1e9:.1f} GB",
        str(finished.path),
    ]
    console.print(" · ".join(facts))
    for remark in finished.task.remarks(finished.metrics):
        console.warn(remark)
    if as_json:
        print(json.dumps({**flat(finished.metrics), "run": str(finished.path)}))
        return
    records = finished.held_out(5)
    if records is not None and sys.stdout is not None:
        print("\nHeld-out records, which the model was not trained on:")
        for record, prediction in zip(records, finished.predict(records), strict=True):
            print(visible(finished.task.show(prediction, record)))
    console.print(f"\nTry your own: {program(task, 'predict')} {finished.path}")
