"""Texts → rows of ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nlp_rnn.data.batching import Rows
from nlp_rnn.text.ragged import truncate
from nlp_rnn.text.tokenizer import Tokenizer, in_chunks

_CHUNK = 2000


def fitting_length(
    tokenizer: Tokenizer, texts: Sequence[str], quantile: float, low: int, high: int
) -> tuple[int, float]:
    """How many tokens texts are to be cut to: what a part of them has at most.

    Args:
        tokenizer: any of `nlp_rnn.text`.
        texts: some.
        quantile: the part of them that is not to be cut, up to 1.
        low, high: the least and the most.

    Returns:
        The length, and the part of the texts that is longer.
    """
    lengths = np.concatenate([tokenizer.encode(part).row_lengths().numpy() for part in in_chunks(texts, _CHUNK)])
    length = min(max(int(np.quantile(lengths, quantile, method="higher")), low), high)
    return length, float((lengths > length).mean())


def token_rows(
    tokenizer: Tokenizer, texts: Iterable[str | None], max_tokens: int, kept: str = "start"
) -> tuple[Rows, int]:
    """Encodes texts, a chunk in memory at a time.

    Args:
        tokenizer: any of `nlp_rnn.text`.
        texts: None counts as empty.
        max_tokens: longer rows are cut to this length.
        kept: which part of them stays: "start", "end" or half of "both".

    Returns:
        The rows, and how many were cut.
    """
    cut = 0

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal cut
        for chunk in in_chunks((text or "" for text in texts), _CHUNK):
            ids = tokenizer.encode(chunk)
            longer = int((ids.row_lengths().numpy() > max_tokens).sum())
            short = truncate(ids, max_tokens, kept) if longer else ids
            cut += longer
            yield short.values.numpy(), short.row_lengths().numpy()

    return Rows(parts()), cut
