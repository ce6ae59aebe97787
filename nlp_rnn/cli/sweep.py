"""`sweep`: many trainings with other settings → the best of them, as settings for `train`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nlp_rnn.config.values import Count, check_ranges, seconds_of
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.sweeper import Plan, Sweep


@dataclass(frozen=True)
class SweepOptions:
    """Options of the verb itself."""

    space: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file that says what is varied: names of settings, each with a list of values, or with a range such as
    {low: 0.0001, high: 0.01, log: true}."""
    trials: Count = 20
    """Trainings in all, those of other processes and machines among them; failed ones do not count."""
    budget: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    """No further training begins after this time, such as 30m or 8h."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """By which rule trainings that look bad are ended early: worse than the median of the others at that epoch,
    Hyperband (Li et al. 2018), or none."""
    storage: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """A database that several machines share, such as postgresql://user:password@host/name; by default a file in the
    folder."""
    name: str = "sweep"
    """Of the study in the database."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where runs, best.yaml, sweep.json and sweep.html go; by default runs/sweep-<recipe>. A sweep that was
    interrupted goes on there."""
    recipe: str = "starter"
    """Named settings to begin with; `nlp-rnn recipes` lists them."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of settings. They override the recipe's; options override both."""
    json: bool = False
    """Print the sweep as one JSON object."""


def run(task: str, arguments: list[str]) -> int:
    """Trains with many settings, and writes the best ones."""
    from nlp_rnn.cli import program
    from nlp_rnn.cli.train import given_names, settings_before, with_settings
    from nlp_rnn.config.sections import refuse_idle
    from nlp_rnn.config.space import read_space

    arguments, settings = settings_before(task, arguments)
    about = f"Trains the task {task} with many settings and says which are best."
    options = with_settings(SweepOptions, settings, arguments, task, "sweep", about)
    check_ranges(options)
    if options.space is None:
        raise InputError(
            "Say what is varied with --space FILE, a YAML file such as:\n"
            "  train.learning_rate: {low: 0.0003, high: 0.01, log: true}\n  stack.units: [32, 64, 128]"
        )
    space = read_space(options.space, options.settings)
    if fixed := sorted(given_names(arguments) & set(space)):
        raise InputError(f"--{fixed[0]} is given, and {options.space} varies it: leave one of them out.")
    cells = getattr(space.get("stack.cell"), "values", ())
    refuse_idle(options.settings, [*given_names(arguments), *space], cells, space)
    from nlp_rnn.trainer import PATHS
    from nlp_rnn.transfer import decided

    if several := [name for name in space if name in PATHS]:
        raise InputError(f"{options.space}: {several[0]} names files, and cannot be varied.")
    if fixed := [name for name in space if name in decided(options.settings)]:
        raise InputError(f"{fixed[0]} is as in {options.settings.train.init_from}: leave it out of {options.space}.")
    seconds = None if options.budget is None else seconds_of(options.budget)
    from nlp_rnn.sweeper import Plan, prepared

    out = Path(options.out or f"runs/sweep-{options.recipe}")
    plan = Plan(task, options.settings, space, options.recipe, out, options.storage, options.name, options.pruner)
    plan = prepared(plan)
    found = _swept(plan, options.trials, seconds, program(task, "train"))
    _show(found, plan, options.json)
    return 0


def _swept(plan: Plan, trials: int, seconds: float | None, train: str) -> Sweep:
    """Sweeps; what is found stands in files after each trial."""
    from nlp_rnn.display.sweep import as_page
    from nlp_rnn.sweeper import sweep

    found = sweep(plan, trials, seconds, lambda sofar: _write(plan, _files(sofar, plan, train)))
    _write(plan, {**_files(found, plan, train), "sweep.html": as_page(found)})
    return found


def _files(found: Sweep, plan: Plan, train: str) -> dict[str, str]:
    """sweep.json and, where a trial is finished, best.yaml."""
    files = {"sweep.json": json.dumps(asdict(found), ensure_ascii=False, indent=1)}
    return {**files, "best.yaml": _best(found, plan, train)} if found.ranked() else files


def _write(plan: Plan, files: dict[str, str]) -> None:
    from nlp_rnn.paths import replacing

    for name, text in files.items():
        with replacing(plan.out / name) as place:
            place.write_text(text, encoding="utf-8")


def _best(found: Sweep, plan: Plan, train: str) -> str:
    """The settings of the best trial, as `--config` takes them."""
    import yaml

    from nlp_rnn.config.values import to_dict
    from nlp_rnn.sweeper import settings_of_trial

    best = found.ranked()[0]
    header = f"# {found.metric} {best.value:.6g} on the validation data: the best of {len(found.trials)} trials "
    header += f"(trial {best.number}).\n# {train} --config {plan.out / 'best.yaml'}\n"
    settings = to_dict(settings_of_trial(plan, best.settings))
    return header + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _show(found: Sweep, plan: Plan, as_json: bool) -> None:
    from nlp_rnn.display.sweep import as_text

    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return
    print(as_text(found))
    for name in ("best.yaml", "sweep.html"):
        if (plan.out / name).exists():
            print(plan.out / name)
