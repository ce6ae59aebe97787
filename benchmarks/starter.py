"""How varied a starter corpus is: python benchmarks/starter.py [TASK] [--json]

Prints rows, balance and lengths by split, the part of held-out entities that training does not have, distinct
n-grams, the commonest openings, and how close the nearest neighbour of a held-out text is among the training texts
(part of its word 4-grams, or of its words, shared).
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from nlp_rnn.config.recipes import starter_folder
from nlp_rnn.registry import get_task


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]", text.lower())


def grams(tokens: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def nearest(held_out: list[set[Any]], training: list[set[Any]]) -> list[float]:
    """For each set, the largest part of it that one of the training sets shares."""
    places = defaultdict(list)
    for index, items in enumerate(training):
        for item in items:
            places[item].append(index)
    shares = []
    for items in held_out:
        counts = Counter(index for item in items for index in places[item])
        shares.append(max(counts.values(), default=0) / max(len(items), 1))
    return shares


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def labels(row: dict[str, Any]) -> list[str]:
    return [row["label"]] if "label" in row else [entity["label"] for entity in row["entities"]]


def entities(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["text"][entity["start"] : entity["end"]], entity["label"]) for entity in row["entities"]]


def examine(task: str) -> dict[str, Any]:
    folder = starter_folder(get_task(task).resources) or Path()
    splits = {name: read(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}
    tokens = {name: [words(row["text"]) for row in rows] for name, rows in splits.items()}
    everything = [row for rows in tokens.values() for row in rows]
    report: dict[str, Any] = {"rows": {name: len(rows) for name, rows in splits.items()}}
    report["labels"] = {name: dict(Counter(itertools.chain(*map(labels, rows)))) for name, rows in splits.items()}
    kinds = Counter(row.get("topic") or row["genre"] for rows in splits.values() for row in rows)
    report["kinds"] = len(kinds) if len(kinds) > 12 else dict(kinds)
    if "entities" in splits["train"][0]:
        known = set(itertools.chain(*map(entities, splits["train"])))
        for name in ("validation", "test"):
            found = list(itertools.chain(*map(entities, splits[name])))
            report[f"unseen_{name}"] = round(sum(entity not in known for entity in found) / len(found), 4)
    lengths = sorted(map(len, everything))
    report["tokens"] = {"shortest": lengths[0], "median": statistics.median(lengths), "longest": lengths[-1]}
    for n in (1, 2, 3, 4):
        found = [gram for row in everything for gram in zip(*(row[i:] for i in range(n)), strict=False)]
        report[f"distinct_{n}"] = round(len(set(found)) / len(found), 4)
    openings = Counter(" ".join(row[:2]) for row in everything)
    report["commonest_openings"] = dict(openings.most_common(5))
    training = [grams(row, 4) for row in tokens["train"]]
    for name in ("validation", "test"):
        shares = nearest([grams(row, 4) for row in tokens[name]], training)
        report[f"nearest_{name}"] = {
            "mean_share_of_4grams": round(statistics.mean(shares), 4),
            "largest": round(max(shares), 4),
            "over_one_third": sum(share > 1 / 3 for share in shares),
        }
    texts = [row["text"] for rows in splits.values() for row in rows]
    report["duplicates"] = len(texts) - len(set(texts))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="sentiment")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = examine(options.task)
    if options.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:<20} {value}")


if __name__ == "__main__":
    main()
