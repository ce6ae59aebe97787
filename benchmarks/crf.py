"""What a CRF costs: a training step of a tagger with it, beside the same with a softmax for each tag.

python benchmarks/crf.py [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from nlp_rnn.layers import CharacterEmbedding, CRFLoss, RecurrentStack, TokenCrossEntropy, TokenEmbedding
from nlp_rnn.models import Tagger, TaggingHead, WordEmbedding
from nlp_rnn.text.schemes import allowed_steps, tag_names

BATCH, TIME, WORDS, CHARACTERS = 32, 30, 20_000, 12
TAGS = tag_names(["PER", "LOC", "ORG", "MISC"])  # 17


def tagger(kind: str, units: int) -> keras.Model:
    """A tagger like that of the recipe conll2003, compiled."""
    allowed = [part.tolist() for part in allowed_steps(TAGS)] if kind == "crf" else [None, None, None]
    embedding = WordEmbedding(TokenEmbedding(WORDS, 50), CharacterEmbedding(100), cases=8, dropout=0.3)
    model = Tagger(embedding, RecurrentStack("lstm", units, dropout=0.5), TaggingHead(len(TAGS), kind, 0.0, *allowed))
    model.build()
    model.compile(
        keras.optimizers.AdamW(1e-3, global_clipnorm=5.0), CRFLoss() if kind == "crf" else TokenCrossEntropy()
    )
    return model


def measure(rounds: int, steps: int, units: int) -> dict[str, float]:
    """Median milliseconds of a training step with each head, the two alternating."""
    generator = np.random.default_rng(0)
    features = {
        "tokens": generator.integers(4, WORDS, (BATCH, TIME)).astype("int32"),
        "characters": generator.integers(4, 100, (BATCH, TIME, CHARACTERS)).astype("int32"),
        "case": generator.integers(1, 8, (BATCH, TIME)).astype("int32"),
    }
    tags = np.zeros((BATCH, TIME), np.int32)
    weights = np.ones(BATCH, np.float32)
    models = {kind: tagger(kind, units) for kind in ("softmax", "crf")}
    times: dict[str, list[float]] = {kind: [] for kind in models}
    for number in range(rounds + 1):
        for kind, model in models.items():
            start = time.perf_counter()
            for _ in range(steps):
                model.train_on_batch(features, tags, weights)
            if number:  # the first round compiles
                times[kind].append((time.perf_counter() - start) / steps * 1e3)
    return {kind: float(np.median(values)) for kind, values in times.items()}


def main() -> None:
    """Prints both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--units", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for units in options.units:
        found = measure(options.rounds, options.steps, units)
        results[str(units)] = {**found, "ratio": found["crf"] / found["softmax"]}
    if options.json:
        print(json.dumps(results))
        return
    print(f"Training step, batch {BATCH}, time {TIME}, {len(TAGS)} tags; bidirectional LSTM")
    for units, found in results.items():
        print(
            f"{units:>5} units: softmax {found['softmax']:6.2f} ms, CRF {found['crf']:6.2f} ms, {found['ratio']:.2f} ×"
        )


if __name__ == "__main__":
    main()
