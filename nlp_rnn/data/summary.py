"""A table of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from rich.table import Table

from nlp_rnn.data.batching import EpochSource
from nlp_rnn.data.records import Records


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


def _labels(counts: Counter[str]) -> str:
    shown = [f"{label} {count:,}" for label, count in counts.most_common(6)]
    return ", ".join(shown) + (f", and {len(counts) - 6} more" if len(counts) > 6 else "")


def _noted(records: Records, batches: EpochSource) -> str:
    facts = [f"{count:,} rows dropped: {reason}" for reason, count in records.dropped.items()]
    facts += [f"{batches.cut:,} longer than data.max_tokens"] if batches.cut else []
    return "; ".join([*facts, *records.notes, *batches.notes])
