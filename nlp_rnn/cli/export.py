"""`export`: a run → a SavedModel."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nlp_rnn.config.options import RunPath, parse, run_path, wants_help


@dataclass(frozen=True)
class ExportOptions:
    """Options of the verb."""

    run: RunPath
    """The run directory."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where to write; by default export/<name of the run>."""
    json: bool = False
    """Print where it was written and its signatures as JSON."""


def run(task: str | None, arguments: list[str]) -> int:
    """Exports, and says how to load what was written."""
    from nlp_rnn.cli import program

    prog = program(task, "export")
    if not wants_help(arguments):
        run_path(arguments, prog)
    options = parse(ExportOptions, arguments, prog, "Writes a SavedModel that takes raw input.")
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
    from nlp_rnn.display.console import visible
    from nlp_rnn.export.savedmodel import libraries_of
    from nlp_rnn.tasks.inputs import serving_call

    needed = ["tensorflow", *libraries_of(found.assets)]
    print(visible(f"{path}: a SavedModel with the signatures {', '.join(names)}."))
    print(f"Load it where {' and '.join(name.replace('_', '-') for name in needed)} can be imported:")
    print(f"  import {', '.join(['tensorflow as tf', *needed[1:]])}")
    print(visible(f'  serve = tf.saved_model.load("{path}").signatures["serving_default"]'))
    print(f"  {serving_call(found.task.input)}")
    return 0
