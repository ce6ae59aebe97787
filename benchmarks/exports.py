"""Exports beside each other: python benchmarks/exports.py RUN --data FILE [--rows 1000] [--rounds 3] [--json]

For a classifier or a tagger. The ids of real inputs go, one row at a time, to the SavedModel, with weights of 32, 16
and 8 bits and with compiled kernels, to ONNX with the operators LSTM, GRU and RNN, to ONNX with Keras's loops (a Loop),
to ONNX and LiteRT with weights of 8 bits, and to the model in process. Prints the size, the median milliseconds of a
row (the sides taking turns), how many rows have another label or other tags than the SavedModel, and the largest
difference of a probability.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

Rows = list[dict[str, np.ndarray]]
Call = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
NUMBERS = ("probabilities", "confidences")
_TURN = 100


def rows_of(run: Any, file: str, count: int) -> Rows:
    """Rows of ids, without padding."""
    from nlp_rnn.saved import read_records

    records = read_records(run.task, run.config, file, "predict")
    records = records.select(range(min(count, len(records))))
    names = ("tokens", "characters", "case")
    found: Rows = []
    for features, *_ in run.batches_of(records).dataset():
        given = {name: features[name].numpy() for name in names if name in features}
        for tokens, *others in zip(*given.values(), strict=True):
            size = max(int((tokens != 0).sum()), 1)
            row = {n: v[None, :size] for n, v in zip(given, (tokens, *others), strict=True)}
            if "characters" in row:
                row["characters"] = row["characters"][:, :, : max(int((row["characters"] != 0).sum(-1).max()), 1)]
            found.append(row)
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))[:count]]


def of_onnx(path: Path) -> Call:
    """A file in ONNX Runtime, on one thread for each core."""
    import onnxruntime

    from nlp_rnn.export.onnx import run_session

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda row: run_session(session, row)


def of_saved_model(path: Path) -> Call:
    """Ids in."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["tokens"]

    def call(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = function(**{name: tf.constant(value) for name, value in row.items()})
        return {name: value.numpy() for name, value in found.items()}

    call.alive = loaded  # type: ignore[attr-defined]  # a function does not keep the variables of its SavedModel
    return call


def of_litert(path: Path) -> Call:
    """A file in LiteRT: rows are padded to the next of its lengths."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=2)
    names = interpreter.get_signature_list()
    runners = {int(name.rpartition("_")[2]): interpreter.get_signature_runner(name) for name in names}
    shapes = {length: one.get_input_details() for length, one in runners.items()}

    def call(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        size = row["tokens"].shape[1]
        length = next((one for one in sorted(runners) if one >= size), max(runners))
        padded = {}
        for name, value in row.items():
            whole = np.zeros(shapes[length][name]["shape"], np.int32)
            part = value[tuple(slice(limit) for limit in whole.shape)]
            whole[tuple(slice(limit) for limit in part.shape)] = part
            padded[name] = whole
        found = runners[length](**padded)
        return {n: v[:, :size] if v.ndim == 2 and v.shape[1] == length else v for n, v in found.items()}

    return call


@contextmanager
def keras_loops() -> Iterator[None]:
    """Recurrent layers run Keras's own loop, as a conversion of a Keras model has it."""
    from nlp_rnn.export import onnx
    from nlp_rnn.layers import recurrent, stack

    by_keras = ("keras", "asked for")
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(onnx, "replaced_loops", return_value=nullcontext()))
        for module in (recurrent, stack):
            patches.enter_context(mock.patch.object(module, "kernel_of", return_value=by_keras))
        yield


