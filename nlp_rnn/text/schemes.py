"""Tagging schemes: entities as one tag a token, and back.

tokens   Ada      Lovelace  met  Byron    in  London   .
IOB1     I-PER    I-PER     O    I-PER    O   I-LOC    O      B- only where an entity follows one of its own label
IOB2     B-PER    I-PER     O    B-PER    O   B-LOC    O
IOBES    B-PER    E-PER     O    S-PER    O   S-LOC    O
BILOU    B-PER    L-PER     O    U-PER    O   U-LOC    O      IOBES by other letters
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from nlp_rnn.errors import InputError

SCHEMES = ("iob1", "iob2", "iobes", "bilou")
Span: TypeAlias = tuple[int, int, str]
"""An entity: its first token, the token after its last, its label."""

_TO_IOBES = {"L": "E", "U": "S"}
_TO_BILOU = {"E": "L", "S": "U"}
# By the prefix before: which prefixes may follow, of the same label and of another.
_IOBES_AFTER: dict[str, tuple[str, ...]] = {
    "O": ("", "OBS"),
    "E": ("BS", "OBS"),
    "S": ("BS", "OBS"),
    "B": ("IE", ""),
    "I": ("IE", ""),
}
_AFTER: dict[str, dict[str, tuple[str, ...]]] = {
    "iob1": {"O": ("", "OI"), "B": ("BI", "OI"), "I": ("BI", "OI")},
    "iob2": {"O": ("", "OB"), "B": ("BI", "OB"), "I": ("BI", "OB")},
    "iobes": _IOBES_AFTER,
    "bilou": {
        _TO_BILOU.get(before, before): tuple("".join(_TO_BILOU.get(c, c) for c in after) for after in pair)
        for before, pair in _IOBES_AFTER.items()
    },
}
_CLOSED = {"iob1": "OBI", "iob2": "OBI", "iobes": "OES", "bilou": "OLU"}


def split_tag(tag: str) -> tuple[str, str]:
    """A tag → its prefix and its label.

    Raises:
        ValueError: it is neither "O" nor one of B, I, E, S, L, U, a hyphen and a label.

    Example:

    >>> split_tag("B-PER")
    ('B', 'PER')
    """
    if tag == "O":
        return "O", ""
    prefix, hyphen, label = tag.partition("-")
    if prefix not in ("B", "I", "E", "S", "L", "U") or not hyphen or not label:
        raise ValueError(f'"{tag}" is not a tag: use O, or a prefix and a label, such as B-PER')
    return prefix, label


def may_follow(before: str | None, tag: str | None, scheme: str) -> bool:
    """Whether a tag may follow another in a scheme; None stands for the beginning and the end of a sentence.

    Example:

    >>> may_follow("B-PER", "I-LOC", "iob2"), may_follow(None, "S-LOC", "iobes")
    (False, True)
    """
    prefix_before, label_before = split_tag(before or "O")
    prefix, label = split_tag(tag or "O")
    after = _AFTER[scheme]
    if prefix_before not in after or prefix not in after:
        return False
    if tag is None:
        return prefix_before in _CLOSED[scheme]
    same, other = after[prefix_before]
    return prefix in (same if label == label_before and label else other)


def is_well_formed(tags: Sequence[str], scheme: str) -> bool:
    """Whether a scheme allows a sequence of tags."""
    return all(may_follow(a, b, scheme) for a, b in zip([None, *tags], [*tags, None], strict=True))


def spans_of(tags: Iterable[str]) -> list[Span]:
    """The entities of a sequence of tags in any scheme, by the rule of the CoNLL shared tasks' `conlleval`.

    An ill-formed sequence has a meaning too: an entity begins wherever the label changes.

    Example:

    >>> spans_of(["I-PER", "I-PER", "O", "B-LOC", "I-ORG"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'ORG')]
    """
    spans: list[Span] = []
    start, before, label_before = 0, "O", ""
    place = -1
    for place, tag in enumerate(tags):
        prefix, label = split_tag(tag)
        prefix = _TO_IOBES.get(prefix, prefix)
        begins = prefix in ("B", "S") or (prefix != "O" and (before in ("O", "E", "S") or label != label_before))
        if before != "O" and (begins or prefix == "O"):
            spans.append((start, place, label_before))
        if begins:
            start = place
        before, label_before = prefix, label
    if before != "O":
        spans.append((start, place + 1, label_before))
    return spans


def boundaries(tags: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where entities begin and end, by pairs of tags that follow each other, as `spans_of` has it.

    Args:
        tags: the name of each tag.

    Returns:
        Booleans `[tags + 1, tags + 1]` by the tag before and the tag after, of which the last stands for none: whether
        an entity begins with the latter, and whether one ends with the former.

    Example:

    >>> begins, ends = boundaries(["O", "B-X", "I-X"])
    >>> bool(begins[0, 1]), bool(begins[1, 2]), bool(ends[2, 3])
    (True, False, True)
    """
    around = [*tags, "O"]
    pairs = [[spans_of([before, tag]) for tag in around] for before in around]
    begins = np.array([[any(start == 1 for start, _, _ in spans) for spans in row] for row in pairs])
    return begins, np.array([[any(end == 1 for _, end, _ in spans) for spans in row] for row in pairs])


