"""`ensemble`: several runs of one task → one run, and what it gains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.options import parse
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from nlp_rnn.run import AnyRun


@dataclass(frozen=True)
class EnsembleOptions:
    """Options of the verb."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The runs to join, of one task, with the same vocabularies and labels: train them with --data.seed 0 and other
    values of --train.seed. Settings and data to measure on are those of the first. Where a state goes on from step to
    step, as in language models and translators, their cells must be of one kind and size."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where the ensemble is written, a run like others."""
    json: bool = False
    """Print the metrics of the ensemble and of its members as one JSON object."""


def run(task: str | None, arguments: list[str]) -> int:
    """Joins runs and shows what that gains."""
    from nlp_rnn.cli import program
    from nlp_rnn.cli.output import to_json
    from nlp_rnn.display.console import PlainConsole

    prog = program(task, "ensemble")
    options: Any = parse(
        EnsembleOptions,
        arguments,
        prog,
        "Joins several runs to one: the mean of probabilities, of the scores of chains (CRF), of quantiles.",
    )
    if not options.out:
        raise InputError(f"Say where the ensemble goes: {prog} {' '.join(options.runs) or 'RUN RUN'} --out FOLDER.")
    from nlp_rnn.ensembler import ensemble

    found = ensemble(options.runs, options.out, task)
    if options.json:
        print(to_json({"run": str(found.path), **_figures(found)}))
        return 0
    PlainConsole().print(_table(found))
    print(f"\n{found.path} is a run: predict, evaluate, explain, export and serve take it.")
    return 0


def _figures(found: AnyRun) -> dict[str, Any]:
    return {name: found.report[name] for name in ("metrics", "members", "parameters")}


def _table(found: AnyRun) -> Table:
    """The ensemble's metrics beside those of its members, of the split that is measured last."""
    from nlp_rnn.report import result_table

    split = "test" if "test" in found.report["metrics"] else "validation"
    members = found.report["members"]
    names = [Path(member["run"]).name for member in members]
    if len(set(names)) < len(names):
        names = [member["run"] for member in members]
    columns = {"ensemble": found.report["metrics"].get(split, {})}
    columns |= {name: member["metrics"].get(split, {}) for name, member in zip(names, members, strict=True)}
    table = result_table(columns)
    table.title = f"Results on {split} data"
    return table
