"""`predict`: a run and texts → predictions."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, TypeVar

import tyro

from nlp_rnn.cli.options import first_path, parse
from nlp_rnn.errors import InputError

TABLES = (".jsonl", ".csv", ".tsv")


@dataclass(frozen=True)
class PredictOptions:
    """Options of the verb."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run directory."""
    texts: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[TEXT …]")] = ()
    """Texts; without any, those of --input, of standard input, or of a prompt."""
    input: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A file of texts: txt (a text a line), csv, tsv, jsonl, parquet; also .gz."""
    column: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of the text in --input; by default the one that the run was trained with."""
    keep: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME …")] = ()
    """Other columns of --input to write beside each prediction, such as an id."""
    format: Literal["auto", "csv", "tsv", "jsonl", "txt", "parquet", "conll"] = "auto"
    """Format of --input or of standard input; "auto" goes by the suffix, and takes lines from standard input."""
    output: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to write: .jsonl, .csv or .tsv."""
    json: bool = False
    """Print a JSON object a line."""


T = TypeVar("T", bound=PredictOptions)


def run(task: str | None, arguments: list[str]) -> int:
    """Predicts for arguments, a file, standard input, or at a prompt."""
    from nlp_rnn.cli import program

    def load(path: str) -> Any:
        from nlp_rnn.run import load

        return load(path, task)

    prog = program(task, "predict")
    if own := _own(task, arguments):
        return own(arguments, prog, load)
    options = read_options(arguments, prog, "Applies a run to texts.", PredictOptions)
    return apply(load(options.run), options)


def _own(task: str | None, arguments: list[str]) -> Any:
    """What the task has instead of this verb, if anything."""
    from nlp_rnn.registry import get_task

    if task is not None:
        return get_task(task).predict
    if arguments and (Path(arguments[0]) / "config.yaml").is_file():
        from nlp_rnn.run import read_settings

        return read_settings(Path(arguments[0]))[0].predict
    return None


def read_options(arguments: list[str], prog: str, description: str, kind: type[T], lines: bool = False) -> T:
    """The options of a verb that applies a run.

    Args:
        kind: `PredictOptions`, or a class with more of them.
        lines: whether `--output` may be a file of lines.

    Raises:
        InputError: they contradict each other.
    """
    if not {"-h", "--help"} & set(arguments):
        first_path(arguments, prog)
    options = parse(kind, arguments, prog, description)
    if options.output and not lines and Path(options.output).suffix not in TABLES:
        raise InputError(f"The name of --output {options.output} must end in .jsonl, .csv or .tsv.")
    if options.texts and options.input:
        raise InputError("Give either texts or --input, not both.")
    if options.column and not options.input:
        raise InputError("--column names a column of --input; give both.")
    if options.keep and not (options.input and (options.json or Path(options.output or "").suffix in TABLES)):
        raise InputError("--keep copies columns of --input: give --input, and --json or a table as --output.")
    return options


def apply(found: Any, options: PredictOptions) -> int:
    """Predictions of a run for the options' texts, to where they say."""
    if not options.texts and not options.input and sys.stdin.isatty():
        return _prompt(found, options)
    write = _writer(options)
    rows, kept, count = _kept(options), {}, 0
    with open(options.output, "w", encoding="utf-8", newline="") if options.output else nullcontext(sys.stdout) as sink:
        for prediction in _predictions(found, options):
            if getattr(prediction, "rank", 1) == 1:  # a text may have several
                kept = next(rows)
            write(sink, prediction, found, kept)
            count += 1
    if options.output:
        print(f"{count:,} predictions written to {options.output}", file=sys.stderr)
    return 0


def _predictions(found: Any, options: PredictOptions) -> Iterator[Any]:
    if options.texts:
        yield from found.predict(list(options.texts))
    elif options.input:
        columns: dict[str, Any] = {"format": options.format}
        if options.column:
            columns[dataclasses.fields(found.task.prediction)[0].name] = options.column
        yield from found.predict(found.read(options.input, "predict", **columns))
    elif options.format not in ("auto", "txt"):
        yield from found.predict(found.read("-", "predict", format=options.format))
    else:
        yield from _from_stdin(found)


def _kept(options: PredictOptions) -> Iterator[dict[str, Any]]:
    """The values to keep, for each text."""
    if not options.keep:
        return itertools.repeat({})
    from nlp_rnn.data.sources import read_columns

    return read_columns(str(options.input), options.format, options.keep)


def _from_stdin(found: Any) -> Iterator[Any]:
    from nlp_rnn.text.tokenizer import in_chunks

    lines = (line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer)
    for chunk in in_chunks(lines, 1000):
        yield from found.predict(chunk)


def _prompt(found: Any, options: PredictOptions) -> int:
    print("Type a text and press Enter; an empty line ends.", file=sys.stderr)
    write = _writer(options)
    while True:
        try:
            text = input("> ")
        except EOFError:
            return 0
        if not text.strip():
            return 0
        write(sys.stdout, found(text), found, {})


def _writer(options: PredictOptions) -> Any:
    suffix = Path(options.output).suffix if options.output else ""
    if suffix in (".csv", ".tsv"):
        return _TableWriter("," if suffix == ".csv" else "\t")
    if suffix == ".jsonl" or options.json:
        return _write_json
    return _write_shown


def _write_json(sink: TextIO, prediction: Any, found: Any, kept: dict[str, Any]) -> None:
    sink.write(json.dumps({**kept, **dataclasses.asdict(prediction)}, ensure_ascii=False) + "\n")


def _write_shown(sink: TextIO, prediction: Any, found: Any, kept: dict[str, Any]) -> None:
    """One line; on a terminal in colour, where the prediction knows how."""
    if sink.isatty() and hasattr(prediction, "__rich__"):
        from rich.console import Console

        Console(file=sink, highlight=False).print(prediction)
    else:
        sink.write(found.task.show(prediction) + "\n")


@dataclass
class _TableWriter:
    """Rows of a table, its header first; what has names becomes columns of its own, lists become JSON."""

    delimiter: str
    header: list[str] = field(default_factory=list)

    def __call__(self, sink: TextIO, prediction: Any, found: Any, kept: dict[str, Any]) -> None:
        row = dict(kept)
        for name, value in dataclasses.asdict(prediction).items():
            if isinstance(value, dict):
                row.update({f"{name}.{k}": v for k, v in value.items()})
            else:
                row[name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        writer = csv.writer(sink, delimiter=self.delimiter, lineterminator="\n")
        if not self.header:
            self.header = list(row)
            writer.writerow(self.header)
        writer.writerow(row.values())
