"""Rows of steps → padded batches, in an order that is a function of (seed, epoch) alone.

Rows of similar length share a bucket, and each bucket has one shape. A resumed run starts at its saved batch
and sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

Features = dict[str, np.ndarray]
Batch = tuple[Features, np.ndarray, np.ndarray]


class EpochSource(Protocol):
    """What training and prediction ask of batches, whether of rows (`Batches`) or of one long text (`Lanes`)."""

    lengths: np.ndarray
    """Steps of each row."""
    cut: int
    """How many rows were shortened."""
    notes: tuple[str, ...]
    """What is worth saying about how they came about."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch: the same for every epoch."""

    @property
    def elements_per_epoch(self) -> int:
        """Steps of all rows of an epoch, padding not counted: tokens, frames."""

    @property
    def padding(self) -> float:
        """Part of the steps in the batches that is padding."""

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec, tf.TensorSpec]:
        """The types and shapes of `(features, targets, weights)` of a batch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the batch `start` on."""

    def indexed(self) -> Iterator[tuple[np.ndarray, Features]]:
        """(row indices, features) of every batch, for prediction."""

    def by_record(self, column: list[np.ndarray]) -> Any:
        """Results of each row → results of each record."""

    def dataset(self, position: Any = None) -> tf.data.Dataset:
        """One epoch a pass, or all epochs from a position on."""


class Rows:
    """Rows of different lengths: flat values of all steps, and the places where rows begin.

    The values lie in a temporary file that is mapped into memory, so that a corpus may be larger than it.

    Args:
        parts: (values `[steps, *shape]`, row lengths) of consecutive chunks of rows.
        filler: what rows are padded with.
        dtype: of the values: ids are int32, measurements float32.
        shape: of one step: `()` for ids, `(channels,)` for measurements.

    Example:

    >>> frames = Rows([(np.ones((3, 2)), np.array([1, 2]))], dtype=np.float32, shape=(2,))
    >>> frames.padded(np.array([0, 1]), 2).shape
    (2, 2, 2)
    """

    def __init__(
        self,
        parts: Iterable[tuple[np.ndarray, np.ndarray]],
        filler: float = 0,
        dtype: npt.DTypeLike = np.int32,
        shape: tuple[int, ...] = (),
    ) -> None:
        self.filler, self.dtype, self.shape = filler, np.dtype(dtype), shape
        self._file = tempfile.TemporaryFile()
        lengths = [np.zeros(0, np.int64)]
        for values, length in parts:
            self._file.write(np.ascontiguousarray(values, self.dtype).tobytes())
            lengths.append(np.asarray(length, np.int64))
        self._file.flush()
        self.lengths = np.concatenate(lengths)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        size = (int(self.starts[-1]), *shape)
        self.values: np.ndarray = (
            np.memmap(self._file, self.dtype, "r", shape=size) if size[0] else np.zeros(size, dtype)
        )

    @classmethod
    def of(cls, rows: Iterable[npt.ArrayLike], dtype: npt.DTypeLike, shape: tuple[int, ...] | None = None) -> Rows:
        """Rows from one array each.

        Args:
            rows: arrays `[steps, *shape]`.
            dtype: of the values.
            shape: of one step; by default that of the first row.

        Raises:
            InputError: a row has more or fewer numbers in a step.

        Example:

        >>> Rows.of([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], np.float32).lengths.tolist()
        [1, 2]
        """
        arrays = [np.asarray(row, dtype) for row in rows]
        if shape is None:
            shape = arrays[0].shape[1:]
        for number, array in enumerate(arrays, 1):
            if array.shape[1:] != shape:
                found, needed = (int(np.prod(sizes)) for sizes in (array.shape[1:], shape))
                raise InputError(
                    f"Series {number} has {found} number{'s' * (found != 1)} in a step; it must have {needed}."
                )
        return cls(((array, np.array([len(array)])) for array in arrays), dtype=dtype, shape=shape)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def padded_shape(self) -> tuple[int | None, ...]:
        """That of a padded row: `(time, *shape)`."""
        return (None, *self.shape)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """The rows `indices`, padded on the right: `[len(indices), length, *shape]`."""
        places = np.arange(length)
        real = places < self.lengths[indices][:, None]
        found = np.where(real, self.starts[indices][:, None] + places, 0)
        is_step = real.reshape(real.shape + (1,) * len(self.shape))
        return np.where(is_step, self.values[found], self.filler).astype(self.dtype, copy=False)


