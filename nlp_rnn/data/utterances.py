"""Recordings → batches of samples for training: joined to strings, faster and slower, louder and softer, with noise;
anew in each epoch, as a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.batching import Batch, Features, Rows, dataset_of

if TYPE_CHECKING:
    import tensorflow as tf

SCALE = 32767  # samples are kept as whole numbers of 16 bits
_WINDOW = 64  # batches of similar length are made among so many rows


@dataclass(frozen=True)
class Changes:
    """How recordings are changed while training.

    Args:
        speed: they become faster or slower by up to this part, and so higher or lower (Ko et al. 2015, "Audio
            Augmentation for Speech Recognition").
        gain: decibels by which they become louder or softer at most.
        noise: the part of them that gets noise, 5 to 40 decibels softer than they are.
        pauses: seconds of the shortest and the longest pause between joined recordings.
    """

    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    pauses: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Example:
    """Recordings that are read as one.

    Args:
        clips: which, in order.
        pauses: samples between them.
        speed: how much faster they are.
        seed: of the noise and the gain.
    """

    clips: tuple[int, ...]
    pauses: tuple[int, ...] = ()
    speed: float = 1.0
    seed: int = 0


class Utterances:
    """Batches `({"samples", "lengths"}, targets, weights)` of recordings, changed anew in each epoch.

    Each epoch reads each recording once. Which sizes strings have is drawn once, so that all epochs have as many
    batches; what is joined is drawn in each epoch, and only of one speaker.

    Args:
        rows: int16 samples of each recording.
        targets: the ids of what is said in each recording.
        between: ids that stand between the texts of joined recordings.
        speakers: who says it; strings are of one speaker.
        rate: samples in a second.
        batch_size: strings in a batch.
        seed: of everything that is drawn.
        strings: the fewest and the most recordings in a string.
        changes: how they are changed.
        cut, notes: as of `Batches`.

    Example:

    >>> rows = Rows([(np.ones(30), np.array([10, 20]))], dtype=np.int16)
    >>> batches = Utterances(rows, [np.array([5]), np.array([6])], [], ["x", "y"], 8000, 2)
    >>> features, targets, weights = next(batches.epoch(0))
    >>> sorted(features["lengths"].tolist()), sorted(targets.ravel().tolist())
    ([10, 20], [5, 6])
    """

    def __init__(
        self,
        rows: Rows,
        targets: Sequence[np.ndarray],
        between: Sequence[int],
        speakers: Sequence[str],
        rate: int,
        batch_size: int,
        seed: int = 0,
        strings: tuple[int, int] = (1, 1),
        changes: Changes = Changes(),
        cut: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        self.rows, self.targets, self.rate = rows, list(targets), rate
        self.between = np.array(between, np.int32)
        self.batch_size, self.seed, self.changes, self.cut, self.notes = batch_size, seed, changes, cut, tuple(notes)
        self._groups = groups_of(speakers, strings, seed)
        self._examples_of: dict[int, list[Example]] = {}
        self.lengths = self._lengths(self.examples(0))

    def examples(self, epoch: int) -> list[Example]:
        """What an epoch reads."""
        if epoch not in self._examples_of:
            rng = np.random.default_rng((self.seed, epoch, 0))
            found = []
            for members, sizes in self._groups:
                order, start = rng.permutation(members), 0
                for size in sizes:
                    clips = tuple(int(i) for i in order[start : start + size])
                    found.append(self._drawn(rng, clips))
                    start += size
            self._examples_of = {epoch: found}
        return self._examples_of[epoch]

    def _drawn(self, rng: np.random.Generator, clips: tuple[int, ...]) -> Example:
        low, high = (round(part * self.rate) for part in self.changes.pauses)
        pauses = tuple(int(n) for n in rng.integers(low, high + 1, len(clips) - 1))
        speed = 1.0 + self.changes.speed * float(rng.uniform(-1, 1))
        return Example(clips, pauses, speed, int(rng.integers(2**31)))

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return -(-sum(len(sizes) for _, sizes in self._groups) // self.batch_size)

    @property
    def elements_per_epoch(self) -> int:
        """Samples of the first epoch."""
        return int(self.lengths.sum())

    @property
    def padding(self) -> float:
        """Part of the samples in the batches of the first epoch that is padding."""
        filled = sum(len(places) * int(self.lengths[places].max()) for places, _ in self._plan(0, self.lengths))
        return 1.0 - self.elements_per_epoch / max(filled, 1)

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec, tf.TensorSpec]:
        """The types and shapes of `(features, targets, weights)` of a batch."""
        import tensorflow as tf

        size = self.batch_size
        features = {
            "samples": tf.TensorSpec([size, None], tf.float32),
            "lengths": tf.TensorSpec([size], tf.int32),
        }
        return features, tf.TensorSpec([size, None], tf.int32), tf.TensorSpec([size], tf.float32)

    def _lengths(self, examples: Sequence[Example]) -> np.ndarray:
        own = self.rows.lengths
        return np.array(
            [max(round((own[list(e.clips)].sum() + sum(e.pauses)) / e.speed), 1) for e in examples], np.int64
        )

    def _plan(self, epoch: int, lengths: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """The batches of an epoch: (examples, how many of them count), those of similar length together."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        order, size = rng.permutation(len(lengths)), self.batch_size
        window = size * _WINDOW
        parts = [order[i : i + window] for i in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        chunks = [order[i : i + size] for i in range(0, len(order), size)]
        return [(np.resize(chunks[i], size), len(chunks[i])) for i in rng.permutation(len(chunks))]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the batch `start` on."""
        examples = self.examples(epoch)
        lengths = self._lengths(examples)
        for places, count in self._plan(epoch, lengths)[start:]:
            weights = np.zeros(len(places), np.float32)
            weights[:count] = len(places) / count
            samples = np.zeros((len(places), int(lengths[places].max())), np.float32)
            for row, place in enumerate(places):
                samples[row, : lengths[place]] = self._samples(examples[place], int(lengths[place]))
            features = {"samples": samples, "lengths": lengths[places].astype(np.int32)}
            yield features, padded_ids([self.ids_of(examples[place]) for place in places]), weights

    def ids_of(self, example: Example) -> np.ndarray:
        """What is said in an example."""
        parts = [part for clip in example.clips for part in (self.between, self.targets[clip])]
        return np.concatenate(parts[1:])

    def _samples(self, example: Example, length: int) -> np.ndarray:
        rows, parts = self.rows, []
        for place, clip in enumerate(example.clips):
            parts.append(np.asarray(rows.values[rows.starts[clip] : rows.starts[clip + 1]], np.float32) / SCALE)
            parts += [np.zeros(example.pauses[place], np.float32)] if place < len(example.pauses) else []
        whole = np.concatenate(parts)
        if example.speed != 1.0:
            whole = np.interp(np.arange(length) * example.speed, np.arange(len(whole)), whole).astype(np.float32)
        return self._changed(whole, np.random.default_rng(example.seed))

    def _changed(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        gain, noisy = self.changes.gain * rng.uniform(-1, 1), rng.random() < self.changes.noise
        if noisy:
            loudness = float(np.sqrt(np.mean(np.square(samples)))) + 1e-6
            softer, colour = rng.uniform(5, 40), rng.uniform(0, 0.95)
            hiss = rng.standard_normal(len(samples)).astype(np.float32)
            hiss[1:] = hiss[1:] + colour * hiss[:-1]
            samples = samples + hiss * np.float32(loudness * 10 ** (-softer / 20) / np.sqrt(1 + colour**2))
        return samples if not self.changes.gain else np.clip(samples * np.float32(10 ** (gain / 20)), -1, 1)

    def indexed(self) -> Iterator[tuple[np.ndarray, Features]]:
        """Prediction has batches of its own."""
        raise NotImplementedError

    def by_record(self, column: list[np.ndarray]) -> Any:
        """Prediction has batches of its own."""
        raise NotImplementedError

    def dataset(self, position: Any = None) -> tf.data.Dataset:
        """One epoch a pass, or all epochs from a position on."""
        return dataset_of(self, position)


def groups_of(speakers: Sequence[str], strings: tuple[int, int], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each speaker, which recordings are theirs, and the sizes of the strings that these make.

    Example:

    >>> [(members.tolist(), sizes.tolist()) for members, sizes in groups_of(["a", "b", "a"], (2, 2), 0)]
    [([0, 2], [2]), ([1], [1])]
    """
    rng, found = np.random.default_rng(seed), []
    names = np.array(speakers)
    for name in sorted(set(speakers)) if strings != (1, 1) else [None]:
        members = np.flatnonzero(names == name) if name is not None else np.arange(len(names))
        if strings == (1, 1):
            sizes = np.ones(len(members), np.int64)
        else:
            sizes = rng.integers(strings[0], strings[1] + 1, len(members))
            sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), len(members))) + 1]
            sizes[-1] -= sizes.sum() - len(members)
        found.append((members, sizes))
    return found


def padded_ids(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Ids of rows, padded with 0 to the longest, and never to nothing: int32 `[rows, longest]`."""
    found = np.zeros((len(rows), max([1, *map(len, rows)])), np.int32)
    for row, ids in enumerate(rows):
        found[row, : len(ids)] = ids
    return found
