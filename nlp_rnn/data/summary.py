"""A table of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from rich.table import Table

from nlp_rnn.data.batching import Batches
from nlp_rnn.data.records import Records


def data_table(splits: Mapping[str, Records], batches: Mapping[str, Batches]) -> Table:
    """Rows, labels, lengths, and what was cut, empty or dropped, for each split."""
    table = Table(title="Data", title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    table.add_column("split")
    table.add_column("rows", justify="right")
    table.add_column("labels")
    table.add_column("tokens: median, 95 %, longest")
    table.add_column("noted")
    for name, records in splits.items():
        lengths = batches[name].lengths
        middle, high = np.quantile(lengths, [0.5, 0.95]) if len(lengths) else (0, 0)
        sizes = f"{middle:.0f}, {high:.0f}, {lengths.max(initial=0)}"
        table.add_row(name, f"{len(records):,}", _labels(records), sizes, _noted(records, batches[name]))
    return table


def _labels(records: Records) -> str:
    first = records[0] if len(records) else {}
    if "entities" in first:
        counts = Counter(entity["label"] for entities in records.column("entities") for entity in entities)
    elif "label" in first:
        counts = Counter(records.column("label"))
    else:
        return ""
    shown = [f"{label} {count:,}" for label, count in counts.most_common(6)]
    return ", ".join(shown) + (f", and {len(counts) - 6} more" if len(counts) > 6 else "")


def _noted(records: Records, batches: Batches) -> str:
    facts = [f"{count:,} rows dropped: {reason}" for reason, count in records.dropped.items()]
    if len(records) and "text" in records[0] and not records[0].get("follows"):
        empty = sum(1 for text in records.column("text") if not (text or "").strip())
        facts += [f"{empty:,} empty texts"] if empty else []
    facts += [f"{batches.cut:,} longer than data.max_tokens"] if batches.cut else []
    facts += [records.note] if records.note else []
    return "; ".join(facts)
