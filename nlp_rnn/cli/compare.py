"""`compare`: several models on the same data → a table, a page, and which to choose."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from nlp_rnn.config.sections import Cell
from nlp_rnn.config.values import Count, check_ranges
from nlp_rnn.errors import InputError, did_you_mean

_OWN = {
    **dict.fromkeys(("--train.epochs", "--train.passes", "--train.steps", "--train.patience"), "--budget"),
    "--stack.cell": "--models",
}
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class CompareOptions:
    """Options of the verb itself."""

    models: Annotated[str, tyro.conf.arg(metavar="CELL,…")] = "lstm,gru,mingru,simple_rnn"
    """Cells to compare, as stack.cell has them. The first sets how many weights all have."""
    budget: Annotated[str, tyro.conf.arg(metavar="TIME")] = "5m"
    """Training time of each model and seed, such as 90s, 5m or 1h."""
    seeds: Count = 3
    """Trainings of each model."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where runs, comparison.json and comparison.html go; by default runs/compare-<recipe>. What is finished there is
    not done again."""
    recipe: str = "starter"
    """Named settings to begin with; `nlp-rnn recipes` lists them."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of settings. They override the recipe's; options override both."""
    json: bool = False
    """Print the comparison as one JSON object."""


def run(task: str, arguments: list[str]) -> int:
    """Trains the models, measures them, and says which to choose."""
    from nlp_rnn.cli.train import given_names, settings_before, with_settings
    from nlp_rnn.config.sections import refuse_idle

    arguments, settings = settings_before(task, arguments)
    for argument in (argument.partition("=")[0] for argument in arguments):
        if argument in _OWN:
            raise InputError(f"compare chooses {argument} itself: leave it out ({_OWN[argument]} decides).")
    if not hasattr(getattr(settings, "stack", None), "cell"):
        raise InputError(f"The task {task} has no recurrent layers whose cells could be compared.")
    about = f"Compares recurrent cells in the task {task}."
    options = with_settings(CompareOptions, settings, arguments, task, "compare", about)
    check_ranges(options)
    if options.settings.train.init_from:
        raise InputError("compare trains all models from scratch, with equally many weights: leave --init-from out.")
    models, seconds = models_of(options.models), seconds_of(options.budget)
    refuse_idle(options.settings, given_names(arguments), models)
    out = Path(options.out or f"runs/compare-{options.recipe}")
    return _compared(task, options, models, seconds, out)


def _compared(task: str, options: Any, models: list[str], seconds: float, out: Path) -> int:
    from nlp_rnn.comparer import compare, curves_of
    from nlp_rnn.display.comparison import advice, as_page, as_text
    from nlp_rnn.paths import replacing

    found = compare(task, options.settings, models, seconds, options.seeds, out, options.recipe)
    kept = {**asdict(found), "best": [one.name for one in found.ties()], "advice": advice(found)}
    for name, text in (
        ("comparison.json", json.dumps(kept, ensure_ascii=False, indent=1)),
        ("comparison.html", as_page(found, curves_of(task, models, out))),
    ):
        with replacing(out / name) as place:
            place.write_text(text, encoding="utf-8")
    print(json.dumps(kept, ensure_ascii=False) if options.json else f"{as_text(found)}\n\n{out / 'comparison.html'}")
    return 0


def models_of(given: str) -> list[str]:
    """The cells that an option names.

    Raises:
        InputError: there is no such cell, one is named twice, or there is only one.
    """
    names, known = [name.strip() for name in given.split(",") if name.strip()], get_args(Cell)
    for name in names:
        if name not in known:
            raise InputError(
                f'There is no cell "{name}".{did_you_mean(name, known)} --models takes {", ".join(known)}.'
            )
        if names.count(name) > 1:
            raise InputError(f"--models names {name} twice.")
    if len(names) < 2:
        raise InputError("--models needs two cells or more, such as lstm,gru.")
    return names


def seconds_of(given: str) -> float:
    """Seconds of a time such as 90s, 5m or 1h.

    Raises:
        InputError: it is none.

    Example:

    >>> seconds_of("1.5m")
    90.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", given.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f'--budget "{given}" is no time: give seconds, minutes or hours, such as 90s, 5m or 1h.')
    return float(match[1]) * _UNITS[match[2]]
