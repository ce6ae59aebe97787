"""`predict`: a run and inputs → predictions."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import tyro

from nlp_rnn.cli.output import print_shown, to_json
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
from nlp_rnn.paths import check_place, replacing

if TYPE_CHECKING:
    from nlp_rnn.config.sections import Settings
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import AnyTask

_LOOKED_AT = 1000
TABLES = (".jsonl", ".csv", ".tsv")
Write = Callable[[TextIO, Any, dict[str, Any]], None]


@dataclass(frozen=True)
class PredictOptions:
    """Options of the verb."""

    run: RunPath
    """The run directory; or --url http://HOST:PORT/NAME, a model that `serve` serves."""
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[INPUT …]")] = ()
    """Texts, recordings, or series as JSON; if none are given, they come from --input, standard input or a prompt."""
    input: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A file of inputs: txt (one a line), csv, tsv, jsonl, parquet; also .gz; or a folder of recordings."""
    column: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of --input to read; by default the one that the run was trained with."""
    keep: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME …")] = ()
    """Other columns of --input to write beside each prediction, such as an id."""
    format: Literal["auto", "csv", "tsv", "jsonl", "txt", "parquet", "conll"] = "auto"
    """Format of --input or of standard input; "auto" goes by the suffix, and reads standard input as lines."""
    delimiter: str = ""
    """What parts the columns of --input, such as ; or tab; by default it is found out."""
    output: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to write: .jsonl, .csv or .tsv; translations also go to any other file, as lines."""
    plot: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the prediction of one input to a .png, .svg or .pdf file, or as text to "-" (for tasks that can)."""
    json: bool = False
    """Print one JSON object per line."""
    spreadsheet: bool = False
    """Write tables for spreadsheets: with a byte order mark, and ' before cells that would run as formulas, which begin
    with =, +, - or @."""


def run(task: str | None, arguments: list[str], verb: str = "predict", description: str = "") -> int:
    """Predicts for arguments, a file, standard input, or at a prompt."""
    from nlp_rnn.cli import program, settings_of_run
    from nlp_rnn.display.console import visible
    from nlp_rnn.run import load

    prog = program(task, verb)
    arguments, remote = served_at(arguments, task)
    owner, config = (remote.task, remote.config) if remote else settings_of_run(task, arguments, prog)
    kind = with_options(PredictOptions, owner.Options, owner.options(config))
    # The name of an earlier version, and that of other verbs.
    arguments = rename(arguments, {"--attention": "--plot", "--data": "--input"})
    arguments = rename_settings(arguments, former_names(owner.options(config)))
    options = parse(kind, arguments, prog, description or "Applies a run to raw input.")
    settings = own_options(owner.Options, options)
    check_ranges(settings)
    _refuse_contradictions(owner, options)
    if remote and owner.goes_on and not options.inputs and not options.input:
        raise InputError(
            f"A model that is served has no data of its own to go on from: give a {owner.input.noun}, or --input."
        )
    records = _records(owner, config, options)  # mistakes in names are seen at once
    found = remote or load(options.run, task)
    if options.plot is not None:
        _draw(found, records, options, settings)
    if not options.inputs and records is None and sys.stdin.isatty():
        return _prompt(found, options, settings)
    count = _write_all(found, options, _predictions(found, records, options, settings))
    if options.output:
        print(visible(f"{count:,} predictions written to {options.output}"), file=sys.stderr)
    return 0


def served_at(arguments: list[str], task: str | None) -> tuple[list[str], Any]:
    """The arguments with what --url says as the run, and the model that is served there; None without --url.

    Raises:
        InputError: there is none, it is of another task, or is asked for what only a run can do.
    """
    url = next(
        (a.partition("=")[2] or b for a, b in itertools.pairwise([*arguments, ""]) if a.startswith("--url")), None
    )
    if url is None:
        return arguments, None
    place = next(i for i, argument in enumerate(arguments) if argument.startswith("--url"))
    rest = arguments[:place] + arguments[place + (1 if "=" in arguments[place] else 2) :]
    from nlp_rnn.serving import RemoteModel

    remote = RemoteModel.at(url)
    if remote.task is None:
        raise InputError(f"{url} is no model of nlp-rnn's server; ask it with curl, or nlp_rnn.serving.Client.")
    if task not in (None, remote.task.name):
        raise InputError(f'{url} is a model of the task "{remote.task.name}", not "{task}"; use that task\'s commands.')
    if any(argument.startswith("--plot") for argument in rest):
        raise InputError("--plot needs a run: leave out --url, or look at the page that the server has.")
    return [url, *rest], remote


