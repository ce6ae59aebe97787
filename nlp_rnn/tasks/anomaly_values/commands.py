"""The verb `watch`: values as they come, judged with a state of constant size that outlives restarts; and the list of
all verbs that only this task has."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from nlp_rnn.config.values import Fraction, Range
from nlp_rnn.errors import InputError
from nlp_rnn.paths import check_place
from nlp_rnn.tasks.anomaly_values.explaining import ExplainOptions
from nlp_rnn.tasks.anomaly_values.explaining import results as explained
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.watching import Watching, watched

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.anomaly_values.watched import Cause

_KEPT = ("seen", "steps", "height", "left_out", "header", "begun")
_MISSING = ("", "nan", "na", "null", "none", "-")


@dataclass(frozen=True)
class StreamAlarm:
    """A line of a stream at which a signal is unusual.

    Args:
        line: of the stream, from 1, over restarts.
        text: the line as it came.
        score: how unusual it is, in nats.
        p_value: how often normal steps score as high.
        why: the values that were least expected.
    """

    line: int
    text: str
    score: float
    p_value: float
    why: list[Cause]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        why = "; ".join(map(str, self.why))
        return f"ALARM {self.score:.1f} (p {self.p_value:.2g}) line {self.line}: {self.text[:60]}: {why}"


class Watcher:
    """Judges steps one after the other; its state is of constant size.

    Args:
        run: of anomaly detection in values.
        budget: part of normal steps whose score may be above the threshold.
        state: a file that the state is read from, if it is there, and kept in.

    Raises:
        InputError: the run is of another task, the state of another run, or its folder is not there.
    """

    def __init__(self, run: AnyRun, budget: float = 0.001, state: str | Path | None = None) -> None:
        import numpy as np

        from nlp_rnn.display.console import console
        from nlp_rnn.tasks.anomaly_values.scores import score_reference

        refuse_other_models(run, "memory" in run.assets.get("judge", {}), "watch", "a run of anomaly-values")
        self.run, self.judge, self.reference = run, run.assets.judge, score_reference(run.assets.judge)
        self.limit, self.path = self.reference.threshold(budget), Path(state) if state else None
        console.warn_once(self.reference.beyond(budget))
        self.kept = np.zeros((0, len(self.judge["targets"])))
        self.seen = self.steps = self.left_out = 0
        self.height = 0.0
        self.header: list[str] = []
        self.begun = False
        if state:
            check_place(state, "--state")
        if self.path is not None and self.path.is_file():
            from nlp_rnn.saved import read_state

            about, (self.kept,) = read_state(self.path, run.model, 1)
            for name in _KEPT:
                setattr(self, name, about[name])

    def push(self, lines: list[str]) -> list[StreamAlarm]:
        """The alarms among further lines: values parted by commas, blanks or tabs, or JSON; a time may stand before
        them. Lines that hold no values are counted and left out."""
        import numpy as np

        rows, places = [], []
        for place, line in enumerate(lines):
            if (row := self._values(line, self.seen + place + 1)) is not None:
                rows.append(row)
                places.append(place)
        self.seen += len(lines)
        if not rows:
            return []
        first = self.seen - len(lines) + 1
        judged = self._judged(np.array(rows, np.float64))
        return [
            StreamAlarm(first + places[i], lines[places[i]].strip(), score, self.reference.p_value(score), why)
            for i, score, why in judged
        ]

    def _judged(self, values: np.ndarray) -> list[tuple[int, float, list[Cause]]]:
        """(step, score, why) of the steps at which there is an alarm; keeps what the next ones need."""
        import numpy as np

        from nlp_rnn.data.records import Records
        from nlp_rnn.data.series import Series, filled
        from nlp_rnn.data.signals import within_range
        from nlp_rnn.metrics.signals import peaks
        from nlp_rnn.tasks.anomaly_values.predictions import found_of
        from nlp_rnn.tasks.anomaly_values.scores import rarity, score_of, steps_of
        from nlp_rnn.tasks.anomaly_values.watched import causes

        before = len(self.kept)
        given = np.concatenate([self.kept, within_range(values)])
        complete = np.nan_to_num(filled(given))
        series = Series("", np.arange(len(given)), complete, np.isfinite(given), {}, False)
        record = {"series": "", "history": series, "begin": before, "labels": None}
        (quantiles,) = self.run.infer(Records([record]))["quantiles"]
        steps = steps_of(quantiles, record, self.judge, self.steps - before)
        rarities = rarity(steps, self.judge)
        scores = score_of(rarities)
        heights, self.height = peaks(scores, self.judge["rest"], self.height)
        self.steps += len(values)
        needed = 2 * max(self.judge["memory"], self.judge["lookback"], self.judge["smooth"]) + 1
        self.kept = complete[-needed:]
        alarms = heights > self.limit
        found = found_of(steps, rarities, scores, np.exp(-self.reference.nats_of(scores)), alarms, self.judge)
        return [(i, float(scores[i]), causes(found, i)) for i in np.flatnonzero(alarms).tolist()]

    def _values(self, line: str, number: int) -> list[float] | None:
        """The values of a line; None where it holds none, which is counted, or is a header.

        Raises:
            InputError: a header lacks a value, or has the column that tells signals apart.
        """
        targets, text = self.judge["targets"], line.strip()
        if not text:
            return None
        fields, found = _fields(text), None
        if isinstance(fields, dict):
            self._refuse_several([str(name) for name in fields])
            found = [_number_of(fields.get(name)) for name in targets]
        elif self._is_header(fields):
            self._begin([str(field) for field in fields], text)
            return None
        elif self.header:
            if len(fields) == len(self.header):
                found = [_number_of(fields[self.header.index(name)]) for name in targets]
        elif len(fields) in (len(targets), len(targets) + 1):  # with a time before them
            found = [_number_of(field) for field in fields[-len(targets) :]]
        if found is None or any(value is None for value in found):
            if not self.left_out:
                print(f"Line {number} and others like it hold no step, and are left out: {text[:60]}", file=sys.stderr)
            self.left_out += 1
            return None
        self.begun = True
        return [value for value in found if value is not None]

    def _is_header(self, fields: list[object]) -> bool:
        """Whether a line before all steps has names alone, or one repeats the header."""
        is_first = not self.begun and not self.header
        return fields == self.header or (is_first and len(fields) > 1 and not any(map(_is_number, fields)))

    def _begin(self, header: list[str], text: str) -> None:
        """Takes a line as the header."""
        self._refuse_several(header)
        if missing := [name for name in self.judge["targets"] if name not in header]:
            raise InputError(f'The header "{text[:80]}" lacks "{missing[0]}", which this run watches.')
        self.header = header

    def _refuse_several(self, names: list[str]) -> None:
        series = self.run.config.data.series
        if series and series in names:
            raise InputError(
                f'The stream has "{series}", which tells signals apart, and `watch` reads one signal: give it the '
                f"lines of one, with a --state of its own."
            )

    def save(self) -> None:
        """Keeps the state, if it has a file."""
        from nlp_rnn.saved import write_state

        if self.path is not None:
            write_state(self.path, self.run.model, {name: getattr(self, name) for name in _KEPT}, [self.kept])


def _fields(text: str) -> Any:
    """What a line holds: a list of values, or values by name."""
    if text[:1] in "{[":
        try:
            found = json.loads(text)
        except ValueError:
            return []
        return found if isinstance(found, (dict, list)) else []
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in text), "")
    fields = next(csv.reader([text], delimiter=delimiter)) if delimiter else text.split()
    if delimiter in ("\t", ";"):  # then a comma may stand before decimals
        fields = [re.sub(r"^\s*([-+]?\d+),(\d+)\s*$", r"\1.\2", field) for field in fields]
    return [field.strip() for field in fields]


def _is_number(value: object) -> bool:
    return _number_of(value) is not None


def _number_of(value: Any) -> float | None:
    """A value, NaN where it is missing, None where it is no number."""
    if value is None or str(value).strip().lower() in _MISSING:
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class WatchOptions(Watching):
    """Options of the verb `watch`."""

    budget: Annotated[Fraction, Range(0, 1, above=True, below=True)] = 0.001
    """Part of the normal steps whose score may be above the threshold."""


def _results(run: AnyRun, options: WatchOptions) -> Iterator[StreamAlarm]:
    watcher = Watcher(run, options.budget, options.state)
    yield from watched(watcher)
    if watcher.left_out:
        print(f"{watcher.left_out:,} lines held no step, and were left out", file=sys.stderr)


COMMANDS = (
    Command("watch", "Judges values as they come, a step in each line.", WatchOptions, _results),
    Command("explain", "Shows which values made another one be expected than came.", ExplainOptions, explained),
)
