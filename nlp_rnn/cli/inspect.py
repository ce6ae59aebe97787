"""`inspect`: a run → what goes on inside it, as a page, a table and advice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from nlp_rnn.cli.evaluate import labelled_records
from nlp_rnn.cli.output import to_json
from nlp_rnn.config.options import RunPath, parse, rename
from nlp_rnn.config.values import Count, Natural, check_ranges
from nlp_rnn.errors import InputError
from nlp_rnn.paths import check_place, replacing

_PICTURES = ("states", "attention_by_head")  # of the page, whose numbers would be megabytes


@dataclass(frozen=True)
class InspectOptions:
    """Options of the verb itself."""

    run: RunPath
    """The run directory."""
    records: Count = 500
    """How many records to look with, spread over all of them."""
    label_errors: Annotated[Natural, tyro.conf.arg(name="label-errors", metavar="FOLDS")] = 0
    """Also look for labels of the training data that are likely wrong, by a cross-validation with so many parts; as
    many models are trained."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """The page to write; by default inspection.html in the run directory."""
    json: bool = False
    """Print what was found as one JSON object."""


def run(task: str | None, arguments: list[str]) -> int:
    """Looks at a run with `--data`, or with the test or validation data that the run knows of."""
    from nlp_rnn.cli import program, settings_of_run

    prog = program(task, "inspect")
    owner, config = settings_of_run(task, arguments, prog)
    data = ("data", Annotated[type(config.data), tyro.conf.arg(name="data")], field(default=config.data))
    kind = make_dataclass("Options", [data], bases=(InspectOptions,), frozen=True, kw_only=True)
    arguments = rename(arguments, {"--data": "--data.test"})
    about = "Looks inside a run: memory, gates, units, confidences, errors, labels."
    options: Any = parse(kind, arguments, prog, about)
    check_ranges(options)
    if options.label_errors == 1:
        raise InputError("--label-errors needs 2 folds or more.")
    out = Path(options.out or Path(options.run) / "inspection.html")
    check_place(out, "--out")
    records, source = labelled_records(owner, config, options.data)
    return _inspected(options, task, records, source, out)


def _inspected(options: Any, task: str | None, records: Any, source: str, out: Path) -> int:
    import numpy as np

    from nlp_rnn.display.console import visible
    from nlp_rnn.display.inspection import as_page, as_text, readings
    from nlp_rnn.inspector import inspect
    from nlp_rnn.run import load

    found = load(options.run, task)
    found.config = replace(found.config, data=options.data)
    some = records
    if len(records) > options.records and not found.task.goes_on:
        some = records.select(sorted({int(k) for k in np.linspace(0, len(records) - 1, options.records)}))
    what = source if len(some) == len(records) else f"some of {source}"
    inspection = inspect(found, some, what, options.label_errors)
    with replacing(out) as place:
        place.write_text(as_page(inspection), encoding="utf-8")
    if options.json:
        facts = {name: value for name, value in asdict(inspection).items() if name not in _PICTURES}
        print(to_json({**facts, "readings": readings(inspection)}))
    else:
        print(visible(as_text(inspection)))
        print(f"\n{out}")
    return 0
