"""The speed of the recurrent layers: python benchmarks/recurrent.py [--json] [--rounds 15] [--sides ours keras …]

One step of training (forward, backward, plain gradient descent) or of inference, float32, for each shape and side:
stock `keras.layers`, the same under XLA, ours, ours with bfloat16 products, and PyTorch (`pip install -e ".[bench]"`);
`loop` and `loop_xla` are ours where there is no C++ compiler, plain and under XLA.
Each side is a process of its own; they take turns within a shape, and medians are compared. Memory is what a side's
process grew by. The fraction is of the matrix-product ceiling, measured beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPEATS = 3  # steps timed at each turn
SIDES = ["keras", "keras_xla", "ours", "pytorch"]
MORE_SIDES = ["ours_bfloat16", "loop", "loop_xla"]
HEADINGS = {
    "keras": "Keras",
    "keras_xla": "Keras, XLA",
    "ours": "ours",
    "ours_bfloat16": "ours, bfloat16",
    "loop": "ours, no compiler",
    "loop_xla": "the same, XLA",
    "pytorch": "PyTorch",
}


@dataclass(frozen=True)
class Shape:
    """What is run. `classes` adds a softmax and its cross-entropy over every step."""

    batch: int
    time: int
    inputs: int
    units: int
    layers: int = 1
    cell: str = "lstm"
    bidirectional: bool = False
    classes: int = 0
    training: bool = True

    @property
    def name(self) -> str:
        words = f"{self.batch}×{self.time}, {self.inputs}→{self.units}"
        words += f", {self.layers} layers" * (self.layers > 1) + ", both ways" * self.bidirectional
        words += f", softmax {self.classes:,}" * (self.classes > 0)
        return f"{self.cell.upper()} {words}" + ("" if self.training else ", inference")

    @property
    def products(self) -> float:
        """Floating-point operations of the matrix products."""
        gates, directions = {"lstm": 4, "gru": 3}[self.cell], 2 if self.bidirectional else 1
        tokens, total, inputs = self.batch * self.time, 0.0, self.inputs
        for layer in range(self.layers):
            of_input = 2.0 * tokens * directions * inputs * gates * self.units
            of_state = 2.0 * tokens * directions * self.units * gates * self.units
            # Forward, and in training the gradients of the weights and, but for the data, of the inputs.
            total += (of_input + of_state) * (3 if self.training else 1)
            total -= of_input if self.training and layer == 0 else 0
            inputs = self.units * directions
        return total + 2.0 * tokens * inputs * self.classes * (3 if self.training else 1)


SHAPES = [
    Shape(32, 200, 128, 128),
    Shape(32, 200, 128, 128, bidirectional=True),
    Shape(64, 64, 256, 256, layers=2),
    Shape(20, 35, 650, 650, layers=2),
    Shape(64, 30, 256, 512, bidirectional=True),
    Shape(128, 100, 64, 512, cell="gru"),
    Shape(20, 20, 200, 200, layers=2, classes=10_000),
    Shape(1, 100, 128, 256, training=False),
]


def tensorflow_step(shape: Shape, side: str, precision: str = "float32") -> Callable[[], None]:
    """One step as a function, for the sides that run on TensorFlow."""
    from nlp_rnn.startup import import_tensorflow

    tf = import_tensorflow()
    import keras
    import numpy as np

    from nlp_rnn.layers import RecurrentStack

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if side == "ours_bfloat16" else precision)
    directions = 2 if shape.bidirectional else 1
    if side.startswith(("ours", "loop")):
        stack = RecurrentStack(shape.cell, shape.units, shape.layers, shape.bidirectional)
        for layer in stack.forward_layers + stack.backward_layers:
            layer.use_native = side.startswith("ours")
        stack.build((None, None, shape.inputs))
        layers = [stack]

        def sequence_of(x: Any, training: bool) -> Any:
            return stack(x, training=training)[0]
    else:
        kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[shape.cell]
        layers = [kind(shape.units, return_sequences=True) for _ in range(shape.layers)]
        if shape.bidirectional:
            layers = [keras.layers.Bidirectional(layer) for layer in layers]
        inputs = shape.inputs
        for layer in layers:
            layer.build((None, None, inputs))
            inputs = shape.units * directions

        def sequence_of(x: Any, training: bool) -> Any:
            for layer in layers:
                x = layer(x, training=training)
            return x

    weighted = list(layers)
    if shape.classes:
        output = keras.layers.Dense(shape.classes)
        output.build((None, None, shape.units * directions))
        weighted.append(output)
    generator = np.random.default_rng(0)
    x = tf.constant(generator.normal(size=(shape.batch, shape.time, shape.inputs)), tf.float32)
    targets = tf.constant(generator.integers(0, max(shape.classes, 1), (shape.batch, shape.time)))
    variables = [variable.value for layer in weighted for variable in layer.trainable_variables]

    def loss_of(x: Any) -> Any:
        sequence = sequence_of(x, True)
        if not shape.classes:
            return tf.reduce_mean(tf.square(tf.cast(sequence, tf.float32)))
        logits = tf.cast(output(sequence), tf.float32)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))

    @tf.function(jit_compile=side.endswith("xla"), autograph=False)
    def train(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(x)
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(1e-3 * gradient)
        return loss

    @tf.function(jit_compile=side.endswith("xla"), autograph=False)
    def infer(x: Any) -> Any:
        return sequence_of(x, False)

    run = (train if shape.training else infer).get_concrete_function(x)
    return lambda: run(x).numpy()


def pytorch_step(shape: Shape, device: str = "cpu", precision: str = "float32") -> Callable[[], None]:
    """The same on PyTorch."""
    import torch

    torch.manual_seed(0)
    torch.set_default_device(device)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TensorFloat-32, as TensorFlow and both cuDNN layers have it
    low = {"mixed_float16": torch.float16, "mixed_bfloat16": torch.bfloat16}.get(precision)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[shape.cell]
    layer = kind(shape.inputs, shape.units, shape.layers, batch_first=True, bidirectional=shape.bidirectional)
    directions = 2 if shape.bidirectional else 1
    output = torch.nn.Linear(shape.units * directions, shape.classes) if shape.classes else None
    x = torch.randn(shape.batch, shape.time, shape.inputs)
    targets = torch.randint(0, max(shape.classes, 1), (shape.batch * shape.time,))
    parameters = [*layer.parameters(), *(output.parameters() if output else [])]

    def train() -> None:
        with torch.autocast(device, low, enabled=low is not None):
            sequence, _ = layer(x)
            logits = output(sequence).flatten(0, 1) if output else None
        loss = sequence.float().square().mean()
        if logits is not None:
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=1e-3)
        loss.item()

    def infer() -> None:
        with torch.inference_mode():
            layer(x)[0].cpu().numpy()

    return train if shape.training else infer


def ceiling() -> Callable[[], float]:
    """A function that measures the floating-point operations a second of a large float32 product."""
    from nlp_rnn.startup import import_tensorflow

    tf = import_tensorflow()
    size = 2048
    left, right = tf.random.normal([size, size]), tf.random.normal([size, size])

    def measure() -> float:
        tf.matmul(left, right).numpy()
        began = time.perf_counter()
        for _ in range(REPEATS):
            tf.matmul(left, right).numpy()
        return 2 * size**3 * REPEATS / (time.perf_counter() - began)

    return measure


def work(side: str, shape: Shape) -> None:
    """The process of a side: runs a few steps for each line on standard input and answers with the seconds of one."""
    if side == "ceiling":
        measure = ceiling()
        for _ in sys.stdin:
            print(measure(), flush=True)
        return
    if side == "pytorch":
        import torch  # noqa: F401
    else:
        from nlp_rnn.startup import import_tensorflow

        import_tensorflow()
    before = resident()
    step = pytorch_step(shape) if side == "pytorch" else tensorflow_step(shape, side)
    for _ in range(3):
        step()
    for _ in sys.stdin:
        step()  # what ran between has cooled the caches and sent the threads to sleep
        began = time.perf_counter()
        for _ in range(REPEATS):
            step()
        print((time.perf_counter() - began) / REPEATS, flush=True)
    print(peak() - before, flush=True)


def resident() -> int:
    """Bytes this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most bytes it has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Side:
    """A side's process, a script with arguments, asked for one figure at a time."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        self.times: list[float] = []

    def ask(self, question: str = "") -> None:
        assert self.process.stdin
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()

    def answer(self) -> float:
        assert self.process.stdout
        return float(self.process.stdout.readline())

    def step(self, question: str = "") -> None:
        self.ask(question)
        self.times.append(self.answer())

    def close(self) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        rest = self.process.stdout.read()
        self.process.wait()
        return rest


def measure(shape: Shape, sides: list[str], rounds: int) -> dict[str, Any]:
    """Medians in ms, memory in MiB and fractions of the ceiling, by side."""
    names = ["ceiling", *sides]
    given = ["--shape", json.dumps(asdict(shape))]
    # On all sides glibc is as it is, except that what it keeps does not depend on which thread freed it.
    all_sides = {name: Side(__file__, "--work", name, *given, MALLOC_ARENA_MAX="1") for name in names}
    ceiling_side, running = all_sides["ceiling"], {name: all_sides[name] for name in sides}
    for one in [ceiling_side, *running.values()]:  # start-up and compilation are over before anything is timed
        one.step()
        one.times.clear()
    for _ in range(rounds):
        for one in [*running.values(), ceiling_side]:
            one.step()
    most = statistics.median(ceiling_side.times)
    ceiling_side.close()
    row: dict[str, Any] = {"shape": shape.name, "training": shape.training, "ceiling_gflops": round(most / 1e9)}
    for name, one in running.items():
        seconds = statistics.median(one.times)
        memory = int(one.close()) / 2**20
        row[name] = {
            "ms": round(seconds * 1e3, 2),
            "mib": round(memory),
            "fraction_of_ceiling": round(shape.products / seconds / most, 3),
        }
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Geometric means over the shapes of training."""
    result: dict[str, Any] = {"shapes": rows}
    for other, key in (("keras", "geometric_mean_vs_keras"), ("pytorch", "geometric_mean_vs_pytorch")):
        both = [row for row in rows if row["training"] and other in row and "ours" in row]
        ratios = [row[other]["ms"] / row["ours"]["ms"] for row in both]
        if ratios:
            result[key] = round(math.exp(statistics.fmean(map(math.log, ratios))), 3)
    return result


def show(result: dict[str, Any], sides: list[str]) -> None:
    """The table of the README."""
    print("| ms (MiB, part of the ceiling) | " + " | ".join(HEADINGS[side] for side in sides) + " |")
    print("|---|" + "---|" * len(sides))
    for row in result["shapes"]:
        cells = [f"{row[s]['ms']:.1f} ({row[s]['mib']}, {row[s]['fraction_of_ceiling']:.0%})" for s in sides]
        print(f"| {row['shape']} | " + " | ".join(cells) + " |")
    for key in ("geometric_mean_vs_keras", "geometric_mean_vs_pytorch"):
        if key in result:
            print(f"{key}: {result[key]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sides", nargs="+", choices=[*SIDES, *MORE_SIDES], default=SIDES)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of shapes, from 0")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, Shape(**json.loads(options.shape)))
        return
    rows = []
    for index in options.only or range(len(SHAPES)):
        rows.append(measure(SHAPES[index], options.sides, options.rounds))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    result = summary(rows)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result, options.sides)


if __name__ == "__main__":
    main()
