"""The speed of training on a GPU: python benchmarks/gpu.py [--json] [--seconds 3] [--sides ours keras pytorch]

Tokens a second of recurrent stacks (forward, backward, plain gradient descent) in each precision: ours, stock
`keras.layers`, and PyTorch's cuDNN layers on the same card where PyTorch is installed (`pip install -e ".[bench]"`).
Products of float32 may use TensorFloat-32 on every side. Each side is a process of its own; they take turns, three
times for each figure, and medians are compared. Under 8 minutes altogether.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict
from typing import Any

from recurrent import HEADINGS, Shape, Side, pytorch_step, tensorflow_step

PRECISIONS = ["float32", "mixed_float16", "mixed_bfloat16"]
SIDES = ["ours", "keras", "pytorch"]
TURNS = 3
SHAPES = [
    Shape(64, 128, 256, 512, layers=2),
    Shape(64, 128, 256, 512, layers=2, bidirectional=True),
    Shape(128, 64, 512, 1024, layers=2, cell="gru"),
    Shape(64, 70, 650, 650, layers=2, classes=10_000),
    Shape(20, 35, 1500, 1500, layers=2, classes=10_000),
]


def work(side: str) -> None:
    """The process of a side. It prepares what a line on standard input names, and for each empty line after it answers
    with tokens a second."""
    for line in sys.stdin:
        if line.strip():
            shape, precision, seconds = json.loads(line)
            shape, warm = Shape(**shape), False
            on_pytorch = side == "pytorch"
            step = pytorch_step(shape, "cuda", precision) if on_pytorch else tensorflow_step(shape, side, precision)
            print(0, flush=True)
            continue
        for _ in range(0 if warm else 5):  # kernels are compiled and chosen at first use
            step()
        steps, began, warm = 0, time.perf_counter(), True
        while time.perf_counter() - began < seconds:
            step()
            steps += 1
        print(steps * shape.batch * shape.time / (time.perf_counter() - began), flush=True)


def measure(shape: Shape, precision: str, seconds: float, sides: dict[str, Side]) -> dict[str, int]:
    """Median tokens a second by side; a side that fails, as without PyTorch, is taken out."""
    question = json.dumps([asdict(shape), precision, seconds / TURNS])
    for one in sides.values():
        one.times.clear()
        one.ask(question)
    for turn in range(TURNS + 1):
        for name, one in list(sides.items()):
            try:
                if turn:
                    one.step()
                else:
                    one.answer()
            except (OSError, ValueError):
                del sides[name]
    return {name: round(statistics.median(one.times)) for name, one in sides.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, for each figure")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    from nlp_rnn.startup import import_tensorflow
    from nlp_rnn.training.devices import describe_device

    if not import_tensorflow().config.list_physical_devices("GPU"):
        print("No GPU is visible to TensorFlow; benchmarks/recurrent.py measures the processor.", file=sys.stderr)
        return 2
    sides = {name: Side(__file__, "--work", name) for name in options.sides}
    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        for precision in PRECISIONS:
            figures = measure(shape, precision, options.seconds, sides)
            rows.append({"shape": shape.name, "precision": precision, **figures})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    for one in sides.values():
        one.close()
    if options.json:
        print(json.dumps({"device": describe_device(), "rows": rows}, indent=2))
        return 0
    print(f"{describe_device()}, tokens a second")
    print("| | precision | " + " | ".join(HEADINGS[side] for side in options.sides) + " |")
    print("|---|---|" + "---|" * len(options.sides))
    for row in rows:
        figures = [f"{row[side]:,}" if side in row else "–" for side in options.sides]
        print(f"| {row['shape']} | {row['precision']} | " + " | ".join(figures) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
