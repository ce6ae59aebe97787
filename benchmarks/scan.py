"""The speed of the cells that run in parallel over time, beside LSTM and GRU: python benchmarks/scan.py [--time 1000]

One step of training (forward, backward, plain gradient descent), or of inference over one long row, float32, of a layer
alone. The cells take turns in one process; medians are compared with our LSTM's. `tensorflow` runs the same cells by
TensorFlow's operations (`NLP_RNN_NATIVE=0`, exports, GPUs).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from nlp_rnn.startup import import_tensorflow

CELLS = ["lstm", "gru", "mingru", "minlstm", "sru", "qrnn", "rglru"]
SHAPES = [(32, 128, 128), (16, 256, 256), (64, 64, 64)]  # batch, features, units


def training_step(cell: str, batch: int, steps: int, features: int, units: int, native: bool) -> Callable[[], Any]:
    """One step of training as a function."""
    import tensorflow as tf

    from nlp_rnn.layers import RecurrentStack

    stack = RecurrentStack(cell, units, bidirectional=False)
    stack.build((None, None, features))
    for layer in stack.forward_layers:
        layer.use_native = native
    x = tf.random.normal([batch, steps, features])

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_mean(tf.square(stack(x, training=True)[0]))
        variables = [variable.value for variable in stack.trainable_variables]
        gradients = tape.gradient(loss, [*variables, x])
        for variable, gradient in zip(variables, gradients, strict=False):
            variable.assign_sub(1e-6 * gradient)

    return step


def inference_step(cell: str, batch: int, steps: int, features: int, units: int, native: bool) -> Callable[[], Any]:
    """The outputs of one row as a function."""
    import tensorflow as tf

    from nlp_rnn.layers import RecurrentStack

    stack = RecurrentStack(cell, units, bidirectional=False)
    stack.build((None, None, features))
    for layer in stack.forward_layers:
        layer.use_native = native
    x = tf.random.normal([1, steps, features])
    return tf.function(lambda: stack(x)[0])


def compare(name: str, sides: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Prints a line of the table."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for step in sides.values():
        step(), step()
    for _ in range(rounds):
        for side, step in sides.items():
            begin = time.perf_counter()
            step()
            times[side].append(time.perf_counter() - begin)
    medians = {side: 1000 * statistics.median(values) for side, values in times.items()}
    parts = [f"{value:.1f} ({medians['lstm'] / value:.1f}×)" for value in medians.values()]
    print(f"| {name} | " + " | ".join(parts) + " |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", type=int, default=1000, help="steps of a sequence")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tensorflow", action="store_true", help="the cells by TensorFlow's operations")
    options = parser.parse_args()
    import_tensorflow()
    print("| ms (times the LSTM's speed) | " + " | ".join(CELLS) + " |")
    print("|---" * (len(CELLS) + 1) + "|")
    for batch, features, units in SHAPES:
        for kind, make in (("training", training_step), ("one row", inference_step)):
            native = [cell in ("lstm", "gru") or not options.tensorflow for cell in CELLS]
            shape = (batch, options.time, features, units)
            sides = {cell: make(cell, *shape, one) for cell, one in zip(CELLS, native, strict=True)}
            rows = batch if kind == "training" else 1
            compare(f"{kind}, {rows}×{options.time}, {features}→{units}", sides, options.rounds)


if __name__ == "__main__":
    main()
