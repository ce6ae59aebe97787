"""The speed of training on a GPU: python benchmarks/gpu.py [--json] [--seconds 6]

Tokens a second of recurrent stacks (forward, backward, plain gradient descent) in each precision, beside PyTorch's
cuDNN layers on the same card where PyTorch is installed (`pip install -e ".[bench]"`). Each figure is a process of its
own; under 8 minutes altogether.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from recurrent import Shape, pytorch_step, tensorflow_step

PRECISIONS = ["float32", "mixed_float16", "mixed_bfloat16"]
SHAPES = [
    Shape(64, 128, 256, 512, layers=2),
    Shape(64, 128, 256, 512, layers=2, bidirectional=True),
    Shape(128, 64, 512, 1024, layers=2, cell="gru"),
    Shape(64, 70, 650, 650, layers=2, classes=10_000),
]


def tokens_per_second(shape: Shape, side: str, precision: str, seconds: float) -> float:
    """Of one side, in this process."""
    step = pytorch_step(shape, "cuda", precision) if side == "pytorch" else tensorflow_step(shape, side, precision)
    for _ in range(5):  # kernels are compiled at first use
        step()
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return steps * shape.batch * shape.time / (time.perf_counter() - began)


def measured_apart(shape: Shape, side: str, precision: str, seconds: float) -> float | None:
    """The same in a process of its own; None where it failed, as without PyTorch."""
    work = [side, precision, str(seconds), json.dumps(asdict(shape))]
    done = subprocess.run([sys.executable, __file__, "--work", *work], capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        side, precision, seconds, shape = options.work
        print(tokens_per_second(Shape(**json.loads(shape)), side, precision, float(seconds)))
        return 0
    from nlp_rnn.training.devices import describe_device, import_tensorflow

    if not import_tensorflow().config.list_physical_devices("GPU"):
        print("No GPU is visible to TensorFlow; benchmarks/recurrent.py measures the processor.", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        for precision in PRECISIONS:
            sides = {side: measured_apart(shape, side, precision, options.seconds) for side in ("ours", "pytorch")}
            rows.append({"shape": shape.name, "precision": precision, **sides})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"device": describe_device(), "rows": rows}, indent=2))
        return 0
    print(f"{describe_device()}, tokens a second")
    print("| | precision | ours | PyTorch |")
    print("|---|---|---|---|")
    for row in rows:
        figures = [f"{row[side]:,.0f}" if row[side] else "–" for side in ("ours", "pytorch")]
        print(f"| {row['shape']} | {row['precision']} | {figures[0]} | {figures[1]} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
