"""One long text as parallel lanes of windows that follow each other, for truncated back-propagation through time.

A lane is a contiguous part of the text, and window follows on window in it, so that a model can carry its state from
batch to batch (Mikolov et al. 2010; Zaremba et al. 2014, arXiv:1409.2329).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from nlp_rnn.data.batching import Batch
from nlp_rnn.text.tokenizer import END


class Lanes:
    """Batches `({"tokens", "reset"}, next tokens, weights)` of a text.

    "tokens" is int32 `[lanes, window]`; "reset" `[lanes, 1]` is 1 where no window comes before; the targets,
    `[lanes, window]`, are the tokens that follow. Every token is predicted once, the first of a lane from what stands
    before it, the first of the text from the end token.

    Args:
        ids: the text, int32 `[tokens]`.
        lanes: how many parts are read side by side; what is left over at the end (fewer than that) is not used.
        window: steps of a batch.
        seed: with it, windows begin at places that vary by a quarter of their length from epoch to epoch; None for
            windows of one length.
        lengths: tokens of each record, for results by record.

    Example:

    >>> lanes = Lanes(np.arange(4, 11, dtype=np.int32), lanes=2, window=2)
    >>> features, targets, _ = next(lanes.epoch(0))
    >>> features["tokens"].tolist(), targets.tolist()
    ([[3, 4], [6, 7]], [[4, 5], [7, 8]])
    """

    def __init__(
        self, ids: np.ndarray, lanes: int, window: int, seed: int | None = None, lengths: np.ndarray | None = None
    ) -> None:
        self.lanes, self.window, self.seed = lanes, window, seed
        self.length = len(ids) // lanes
        self.lengths = np.array([len(ids)]) if lengths is None else lengths
        used = lanes * self.length
        self.cut = 0
        self.targets = ids[:used].reshape(lanes, self.length)
        self.inputs = np.concatenate([[END], ids[: used - 1]]).astype(np.int32).reshape(lanes, self.length)
        self.steps_per_epoch = max(-(-self.length // window), 1)
        self.tokens_per_epoch = used
        self.padding = 0.0

    def bounds(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, and where the last one ends: as many in every epoch."""
        bounds = np.minimum(np.arange(self.steps_per_epoch + 1) * self.window, self.length)
        if self.seed is None or self.window < 4:
            return bounds
        reach = self.window // 4
        moved = bounds[1:-1] + np.random.default_rng((self.seed, epoch)).integers(-reach, reach + 1, len(bounds) - 2)
        return np.concatenate([bounds[:1], np.clip(moved, 1, max(self.length - 1, 1)), bounds[-1:]])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the batch `start` on."""
        bounds = self.bounds(epoch)
        weights = np.ones((self.lanes, 1), np.float32)
        for number, (first, last) in enumerate(itertools.pairwise(bounds)):
            if number >= start:
                reset = np.full((self.lanes, 1), number == 0, np.int32)
                yield {"tokens": self.inputs[:, first:last], "reset": reset}, self.targets[:, first:last], weights

    def indexed(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """(window, features) in order; the features have the targets too."""
        for number, (features, targets, _) in enumerate(self.epoch(0)):
            yield np.array([number]), {**features, "targets": targets}

    def by_record(self, column: list[np.ndarray]) -> list[np.ndarray]:
        """The results of all windows of one lane, `[window]` each, by record."""
        return np.split(np.concatenate(column), np.cumsum(self.lengths)[:-1])

    def dataset(self, position: Any = None) -> Any:
        """As that of `Batches`."""
        import tensorflow as tf

        from nlp_rnn.data.batching import dataset_of

        tokens = tf.TensorSpec([self.lanes, None], tf.int32)
        features = {"tokens": tokens, "reset": tf.TensorSpec([self.lanes, 1], tf.int32)}
        signature = (features, tokens, tf.TensorSpec([self.lanes, 1], tf.float32))
        return dataset_of(self, signature, position)