def _refuse_contradictions(task: AnyTask, options: PredictOptions) -> None:
    from nlp_rnn.display.figures import figure_path

    if options.output and not task.predicts_lines and Path(options.output).suffix not in TABLES:
        raise InputError(f"The name of --output {options.output} must end in .jsonl, .csv or .tsv.")
    if options.output:
        check_place(options.output, "--output")
    if options.inputs and options.input:
        raise InputError("Give either arguments or --input, not both.")
    if options.column and not options.input:
        raise InputError("--column names a column of --input; give both.")
    if options.output and options.input and _is_same(options.output, options.input):
        raise InputError(f"--output {options.output} is the input itself; choose another file.")
    if options.keep and not (options.input and (options.json or Path(options.output or "").suffix in TABLES)):
        raise InputError("--keep copies columns of --input: give --input, and --json or a table as --output.")
    if options.keep and task.goes_on:
        raise InputError(
            "--keep copies columns of one row for each prediction, and a series has many rows: leave it out."
        )
    if options.plot is None:
        return
    if task.picture is None:
        raise InputError(f"{task.name} cannot draw its predictions: leave out --plot.")
    if len(options.inputs) != 1 and not (task.goes_on and not options.inputs):
        raise InputError(f"--plot draws exactly one {task.input.noun}: give one as an argument.")
    if options.plot != "-":
        check_place(figure_path(options.plot, "--plot"), "--plot")


def _is_same(one: str, other: str) -> bool:
    """Whether two names, or links, are of one file."""
    paths = Path(one), Path(other)
    return all(path.is_file() for path in paths) and paths[0].samefile(paths[1])


def _draw(found: AnyRun, records: Records | None, options: PredictOptions, settings: Settings) -> None:
    from nlp_rnn.display.console import visible
    from nlp_rnn.display.figures import save_figure

    assert found.task.picture is not None
    assert options.plot is not None
    picture = found.task.picture(found, options.inputs[0] if options.inputs else records, settings)
    if options.plot == "-":
        print(visible(str(picture)) if sys.stdout.isatty() else picture)
    else:
        save_figure(picture.plot(), options.plot)


def _write_all(found: AnyRun, options: PredictOptions, predictions: Iterator[object]) -> int:
    write, count = _writer(found, options), 0
    rows = ((prediction, {}) for prediction in predictions) if not options.keep else _with_kept(predictions, options)
    with ExitStack() as stack:
        sink: TextIO = sys.stdout
        if options.output:
            path = stack.enter_context(replacing(options.output))
            encoding = "utf-8-sig" if options.spreadsheet else "utf-8"
            sink = stack.enter_context(open(path, "w", encoding=encoding, newline=""))
        for prediction, kept in rows:
            results = getattr(prediction, "ranked", [prediction])
            if isinstance(write, _TableWriter):
                results = getattr(prediction, "rows", results)
            for result in results:
                write(sink, result, kept)
                count += 1
    return count


def _records(task: AnyTask, config: Settings, options: PredictOptions) -> Records | None:
    """The records of --input, or of standard input where that has columns; says what was noted of them."""
    from nlp_rnn.display.console import visible
    from nlp_rnn.saved import read_records

    from_columns = options.format not in ("auto", "txt") and not options.inputs
    source = options.input or ("-" if from_columns and not sys.stdin.isatty() else None)
    if source is None and task.goes_on and not options.inputs:
        records = task.read(config, "predict")
        assert records is not None
        return records
    if source is None:
        return None
    columns: dict[str, Any] = {"format": options.format, "delimiter": options.delimiter}
    if options.column:
        columns[task.input.name] = options.column
    records = read_records(task, config, source, "predict", **columns)
    for note in records.notes:
        print(visible(note), file=sys.stderr)
    return records


