"""One long text as parallel lanes of windows that follow each other, for truncated back-propagation through time.

A lane is a contiguous part of the text, and window follows on window in it, so that a model can carry its state from
batch to batch (Mikolov et al. 2010; Zaremba et al. 2014, arXiv:1409.2329).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.batching import Batch, Features, dataset_of
from nlp_rnn.text.tokenizer import END

if TYPE_CHECKING:
    import tensorflow as tf


class Lanes:
    """Batches `({"tokens", "reset"}, next tokens, weights)` of a text.

    "tokens" is int32 `[lanes, window]`; "reset" `[lanes, 1]` is 1 where no window comes before; the targets,
    `[lanes, window]`, are the tokens that follow. Every token is predicted once, the first of a lane from what stands
    before it, the first of the text from `begin`.

    Args:
        ids: the text, int32 `[tokens]`.
        lanes: how many parts are read side by side; what is left over at the end (fewer than that) is not used.
        window: steps of a batch.
        seed: with it, windows begin at places that vary by a quarter of their length from epoch to epoch; None for
            windows of one length.
        lengths: tokens of each record, for results by record.
        measures: whether the targets are among the features as well, for a model that measures them.
        begin: the id that stands before the text.
        apart: whether each record, of one lane, is read by itself, after that id.

    Example:

    >>> lanes = Lanes(np.arange(4, 11, dtype=np.int32), lanes=2, window=2)
    >>> features, targets, _ = next(lanes.epoch(0))
    >>> features["tokens"].tolist(), targets.tolist()
    ([[3, 4], [6, 7]], [[4, 5], [7, 8]])
    """

    def __init__(
        self,
        ids: np.ndarray,
        lanes: int,
        window: int,
        seed: int | None = None,
        lengths: np.ndarray | None = None,
        measures: bool = False,
        begin: int = END,
        apart: bool = False,
    ) -> None:
        self.lanes, self.window, self.seed, self.measures = lanes, window, seed, measures
        self.length = len(ids) // lanes
        self.lengths = np.array([len(ids)]) if lengths is None else lengths
        used = lanes * self.length
        self.cut = 0
        self.notes: tuple[str, ...] = ()
        self.targets = ids[:used].reshape(lanes, self.length)
        self.inputs = np.concatenate([[begin], ids[: used - 1]]).astype(np.int32).reshape(lanes, self.length)
        self._begins = np.zeros(1, np.int64)
        if apart:
            self._begins = np.unique(np.cumsum(self.lengths) - self.lengths)
            self.inputs[0, self._begins[self._begins < used]] = begin
        inner = [np.arange(first, last, window) for first, last in itertools.pairwise([*self._begins, self.length])]
        self._windows = np.array([*np.concatenate(inner), self.length]) if self.length else np.array([0, 0])
        self.steps_per_epoch = len(self._windows) - 1
        self.elements_per_epoch = used
        self.padding = 0.0

    def bounds(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, and where the last one ends: as many in every epoch."""
        bounds = self._windows
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
                reset = np.full((self.lanes, 1), number == 0 or first in self._begins, np.int32)
                features, targets = {"tokens": self.inputs[:, first:last], "reset": reset}, self.targets[:, first:last]
                yield ({**features, "targets": targets} if self.measures else features), targets, weights

    def indexed(self) -> Iterator[tuple[np.ndarray, Features]]:
        """(window, features) in order."""
        for number, (features, _, _) in enumerate(self.epoch(0)):
            yield np.array([number]), features

    def by_record(self, column: list[np.ndarray]) -> list[np.ndarray]:
        """The results of all windows of one lane, `[window]` each, by record."""
        return np.split(np.concatenate(column), np.cumsum(self.lengths)[:-1])

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec, tf.TensorSpec]:
        """The types and shapes of `(features, targets, weights)` of a batch."""
        import tensorflow as tf

        tokens = tf.TensorSpec([self.lanes, None], tf.int32)
        features = {"tokens": tokens, "reset": tf.TensorSpec([self.lanes, 1], tf.int32)}
        if self.measures:
            features["targets"] = tokens
        return features, tokens, tf.TensorSpec([self.lanes, 1], tf.float32)

    def dataset(self, position: Any = None) -> tf.data.Dataset:
        """As that of `Batches`."""
        return dataset_of(self, position)
