"""How one input of a task looks: as an argument, as a line, in a record, and in the signature of an export."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from nlp_rnn.data.fields import as_series, as_text
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.series import Series

_LARGEST = 3e38  # of float32
_LONGEST_SHOWN = 4_000


class Input(Protocol):
    """What `Run`, the commands and the server ask of a task's input; nothing else knows what it is."""

    @property
    def name(self) -> str:
        """The field of records, the setting of `data` that names its column, and the argument of signatures."""

    @property
    def noun(self) -> str:
        """What one is called in messages."""

    @property
    def example(self) -> Any:
        """One that makes sense, for messages and documents."""

    def is_one(self, value: Any) -> bool:
        """Whether a value is one input, rather than several."""

    def parse(self, value: object) -> Any:
        """An input as records hold it: from Python, from an argument of the command line, or from a line of a file.

        Raises:
            InputError: the value stands for none.
        """

    def serving_arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """Inputs as the arguments of a signature by name: lists, rectangular ones where they are of numbers."""


def serving_call(arguments: Mapping[str, object], dtypes: Mapping[str, str]) -> str:
    """Python code that calls a signature with arguments, of types that are said where TensorFlow would take others.

    >>> serving_call({"text": ["A joyless slog."], "time": [0]}, {"time": "int64"})
    'serve(text=tf.constant(["A joyless slog."]), time=tf.constant([0], tf.int64))'

    Of more numbers than anybody would read, the first are shown.
    """
    kinds = {name: f", tf.{dtype}" if dtype == "int64" else "" for name, dtype in dtypes.items()}
    given = (f"{n}=tf.constant({_shown(v)}{kinds.get(n, '')})" for n, v in arguments.items())
    return f"serve({', '.join(given)})"


def _shown(values: object) -> str:
    text = json.dumps(values, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:60].rpartition(',')[0]}, …]]"


@dataclass(frozen=True)
class TextInput:
    """A text: one line, or what an argument says."""

    name: str = "text"
    example: str = "A joyless slog."

    @property
    def noun(self) -> str:
        """A text."""
        return "text"

    def is_one(self, value: Any) -> bool:
        """Whether it is a string.

        >>> TextInput().is_one("Loved it."), TextInput().is_one(["Loved it."])
        (True, False)
        """
        return isinstance(value, str)

    def parse(self, value: object) -> str:
        """The text as it is; what is missing is empty, and a number its digits.

        >>> TextInput().parse("5"), TextInput().parse(5), TextInput().parse(None)
        ('5', '5', '')
        """
        return as_text(value, f"The input {str(value)[:40]!r}") or ""

    def serving_arguments(self, values: Sequence[str]) -> dict[str, Any]:
        """The texts, by the name of the field."""
        return {self.name: list(values)}


@dataclass(frozen=True)
class SeriesInput:
    """A series of numbers, or of steps with as many numbers each; on the command line and in files as JSON."""

    name: str = "values"
    example: tuple[tuple[float, ...], ...] = ((0.0,), (1.0,), (0.5,))

    @property
    def noun(self) -> str:
        """A series."""
        return "series"

    def is_one(self, value: Any) -> bool:
        """Whether it has steps of numbers, rather than series.

        >>> SeriesInput().is_one([[0.0, 1.0], [2.0, 1.0]]), SeriesInput().is_one([[[0.0, 1.0]]])
        (True, False)
        """
        depth = 0
        while not isinstance(value, str) and hasattr(value, "__len__") and len(value):
            value, depth = value[0], depth + 1
        return depth == 0 if isinstance(value, str) else depth in (1, 2)

    def parse(self, value: object) -> list[list[float]]:
        """Steps from a list, an array or JSON: `[0.5, 1, 0]` or `[[0.5, 1], [0, 2]]`.

        >>> SeriesInput().parse("[0.5, 1]"), SeriesInput().parse([(0.5, 1), (0, 2)])
        ([[0.5], [1.0]], [[0.5, 1.0], [0.0, 2.0]])
        """
        return as_series(value, f"The series {str(value)[:40]!r}") or []

    def serving_arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """The series padded with zeros to the longest, and their lengths.

        >>> SeriesInput().serving_arguments([[[1.0]], [[2.0], [3.0]]])
        {'values': [[[1.0], [0.0]], [[2.0], [3.0]]], 'lengths': [1, 2]}
        """
        longest = max(len(steps) for steps in values)
        padded = [[*map(list, steps), *[[0.0] * len(steps[0])] * (longest - len(steps))] for steps in values]
        return {self.name: padded, "lengths": [len(steps) for steps in values]}


