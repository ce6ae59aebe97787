"""Metrics of speech recognition: word and character error rates, by the kind of error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

_KINDS = ("substitutions", "deletions", "insertions")


def alignment(reference: Sequence[object], hypothesis: Sequence[object]) -> list[tuple[Any, Any]]:
    """The fewest edits that make one sequence of another (Levenshtein 1966), substitutions before deletions before
    insertions.

    Args:
        reference: what is right.
        hypothesis: what was found.

    Returns:
        Pairs of what stands at the same place; None where nothing does.

    Example:

    >>> alignment("a b c".split(), "a x c d".split())
    [('a', 'a'), ('b', 'x'), ('c', 'c'), (None, 'd')]
    """
    rows, columns = len(reference), len(hypothesis)
    cost = np.zeros((rows + 1, columns + 1), np.int64)
    cost[0] = np.arange(columns + 1)
    steps = np.arange(columns + 1)
    other = np.array([hash(item) for item in hypothesis], np.int64)
    for i, item in enumerate(reference, 1):
        differs = (other != hash(item)).astype(np.int64)
        best = np.minimum(cost[i - 1, 1:] + 1, cost[i - 1, :-1] + differs)
        best = np.concatenate([[i], best])
        cost[i] = np.minimum.accumulate(best - steps) + steps  # insertions, all at once
    pairs: list[tuple[Any, Any]] = []
    i, j = rows, columns
    while i or j:
        same = i and j and hash(reference[i - 1]) == hash(hypothesis[j - 1])
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs[::-1]


def count_errors(reference: Sequence[object], hypothesis: Sequence[object]) -> Counter[str]:
    """How many of the reference were "substitutions" and "deletions", how many "insertions" came beside, and how many
    the reference has, "of".

    Example:

    >>> count_errors("a b c".split(), "a x c d".split())
    Counter({'of': 3, 'substitutions': 1, 'insertions': 1})
    """
    found: Counter[str] = Counter(of=len(reference))
    for right, said in alignment(reference, hypothesis):
        if right is None:
            found["insertions"] += 1
        elif said is None:
            found["deletions"] += 1
        elif right != said:
            found["substitutions"] += 1
    return found


def error_rate(counts: Counter[str]) -> float | None:
    """Errors by the length of the references; None without any.

    Example:

    >>> error_rate(Counter(of=4, substitutions=1))
    0.25
    """
    return sum(counts[kind] for kind in _KINDS) / counts["of"] if counts["of"] else None


def speech_report(
    references: Sequence[str], hypotheses: Sequence[str], groups: Sequence[str] = (), singles: Sequence[bool] = ()
) -> dict[str, Any]:
    """Word and character error rates.

    "wer" is (substitutions + deletions + insertions) / words of the references, over all recordings together, as NIST's
    sclite and jiwer have it; "cer" the same of characters, blanks among them; "right" is the part of the recordings
    without an error.

    Args:
        references: what was said.
        hypotheses: what was recognised.
        groups: of each recording, such as who speaks; with two or more there is a "wer by speaker" too.
        singles: which recordings were measured by themselves, where others are strings of them: then "wer" and "cer"
            are those of the strings, and "right" that of the single ones.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses")
    pairs = list(zip(references, hypotheses, strict=True))
    words = [count_errors(right.split(), said.split()) for right, said in pairs]
    characters = [count_errors(list(right), list(said)) for right, said in pairs]
    alone = np.array(singles, bool) if len(singles) else np.zeros(len(pairs), bool)
    both = 0 < alone.sum() < len(alone)
    measured = np.flatnonzero(~alone) if both else np.arange(len(pairs))
    total = sum((words[i] for i in measured), Counter[str]())
    report: dict[str, Any] = {
        "wer": error_rate(total),
        "cer": error_rate(sum((characters[i] for i in measured), Counter[str]())),
        **{kind: total[kind] for kind in _KINDS},
        "words": total["of"],
    }
    judged = np.flatnonzero(alone) if both else measured
    report["right"] = (
        float(np.mean([pairs[int(i)][0].split() == pairs[int(i)][1].split() for i in judged])) if len(judged) else None
    )
    report["records"] = len(pairs)
    names = sorted({group for group in groups if group})
    if len(names) > 1:
        rates = {n: sum((words[i] for i in measured.tolist() if groups[i] == n), Counter[str]()) for n in names}
        report["wer by speaker"] = {name: error_rate(counts) for name, counts in rates.items()}
    return report


def confusions(references: Sequence[str], hypotheses: Sequence[str]) -> Counter[tuple[str | None, str | None]]:
    """Which words were taken for which, with how often; None where there was none.

    Example:

    >>> confusions(["five nine"], ["nine nine"])
    Counter({('five', 'nine'): 1})
    """
    found: Counter[tuple[str | None, str | None]] = Counter()
    for right, said in zip(references, hypotheses, strict=True):
        found.update(pair for pair in alignment(right.split(), said.split()) if pair[0] != pair[1])
    return found
