"""How fast a translator trains, beside the same model on PyTorch (`pip install -e ".[bench]"`):

python benchmarks/translation_training.py --data train.en train.de [--size 8000] [--rounds 9] [--json]

The model of the recipe "multi30k": embeddings of 256, a bidirectional LSTM of 256 units each way, an LSTM of 512,
attention after it, one table for both embeddings and the output; AdamW, norms clipped, label smoothing, dropout. Both
get the same batches. Each side is a process of its own; they take turns, and the medians of target tokens a second are
compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from recurrent import Side

SIDES = ["ours", "ours_bfloat16", "pytorch"]
STEPS = 6  # batches of a round, of the lengths that an epoch has
LEARNING_RATE, CLIP, SMOOTHING, DROPOUT = 0.002, 1.0, 0.1, 0.3


def prepared(data: list[str], size: int, precision: str) -> tuple[Any, Any, Any, list[Any]]:
    """Task, configuration, assets and batches."""
    from nlp_rnn.config.values import override
    from nlp_rnn.registry import get_task
    from nlp_rnn.trainer import settings_for

    changed = {"data": {"train": data}, "tokenizer": {"size": size}, "train": {"precision": precision}}
    task = get_task("translation")
    config = override(settings_for("translation", "multi30k"), changed)
    records = task.read(config, "train")
    assets = task.assets(config, records)
    made = task.batches(config, assets, records, 0)
    return task, config, assets, list(itertools.islice(made.epoch(0), 4, 4 + STEPS))


def ours(data: list[str], size: int, precision: str) -> tuple[Callable[[], None], int]:
    """A round of steps, and the target tokens in it."""
    from nlp_rnn.run import Run
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()
    task, config, assets, batches = prepared(data, size, precision)
    run = Run(task, config, assets, task.build(config, assets))
    run.compile()

    def steps() -> None:
        for features, targets, weights in batches:
            run.model.train_on_batch(features, targets, weights)

    return steps, sum(int((targets != 0).sum()) for _, targets, _ in batches)


def pytorch(data: list[str], size: int) -> tuple[Callable[[], None], int]:
    """The same on PyTorch."""
    _, _, assets, batches = prepared(data, size, "float32")
    import torch
    from torch import nn

    vocabulary = assets["target"].size

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, 256, padding_idx=0)
            self.encoder = nn.LSTM(256, 256, batch_first=True, bidirectional=True)
            self.bridge = nn.ModuleList([nn.Linear(512, 512) for _ in range(2)])
            self.decoder = nn.LSTM(256, 512, batch_first=True)
            self.keys = nn.Linear(512, 512, bias=False)
            self.combine = nn.Linear(1024, 512, bias=False)
            self.project = nn.Linear(512, 256)
            self.bias = nn.Parameter(torch.zeros(vocabulary))
            self.drop = nn.Dropout(DROPOUT)

        def forward(self, source: Any, target: Any) -> Any:
            lengths = (source != 0).sum(1)
            packed = nn.utils.rnn.pack_padded_sequence(
                self.drop(self.embedding(source)), lengths, batch_first=True, enforce_sorted=False
            )
            memory, final = self.encoder(packed)
            memory, _ = nn.utils.rnn.pad_packed_sequence(memory, batch_first=True)
            memory = self.drop(memory)
            state = tuple(
                torch.tanh(layer(part.transpose(0, 1).flatten(1)))[None]
                for layer, part in zip(self.bridge, final, strict=True)
            )
            sequence, _ = self.decoder(self.drop(self.embedding(target)), state)
            scores = sequence @ self.keys(memory).transpose(1, 2)
            scores = scores.masked_fill((source == 0)[:, None, : memory.shape[1]], -1e9)
            found = torch.tanh(self.combine(torch.cat([sequence, scores.softmax(-1) @ memory], -1)))
            return self.project(self.drop(found)) @ self.embedding.weight.T + self.bias

    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=SMOOTHING)
    tensors = [
        [torch.tensor(part, dtype=torch.long) for part in (features["source"], features["target"], targets)]
        for features, targets, _ in batches
    ]

    def steps() -> None:
        for source, target, targets in tensors:
            optimizer.zero_grad()
            criterion(model(source, target).flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()

    return steps, sum(int((targets != 0).sum()) for *_, targets in tensors)


def work(side: str, data: list[str], size: int) -> None:
    """The process of a side: a round for each line on standard input, answered with the target tokens a second."""
    if side == "pytorch":
        import torch  # noqa: F401  before TensorFlow, which prepares the batches
    precision = "mixed_bfloat16" if side == "ours_bfloat16" else "float32"
    steps, tokens = pytorch(data, size) if side == "pytorch" else ours(data, size, precision)
    for _ in range(2):  # all shapes have been seen
        steps()
    for _ in sys.stdin:
        began = time.perf_counter()
        steps()
        print(tokens / (time.perf_counter() - began), flush=True)


def main() -> None:
    """Prints a line for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--size", type=int, default=8000, help="subwords")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.data, options.size)
        return
    shared = ["--data", *options.data, "--size", str(options.size)]
    running = {side: Side(__file__, "--work", side, *shared) for side in options.sides}
    for side in running.values():  # start-up and compilation are over before anything is timed
        side.step()
        side.times.clear()
    for _ in range(options.rounds):
        for side in running.values():
            side.step()
    found = {name: round(statistics.median(side.times)) for name, side in running.items()}
    for side in running.values():
        side.close()
    if options.json:
        print(json.dumps(found))
        return
    for name, speed in found.items():
        print(f"{name:14} {speed:7,} target tokens/s")


if __name__ == "__main__":
    main()
