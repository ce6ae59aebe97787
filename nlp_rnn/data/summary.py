"""A table of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from nlp_rnn.config.sections import TokenizerConfig
from nlp_rnn.data.batching import EpochSource
from nlp_rnn.data.records import Records

_UNKNOWN, _MUCH = 1, 0.05
_UNITS = {"subword": "subwords", "word": "words", "character": "characters", "byte": "bytes"}


def data_table(
    splits: Mapping[str, Records],
    batches: Mapping[str, EpochSource],
    unit: str,
    count: Callable[[Records], Counter[str]],
) -> Table:
    """Rows, labels, lengths, and what was cut, empty or dropped, for each split.

    Args:
        splits: the records by the name of the split.
        batches: the batches of each.
        unit: what lengths are counted in, such as "tokens".
        count: records → how often each label occurs in them; empty for a task without labels.
    """
    table = Table(title="Data", title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    table.add_column("split")
    table.add_column("rows", justify="right")
    table.add_column("labels")
    table.add_column(f"{unit}: median, 95 %, longest")
    table.add_column("noted")
    for name, records in splits.items():
        lengths = batches[name].lengths
        middle, high = np.quantile(lengths, [0.5, 0.95]) if len(lengths) else (0, 0)
        sizes = f"{middle:.0f}, {high:.0f}, {lengths.max(initial=0)}"
        table.add_row(name, f"{len(records):,}", _labels(count(records)), sizes, _noted(records, batches[name]))
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


def overlap_notes(splits: Mapping[str, Records], name: str) -> list[str]:
    """Says how many held-out inputs occur in the training data too, where that is more than a twentieth.

    Args:
        splits: the records by the name of the split.
        name: the field of the input.
    """
    notes, known = [], {hash(str(value)) for value in splits["train"].column(name)}
    for split, records in splits.items():
        count = sum(hash(str(value)) in known for value in records.column(name)) if split != "train" else 0
        if count > _MUCH * len(records):
            notes.append(f"{count:,} of the {len(records):,} {split} inputs occur in the training data too.")
    return notes


def _labels(counts: Counter[str]) -> str:
    if set(counts) == {None}:
        return ""
    shown = [f"{'no label' if label is None else label} {count:,}" for label, count in counts.most_common(6)]
    return ", ".join(shown) + (f", and {len(counts) - 6} more" if len(counts) > 6 else "")


def _noted(records: Records, batches: EpochSource) -> str:
    facts = [f"{count:,} rows dropped: {reason}" for reason, count in records.dropped.items()]
    facts += [f"{batches.cut:,} longer than data.max_tokens"] if batches.cut else []
    return "; ".join(filter(None, [*facts, *records.notes, *batches.notes, unknown_note(batches)]))
