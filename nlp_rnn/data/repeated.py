"""Several passes over small data as one epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.batching import Batch, EpochSource, Features, dataset_of

if TYPE_CHECKING:
    import tensorflow as tf


class Repeated:
    """An epoch of several passes over the batches of another source, each in an order of its own.

    Args:
        source: what is passed over.
        passes: how often, in each epoch.
    """

    def __init__(self, source: EpochSource, passes: int) -> None:
        self.source, self.passes = source, passes
        self.lengths, self.cut, self.notes = source.lengths, source.cut, source.notes
        self.steps_per_epoch = source.steps_per_epoch * passes
        self.elements_per_epoch = source.elements_per_epoch * passes
        self.padding, self.element_spec = source.padding, source.element_spec

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the batch `start` on."""
        skipped, first = divmod(start, self.source.steps_per_epoch)
        numbers = range(epoch * self.passes + skipped, (epoch + 1) * self.passes)
        parts = (self.source.epoch(number, first if place == 0 else 0) for place, number in enumerate(numbers))
        return itertools.chain.from_iterable(parts)

    def indexed(self) -> Iterator[tuple[np.ndarray, Features]]:
        """As that of the source."""
        return self.source.indexed()

    def by_record(self, column: list[np.ndarray]) -> Any:
        """As that of the source."""
        return self.source.by_record(column)

    def dataset(self, position: Any = None) -> tf.data.Dataset:
        """As that of `Batches`."""
        return dataset_of(self, position)
