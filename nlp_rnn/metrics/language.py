"""Metrics of language models, which compare across units: words, subwords, characters, bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def perplexity(nats: float) -> float:
    """Exp of the mean cross-entropy, infinite where a float cannot hold it.

    Example:

    >>> round(perplexity(math.log(120.7)), 1)
    120.7
    """
    return math.exp(nats) if nats < 700 else math.inf


def language_report(nats: Sequence[np.ndarray], texts: Sequence[str], line_ends: int | None = None) -> dict[str, Any]:
    """Perplexity per unit, and per word and bits per character, by which models over other units can be compared.

    Args:
        nats: -log p of the tokens of each text.
        texts: the texts; a line end counts as a character, and as no word.
        line_ends: how many of the texts end a line; by default all.
    """
    total = float(sum(part.sum(dtype=np.float64) for part in nats))
    units = sum(len(part) for part in nats)
    words = sum(len(text.split()) for text in texts)
    characters = sum(map(len, texts)) + (len(texts) if line_ends is None else line_ends)
    per_unit = total / max(units, 1)
    return {
        "perplexity": perplexity(per_unit),
        "nats_per_unit": per_unit,
        "bits_per_character": total / max(characters, 1) / math.log(2),
        "perplexity_per_word": perplexity(total / max(words, 1)),
        "units": units,
        "words": words,
        "characters": characters,
        "records": len(texts),
    }
