"""How fast a language model writes, one stream: python benchmarks/generation.py RUN [--length 20000] [--json]

Prints units a second from the run and from its SavedModel, and whether memory grows over 100,000 units.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import nlp_rnn
from nlp_rnn.tasks.language_modeling import generate

SETTINGS = {"temperature": 0.8, "top_k": 0, "top_p": 0.95, "repetition_penalty": 1.0, "seed": 0}


def resident() -> float:
    """Mebibytes of memory that this process holds."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def from_run(run: Any, length: int) -> float:
    """Units a second of a stream in Python."""
    for _ in generate(run, length=32, **SETTINGS):  # traces
        pass
    began = time.perf_counter()
    for _ in generate(run, length=length, **SETTINGS):
        pass
    return length / (time.perf_counter() - began)


def from_saved_model(write: Any, length: int) -> float:
    """Units a second of one call of the signature `generate`."""

    def call(length: int) -> None:
        settings = {name: tf.constant(value) for name, value in {**SETTINGS, "length": length}.items()}
        write(prompt=tf.constant([""]), stop=tf.constant([], tf.string), **settings)

    call(32)
    began = time.perf_counter()
    call(length)
    return length / (time.perf_counter() - began)


def main() -> None:
    """Prints the medians of some rounds, the two sides alternating, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--length", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stream", type=int, default=100_000, help="units over which memory is watched")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    run = nlp_rnn.load(options.run)
    with tempfile.TemporaryDirectory() as folder:
        write = tf.saved_model.load(str(run.export(Path(folder) / "export"))).signatures["generate"]
    speeds = [(from_run(run, options.length), from_saved_model(write, options.length)) for _ in range(options.rounds)]
    of_run, of_saved_model = np.median(speeds, 0)
    stream = generate(run, length=options.stream, **SETTINGS)
    memory = [resident()]
    for share in range(1, 11):
        for _ in itertools.islice(stream, options.stream // 10 if share < 10 else None):
            pass
        memory.append(resident())
    found = {"run": float(of_run), "saved_model": float(of_saved_model), "memory_mib": [round(m, 1) for m in memory]}
    if options.json:
        print(json.dumps(found))
        return
    print(f"{of_run:,.0f} units/s from the run, {of_saved_model:,.0f} from the SavedModel")
    print(f"memory over {options.stream:,} units: {', '.join(f'{m:.0f}' for m in memory)} MiB")


if __name__ == "__main__":
    main()
