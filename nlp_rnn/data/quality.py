"""What is in data before anything is trained on them: duplicates, leaks, lengths, labels, coverage, odd characters."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_HASHES, _BANDS, _SHINGLE, _ALIKE = 64, 16, 5, 0.8
_SHOWN, _LARGEST = 5, 200
_MUCH = 0.01
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")
_MOST_SHINGLES = 20_000
_ODD = {
    "characters that were lost (U+FFFD)": re.compile("�"),
    "UTF-8 that was read as another encoding (Ã©, â€™)": re.compile("[ÃÂ][\x80-\xbf]|â€[\x90-\xbf™œ\x9d˜“”]"),
    "HTML tags or entities": re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]{0,80})?/?>|&(?:[a-z]{2,8}|#\d{2,5});"),
    "control characters": re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
}


@dataclass(frozen=True)
class Pair:
    """Two records of (nearly) the same text: split and line, or place from 1, of each, how alike they are (Jaccard's
    measure of their runs of five characters), whether their labels differ, and the text of the first."""

    first: tuple[str, int]
    second: tuple[str, int]
    alike: float
    labels_differ: bool
    text: str


@dataclass(frozen=True)
class SplitFacts:
    """One split.

    Args:
        rows: how many records.
        dropped: how many rows were not read, by reason.
        notes: what the reader noted.
        labels: how often each occurs, of records or of entities.
        of_records: whether each record has one.
        words: median, 95 % and longest of the texts.
        empty: texts without a word.
        duplicates: records whose text occurs before.
        conflicts: texts that occur with several labels.
        unseen: the part of its words that the training data lack; None for those.
        odd: texts with odd characters, by kind.
    """

    rows: int
    dropped: dict[str, int]
    notes: list[str]
    labels: dict[str, int]
    of_records: bool
    words: tuple[int, int, int]
    empty: int
    duplicates: int
    conflicts: int
    unseen: float | None
    odd: dict[str, int]


@dataclass(frozen=True)
class DataFacts:
    """All splits.

    Args:
        splits: by name.
        leaks: for each held-out split, how many of its texts occur in the training data: the same, and nearly the same.
        near: pairs that are nearly the same within the training data.
        examples: some pairs, those across splits first.
        contradicted: for each held-out split, how many of its texts occur in the training data with another label.
        groups: for each held-out split that is given, how many of its groups training has too, and how many it has.
    """

    splits: dict[str, SplitFacts]
    leaks: dict[str, tuple[int, int]]
    near: int
    examples: list[Pair] = field(default_factory=list)
    contradicted: dict[str, int] = field(default_factory=dict)
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)


def data_facts(splits: Mapping[str, Any], text: str, count: Any) -> DataFacts:
    """Looks at splits.

    Args:
        splits: records by name, "train" first.
        text: the field of the input.
        count: records → how often each label occurs.
    """
    texts = {name: [str(value or "") for value in records.column(text)] for name, records in splits.items()}
    places = {name: _places(records) for name, records in splits.items()}
    labels = {name: _labels(records) for name, records in splits.items()}
    known = Counter(word for one in texts["train"] for word in _words(one))
    facts = {name: _of_split(splits[name], texts[name], labels[name], known, name, count) for name in splits}
    flat = [(name, k) for name in splits for k in range(len(texts[name]))]
    everything = [normal(texts[name][k]) for name, k in flat]
    pairs: list[tuple[tuple[str, int], tuple[str, int], float]] = []
    leaks = {name: [0, 0] for name in splits if name != "train"}
    exact = {one: place for place, one in reversed(list(enumerate(everything))) if one}
    leaked: dict[int, float] = {}
    contradicted = dict.fromkeys(leaks, 0)
    for place, one in enumerate(everything):
        if one and exact[one] != place and flat[exact[one]][0] == "train" != flat[place][0]:
            leaked[place] = 1.0
            (a, i), (b, j) = flat[exact[one]], flat[place]
            contradicted[b] += bool(labels[a] and labels[b] and labels[a][i] != labels[b][j])
            pairs.append((flat[exact[one]], flat[place], 1.0))
    near = 0
    for first, second, alike in near_duplicates(everything, len(texts["train"])):
        if flat[second][0] == "train":
            near += 1
        elif second not in leaked:
            leaked[second] = alike
        pairs.append((flat[first], flat[second], alike))
    for place, alike in leaked.items():
        leaks[flat[place][0]][alike < 1] += 1
    pairs.sort(key=lambda pair: (pair[0][0] == pair[1][0], -pair[2]))
    shown = []
    for (a, i), (b, j), alike in pairs[:_SHOWN]:
        differ = bool(labels[a] and labels[b] and labels[a][i] != labels[b][j])
        shown.append(Pair((a, places[a][i]), (b, places[b][j]), round(alike, 3), differ, texts[a][i][:_LARGEST]))
    counts = {name: (same, alike) for name, (same, alike) in leaks.items()}
    return DataFacts(facts, counts, near, shown, contradicted)


def _places(records: Any) -> list[int]:
    has_lines = len(records) and records[0].get("line")
    return list(records.column("line")) if has_lines else list(range(1, len(records) + 1))


def _labels(records: Any) -> list[str]:
    """What each record is labelled with: its label, or its entities."""
    if not len(records):
        return []
    if "label" in records[0]:
        return list(records.column("label"))
    if "entities" not in records[0]:
        return []
    spans = records.column("entities")
    return [str(sorted((e["start"], e["end"], e["label"]) for e in one or [])) for one in spans]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def normal(text: str) -> str:
    """A text as it is compared: in small letters, with single blanks.

    Example:

    >>> normal("Great,  GREAT film :)")
    'great, great film :)'
    """
    return " ".join(text.casefold().split())


def _of_split(
    records: Any, texts: Sequence[str], labels: Sequence[str], known: Counter[str], name: str, count: Any
) -> SplitFacts:
    words = [_words(one) for one in texts]
    lengths = np.array([len(one) for one in words] or [0])
    by_text: dict[str, set[str]] = defaultdict(set)
    seen, repeated = set(), 0
    for place, one in enumerate(map(normal, texts)):
        repeated += bool(one) and one in seen
        seen.add(one)
        if one and labels:
            by_text[one].add(labels[place])
    total = sum(map(len, words))
    unseen = None
    if name != "train" and total:
        unseen = sum(known[word] == 0 for one in words for word in one) / total
    odd = {kind: sum(bool(pattern.search(one)) for one in texts) for kind, pattern in _ODD.items()}
    middle, high = (int(value) for value in np.quantile(lengths, [0.5, 0.95]))
    return SplitFacts(
        rows=len(records),
        dropped=dict(records.dropped),
        notes=list(records.notes),
        labels=dict(count(records).most_common()),
        of_records=bool(len(records)) and "label" in records[0],
        words=(middle, high, int(lengths.max())),
        empty=sum(not one for one in words),
        duplicates=repeated,
        conflicts=sum(len(found) > 1 for found in by_text.values()),
        unseen=unseen,
        odd={kind: number for kind, number in odd.items() if number},
    )


def near_duplicates(texts: Sequence[str], known: int | None = None) -> Iterator[tuple[int, int, float]]:
    """Pairs of texts that are not the same but share four fifths of their runs of five characters, found by MinHash
    (Broder 1997) and bands of its hashes: (first, second, Jaccard's measure).

    Each text is paired with the first that it is like, among the first so many, those that are `known`; by default
    among all. Of very long texts 20,000 runs are compared.

    Example:

    >>> texts = ["the quick brown fox jumps over the lazy dog today", "something else altogether, and longer"]
    >>> [(a, b) for a, b, _ in near_duplicates([*texts, texts[0] + "s"])]
    [(0, 2)]
    """
    shingles = [_shingles(text) for text in texts]
    signatures = _signatures(shingles)
    rows = _HASHES // _BANDS
    found: set[int] = set()
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for place, (own, signature) in enumerate(zip(shingles, signatures, strict=True)):
        if not len(own):
            continue
        for band in range(_BANDS):
            key = (band, signature[band * rows : (band + 1) * rows].tobytes())
            bucket = buckets.setdefault(key, [])
            for other in bucket if place not in found else ():
                if texts[other] != texts[place] and (alike := _jaccard(shingles[other], own)) >= _ALIKE:
                    found.add(place)
                    yield other, place, alike
                    break
            if len(bucket) < 50 and (known is None or place < known):
                bucket.append(place)


def _shingles(text: str) -> np.ndarray:
    """Hashes of all runs of five code points, sorted, each once."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if len(codes) < 2 * _SHINGLE:
        return np.zeros(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, _SHINGLE)
    factors = np.array([31**k for k in range(_SHINGLE)], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.unique((windows * factors).sum(1))[:_MOST_SHINGLES]


def _signatures(shingles: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The least hash of each text under each of 64 functions."""
    generator = np.random.default_rng(0)
    factors = generator.integers(1, 2**62, _HASHES, dtype=np.uint64) | np.uint64(1)
    shifts = generator.integers(0, 2**62, _HASHES, dtype=np.uint64)
    for own in shingles:
        if not len(own):
            yield np.zeros(_HASHES, np.uint64)
            continue
        mixed = own[:, None] * factors + shifts
        yield (mixed ^ (mixed >> np.uint64(29))).min(0)


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def readings(found: DataFacts) -> list[str]:
    """What the facts mean for training, in plain sentences."""
    said = []
    for name, (same, alike) in found.leaks.items():
        rows = found.splits[name].rows
        part = (same + alike) / max(rows, 1)
        if part:
            too_much = ": results on them say too much" if part > _MUCH else ""
            said.append(
                f"{same + alike:,} of the {rows:,} {name} texts ({part:.1%}) occur in the training data too, {same:,} "
                f"the same and {alike:,} nearly so{too_much}."
            )
        if found.contradicted.get(name):
            said.append(f"{found.contradicted[name]:,} of these have another label in the training data.")
    for name, (same, count) in found.groups.items():
        if same:
            said.append(
                f"{same:,} of the {count:,} groups of {name} occur in the training data too: results on them say too "
                f"much."
            )
    train = found.splits["train"]
    if train.conflicts:
        said.append(f"{train.conflicts:,} training texts occur with several labels.")
    if train.duplicates or found.near:
        said.append(
            f"{train.duplicates:,} training records repeat a text that occurs before; {found.near:,} more are nearly "
            f"the same as another."
        )
    if train.labels:
        most, total = max(train.labels.values()), sum(train.labels.values())
        if train.of_records and len(train.labels) == 1:
            said.append(f"All training records have the label {next(iter(train.labels))}: nothing can be learned.")
        elif train.of_records:
            said.append(f"Always saying the commonest label is right in {most / total:.1%} of the training records.")
        what = "records" if train.of_records else "entities"
        elsewhere = sorted({label for one in found.splits.values() for label in one.labels} - {*train.labels})
        if elsewhere:
            said.append(f"Held-out {what} have the label {', '.join(elsewhere[:8])}, which no training record has.")
        rare = [label for label, count in train.labels.items() if count < 10]
        if rare:
            said.append(f"Fewer than 10 {what} have the label {', '.join(rare[:8])}: it will hardly be learned.")
    for name, facts in found.splits.items():
        if facts.unseen is not None and facts.unseen > 0.1:
            said.append(f"{facts.unseen:.1%} of the words of {name} do not occur in the training data.")
        for kind, count in facts.odd.items():
            said.append(f"{count:,} {name} texts have {kind}.")
        if facts.empty:
            said.append(f"{facts.empty:,} {name} texts have no word.")
    return said or ["Nothing stands out."]