@dataclass(frozen=True)
class HistoryInput:
    """The values of a series so far, with their times where these matter; on the command line and in files as JSON."""

    name: str = "history"
    example: tuple[float, ...] = (0.0, 1.0, 0.5, 1.0)

    @property
    def noun(self) -> str:
        """A history."""
        return "history"

    def is_one(self, value: Any) -> bool:
        """Whether it is a series, or has steps of numbers, rather than histories.

        >>> HistoryInput().is_one({"values": [1, 2]}), HistoryInput().is_one([[[1.0]], [[2.0]]])
        (True, False)
        """
        from nlp_rnn.data.series import Series

        if (
            isinstance(value, (list, tuple))
            and value
            and (isinstance(value[0], (Mapping, Series)) or _is_pandas(value[0]))
        ):
            return False
        return isinstance(value, (Mapping, Series)) or _is_pandas(value) or SeriesInput().is_one(value)

    def parse(self, value: object) -> Series:
        """A series from a list or array of steps, or from `{"values": …}` with "times", covariates by their names, and
        a "name"; also as JSON.

        >>> HistoryInput().parse("[1, 2, null]").values.tolist()
        [[1.0], [2.0], [2.0]]
        >>> HistoryInput().parse({"values": [1, 2], "times": ["2026-01-31", "2026-02-01"]}).times.tolist()
        [1769817600, 1769904000]
        """
        import numpy as np

        found = self._as_series(value)
        if np.abs(found.values).max(initial=0.0) > _LARGEST:
            raise InputError(f"The history has {np.abs(found.values).max():.3g}, which is too large to compute with.")
        return found

    def _as_series(self, value: object) -> Series:
        from nlp_rnn.data.histories import history_of
        from nlp_rnn.data.series import Series

        return value if isinstance(value, Series) else history_of(value, f"The {self.noun} {str(value)[:40]!r}")

    def refuse(self, value: Any, config: Any) -> None:
        """What a run with such settings would not take, although its signature does.

        Raises:
            InputError: times are missing where the calendar may be read, or do not go on by the step.
        """
        from nlp_rnn.series.steps import Step

        series, data = self.parse(value), config.data
        if not data.frequency:
            return
        if not series.has_times and config.model.calendar != "none":
            raise InputError(
                "The history has no times, and this model may read the calendar: give them too, such as "
                '{"times": ["2026-01-31", …], "values": [0.5, …]}.'
            )
        if series.has_times and any(
            Step(data.frequency).ahead(one, 1) != other for one, other in itertools.pairwise(series.times.tolist())
        ):
            raise InputError(f"The history does not go on in steps of {data.frequency}, as this model has learned.")

    def serving_arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """The histories padded with zeros to the longest, their lengths, and the time of the last step of each.

        >>> HistoryInput().serving_arguments([[1.0], [2.0, 3.0]])
        {'history': [[[1.0], [0.0]], [[2.0], [3.0]]], 'lengths': [1, 2], 'time': [0, 1]}
        """
        series = [self.parse(value) for value in values]
        padded = SeriesInput(self.name).serving_arguments([self._sent(one).tolist() for one in series])
        return {**padded, "time": [int(one.times[-1]) for one in series]}

    def _sent(self, series: Series) -> np.ndarray:
        """The values as they are sent, with something in the place of those that are missing."""
        return series.values


def _is_pandas(value: object) -> bool:
    """Whether it is a series or a frame of pandas."""
    return hasattr(value, "iloc")


