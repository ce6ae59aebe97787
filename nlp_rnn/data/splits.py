"""Sources → splits: each part as it was given, or cut off the training data.

What is cut off is the same every time: of every label alike by a seed, or the end of a running text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nlp_rnn.config.sections import DataConfig
from nlp_rnn.data.fields import GROUP, Fields
from nlp_rnn.data.readers import Form
from nlp_rnn.data.records import Record, Records
from nlp_rnn.data.sources import has_split, read_sources
from nlp_rnn.data.tables import NoLabelsError
from nlp_rnn.errors import InputError


def read_split(
    data: DataConfig, split: str, fields: Fields, seed: int = 0, starter: Path | None = None
) -> Records | None:
    """Reads one split, cutting it off the training data where it is given nowhere; of the training records so many as
    `data.train_records` says.

    Args:
        data: the settings.
        split: "train", "validation", "test", or "predict", which is read from the test data.
        fields: what is read.
        seed: of the parts that are cut off.
        starter: the folder that the source "starter" stands for.

    Returns:
        The records, or None where there is no such split.

    Raises:
        InputError: a source cannot be read; the message says where and what to do.
    """
    if split == "predict":
        split, fields = "test", fields.for_prediction()
    found = _read(data, split, fields, seed, starter)
    if split != "train" or found is None:
        return found
    return some_of(found, getattr(data, "train_records", 0), seed, fields.label, fields.labels_of)


def some_of(
    records: Records,
    count: int,
    seed: int,
    label: str | None = None,
    labels_of: Callable[[Record], set[str]] | None = None,
) -> Records:
    """So many of the records, drawn at random; more contain the fewer. 0 takes all.

    Args:
        records: any.
        count: how many are drawn.
        seed: of the draw.
        label: the field of their label, where they have one: each has its share, and one record at least.
        labels_of: record → its labels, where it may have several: one record at least has each of them.

    Raises:
        InputError: the count is too small for that.
    """
    if not count:
        return records
    if count >= len(records):
        return records.noting(
            f"{count:,} training records were asked for: all are taken" if count > len(records) else ""
        )
    order = np.random.default_rng(seed).permutation(len(records))
    rank = np.empty(len(records))
    rank[order] = (np.arange(len(records)) + 0.5) / len(records)
    labels: list[set[str]] = []
    if label:
        labels = [{value} for value in records.column(label)]
        places: dict[str, list[int]] = {}
        for place in order:
            (value,) = labels[place]
            places.setdefault(value, []).append(place)
        for own in places.values():
            rank[own] = (np.arange(len(own)) + 0.5) / len(own)
    elif labels_of is not None:
        labels = [labels_of(record) for record in records]
    seen: set[str] = set()
    for place in order if labels else ():
        if not labels[place] <= seen:  # the first that has it
            seen |= labels[place]
            rank[place] -= 1.0
    if (fewest := int((rank < 0).sum())) > count:
        raise InputError(
            f"--data.train_records {count}: {fewest} records are needed for one of each label, give as many."
        )
    note = f"{count:,} of {len(records):,}, drawn at random (seed {seed})"
    return records.select(np.sort(np.argsort(rank, kind="stable")[:count]).tolist()).noting(note)


def _read(data: DataConfig, split: str, fields: Fields, seed: int, starter: Path | None) -> Records | None:
    form = Form(data.format, data.delimiter)
    given = getattr(data, split) if split != "train" else ()
    if given:
        return read_sources(given, split, form, fields, starter)
    if split != "train" and has_split(data.train, split, starter):
        try:
            return read_sources(data.train, split, form, fields, starter)
        except NoLabelsError:  # the hidden test part of a shared task
            return None
    fractions = {}
    for name, fraction in (("validation", data.validation_fraction), ("test", data.test_fraction)):
        if not getattr(data, name) and fraction > 0 and not has_split(data.train, name, starter):
            fractions[name] = fraction
    group = getattr(data, "group", "") if fractions else ""
    if group and fields.parallel and len(data.train) == 2:
        raise InputError("Two files of lines have no column data.group: give one table with both texts and the group.")
    train = read_sources(data.train, "train", form, fields.with_group(group) if group else fields, starter)
    if group:
        return _cut_groups(train, fractions, group, seed).get(split)
    if fields.running is not None:
        return _cut_end(train, fractions, fields.running).get(split)
    return _cut(train, fractions, fields, seed).get(split)


def is_starter(data: DataConfig, split: str) -> bool:
    """Whether a split is that of the starter corpus, for tasks that make theirs rather than read it from files."""
    given = split == "predict" or (split != "train" and getattr(data, split))
    return data.train == ("starter",) and not given


def _cut(train: Records, fractions: Mapping[str, float], fields: Fields, seed: int) -> dict[str, Records]:
    """Cuts parts off the training records: at random, of every label alike, the same ones every time."""
    if not fractions:
        return {"train": train}
    generator = np.random.default_rng(seed)
    labels = np.array(list(train.column(fields.label))) if fields.label else np.zeros(len(train))
    taken: dict[str, list[int]] = {name: [] for name in fractions}
    kept: list[int] = []
    for value in np.unique(labels):
        indices = generator.permutation(np.flatnonzero(labels == value))
        total = len(indices)
        for name, fraction in fractions.items():
            count = max(round(total * fraction), 1) if total > len(fractions) else 0
            taken[name].extend(indices[:count].tolist())
            indices = indices[count:]
        kept.extend(indices.tolist())
    if fields.labels_of is not None:
        _give_back(train, taken, kept, fields.labels_of)
    parts = {"train": train.select(sorted(kept))}
    for name, part in taken.items():
        if part:
            how = "of every label alike, " if fields.label else ""
            note = f"held out from the training data ({fractions[name]:.0%}, {how}seed {seed})"
            parts[name] = Records(train.select(sorted(part)).rows, notes=[note])
    return parts


def _cut_groups(train: Records, fractions: Mapping[str, float], column: str, seed: int) -> dict[str, Records]:
    """Cuts whole groups off the training records, at random, the same ones every time; a record without a group is one
    of its own."""
    members: dict[int | str, list[int]] = {}
    for place, value in enumerate(train.column(GROUP)):
        members.setdefault(place if value is None else _as_group(value), []).append(place)
    if all(isinstance(group, int) for group in members):
        raise InputError(f'The training data have no column "{column}" with groups: is --data.group right?')
    if len(members) <= len(fractions):
        raise InputError(f'The column "{column}" has too few groups ({len(members)}) to hold some out.')
    order = [list(members.values())[k] for k in np.random.default_rng(seed).permutation(len(members))]
    parts: dict[str, Records] = {}
    for name, fraction in fractions.items():
        taken: list[int] = []
        wanted, left, count = fraction * len(train), [], 0
        for one in order:
            if len(taken) < wanted and len(taken) + len(one) <= 1.1 * wanted:
                taken, count = taken + one, count + 1
            else:
                left.append(one)
        if not taken:  # all groups are large
            taken, count = min(left, key=len), 1
            left.remove(taken)
        note = f"held out from the training data ({len(taken) / len(train):.0%}, {count:,} whole groups, seed {seed})"
        parts[name] = Records(train.select(sorted(taken)).rows, notes=[note])
        order = left
    return {"train": train.select(sorted(place for one in order for place in one)), **parts}


def shared_groups(data: DataConfig) -> dict[str, tuple[int, int]]:
    """For each held-out split that is given: how many of its groups training has too, and how many it has. Of the
    starter corpus and of what can be read once only, nothing is said."""
    column, form = getattr(data, "group", ""), Form(data.format, data.delimiter)
    given = [name for name in ("validation", "test") if getattr(data, name)] if column else []
    sources = {name: getattr(data, name) for name in ("train", *given)}
    if not given or any(source in ("-", "starter") for some in sources.values() for source in some):
        return {}
    fields = Fields({}).with_group(column)
    found = {
        name: {_as_group(value) for value in read_sources(some, name, form, fields).column(GROUP) if value is not None}
        for name, some in sources.items()
    }
    return {name: (len(found[name] & found["train"]), len(found[name])) for name in given}


def _as_group(value: str) -> str:
    """A group from JSON; 3 and 3.0 are one."""
    found = json.loads(value)
    return str(int(found) if isinstance(found, float) and found.is_integer() else found)


def _give_back(train: Records, taken: dict[str, list[int]], kept: list[int], labels_of: Any) -> None:
    """Moves what has a label that is nowhere else back to the training records."""
    known = set().union(*(labels_of(train[i]) for i in kept))
    for part in taken.values():
        for index in list(part):
            if not labels_of(train[index]) <= known:
                known |= labels_of(train[index])
                part.remove(index)
                kept.append(index)


def _cut_end(train: Records, fractions: Mapping[str, float], running: str) -> dict[str, Records]:
    """Cuts parts off the end of a running text, by its characters."""
    sizes = np.cumsum([len(text or "") + (not goes_on) for text, goes_on in train.columns(running, "continues")])
    parts, end = {}, len(train)
    for name, fraction in fractions.items():
        start = int(np.searchsorted(sizes, sizes[end - 1] - fraction * sizes[-1]))
        if 0 < start < end:
            note = f"the last {fraction:.0%} of the training text"
            parts[name] = Records(train.select(range(start, end)).rows, notes=[note])
            end = start
    return {"train": train.select(range(end)), **parts}