def tags_of(length: int, spans: Iterable[Span], scheme: str = "iobes") -> list[str]:
    """A sequence of `length` tags for entities that do not overlap.

    Example:

    >>> tags_of(4, [(0, 1, "LOC"), (1, 4, "PER")])
    ['S-LOC', 'B-PER', 'I-PER', 'E-PER']
    """
    tags = ["O"] * length
    end_before, label_before = -1, ""
    for start, end, label in sorted(spans):
        tags[start:end] = [f"I-{label}"] * (end - start)
        if scheme != "iob1" or (start == end_before and label == label_before):
            tags[start] = f"B-{label}"
        if scheme in ("iobes", "bilou"):
            last, single = ("E", "S") if scheme == "iobes" else ("L", "U")
            tags[end - 1] = f"{single if end - start == 1 else last}-{label}"
        end_before, label_before = end, label
    return tags


def tag_names(labels: Iterable[str]) -> list[str]:
    """The tags of IOBES for some labels, "O" first."""
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BIES")]


def allowed_steps(tags: Sequence[str], scheme: str = "iobes") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a scheme allows, for `nlp_rnn.layers.CRF`.

    Returns:
        Booleans: `[tags, tags]`, whether tag j may follow tag i; `[tags]`, whether a sentence may begin with a tag;
        `[tags]`, whether it may end with it.
    """
    inner = np.array([[may_follow(before, tag, scheme) for tag in tags] for before in tags])
    return (
        inner,
        np.array([may_follow(None, tag, scheme) for tag in tags]),
        np.array([may_follow(tag, None, scheme) for tag in tags]),
    )


def detect_scheme(sequences: Iterable[Sequence[str]]) -> str:
    """The scheme that sequences of tags are in: the one that the fewest of them violate.

    Raises:
        InputError: the prefixes are of no one scheme.

    Example:

    >>> detect_scheme([["I-PER", "O", "I-LOC", "B-LOC"]])
    'iob1'
    """
    prefixes: Counter[str] = Counter()
    violations = dict.fromkeys(("iob2", "iob1"), 0)
    for tags in sequences:
        prefixes.update(split_tag(tag)[0] for tag in tags)
        for scheme in violations:
            violations[scheme] += not is_well_formed(tags, scheme)
    iobes, bilou = prefixes["E"] + prefixes["S"], prefixes["L"] + prefixes["U"]
    if iobes and bilou:
        raise InputError(
            "The tags mix E-, S- (IOBES) with L-, U- (BILOU), which no scheme allows: convert them to one."
        )
    if iobes or bilou:
        return "iobes" if iobes else "bilou"
    return min(violations, key=lambda scheme: violations[scheme])
