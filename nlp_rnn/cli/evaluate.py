"""`evaluate`: a run and labelled data → metrics."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from nlp_rnn.cli.options import first_path, parse, rename
from nlp_rnn.errors import InputError


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of the verb itself."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run directory."""
    errors: Annotated[int, tyro.conf.arg(metavar="COUNT")] = 0
    """Also show so many of the mistakes that matter most."""
    json: bool = False
    """Print the metrics as one flat JSON object."""


def run(task: str | None, arguments: list[str]) -> int:
    """Evaluates on `--data`, or on the test or validation data that the run knows of."""
    from nlp_rnn.cli import program

    prog = program(task, "evaluate")
    path = first_path(arguments, prog) if not {"-h", "--help"} & set(arguments) else None
    from nlp_rnn.registry import get_task, task_names
    from nlp_rnn.report import flat, result_table
    from nlp_rnn.run import Run, load, predict_and_measure, read_settings

    if path is None:
        config = get_task(task or task_names()[0]).Config()
    else:
        _, config = read_settings(Path(path), task)
    sections = {name: getattr(config, name) for name in ("data", "search") if hasattr(config, name)}
    kind = make_dataclass(
        "Options",
        [
            (name, Annotated[type(value), tyro.conf.arg(name=name)], field(default=value))
            for name, value in sections.items()
        ],
        bases=(EvaluateOptions,),
        frozen=True,
    )
    arguments = rename(arguments, "--data", "--data.test")
    options: Any = parse(kind, arguments, prog, "Measures a run on labelled data, given as --data.")
    found = load(options.run, task)
    changed = replace(found.config, **{name: getattr(options, name) for name in sections})
    found = Run(found.task, changed, found.assets, found.model, found.path, found.report)
    split = "test"
    records = found.task.read(found.config, split)
    if records is None:
        split = "validation"
        records = found.task.read(found.config, split)
    if records is None:
        raise InputError("Say what to evaluate on with --data.")
    source = ", ".join(options.data.test) or f"the run's own {split} data, {', '.join(options.data.train)}"
    print(f"Evaluating on {len(records):,} records: {source}", file=sys.stderr)
    for fact in [*(f"{count:,} dropped: {reason}" for reason, count in records.dropped.items()), records.note]:
        if fact:
            print(fact, file=sys.stderr)
    predictions, metrics = predict_and_measure(found, records)
    mistakes = found.task.errors(records, predictions, options.errors) if options.errors and found.task.errors else []
    if options.json:
        print(json.dumps({**flat(metrics), **({"errors": mistakes} if options.errors else {})}, ensure_ascii=False))
        return 0
    from rich.console import Console

    Console(highlight=False).print(result_table({"value": metrics}))
    if options.errors:
        print("\n" + "\n".join(mistakes or ["No mistakes to show."]))
    return 0
