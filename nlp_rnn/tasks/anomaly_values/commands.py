"""The verb `watch`: values as they come, judged with a state of constant size that outlives restarts."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from nlp_rnn.config.values import Fraction, Range
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.watching import Watching, watched

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.anomaly_values.predictions import Cause

_KEPT = ("seen", "steps", "height", "left_out", "header")
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
        InputError: the run is of another task, or the state of another run.
    """

    def __init__(self, run: AnyRun, budget: float = 0.001, state: str | Path | None = None) -> None:
        import numpy as np

        from nlp_rnn.tasks.anomaly_values.scores import score_reference

        refuse_other_models(run, "memory" in run.assets.get("judge", {}), "watch", "a run of anomaly-values")
        self.run, self.judge, self.reference = run, run.assets.judge, score_reference(run.assets.judge)
        self.limit, self.path = self.reference.threshold(budget), Path(state) if state else None
        self.kept = np.zeros((0, len(self.judge["targets"])))
        self.seen = self.steps = self.left_out = 0
        self.height, self.header = 0.0, [""]
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
            if (row := self._values(line)) is not None:
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
        from nlp_rnn.metrics.signals import peaks
        from nlp_rnn.tasks.anomaly_values.predictions import causes
        from nlp_rnn.tasks.anomaly_values.scores import rarity, steps_of

        before = len(self.kept)
        given = np.concatenate([self.kept, values])
        complete = np.nan_to_num(filled(given))
        series = Series("", np.arange(len(given)), complete, np.isfinite(given), {}, False)
        record = {"series": "", "history": series, "begin": before, "labels": None}
        (quantiles,) = self.run.infer(Records([record]))["quantiles"]
        steps = steps_of(quantiles, record, self.judge, self.steps - before)
        rarities = rarity(steps, self.judge)
        scores = rarities.max(1)
        heights, self.height = peaks(scores, self.judge["rest"], self.height)
        self.steps += len(values)
        needed = max(self.judge["memory"], self.judge["lookback"], self.judge["smooth"]) + 1
        self.kept = complete[-needed:]
        places = np.flatnonzero(heights > self.limit).tolist()
        return [(i, float(scores[i]), causes(steps, rarities, i, self.judge)) for i in places]

    def _values(self, line: str) -> list[float] | None:
        """The values of a line; None where it holds none, which is counted, or is a header."""
        targets, text = self.judge["targets"], line.strip()
        if not text:
            return None
        fields = _fields(text)
        if isinstance(fields, dict):
            fields = [fields.get(name) for name in targets]
        elif all(name in fields for name in targets):
            self.header = [str(field) for field in fields]
            return None
        elif len(self.header) == len(fields):
            fields = [fields[self.header.index(name)] for name in targets]
        else:
            fields = fields[-len(targets) :]
        try:
            found = [float("nan") if str(f).lower() in _MISSING else float(f) for f in fields]
        except (TypeError, ValueError):
            found = []
        if len(found) != len(targets):
            if not self.left_out:
                print(
                    f"Line {self.seen + 1} and others like it hold no values, and are left out: {text[:60]}",
                    file=sys.stderr,
                )
            self.left_out += 1
            return None
        return found

    def save(self) -> None:
        """Keeps the state, if it has a file."""
        from nlp_rnn.saved import write_state

        if self.left_out:
            print(f"{self.left_out:,} lines held no values, and were left out", file=sys.stderr)
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
    return next(csv.reader([text], delimiter=delimiter)) if delimiter else text.split()


@dataclass(frozen=True)
class WatchOptions(Watching):
    """Options of the verb `watch`."""

    budget: Annotated[Fraction, Range(0, 1, above=True, below=True)] = 0.001
    """Part of the normal steps whose score may be above the threshold."""


def _results(run: AnyRun, options: WatchOptions) -> Iterator[StreamAlarm]:
    return watched(Watcher(run, options.budget, options.state))


COMMANDS = (Command("watch", "Judges values as they come, a step in each line.", WatchOptions, _results),)
