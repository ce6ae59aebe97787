"""Texts → rows of ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nlp_rnn.data.batching import Rows
from nlp_rnn.text.tokenizer import CHARACTERS, Tokenizer, in_chunks, pieces_of

_CHUNK = 2000


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ids of texts behind each other, int32 `[tokens]`, and how many each has, int64 `[texts]`; a long text is
    encoded in pieces, so that the memory for it is bounded."""
    marks = (" ",) if tokenizer.kind == "subword" else ("\n", " ")
    pieces = [(number, piece) for number, text in enumerate(texts) for _, piece in pieces_of(text, marks=marks)]
    values, lengths = [np.zeros(0, np.int32)], np.zeros(len(texts), np.int64)
    for part in in_chunks(pieces, _CHUNK, lambda piece: len(piece[1]), CHARACTERS):
        ids = tokenizer.encode([_before_the_next(tokenizer, piece, texts[number]) for number, piece in part])
        values.append(ids.values.numpy())
        np.add.at(lengths, [number for number, _ in part], ids.row_lengths().numpy())
    return np.concatenate(values), lengths


def _before_the_next(tokenizer: Tokenizer, piece: str, text: str) -> str:
    """A piece without the blank at its end, where the tokenizer puts one before the next piece."""
    is_cut = len(piece) < len(text) and piece.endswith(" ") and not text.endswith(piece)
    return piece[:-1] if is_cut and tokenizer.kind == "subword" else piece


def _shortened(ids: np.ndarray, lengths: np.ndarray, longest: int, kept: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows cut to `longest` ids: as `nlp_rnn.text.ragged.truncate`."""
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(ids)) - np.repeat(starts, lengths)
    from_end = np.repeat(lengths, lengths) - place
    head = {"start": longest, "end": 0, "both": longest // 2}[kept]
    return ids[(place < head) | (from_end <= longest - head)], np.minimum(lengths, longest)


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
    lengths = np.concatenate([encode(tokenizer, part)[1] for part in in_chunks(texts, _CHUNK, len, CHARACTERS)])
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
        for chunk in in_chunks((text or "" for text in texts), _CHUNK, len, CHARACTERS):
            ids, lengths = encode(tokenizer, chunk)
            cut += int((lengths > max_tokens).sum())
            yield _shortened(ids, lengths, max_tokens, kept)

    return Rows(parts()), cut
