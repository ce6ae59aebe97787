"""What the adaptive softmax gains: training with it, beside the same model with a full one.

python benchmarks/softmax.py --data $NLP_RNN_DATA/wikitext2/wiki.train.tokens.gz [--json]
python benchmarks/softmax.py --plot wikitext2.png runs/wikitext2 runs/wikitext2-full

The first prints tokens a second; the second draws validation perplexity by time of training, from finished runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from nlp_rnn.config.values import override
from nlp_rnn.registry import get_task
from nlp_rnn.run import Run
from nlp_rnn.startup import import_tensorflow
from nlp_rnn.trainer import settings_for


def measure(recipe: str, data: list[str], rounds: int, steps: int) -> dict[str, float]:
    """Median tokens a second of training with each softmax, the two alternating."""
    import_tensorflow()
    task = get_task("language-modeling")
    config = override(settings_for(task.name, recipe), {"data": {"train": data}})
    records = task.read(config, "train")
    runs, batches = {}, None
    for kind in ("full", "adaptive"):
        own = override(config, {"head": {"kind": kind}})
        assets = task.assets(own, records) if not runs else next(iter(runs.values())).assets
        batches = batches or list(itertools.islice(task.batches(own, assets, records, 0).epoch(0), steps))
        runs[kind] = Run(task, own, assets, task.build(own, assets))
        runs[kind].compile()
    tokens = sum(targets.size for _, targets, _ in batches or [])
    speeds: dict[str, list[float]] = {kind: [] for kind in runs}
    for number, (kind, run) in itertools.product(range(rounds + 1), runs.items()):
        began = time.perf_counter()
        for features, targets, weights in batches or []:
            run.model.train_on_batch(features, targets, weights)
        if number:  # the first round compiles
            speeds[kind].append(tokens / (time.perf_counter() - began))
    return {kind: float(np.median(values)) for kind, values in speeds.items()}


def draw(paths: list[str], out: str) -> None:
    """Validation perplexity by minutes of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for path in paths:
        lines = (Path(path) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        minutes = np.cumsum([row["seconds"] for row in rows]) / 60
        axes.plot(minutes, [row["val_perplexity"] for row in rows], marker="o", markersize=3, label=Path(path).name)
        print(f"{path}: {rows[-1]['val_perplexity']:.1f} after {minutes[-1]:.0f} minutes of training")
    axes.set(xlabel="minutes of training", ylabel="validation perplexity", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.savefig(out, dpi=120)


def main() -> None:
    """Prints both and their ratio, or draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="finished runs, to draw")
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--recipe", default="wikitext2")
    parser.add_argument("--data", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.plot:
        draw(options.runs, options.plot)
        return
    if not options.data:
        parser.error("say which text with --data")
    found = measure(options.recipe, options.data, options.rounds, options.steps)
    found["ratio"] = found["adaptive"] / found["full"]
    if options.json:
        print(json.dumps(found))
        return
    print(f"full {found['full']:,.0f} tokens/s, adaptive {found['adaptive']:,.0f} tokens/s: {found['ratio']:.2f} ×")


if __name__ == "__main__":
    main()
