"""Series → windows: the steps that are read, and those that follow and are forecast."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlp_rnn.data.records import Record, Records
from nlp_rnn.data.series import Series


class Windows(Records):
    """Records of the forecasts to make: each is a series and the step at which the forecast begins.

    Args:
        series: where windows lie in.
        which: `[windows]`, the series of each.
        origins: `[windows]`, the first step that is forecast.
        horizon: steps to forecast.
        begins: of each series the first step that belongs to this split; the ones before it are only read.
        ends: of each series the step after the last one.
        dropped, notes: as of `Records`.

    Example:

    >>> series = Series("", np.arange(6), np.arange(6.0)[:, None], np.ones((6, 1), bool))
    >>> windows = Windows.over([series], lookback=2, horizon=2)
    >>> windows.origins.tolist(), windows[0]["actual"].tolist()
    ([2, 3, 4], [[2.0], [3.0]])
    """

    noun = "windows"

    def __init__(
        self,
        series: Sequence[Series],
        which: np.ndarray,
        origins: np.ndarray,
        horizon: int,
        begins: Sequence[int] = (),
        ends: Sequence[int] = (),
        dropped: Mapping[str, int] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        super().__init__(None, dropped, notes)
        self.series, self.horizon = list(series), horizon
        self.which, self.origins = np.asarray(which, np.int64), np.asarray(origins, np.int64)
        self.begins = list(begins) or [0] * len(self.series)
        self.ends = list(ends) or [len(one) for one in self.series]

    @classmethod
    def over(
        cls,
        series: Sequence[Series],
        lookback: int,
        horizon: int,
        stride: int = 1,
        begins: Sequence[int] = (),
        ends: Sequence[int] = (),
        notes: Iterable[str] = (),
    ) -> Windows:
        """All windows whose forecasts lie within a split, every `stride` steps; the last one is among them. Series that
        are too short for one are left out and counted."""
        found = cls(series, np.zeros(0), np.zeros(0), horizon, begins, ends, None, notes)
        origins = []
        for begin, end in zip(found.begins, found.ends, strict=True):
            last = end - horizon
            origins.append(np.arange(last, max(begin, lookback) - 1, -stride)[::-1])
        short = sum(not len(places) for places in origins)
        if short:
            note = f"series too short for {lookback} steps and {horizon} more, left out: {short:,}"
            found.notes = (*found.notes, note)
        found.which = np.repeat(np.arange(len(origins)), [len(places) for places in origins])
        found.origins = np.concatenate(origins) if origins else found.origins
        return found

    @classmethod
    def at_the_end(cls, series: Sequence[Series], horizon: int, notes: Iterable[str] = ()) -> Windows:
        """One window for each series, which begins after its last step."""
        return cls(series, np.arange(len(series)), np.array([len(one) for one in series]), horizon, notes=notes)

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        series, origin = self.series[self.which[index]], int(self.origins[index])
        actual = series.known[origin : origin + self.horizon]
        return {"series": series.name, "origin": origin, "history": series.until(origin), "actual": actual}

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def column(self, name: str) -> Iterator[Any]:
        """The values of one field, in order."""
        return (record[name] for record in self)

    def select(self, indices: Sequence[int]) -> Windows:
        """The windows with the given indices, in that order."""
        places = np.asarray(list(indices), np.int64)
        return self._with(self.which[places], self.origins[places], self.notes)

    def noting(self, *notes: str) -> Windows:
        """The same with further notes; empty ones are left out."""
        return self._with(self.which, self.origins, (*self.notes, *filter(None, notes)))

    def _with(self, which: np.ndarray, origins: np.ndarray, notes: Iterable[str]) -> Windows:
        return Windows(self.series, which, origins, self.horizon, self.begins, self.ends, self.dropped, notes)

    def fingerprint(self) -> str:
        """A digest of all series, and of the windows in them."""
        digest = hashlib.blake2b(digest_size=12)
        for one in self.series:
            digest.update(one.digest().encode())
        for part in (self.which, self.origins, np.array([self.horizon])):
            digest.update(part.tobytes())
        return digest.hexdigest()

    # What models and measures read of them ----------------------------------------------------------------------------

    def parts(self) -> Iterator[tuple[Series, np.ndarray]]:
        """Each series that has windows, with their places among all windows."""
        order = np.argsort(self.which, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(self.which[order])) + 1) if len(order) else []:
            yield self.series[self.which[places[0]]], places

    def actual(self) -> np.ndarray:
        """What came: float32 `[windows, horizon, channels]`, NaN where that is not known."""
        return Gathered([one.known for one in self.series], self, (0, self.horizon))[np.arange(len(self))]


class Gathered:
    """Steps around the origins of windows, cut out where they are needed; beside series they are `filler`.

    Args:
        values: of each series `[steps, size]`.
        windows: whose origins count.
        span: the steps from the origin on: (-lookback, 0) is what is read.
        repeats: what stands before the first step is that step, instead of `filler`.
        filler: what stands where nothing is.
        dtype: of what is cut out.
    """

    def __init__(
        self,
        values: Sequence[np.ndarray],
        windows: Windows,
        span: tuple[int, int],
        repeats: bool = False,
        filler: float = np.nan,
        dtype: Any = np.float32,
    ) -> None:
        self.values = np.concatenate(values).astype(dtype)
        lengths = np.array([len(part) for part in values])
        self._first = (np.cumsum(lengths) - lengths)[windows.which]
        self._length, self._origins = lengths[windows.which], windows.origins
        self.span, self.repeats, self.filler, self.dtype = span, repeats, filler, np.dtype(dtype)
        self.steps = span[1] - span[0]
        self.lengths = np.full(len(windows), self.steps)
        self.shape = (len(windows), self.steps, *self.values.shape[1:])

    def __len__(self) -> int:
        return len(self._origins)

    @property
    def padded_shape(self) -> tuple[int | None, ...]:
        """That of one window."""
        return self.shape[1:]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        places = self._origins[indices][:, None] + np.arange(*self.span)
        length = self._length[indices][:, None]
        real = (places < length) & ((places >= 0) | self.repeats)
        found = self.values[self._first[indices][:, None] + np.clip(places, 0, length - 1)]
        return np.where(real.reshape(*real.shape, *[1] * (found.ndim - 2)), found, self.dtype.type(self.filler))

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """As a batch takes it."""
        return self[indices]


class OfWindows:
    """One value of each window, as a feature of batches.

    Args:
        values: `[windows, …]`.
        steps: the length that the first feature of the batches has.
    """

    def __init__(self, values: np.ndarray, steps: int) -> None:
        self.values, self.lengths, self.dtype = values, np.full(len(values), steps), values.dtype
        self.padded_shape = values.shape[1:]

    def __len__(self) -> int:
        return len(self.values)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """As a batch takes it."""
        return self.values[indices]
