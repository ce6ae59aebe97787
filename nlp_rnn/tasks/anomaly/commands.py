"""The verb `watch`: a stream of events, scored as they come, with a state of constant size that outlives restarts; and
the list of all verbs that only this task has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from nlp_rnn.config.values import Fraction, Range
from nlp_rnn.paths import check_place
from nlp_rnn.tasks.anomaly.explaining import ExplainOptions
from nlp_rnn.tasks.anomaly.explaining import results as explained
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.watching import Watching, watched

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.anomaly.predictions import Surprise

_KEPT = ("last", "mean", "seen", "is_high")


@dataclass(frozen=True)
class EventAlarm:
    """An event at which the score of the stream rose above what normal data reach.

    Args:
        line: of the stream, from 1, over restarts.
        text: the line as it came.
        score: how unusual the event and those before it are, as `score.kind` has it.
        p_value: how often it is as high where all is normal.
        why: the event, and what was expected instead.
    """

    line: int
    text: str
    score: float
    p_value: float
    why: Surprise | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        instead = f' instead of "{self.why.expected[0][:60]}"' if self.why and self.why.expected else ""
        return f"ALARM {self.score:.2f} (p {self.p_value:.2g}) line {self.line}: {self.text[:100]}{instead}"


class Watcher:
    """Scores events one after the other; its state is of constant size.

    Args:
        run: of anomaly detection.
        budget: part of normal events that may raise an alarm.
        state: a file that the state is read from, if it is there, and kept in.

    Raises:
        InputError: the run is of another task, or the state of another run.
    """

    def __init__(self, run: AnyRun, budget: float = 0.01, state: str | Path | None = None) -> None:
        import numpy as np
        import tensorflow as tf

        from nlp_rnn.display.console import console
        from nlp_rnn.tasks.anomaly.scores import reference_of, stream_references, usual_surprise
        from nlp_rnn.text.tokenizer import BEGIN

        refuse_other_models(run, hasattr(run.model, "go_on"), "watch", "a run of anomaly detection")
        self.run = run
        self.path = Path(state) if state else None
        judge, self.memory = run.assets.judge, run.config.score.memory
        self.reference = reference_of(judge, "stream" if "stream" in judge else "events")
        self._references = stream_references(judge)
        self.parts = [np.zeros((1, run.model.state_size), np.float32) for _ in range(run.model.state_parts)]
        self.limit = self.reference.threshold(budget)
        console.warn_once(self.reference.beyond(budget))
        self.usual = usual_surprise(judge)
        self.last, self.mean, self.seen, self.is_high = BEGIN, self.usual, 0, [False] * len(self._references)
        if state:
            check_place(state, "--state")
        if self.path is not None and self.path.is_file():
            self._restore()

        specs = [tf.TensorSpec([1], tf.int32), tf.TensorSpec([1, None], tf.int32)]
        specs += [tf.TensorSpec([1, run.model.state_size], tf.float32)] * len(self.parts)

        follow = run.model.go_on_or_begin if run.assets.judge["ends"] else run.model.go_on

        def go_on(last: tf.Tensor, tokens: tf.Tensor, *parts: tf.Tensor) -> tuple[dict[str, tf.Tensor], Any]:
            found, after = follow(last, tokens, run.model.grouped(list(parts)))
            return found, [tf.cast(part, tf.float32) for part in tf.nest.flatten(after)]

        self._go_on = tf.function(go_on, input_signature=specs, autograph=False)

    def push(self, lines: list[str]) -> list[EventAlarm]:
        """The alarms among further events; one for each time that the surprise of single events rises above the
        threshold, and one for each time that the smoothed one does."""
        import numpy as np
        import tensorflow as tf

        from nlp_rnn.tasks.anomaly.data import words_of
        from nlp_rnn.tasks.anomaly.predictions import surprises
        from nlp_rnn.tasks.anomaly.scores import parts_in_stream

        words, places = [], []
        for place, line in enumerate(lines):
            found = words_of(line, self.run.assets.judge["lines"]).split()
            words += found
            places += [place] * len(found)
        if not words:
            self.seen += len(lines)
            return []
        ids = self.run.assets.tokenizer.encode([" ".join(words)]).values.numpy()
        given = (np.array([self.last], np.int32), ids[None], *self.parts)
        outputs, parts = self._go_on(*map(tf.constant, given))
        self.parts, self.last = [part.numpy() for part in parts], int(ids[-1])
        nats, ranks, expected = (outputs[name].numpy()[0] for name in ("nats", "rank", "expected"))
        begins = outputs["begins"].numpy()[0] if "begins" in outputs else np.zeros(len(nats), bool)
        parts = parts_in_stream(nats, self._smoothed(nats, begins), self._references)
        is_above = parts > self.limit
        was_above = np.concatenate([np.array(self.is_high)[:, None], is_above[:, :-1]], 1)
        self.is_high = is_above[:, -1].tolist()
        alarms = []
        for place in np.flatnonzero((is_above & ~was_above).any(0)).tolist():
            one, score = slice(place, place + 1), float(parts[:, place].max())
            why = surprises(words[one], nats[one], np.maximum(ranks[one], 1), expected[one], self.run.assets, 1)
            number, p_value = self.seen + places[place] + 1, self.reference.p_value(score)
            alarms.append(EventAlarm(number, lines[places[place]], score, p_value, why[0] if why else None))
        self.seen += len(lines)
        return alarms

    def _smoothed(self, nats: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """The smoothed surprise, which begins anew with each session; keeps what the next events need."""
        import numpy as np

        from nlp_rnn.metrics.anomalies import smoothed

        found = []
        for part, anew in zip(np.split(nats, np.flatnonzero(begins)), [False, *begins[begins]], strict=True):
            if anew:
                self.mean = self.usual
            if len(part):
                found.append(smoothed(part, self.memory, self.mean))
                self.mean = float(found[-1][-1])
        return np.concatenate(found)

    def save(self) -> None:
        """Keeps the state, if it has a file."""
        from nlp_rnn.saved import write_state

        if self.path is not None:
            write_state(self.path, self.run.model, {name: getattr(self, name) for name in _KEPT}, self.parts)

    def _restore(self) -> None:
        from nlp_rnn.saved import read_state

        assert self.path is not None
        about, self.parts = read_state(self.path, self.run.model, len(self.parts))
        for name in _KEPT:
            setattr(self, name, about[name])
        if not isinstance(self.is_high, list):  # kept before single events counted
            self.is_high = [self.is_high] * len(self._references)


@dataclass(frozen=True)
class WatchOptions(Watching):
    """Options of the verb `watch`."""

    budget: Annotated[Fraction, Range(0, 1, above=True, below=True)] = 0.001
    """Part of the normal events after which there may be a false alarm."""


def _results(run: AnyRun, options: WatchOptions) -> Iterator[EventAlarm]:
    return watched(Watcher(run, options.budget, options.state))


COMMANDS = (
    Command("watch", "Scores a stream of events, a line each, as they come.", WatchOptions, _results),
    Command("explain", "Shows which events made another one surprising.", ExplainOptions, explained),
)
