"""Whether the input can starve the model: python benchmarks/pipeline.py [--recipe imdb] [--data FILE] [--json]

Prints how much of the batches is padding, and the tokens a second that the input pipeline delivers alone, as `fit`
would take them, beside those of a training step on the same batches.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from nlp_rnn.config.values import override
from nlp_rnn.registry import get_task
from nlp_rnn.run import Run
from nlp_rnn.trainer import settings_for


def tokens_per_second(batches: Any, limit: float = 10.0) -> float:
    """Tokens of the batches of an epoch, or of as many as come within `limit` seconds, by the second."""
    data = iter(batches.dataset())
    next(data)
    began, tokens = time.perf_counter(), 0
    for features, _, _ in data:
        tokens += int((features["tokens"].numpy() != 0).sum())
        if time.perf_counter() - began > limit:
            break
    return tokens / (time.perf_counter() - began)


def training_tokens_per_second(model: Any, batches: Any, steps: int = 60) -> float:
    """The same of training."""
    plan = list(zip(range(2 * steps), batches.epoch(0), strict=False))
    for _, (features, targets, weights) in plan[:steps]:  # compiles every shape
        model.train_on_batch(features, targets, weights)
    began, tokens = time.perf_counter(), 0
    for _, (features, targets, weights) in plan[steps:]:
        model.train_on_batch(features, targets, weights)
        tokens += int((features["tokens"] != 0).sum())
    return tokens / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sentiment")
    parser.add_argument("--recipe", default="starter")
    parser.add_argument("--data", nargs="+")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    task, config = get_task(options.task), settings_for(options.task, options.recipe)
    if options.data:
        config = override(config, {"data": {"train": options.data}})
    records = task.read(config, "train")
    began = time.perf_counter()
    assets = task.assets(config, records)
    batches = task.batches(config, assets, records, config.train.seed)
    prepared = time.perf_counter() - began
    model = task.build(config, assets)
    Run(task, config, assets, model).compile()
    result = {
        "recipe": options.recipe,
        "rows": len(records),
        "seconds_to_tokenize": round(prepared, 1),
        "padding": round(batches.padding, 4),
        "pipeline_tokens_per_second": round(tokens_per_second(batches)),
        "training_tokens_per_second": round(training_tokens_per_second(model, batches)),
    }
    result["ratio"] = round(result["pipeline_tokens_per_second"] / result["training_tokens_per_second"], 1)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name.replace('_', ' '):28} {value:,}" if not isinstance(value, str) else f"{name:28} {value}")


if __name__ == "__main__":
    main()
