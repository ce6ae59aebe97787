"""A table of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from nlp_rnn.config.sections import TokenizerConfig
from nlp_rnn.data.batching import EpochSource
from nlp_rnn.data.records import Records

_UNKNOWN, _MUCH = 1, 0.05
_UNITS = {"subword": "subwords", "word": "words", "character": "characters", "byte": "bytes"}


@dataclass(frozen=True)
class SplitSizes:
    """What is said of a split before training.

    Args:
        rows: how many records.
        labels: how often each occurs, the commonest first.
        lengths: median, 95 % and longest.
        noted: what was cut, empty or dropped.
    """

    rows: int
    labels: dict[str | None, int]
    lengths: tuple[int, int, int]
    noted: str


def split_sizes(records: Records, batches: EpochSource, count: Callable[[Records], Counter[str]]) -> SplitSizes:
    """Rows, labels, lengths, and what was cut, empty or dropped.

    Args:
        records: of the split.
        batches: of these.
        count: records → how often each label occurs in them; empty for a task without labels.
    """
    lengths = batches.lengths
    middle, high = np.quantile(lengths, [0.5, 0.95]) if len(lengths) else (0, 0)
    sizes = round(middle), round(high), int(lengths.max(initial=0))
    return SplitSizes(len(records), dict(count(records).most_common()), sizes, _noted(records, batches))


def data_table(splits: Mapping[str, SplitSizes], unit: str, rows: str = "rows") -> Table:
    """The splits by name beside each other, with the unit in which lengths are counted, such as "tokens", and what the
    rows are called."""
    has_labels = any(_labels(one.labels) for one in splits.values())
    table = Table(title="Data", title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    table.add_column("split")
    table.add_column(rows, justify="right")
    if has_labels:
        table.add_column("labels")
    table.add_column(f"{unit}: median, 95 %, longest")
    table.add_column("noted")
    for name, one in splits.items():
        labels = [_labels(one.labels)] if has_labels else []
        table.add_row(name, f"{one.rows:,}", *labels, ", ".join(map(str, one.lengths)), one.noted)
    return table


def vocabulary_notes(assets: Mapping[str, Any], settings: TokenizerConfig | None) -> list[str]:
    """How large the vocabularies are, and where one is smaller than the settings of the tokenizer ask for.

    Args:
        assets: by name; those that are tokenizers count.
        settings: a `TokenizerConfig`, or None for a task without.
    """
    found: dict[int, tuple[str, Any]] = {}
    if settings is None:
        return []
    for name, asset in assets.items():
        if getattr(asset, "asset_kind", "") == "tokenizer" and asset.kind == settings.kind:
            found.setdefault(id(asset), (name, asset))
    notes = []
    for name, tokenizer in found.values():
        which = f" of {name}" if len(found) > 1 else ""
        is_less = tokenizer.kind == "subword" and tokenizer.size < settings.size
        why = f"; no more can be made of so little text ({settings.size:,} were asked for)" if is_less else ""
        notes.append(f"Vocabulary{which}: {tokenizer.size:,} {_UNITS[tokenizer.kind]}{why}.")
    return notes


def unknown_note(batches: EpochSource) -> str:
    """Says which part of the tokens is unknown to the vocabulary, where that is more than a twentieth."""
    rows = getattr(batches, "features", {})
    ids = [rows[name].values for name in ("tokens", "source") if hasattr(rows.get(name), "values")]
    ids += [batches.inputs] if hasattr(batches, "inputs") else []
    part = float(np.mean(ids[0] == _UNKNOWN)) if ids and ids[0].size and ids[0].dtype == np.int32 else 0.0
    return f"unknown tokens: {part:.0%}" if part > _MUCH else ""


def overlap_notes(splits: Mapping[str, Records], name: str, much: float = _MUCH) -> list[str]:
    """Says how many held-out inputs occur in the training data too, where that is much.

    Args:
        splits: the records by the name of the split.
        name: the field of the input.
        much: part of them above which it is said.
    """
    notes, known = [], {hash(str(value)) for value in splits["train"].column(name)}
    for split, records in splits.items():
        count = sum(hash(str(value)) in known for value in records.column(name)) if split != "train" else 0
        if count > much * len(records):
            notes.append(f"{count:,} of the {len(records):,} {split} inputs occur in the training data too.")
    return notes


def _labels(counts: Mapping[str | None, int]) -> str:
    if set(counts) == {None}:
        return ""
    shown = [f"{'no label' if label is None else label} {count:,}" for label, count in list(counts.items())[:6]]
    return ", ".join(shown) + (f", and {len(counts) - 6} more" if len(counts) > 6 else "")


def _noted(records: Records, batches: EpochSource) -> str:
    facts = [f"{count:,} rows dropped: {reason}" for reason, count in records.dropped.items()]
    facts += [f"{batches.cut:,} longer than data.max_tokens"] if batches.cut else []
    return "; ".join(filter(None, [*facts, *records.notes, *batches.notes, unknown_note(batches)]))
