"""`export`: a run → a SavedModel, ONNX or LiteRT."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nlp_rnn.config.options import RunPath, parse, run_path, wants_help

if TYPE_CHECKING:
    from nlp_rnn.run import AnyRun


@dataclass(frozen=True)
class ExportOptions:
    """Options of the verb."""

    run: RunPath
    """The run directory."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where to write; by default export/<name of the run>."""
    to: Literal["savedmodel", "onnx", "litert"] = "savedmodel"
    """What for: TensorFlow and TensorFlow Serving, which take raw input; ONNX Runtime; LiteRT, once TensorFlow Lite."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """How weights are kept: bfloat16 takes half the room, int8 a quarter, and both are a little less exact. onnx and
    litert have no bfloat16."""
    kernels: Literal["portable", "native"] = "portable"
    """Of a SavedModel: TensorFlow's own operations, which run anywhere; or the compiled ones, which are faster on CPUs,
    where this package and a C++ compiler are."""
    json: bool = False
    """Print where it was written and its signatures as JSON."""


def run(task: str | None, arguments: list[str]) -> int:
    """Exports, and says how to load what was written."""
    from nlp_rnn.cli import program

    prog = program(task, "export")
    if not wants_help(arguments):
        run_path(arguments, prog)
    options = parse(ExportOptions, arguments, prog, "Writes a run for use elsewhere, compared with it first.")
    from nlp_rnn.run import load

    out = Path(options.out) if options.out else Path("export") / Path(options.run).name
    before = (out / "assets.extra" / "signature.json").exists()
    found = load(options.run, task)
    path = found.export(out, options.to, options.weights, options.kernels)
    if before:
        print(f"Replaced the export that was in {path}.", file=sys.stderr)
    names = json.loads((path / "assets.extra" / "signatures.json").read_text(encoding="utf-8"))["signatures"]
    if options.json:
        print(json.dumps({"path": str(path), "signatures": names}))
        return 0
    _say_how_to_load(found, path, names, options)
    return 0


def _say_how_to_load(found: AnyRun, path: Path, names: list[str], options: ExportOptions) -> None:
    from nlp_rnn.display.console import visible
    from nlp_rnn.export import DESCRIPTION, EXTRA
    from nlp_rnn.export.savedmodel import libraries_of
    from nlp_rnn.tasks.inputs import serving_call

    if options.to == "litert":
        print(visible(f"{path}/model.tflite: signatures {', '.join(names)}, each for one row, padded with 0."))
        return
    if options.to == "onnx":
        print(visible(f"{path}: {', '.join(f'{name}.onnx' for name in names)}, the assets, and how they are used:"))
        print(visible(f"  python {path}/example.py" if (path / "example.py").exists() else f"  {path}/tokens.py"))
        return
    needed = ["tensorflow", *libraries_of(found.assets, options.kernels)]
    print(visible(f"{path}: a SavedModel with the signatures {', '.join(names)}."))
    print(f"Load it where {' and '.join(name.partition('.')[0].replace('_', '-') for name in needed)} can be imported:")
    print(f"  import {', '.join(['tensorflow as tf', *needed[1:]])}")
    print(visible(f'  serve = tf.saved_model.load("{path}").signatures["serving_default"]'))
    example = found.task.example_for(found.assets)
    described = json.loads((path / EXTRA / DESCRIPTION).read_text(encoding="utf-8"))["signatures"]["serving_default"]
    dtypes = {name: one["dtype"] for name, one in described["inputs"].items()}
    print(f"  {serving_call(found.task.input.serving_arguments([example]), dtypes)}")
