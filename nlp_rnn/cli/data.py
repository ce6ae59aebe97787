"""`data`: data as training would read them → what is in them, and what to mend before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from nlp_rnn.data.quality import DataFacts
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.base import AnyTask

_FIELDS, _MOST_LABELS = ("text", "source"), 12


@dataclass(frozen=True)
class DataOptions:
    """Options of the verb itself."""

    recipe: str = "starter"
    """Named settings to begin with; `nlp-rnn recipes` lists them."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of settings. They override the recipe's; options override both."""
    json: bool = False
    """Print what was found as one JSON object."""


def run(task: str, arguments: list[str]) -> int:
    """Reads the splits as training would, and says what is in them."""
    from nlp_rnn.cli.train import settings_before, with_settings
    from nlp_rnn.config.values import check_ranges
    from nlp_rnn.registry import get_task

    arguments, settings = settings_before(task, arguments)
    about = "Says what is in data before anything is trained on them: duplicates, leaks, labels, odd characters."
    options: Any = with_settings(DataOptions, settings, arguments, task, "data", about)
    check_ranges(options.settings)
    return _told(get_task(task), options)


def _told(task: AnyTask, options: Any) -> int:
    from nlp_rnn.cli.output import to_json
    from nlp_rnn.data.quality import data_facts, readings
    from nlp_rnn.data.splits import shared_groups
    from nlp_rnn.display.console import visible
    from nlp_rnn.trainer import read_splits

    splits = read_splits(task, options.settings)
    name = task.input.name
    if name not in _FIELDS:
        return _told_of_others(task, options, splits)
    shared = shared_groups(options.settings.data)
    found = replace(data_facts(splits, name, task.count), groups=shared)
    if options.json:
        print(to_json({**asdict(found), "readings": readings(found)}))
    else:
        print(visible(_as_text(found)))
        print("\n".join(visible(line) for line in readings(found)))
    return 0


def _told_of_others(task: AnyTask, options: Any, splits: dict[str, Records]) -> int:
    """Of inputs that are no texts: what training says of them, and how many occur twice."""
    from nlp_rnn.cli.output import to_json
    from nlp_rnn.data.summary import SplitSizes, data_table, overlap_notes, split_sizes
    from nlp_rnn.display.console import visible
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()
    assets = task.assets(options.settings, splits["train"])
    settings, note = task.settle(options.settings, assets, splits["train"])
    batches = {name: task.batches(settings, assets, records, settings.train.seed) for name, records in splits.items()}
    found: dict[str, SplitSizes] = {
        name: split_sizes(records, batches[name], task.count) for name, records in splits.items()
    }
    said = [*filter(None, [*assets.notes, note]), *overlap_notes(splits, task.input.name, 0.0)]
    if options.json:
        print(to_json({"splits": {name: asdict(one) for name, one in found.items()}, "readings": said}))
        return 0
    from rich.console import Console

    Console(highlight=False).print(data_table(found, task.unit, splits["train"].noun))
    print("\n".join(map(visible, ["", *said])))
    return 0


def _as_text(found: DataFacts) -> str:
    heads = ["", *found.splits]
    facts = found.splits.values()
    rows = [
        heads,
        ["records", *(f"{one.rows:,}" for one in facts)],
        ["dropped", *(f"{sum(one.dropped.values()):,}" for one in facts)],
        ["words: median, 95 %, longest", *(", ".join(f"{n:,}" for n in one.words) for one in facts)],
        ["texts that occur before", *(f"{one.duplicates:,}" for one in facts)],
        ["texts with several labels", *(f"{one.conflicts:,}" for one in facts)],
        ["words not in training", *("" if one.unseen is None else f"{one.unseen:.1%}" for one in facts)],
    ]
    labels = list(dict.fromkeys(label for one in facts for label in one.labels))
    for label in labels[:_MOST_LABELS]:
        rows.append([f"label {label}", *(f"{one.labels.get(label, 0):,}" for one in facts)])
    if len(labels) > _MOST_LABELS:
        rows.append([f"and {len(labels) - _MOST_LABELS:,} more labels"])
    widths = [max(len(row[k]) for row in rows if len(row) > k) for k in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    for name, one in found.splits.items():
        lines += [f"{name}: {count:,} dropped: {reason}" for reason, count in one.dropped.items()]
        lines += [f"{name}: {note}" for note in one.notes]
    if found.examples:
        lines += ["", "Alike:"]
    for pair in found.examples:
        (a, i), (b, j) = pair.first, pair.second
        other = ", with other labels" if pair.labels_differ else ""
        lines.append(
            f"  {a} line {i}, {b} line {j} ({pair.alike:.0%} alike{other}): {' '.join(pair.text.split())[:90]}"
        )
    return "\n".join([*lines, ""])