def sides_of(run: Any, folder: Path, row: dict[str, np.ndarray]) -> dict[str, tuple[Call, int]]:
    """The sides by name: how each is called, and its size in bytes."""
    import tensorflow as tf

    from nlp_rnn.export.formats import FORMATS

    sides: dict[str, tuple[Call, int]] = {}
    for weights, kernels in [*((one, "portable") for one in FORMATS["savedmodel"]), ("float32", "native")]:
        saved = run.export(folder / "savedmodel", weights=weights, kernels=kernels)
        size = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
        name = ", ".join(["SavedModel", *(one for one in (weights, kernels) if one not in ("float32", "portable"))])
        sides[name] = of_saved_model(saved), size
    for name, weights in (("ONNX, operators", "float32"), ("ONNX, Keras's Loop", "float32"), ("ONNX, int8", "int8")):
        with keras_loops() if "Loop" in name else nullcontext():
            path = run.export(folder / name, "onnx", weights) / "tokens.onnx"
        sides[name] = of_onnx(path), path.stat().st_size
    for name, weights in (("LiteRT", "float32"), ("LiteRT, int8", "int8")):
        path = run.export(folder / name, "litert", weights) / "model.tflite"
        sides[name] = of_litert(path), path.stat().st_size
    specs = {name: tf.TensorSpec([None] * value.ndim, tf.int32) for name, value in row.items()}
    infer = tf.function(run.model.infer, input_signature=[specs], autograph=False)

    def in_process(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = infer({name: tf.constant(value) for name, value in row.items()})
        found = found if isinstance(found, dict) else {"logits": found}
        found = {name: value.numpy() for name, value in found.items()}
        if "logits" in found:
            return {"probabilities": np.exp(found["logits"]) / np.exp(found["logits"]).sum(-1, keepdims=True)}
        return {"ids": found["tags"], "confidences": found["confidence"]}

    sides["in process"] = in_process, 0
    return sides


def compared(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[bool, float]:
    """Whether a row has another label or other tags, and the largest difference of a probability."""
    number = next(n for n in NUMBERS if n in found)
    if found[number].shape != expected[number].shape:
        return True, 1.0
    difference = float(np.abs(found[number] - expected[number]).max())
    if "ids" in found:
        return not np.array_equal(found["ids"], expected["ids"]), difference
    return not np.array_equal(found[number].argmax(-1), expected[number].argmax(-1)), difference


def measure(sides: dict[str, tuple[Call, int]], rows: Rows, rounds: int) -> list[dict[str, Any]]:
    """The figures of each side."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    changed, largest = dict.fromkeys(sides, 0), dict.fromkeys(sides, 0.0)
    expected: list[dict[str, np.ndarray]] = []
    for turn in range(rounds):
        for first in range(0, len(rows), _TURN):
            some = rows[first : first + _TURN]
            for name, (call, _) in sides.items():
                for row in some[:5]:  # threads of the side before may still wait for more work
                    call(row)
                found = []
                for row in some:
                    began = time.perf_counter()
                    found.append(call(row))
                    times[name].append(1000 * (time.perf_counter() - began))
                if turn:
                    continue
                if name == next(iter(sides)):
                    expected = found
                for one, other in zip(found, expected, strict=True):
                    differs, difference = compared(one, other)
                    changed[name] += differs
                    largest[name] = max(largest[name], difference)
    return [
        {
            "side": name,
            "MB": sides[name][1] / 1e6,
            "ms": float(np.median(times[name])),
            "changed": changed[name],
            "difference": float(largest[name]),
        }
        for name in sides
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", required=True, help="a file of inputs")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from nlp_rnn.run import load

    run = load(args.run)
    rows = rows_of(run, args.data, args.rows)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(sides_of(run, Path(folder), rows[0]), rows, args.rounds)
    if args.json:
        print(json.dumps({"run": args.run, "rows": len(rows), "sides": found}))
        return
    mean = np.mean([row["tokens"].shape[1] for row in rows])
    print(f"{args.run}: {len(rows):,} rows of {mean:.0f} tokens in the mean")
    for one in found:
        print(f"{one['side']:19} {one['MB']:7.1f} MB {one['ms']:8.2f} ms", end="")
        print(f" {one['changed']:5} changed {one['difference']:9.1e}")


if __name__ == "__main__":
    main()
