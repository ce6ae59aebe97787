"""Sources → records of pairs → tokenizers → batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.config.sections import split_seed
from nlp_rnn.config.values import refuse_settings
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.translation.settings import Config, TranslationData

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records
    from nlp_rnn.text.tokenizer import Tokenizer

RESOURCES = "nlp_rnn.tasks.translation"
SIDES = ("source", "target")


def read(config: Config, split: str) -> Records | None:
    """Records `{"source", "target", "line"}`; those of "predict" have no target."""
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.splits import is_starter, read_split, some_of

    data, count, seed = replace(config.data, train_records=0), config.data.train_records, split_seed(config)
    if is_starter(data, split):
        found = _starter(data, split)
        return some_of(found, count, seed) if split == "train" else found
    columns = {"source": data.source, "target": data.target}
    if data.swap:  # of two files the first is then the target's
        columns = {"target": data.source, "source": data.target}
    records = read_split(data, split, Fields(columns, inputs=("source",), parallel=True), seed)
    return some_of(_filtered(records, data), count, seed) if records is not None and split == "train" else records


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizers: "source" and "target", which are one where the vocabulary is joint."""
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "train", "translation", "class_weights")
    refuse_settings(config.embedding, "embedding", "translation", "vectors", "extra_words")
    settings = config.tokenizer
    if config.head.tied == "all" and not settings.joint:
        raise InputError("--head.tied all needs a joint vocabulary: give --tokenizer.joint True or --head.tied output.")
    files = config.data.train
    same = len(files) == 2 and files[0] == files[1]
    notes = [f"{files[0]} is given for both sides: is that what you want?"] if same else []
    if settings.joint:
        both = (text or "" for pair in records.columns(*SIDES) for text in pair)
        tokenizer = train_tokenizer(settings, both)
        return Assets({"source": tokenizer, "target": tokenizer}, notes)
    return Assets({n: train_tokenizer(settings, (text or "" for text in records.column(n))) for n in SIDES}, notes)


def tokenizers(assets: Assets) -> Mapping[str, Tokenizer]:
    """Those of both sides, "source" and "target"."""
    return {name: assets[name] for name in SIDES}


def settle(config: Config, assets: Assets, records: Records) -> tuple[Config, str]:
    """Finds `data.max_tokens` where it is not given: one length for both sides."""
    from nlp_rnn.data.tokenizing import fitting_length

    if config.data.max_tokens:
        return config, ""
    found = {
        name: fitting_length(assets[name], records.spread(name, 10_000), 0.99, 100, config.data.longest)
        for name in SIDES
    }
    length = max(length for length, _ in found.values())
    parts = [f"{part:.1%} of the {name}s" for name, (_, part) in found.items() if part]
    note = f"{' and '.join(parts)} are cut to {length} tokens (--data.max_tokens)." if parts else ""
    return replace(config, data=replace(config.data, max_tokens=length)), note


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"source", "target"}`; the targets are the target's tokens and the end token."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.tokenizing import token_rows
    from nlp_rnn.text.tokenizer import BEGIN, END

    limit, train = config.data.longest, config.train
    source, cut = token_rows(assets.source, records.column("source"), limit)
    if len(records) and records[0].get("target") is None:
        return Batches({"source": source}, np.zeros(len(records), np.int32), train.batch_size, buckets=train.buckets)
    plain, cut_targets = token_rows(assets.target, records.column("target"), limit)
    last = plain.starts[1:]
    inputs = np.insert(plain.values, plain.starts[:-1], BEGIN)
    outputs = np.insert(plain.values, last, END)
    lengths = plain.lengths + 1
    features = {"source": source, "target": Rows([(inputs, lengths)])}
    targets = Rows([(outputs, lengths)])
    if seed is None:
        features["targets"] = targets
    return Batches(features, targets, train.batch_size, None, seed, train.buckets, cut + cut_targets)


def _starter(data: TranslationData, split: str) -> Records:
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.translation.starter import LANGUAGES, split_pairs

    languages = ["en" if data.source == "source" else data.source, "de" if data.target == "target" else data.target]
    for language in languages:
        if language not in LANGUAGES:
            raise InputError(f'The starter corpus has no "{language}"; it has {", ".join(LANGUAGES)}.')
    return Records(split_pairs(split, *(languages[::-1] if data.swap else languages)))


def _filtered(records: Records, data: TranslationData) -> Records:
    """Without pairs that training is better off without, counted by reason."""
    dropped: Counter[str] = Counter(records.dropped)
    kept, seen = [], set()
    for index, (source, target) in enumerate(records.columns(*SIDES)):
        one, other = (source or "").strip(), (target or "").strip()
        longer, shorter = max(len(one), len(other)), min(len(one), len(other))
        if not one and not other:
            dropped["both texts empty"] += 1
        elif not one or not other:
            dropped["one of the texts empty"] += 1
        elif data.max_ratio and longer > 20 and longer > data.max_ratio * shorter:
            dropped[f"one text more than {data.max_ratio:g} times as long as the other"] += 1
        elif not data.duplicates and (one, other) in seen:
            dropped["a pair that occurred before"] += 1
        else:
            kept.append(index)
        if not data.duplicates:
            seen.add((one, other))
    if not kept:
        raise InputError("No pairs are left to train on: do the two files belong together, the source first?")
    filtered = records.select(kept)
    filtered.dropped = dict(dropped)
    return filtered
