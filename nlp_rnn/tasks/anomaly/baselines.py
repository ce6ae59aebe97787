"""Simple methods beside which every report sets the model: mixtures of events, and runs of events never seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nlp_rnn.metrics.anomalies import count_distances, ngrams

SIZES = (2, 5)
_MOST = 3000


class Simple:
    """Fitted to normal sessions.

    Args:
        counts: of the events of sessions, `[sessions, vocabulary]`.
        runs: by size the numbers of the runs of events that were seen, sorted.
    """

    asset_kind: ClassVar[str] = "event baselines"

    def __init__(self, counts: np.ndarray, runs: dict[int, np.ndarray]) -> None:
        self.counts, self.runs = counts, runs

    @classmethod
    def of(cls, sessions: Sequence[np.ndarray], vocabulary: int) -> Simple:
        """Of the ids of sessions; the counts of 3,000 of them at most, spread over all, are kept."""
        step = max(-(-len(sessions) // _MOST), 1)
        counts = counts_of(sessions[::step], vocabulary)
        runs = {size: np.unique(np.concatenate([ngrams(ids, size) for ids in sessions])) for size in SIZES}
        return cls(np.unique(counts, axis=0), runs)

    def scores(self, sessions: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """By method the score of each session."""
        found = {"mixture of events": count_distances(counts_of(sessions, self.counts.shape[1]), self.counts)}
        for size, known in self.runs.items():
            unseen = [ngrams(ids, size) for ids in sessions]
            parts = [float(np.isin(runs, known, invert=True).mean()) if len(runs) else 0.0 for runs in unseen]
            found[f"unseen runs of {size}"] = np.array(parts)
        return found

    def save(self, path: Path) -> None:
        """Writes arrays."""
        runs: dict[str, Any] = {f"runs_{size}": values for size, values in self.runs.items()}
        np.savez_compressed(path.with_suffix(".npz"), counts=self.counts, **runs)

    @classmethod
    def load(cls, path: Path) -> Simple:
        """Reads them back."""
        with np.load(path.with_suffix(".npz")) as found:
            return cls(found["counts"], {size: found[f"runs_{size}"] for size in SIZES})


def counts_of(sessions: Sequence[np.ndarray], vocabulary: int) -> np.ndarray:
    """How often each event occurs in each session, float32 `[sessions, vocabulary]`."""
    return np.stack([np.bincount(ids, minlength=vocabulary) for ids in sessions]).astype(np.float32)
