"""`compare`: several models on the same data → a table, a page, and which to choose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nlp_rnn.config.values import Count, check_ranges, seconds_of


@dataclass(frozen=True)
class CompareOptions:
    """Options of the verb itself."""

    models: Annotated[str, tyro.conf.arg(metavar="CELL,…")] = "lstm,gru,mingru,simple_rnn"
    """Cells to compare, as stack.cell has them. The first sets how many weights all have."""
    budget: Annotated[str, tyro.conf.arg(metavar="TIME")] = "5m"
    """Training time of each model and seed, such as 90s, 5m or 1h."""
    seeds: Count = 3
    """Trainings of each model."""
    labels: Annotated[str, tyro.conf.arg(metavar="N,…")] = ""
    """Trains each model with so many of the training records too, such as 100,1000, in about as many steps: how few
    labels does it need? Each number takes about as long as the whole."""
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
    from nlp_rnn.config.comparable import cells_of, check_comparable, counts_of
    from nlp_rnn.config.sections import refuse_idle

    arguments, settings = settings_before(task, arguments)
    given = given_names(arguments)
    check_comparable(task, settings, given)
    about = f"Compares recurrent cells in the task {task}."
    options = with_settings(CompareOptions, settings, arguments, task, "compare", about)
    check_ranges(options)
    models, seconds, labels = cells_of(options.models), seconds_of(options.budget), counts_of(options.labels)
    refuse_idle(options.settings, given, models)
    out = Path(options.out or f"runs/compare-{options.recipe}")
    return _compared(task, options, models, seconds, labels, out)


def _compared(task: str, options: Any, models: list[str], seconds: float, labels: list[int], out: Path) -> int:
    from nlp_rnn.comparer import compare_with
    from nlp_rnn.display.comparison import as_text
    from nlp_rnn.metrics.comparison import as_dict

    found = compare_with(task, options.settings, models, seconds, options.seeds, out, options.recipe, labels)
    if options.json:
        print(json.dumps(as_dict(found), ensure_ascii=False))
    else:
        print(f"{as_text(found)}\n\n{out / 'comparison.html'}")
    return 0
