"""`evaluate`: a run and labelled data → metrics."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, make_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.cli.output import to_json
from nlp_rnn.config.options import (
    RunPath,
    own_options,
    parse,
    rename,
    rename_settings,
    with_options,
)
from nlp_rnn.config.values import check_ranges, former_names
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.config.sections import Settings
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import AnyTask


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of the verb itself."""

    run: RunPath
    """The run directory."""
    errors: Annotated[int, tyro.conf.arg(metavar="COUNT")] = 0
    """Also show this many of the most important errors."""
    json: bool = False
    """Print the metrics as one flat JSON object."""


def run(task: str | None, arguments: list[str]) -> int:
    """Evaluates on `--data`, or on the test or validation data that the run knows of."""
    from nlp_rnn.cli import program, settings_of_run
    from nlp_rnn.display.console import visible
    from nlp_rnn.run import load

    prog = program(task, "evaluate")
    owner, config = settings_of_run(task, arguments, prog)
    data = ("data", Annotated[type(config.data), tyro.conf.arg(name="data")], field(default=config.data))
    kind = make_dataclass("Options", [data], bases=(EvaluateOptions,), frozen=True, kw_only=True)
    kind = with_options(kind, owner.Options, owner.options(config))
    # What may be changed after training is a section of the configuration too, by whose name it is known.
    former = {old: new.removeprefix("search.") for old, new in former_names(config).items()}
    arguments = [argument.replace("--search.", "--", 1) for argument in rename_settings(arguments, former)]
    arguments = rename(arguments, {"--data": "--data.test"})
    options: Any = parse(kind, arguments, prog, "Measures a run on labelled data, given as --data.")
    settings = own_options(owner.Options, options)
    check_ranges(settings)
    records, source = labelled_records(owner, config, options.data)  # mistakes in names are seen at once
    found = load(options.run, task)
    found.config = replace(found.config, data=options.data)
    print(visible(f"Evaluating on {len(records):,} records: {source}"), file=sys.stderr)
    for fact in [*(f"{count:,} dropped: {reason}" for reason, count in records.dropped.items()), *records.notes]:
        print(visible(fact), file=sys.stderr)
    return _print(found, records, settings, options)


def labelled_records(task: AnyTask, config: Settings, places: Any) -> tuple[Records, str]:
    """What to measure on, and what it is called.

    Args:
        task: of the run.
        config: of the run.
        places: where the data are, as the options say.

    Raises:
        InputError: there are none.
    """
    from nlp_rnn.saved import refuse_training_settings

    refuse_training_settings(config.data, places)
    if places.test != config.data.test and places.delimiter == config.data.delimiter:  # of other files
        places = replace(places, delimiter="")
    config = replace(config, data=places)
    for split in ("test", "validation"):
        records = task.read(config, split)
        if records is not None:
            data = config.data
            return records, ", ".join(data.test) or f"the run's own {split} data, {', '.join(data.train)}"
    raise InputError("There is no data to evaluate on: give --data.")


def _print(found: AnyRun, records: Records, settings: Settings, options: EvaluateOptions) -> int:
    from nlp_rnn.data.summary import unknown_note
    from nlp_rnn.display.console import PlainConsole, visible
    from nlp_rnn.report import flat, result_table

    predictions, metrics = found.predict_and_measure(records, settings)
    if note := unknown_note(found.batches_of(records)):
        print(note, file=sys.stderr)
    task = found.task
    mistakes = task.errors(records, predictions, options.errors) if options.errors and task.errors else []
    if options.json:
        print(to_json({**flat(metrics), **({"errors": mistakes} if options.errors else {})}))
        return 0
    PlainConsole().print(result_table({"value": metrics}))
    for remark in task.remarks(metrics):
        print(visible(remark))
    if options.errors:
        print("\n" + "\n".join(map(visible, mistakes or ["No mistakes to show."])))
    return 0
