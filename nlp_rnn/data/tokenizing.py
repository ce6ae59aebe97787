"""Texts → rows of ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nlp_rnn.data.batching import Rows
from nlp_rnn.text.ragged import truncate
from nlp_rnn.text.tokenizer import Tokenizer, in_chunks

_CHUNK = 2000


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
