"""One stream, step by step: the time of a step and the size of the state, of recurrent layers and of a transformer.

python benchmarks/streaming.py
"""

from __future__ import annotations

import statistics
import time

from nlp_rnn.startup import import_tensorflow

tf = import_tensorflow()

from nlp_rnn.layers import stack_of  # noqa: E402

_UNITS, _LAYERS, _STEPS, _ROUNDS = 128, 2, 300, 5
_KINDS = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "mingru": {"cell": "mingru", "residual": True, "normalization": "rms"},
    **{f"transformer, context {n}": {"cell": "transformer", "context": n} for n in (32, 128, 512)},
}


def main() -> None:
    """Prints a line for each kind, the rounds of all kinds alternating."""
    steps, states = {}, {}
    for name, options in _KINDS.items():
        stack = stack_of(**{"units": _UNITS, "layers": _LAYERS, "bidirectional": False, **options})
        stack.build((None, None, _UNITS))
        states[name] = stack.zero_state(1)

        @tf.function(autograph=False)
        def step(x: tf.Tensor, state: list[list[tf.Tensor]], stack: object = stack) -> tuple[tf.Tensor, object]:
            return stack(x, initial_state=state)

        steps[name] = step
    times: dict[str, list[float]] = {name: [] for name in _KINDS}
    x = tf.random.stateless_normal((1, 1, _UNITS), (0, 1))
    for number in range(_ROUNDS + 1):
        for name, step in steps.items():
            state, started = states[name], time.perf_counter()
            for _ in range(_STEPS):
                output, state = step(x, state)
            output.numpy()
            if number:
                times[name].append((time.perf_counter() - started) / _STEPS)
    for name, measured in times.items():
        size = sum(int(tf.size(part)) for part in tf.nest.flatten(states[name])) * 4
        print(f"{name:<26} {statistics.median(measured) * 1e6:8.0f} µs a step   state {size:10,} bytes")


if __name__ == "__main__":
    main()
