"""Sources → records of reviews → tokenizer and labels → batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from nlp_rnn.assets import Asset, Assets, Labels
from nlp_rnn.config.recipes import starter_folder
from nlp_rnn.config.sections import split_seed
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.sentiment.settings import Config

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records

RESOURCES = "nlp_rnn.tasks.sentiment"
_FEW = 3


def read(config: Config, split: str) -> Records | None:
    """Records `{"text", "label", "line"}`; those of "predict" have no label."""
    from nlp_rnn.data.exports import as_classified
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.splits import read_split

    columns = {"text": config.data.text, "label": config.data.label}
    adapt = partial(as_classified, columns=columns)
    fields = Fields(columns, names=config.data.labels, label="label", adapt=adapt)
    records = read_split(config.data, split, fields, split_seed(config), starter_folder(RESOURCES))
    if records is None or split == "predict":
        return records
    empty = sum(1 for text in records.column("text") if not text.strip())
    return records.noting(f"empty texts: {empty:,}" if empty else "")


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizer and collects the labels."""
    from nlp_rnn.text.tokenizers import train_tokenizer
    from nlp_rnn.text.vectors import extra_words, vectors_for

    labels = _labels(config, records)
    extra = extra_words(config.embedding, config.tokenizer)
    tokenizer = train_tokenizer(config.tokenizer, records.column("text"), extra)
    named: dict[str, Asset] = {"tokenizer": tokenizer, "labels": labels}
    notes = _notes_on(Counter(records.column("label")))
    if not config.embedding.vectors:
        return Assets(named, notes)
    vectors, note = vectors_for(config.embedding, tokenizer, config.train.seed)
    return Assets(named, [note, *notes], {"vectors": vectors})


def settle(config: Config, assets: Assets, records: Records) -> tuple[Config, str]:
    """Finds `data.max_tokens` where it is not given."""
    from nlp_rnn.data.tokenizing import fitting_length

    if config.data.max_tokens:
        return config, ""
    length, part = fitting_length(assets.tokenizer, records.spread("text", 10_000), 0.95, 128, config.data.longest)
    note = f"{part:.1%} of the training texts are cut to {length} tokens (--data.max_tokens)." if part else ""
    return replace(config, data=replace(config.data, max_tokens=length)), note


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"tokens"}`, one-hot targets and weights."""
    import numpy as np

    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.labels import class_targets
    from nlp_rnn.data.tokenizing import token_rows

    labels, data, train = assets.labels, config.data, config.train
    targets, weights = class_targets(records, labels), None
    if train.class_weights == "balanced" and seed is not None:
        counts = np.maximum(targets.sum(0), 1)
        weights = targets @ (len(targets) / len(counts) / counts)
    rows, cut = token_rows(assets.tokenizer, records.column("text"), data.longest, data.kept_part)
    # Prediction keeps no gradients: larger batches are faster.
    size = train.batch_size if seed is not None else max(train.batch_size, 128)
    return Batches({"tokens": rows}, targets, size, weights, seed, train.buckets, cut)


def _labels(config: Config, records: Records) -> Labels:
    counts = Counter(records.column("label"))
    if len(counts) == 1:
        raise InputError(
            f'All {len(records)} training records have the label "{next(iter(counts))}"; '
            f"at least two labels are needed: is --data.label right?"
        )
    if len(counts) > 50 and len(counts) > len(records) / 2:
        raise InputError(
            f'The column "{config.data.label}" has {len(counts)} different values in {len(records)} rows: '
            f"it does not hold labels; name the column that does with --data.label."
        )
    named = list(dict.fromkeys(config.data.labels.values()))
    others = sorted((label for label in counts if label not in named), key=_as_number_or_text)
    return Labels([label for label in named if label in counts] + others)


def _notes_on(counts: Counter[str]) -> list[str]:
    """What may be a mistake among labels: names that differ in case alone, and labels of very few records."""
    alike: dict[str, list[str]] = {}
    for label in sorted(counts):
        alike.setdefault(label.casefold(), []).append(label)
    variants = [", ".join(labels) for labels in alike.values() if len(labels) > 1]
    rare = [f"{label} ({counts[label]})" for label in sorted(counts) if counts[label] < _FEW]
    notes = [f"Labels that differ in case alone: {'; '.join(variants)}."] if variants else []
    return notes + ([f"Labels of very few records: {', '.join(rare[:10])}."] if rare else [])


def _as_number_or_text(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