class NestedRows:
    """Rows of rows, such as the characters of the words of sentences.

    Args:
        inner: the rows of all words.
        lengths: how many of them each outer row has, `[rows]`.
        multiple: the innermost length of a batch is rounded up to a multiple of this, so that there are few shapes.
    """

    def __init__(self, inner: Rows, lengths: np.ndarray, multiple: int = 4) -> None:
        self.inner, self.lengths, self.multiple = inner, np.asarray(lengths, np.int64), multiple
        self.dtype, self.padded_shape = inner.dtype, (None, None)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """The rows `indices`, padded with 0: `[len(indices), length, innermost length]`."""
        places = np.arange(length)
        real = places < self.lengths[indices][:, None]
        words = (self.starts[indices][:, None] + places)[real]
        longest = int(self.inner.lengths[words].max(initial=1))
        width = -(-longest // self.multiple) * self.multiple
        padded = np.zeros((len(indices), length, width), self.dtype)
        padded[real] = self.inner.padded(words, width)
        return padded


class Batches:
    """Padded batches `(features, targets, sample_weight)`.

    Features are `[batch, time, …]`, right-padded, no row all padding. Each bucket has one length; a short batch is
    filled with repeated rows of weight 0. The weights of a batch sum to its size, so that the mean over its rows is the
    weighted mean, also where several devices share it. Where the first feature is not of ids, which tell padding by
    their 0, the rows' "lengths", int32 `[batch]`, are a feature as well.

    Args:
        features: rows by feature name; the first one's lengths decide on the buckets. Those of the same lengths
            are padded alike, others to their own longest row.
        targets: `[rows, …]`, or rows; those of the lengths of the first feature are padded as that is.
        batch_size: rows in a batch.
        weights: `[rows]`, 1 where None.
        seed: seed of the order; None keeps buckets in order of length.
        buckets: at most so many different lengths; in training so few that most batches are full.
        cut: how many rows were shortened, for reports.
        record_of: `[rows]`, increasing: the record that a row is a part of, where a record may have several.
        notes: what is worth saying about how the rows came about.

    Example:

    >>> rows = Rows([(np.array([5, 6, 7]), np.array([1, 2]))])
    >>> batches = Batches({"tokens": rows}, np.array([0, 1]), batch_size=2, buckets=1)
    >>> features, targets, weights = next(batches.epoch(0))
    >>> features["tokens"].tolist()
    [[5, 0], [6, 7]]
    """

    def __init__(
        self,
        features: Mapping[str, Rows | NestedRows],
        targets: np.ndarray | Rows,
        batch_size: int,
        weights: np.ndarray | None = None,
        seed: int | None = None,
        buckets: int = 8,
        cut: int = 0,
        record_of: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.cut, self.notes = cut, tuple(notes)
        self.record_of = record_of
        self.features = dict(features)
        self.targets = targets
        self.batch_size = batch_size
        self.weights = np.ones(len(targets), np.float32) if weights is None else weights.astype(np.float32)
        self.seed = seed
        first = next(iter(self.features.values()))
        lengths = first.lengths
        self._gives_lengths = isinstance(first, Rows) and (first.dtype != np.int32 or first.shape != ())
        if seed is not None:  # few rows in many buckets would make batches of a few rows each, which count as much
            buckets = min(buckets, max(len(lengths) // (2 * batch_size), 1))
        self.bounds = bucket_bounds(lengths, buckets)
        self._bucket_of = np.searchsorted(self.bounds, lengths)
        self._members = [np.flatnonzero(self._bucket_of == b) for b in range(len(self.bounds))]
        self.lengths = lengths

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch: the same for every epoch."""
        return sum(-(-len(members) // self.batch_size) for members in self._members)

    @property
    def elements_per_epoch(self) -> int:
        """Steps of all rows of an epoch, padding not counted."""
        return int(self.lengths.sum())

    @property
    def padding(self) -> float:
        """Part of the steps in the batches that is padding."""
        shape = sum(
            -(-len(m) // self.batch_size) * self.batch_size * int(bound)
            for m, bound in zip(self._members, self.bounds, strict=True)
        )
        return 1.0 - self.elements_per_epoch / max(shape, 1)

    def plan(self, epoch: int) -> list[tuple[np.ndarray, int, int]]:
        """The batches of an epoch as (row indices, how many of them count, length)."""
        order = None if self.seed is None else np.random.default_rng((self.seed, epoch))
        batches = []
        for members, bound in zip(self._members, self.bounds, strict=True):
            rows = members if order is None else order.permutation(members)
            for start in range(0, len(rows), self.batch_size):
                chunk = rows[start : start + self.batch_size]
                filled = np.resize(chunk, self.batch_size)
                batches.append((filled, len(chunk), int(bound)))
        if order is not None:
            batches = [batches[i] for i in order.permutation(len(batches))]
        return batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the batch `start` on."""
        for indices, count, length in self.plan(epoch)[start:]:
            weights = self.weights[indices].copy()
            weights[count:] = 0.0
            weights *= len(weights) / weights.sum()
            yield self._features(indices, length), self._targets(indices, length), weights

    def indexed(self) -> Iterator[tuple[np.ndarray, Features]]:
        """(row indices, features) of every batch; with short batches left short, for prediction."""
        for indices, count, length in self.plan(0):
            yield indices[:count], self._features(indices[:count], length)

    def by_record(self, column: list[np.ndarray]) -> Any:
        """Results of each row, padded, by record.

        Returns:
            An array `[records, …]`; or, where rows were padded to different lengths, a list of arrays, each still with
            its padding; or, where a record may have several rows, a list of arrays, those of its rows behind each other
            without padding.
        """
        if self.record_of is None:
            return np.stack(column) if len({value.shape for value in column}) == 1 else column
        bounds = np.searchsorted(self.record_of, np.arange(self.record_of[-1] + 2))
        return [
            np.concatenate([column[row][: self.lengths[row]] for row in range(first, last)])
            for first, last in itertools.pairwise(bounds)
        ]

    def dataset(self, position: Any = None) -> tf.data.Dataset:
        """A `tf.data.Dataset` of one epoch, each pass over it the next; or from a position on without end.

        Args:
            position: an object with the attributes `epoch` and `batch`, from which epoch follows on epoch: Keras,
                asked for a number of steps, then never runs into an end, where it counts a step that is none.
        """
        return dataset_of(self, position)

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec, tf.TensorSpec]:
        """The types and shapes of `(features, targets, weights)` of a batch."""
        import tensorflow as tf

        size = self.batch_size

        def spec(shape: Sequence[int | None], dtype: np.dtype) -> tf.TensorSpec:
            return tf.TensorSpec([size, *shape], tf.as_dtype(dtype))

        features = {name: spec(rows.padded_shape, rows.dtype) for name, rows in self.features.items()}
        if self._gives_lengths:
            features["lengths"] = spec([], np.dtype(np.int32))
        shape = self.targets.padded_shape if isinstance(self.targets, Rows) else self.targets.shape[1:]
        return features, spec(shape, self.targets.dtype), spec([], np.dtype(np.float32))

    def _features(self, indices: np.ndarray, length: int) -> Features:
        names = list(self.features)
        out = {names[0]: self.features[names[0]].padded(indices, length)}
        for name in names[1:]:
            rows = self.features[name]
            alike = np.array_equal(rows.lengths[indices], self.lengths[indices])
            out[name] = rows.padded(indices, length if alike else int(rows.lengths[indices].max()))
        if self._gives_lengths:
            out["lengths"] = self.lengths[indices].astype(np.int32)
        return out

    def _targets(self, indices: np.ndarray, length: int) -> np.ndarray:
        if not isinstance(self.targets, Rows):
            return self.targets[indices]
        alike = np.array_equal(self.targets.lengths[indices], self.lengths[indices])
        return self.targets.padded(indices, length if alike else int(self.targets.lengths[indices].max()))


def dataset_of(batches: EpochSource, position: Any) -> tf.data.Dataset:
    """The epochs of `batches`: one a pass, or from a position on without end."""
    import tensorflow as tf

    epochs = itertools.count()

    def generate() -> Iterator[Batch]:
        if position is None:
            return batches.epoch(next(epochs))
        following = (batches.epoch(epoch) for epoch in itertools.count(position.epoch + 1))
        return itertools.chain(batches.epoch(position.epoch, position.batch), itertools.chain.from_iterable(following))

    data = tf.data.Dataset.from_generator(generate, output_signature=batches.element_spec)
    if position is None:
        data = data.apply(tf.data.experimental.assert_cardinality(batches.steps_per_epoch))
    return data.prefetch(4)


def bucket_bounds(lengths: Sequence[int] | np.ndarray, buckets: int) -> np.ndarray:
    """The at most `buckets` lengths to pad to that waste least: exact, by dynamic programming.

    Returns:
        Increasing lengths, the last of them the largest there is.

    Example:

    >>> bucket_bounds([1, 1, 1, 9, 10], buckets=2).tolist()
    [1, 10]
    """
    sizes, counts = np.unique(np.asarray(lengths, np.int64), return_counts=True)
    if len(sizes) > 256:  # coarser steps keep the programme small
        edges = np.unique(np.quantile(np.asarray(lengths), np.linspace(0, 1, 257), method="higher"))
        counts = np.histogram(lengths, np.concatenate([[0], edges + 0.5]))[0]
        sizes = edges.astype(np.int64)
    n = len(sizes)
    before = np.concatenate([[0], np.cumsum(counts)])
    # cost[i, j]: padded size of one bucket of the sizes i … j - 1.
    cost = (before[None, :] - before[:, None]) * np.concatenate([[0], sizes])[None, :]
    cost = np.where(np.arange(n + 1)[:, None] < np.arange(n + 1)[None, :], cost, np.iinfo(np.int64).max // 4)
    best = np.where(np.arange(n + 1) == 0, 0, np.iinfo(np.int64).max // 4)
    choices = []
    for _ in range(min(buckets, n)):
        total = best[:, None] + cost
        choices.append(total.argmin(0))
        best = np.concatenate([[best[0]], total.min(0)[1:]])
    bounds, end = [], n
    for choice in reversed(choices):
        if end == 0:
            break
        bounds.append(int(sizes[end - 1]))
        end = int(choice[end])
    return np.array(sorted(set(bounds)), np.int64)
