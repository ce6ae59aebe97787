"""`export`: a run → a SavedModel."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nlp_rnn.cli.options import first_path, parse


@dataclass(frozen=True)
class ExportOptions:
    """Options of the verb."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run directory."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where to write; by default export/<name of the run>."""
    json: bool = False
    """Print where it was written and its signatures as JSON."""


def run(task: str | None, arguments: list[str]) -> int:
    """Exports, and says how to load what was written."""
    from nlp_rnn.cli import program

    prog = program(task, "export")
    if not {"-h", "--help"} & set(arguments):
        first_path(arguments, prog)
    options = parse(ExportOptions, arguments, prog, "Writes a SavedModel that takes raw strings.")
    from nlp_rnn.run import load

    out = Path(options.out) if options.out else Path("export") / Path(options.run).name
    before = (out / "saved_model.pb").exists()
    found = load(options.run, task)
    path = found.export(out)
    if before:
        print(f"Replaced the SavedModel that was in {path}.", file=sys.stderr)
    names = json.loads((path / "assets.extra" / "signatures.json").read_text(encoding="utf-8"))["signatures"]
    if options.json:
        print(json.dumps({"path": str(path), "signatures": names}))
        return 0
    print(f"{path}: a SavedModel with the signatures {', '.join(names)}; serving_default takes strings.")
    print("Load it where tensorflow and tensorflow-text are installed:")
    print("  import tensorflow as tf, tensorflow_text")
    print(f'  serve = tf.saved_model.load("{path}").signatures["serving_default"]')
    print(f'  serve(text=tf.constant(["{found.task.example}"]))')
    return 0