@dataclass(frozen=True)
class SignalInput(HistoryInput):
    """The values of a signal, as those of a history; its times may be any, and need not be there."""

    example: tuple[float, ...] = (0.0, 1.0, 0.5, 1.0)

    @property
    def noun(self) -> str:
        """A signal."""
        return "signal"

    def parse(self, value: object) -> Series:
        """As a history; what is infinite or out of range is missing.

        >>> SignalInput().parse([1.0, 1e300]).observed.tolist()
        [[True], [False]]
        """
        from nlp_rnn.data.signals import in_range

        return in_range(self._as_series(value))

    def refuse(self, value: Any, config: Any) -> None:
        """Nothing that the signature takes."""

    def _sent(self, series: Series) -> np.ndarray:
        """The values, NaN where one is missing."""
        return series.known


@dataclass(frozen=True)
class SessionInput:
    """The events of a session: a text, in which blanks or line ends part them, or a list of events."""

    name: str = "events"
    example: str = "open read write close"

    @property
    def noun(self) -> str:
        """A session."""
        return "session"

    def is_one(self, value: Any) -> bool:
        """Whether it is a text, or a session by name, rather than several.

        >>> SessionInput().is_one("open close"), SessionInput().is_one([["open", "close"]])
        (True, False)
        """
        return isinstance(value, (str, Mapping))

    def parse(self, value: object) -> str:
        """The events, each in a line where they were a list, also as JSON.

        >>> SessionInput().parse(["user 5 logs in", "user 5 logs out"]).splitlines()
        ['user 5 logs in', 'user 5 logs out']
        """
        if isinstance(value, str) and value.lstrip()[:1] == "[":
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        value = value.get(self.name) if isinstance(value, Mapping) else value
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
            return "\n".join(map(str, value))
        return as_text(value, f"The session {str(value)[:40]!r}") or ""

    def serving_arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """The sessions as texts."""
        return {self.name: [self.parse(value) for value in values]}


@dataclass(frozen=True)
class SoundInput:
    """A recording: a file, or samples with their rate; on the command line a name, in files and requests also JSON."""

    name: str = "audio"
    example: str = "recording.wav"

    @property
    def noun(self) -> str:
        """A recording."""
        return "recording"

    def is_one(self, value: Any) -> bool:
        """Whether it is a file, its contents, or samples by name, rather than several.

        >>> SoundInput().is_one("a.wav"), SoundInput().is_one(["a.wav", "b.wav"])
        (True, False)
        """
        from nlp_rnn.audio.sounds import Sound

        if isinstance(value, (str, bytes, PathLike, Mapping, Sound)) or not hasattr(value, "__iter__"):
            return True
        if not hasattr(value, "__len__") or not len(value):
            return False
        first, has_rate = value[0], len(value) == 2 and not hasattr(value[1], "__len__")
        is_list = hasattr(first, "__len__") and not isinstance(first, (str, bytes, Mapping))
        return isinstance(first, (int, float)) or getattr(first, "ndim", None) == 0 or (is_list and has_rate)

    def parse(self, value: object) -> Any:
        """A `Sound`, decoded when it is needed.

        >>> SoundInput().parse({"array": [0.0, 0.5], "sampling_rate": 8000}).decoded()[1]
        8000
        """
        from nlp_rnn.audio.sounds import sound_of

        return sound_of(value, "The recording")

    def serving_arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """The samples padded with zeros to the longest, how many each has, and their rates.

        >>> SoundInput().serving_arguments([{"array": [0.0, 0.5], "sampling_rate": 8000}])
        {'audio': [[0.0, 0.5]], 'lengths': [2], 'rate': [8000]}
        """
        found = [self.parse(value).decoded() for value in values]
        longest = max(len(samples) for samples, _ in found)
        padded = [[*samples.tolist(), *[0.0] * (longest - len(samples))] for samples, _ in found]
        return {self.name: padded, "lengths": [len(s) for s, _ in found], "rate": [rate for _, rate in found]}


def records_of(of: Input, inputs: Iterable[object]) -> Records:
    """Inputs as records.

    Raises:
        InputError: a value is none.
    """
    return Records([{of.name: of.parse(value)} for value in inputs])