def _predictions(found: AnyRun, records: Records | None, options: PredictOptions, settings: Settings) -> Iterator[Any]:
    if options.inputs:
        yield from found.predict(options.inputs, settings)
    elif records is not None:
        from nlp_rnn.data.summary import unknown_note

        first = records if len(records) <= _LOOKED_AT else records.select(range(_LOOKED_AT))
        if hasattr(found, "batches_of") and (note := unknown_note(found.batches_of(first))):
            print(f"{note}, in the first {len(first):,} inputs", file=sys.stderr)
        yield from found.predict(records, settings)
    else:
        from nlp_rnn.data.lines import decoded

        lines = (line.rstrip("\r\n") for line in decoded(sys.stdin.buffer, "Standard input"))
        for chunk in iter(lambda: list(itertools.islice(lines, 1000)), []):
            yield from found.predict(chunk, settings)


def _with_kept(predictions: Iterator[object], options: PredictOptions) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each prediction with the values to keep of its input."""
    from nlp_rnn.data.readers import Form
    from nlp_rnn.data.sources import read_columns

    form = Form(options.format, options.delimiter)
    return zip(predictions, read_columns(str(options.input), form, options.keep), strict=True)


def beside(kept: dict[str, object], values: dict[str, object]) -> dict[str, Any]:
    """Kept columns before the values of a prediction; one whose name those have too gets "input." before it.

    Example:

    >>> beside({"id": "7", "label": "bad"}, {"label": "good"})
    {'id': '7', 'input.label': 'bad', 'label': 'good'}
    """
    found = {}
    for name, value in kept.items():
        while name in values or name in found:
            name = f"input.{name}"
        found[name] = value
    return {**found, **values}


def _prompt(found: AnyRun, options: PredictOptions, settings: Settings) -> int:
    print(f"Type a {found.task.input.noun} and press Enter; an empty line ends.", file=sys.stderr)
    write = _writer(found, options)
    while True:
        try:
            text = input("> ")
        except EOFError:
            return 0
        if not text.strip():
            return 0
        for prediction in found.predict([text], settings):
            for result in getattr(prediction, "ranked", [prediction]):
                write(sys.stdout, result, {})


def _writer(found: AnyRun, options: PredictOptions) -> Write:
    suffix = Path(options.output).suffix if options.output else ""
    if suffix in (".csv", ".tsv"):
        return _TableWriter("," if suffix == ".csv" else "\t", options.spreadsheet)
    if suffix == ".jsonl" or options.json:
        return lambda sink, result, kept: print(to_json(beside(kept, _plain(result))), file=sink)
    return lambda sink, result, kept: print_shown(sink, result, _shown(found, result))


def _plain(result: Any) -> dict[str, Any]:
    """A prediction, or a row of what is served elsewhere, as plain values by name."""
    return result if isinstance(result, dict) else dataclasses.asdict(result)


def _shown(found: AnyRun, result: object) -> str:
    return to_json(result) if isinstance(result, dict) else found.task.show(result, None)


@dataclass
class _TableWriter:
    """Rows of a table, its header first; what has names becomes columns of its own, lists become JSON.

    Fields are quoted as in CSV, also between tabs. For a spreadsheet, texts that it would run as formulas begin with
    an apostrophe.
    """

    delimiter: str
    for_spreadsheet: bool = False
    header: list[str] = field(default_factory=list)

    def __call__(self, sink: TextIO, result: Any, kept: dict[str, Any]) -> None:
        row: dict[str, Any] = {}
        for name, value in _plain(result).items():
            if isinstance(value, dict):
                row.update({f"{name}.{k}": v for k, v in value.items()})
            else:
                row[name] = value
        row = beside(kept, row)
        writer = csv.writer(sink, delimiter=self.delimiter, lineterminator="\n")
        if not self.header:
            self.header = list(row)
            writer.writerow(map(self._cell, self.header))
        writer.writerow(map(self._cell, row.values()))

    def _cell(self, value: object) -> Any:
        value = to_json(value) if isinstance(value, (list, tuple, dict, bool)) else value
        is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        return f"'{value}" if self.for_spreadsheet and is_formula else value
