"""The verb `explain`: which events made a model expect something else than what came, and which spoke for that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.options import texts_or_lines
from nlp_rnn.config.values import Natural
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import refuse_other_models
from nlp_rnn.tasks.explaining import Contributions, TextsToExplain, contributions
from nlp_rnn.tasks.inputs import SessionInput

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import Attribution
    from nlp_rnn.layers.base import Tensor
    from nlp_rnn.run import AnyRun


def explain(run: AnyRun, session: Any, event: int = 0) -> Contributions:
    """What each event of a session contributed to the odds of what was expected after it against what came.

        log p(likeliest other event) - log p(event)

    The model reads `data.window` events, then begins anew: those further back contribute nothing.

    Args:
        run: of anomaly detection.
        session: its events, as a text or a list.
        event: which is explained, from 1; the one behind the last is the end, where the run knows sessions with one.
            By default the most surprising one that has others before it.

    Raises:
        InputError: there is no such event, or the run is of another task.
    """
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.anomaly.data import encoded, spans_of
    from nlp_rnn.tasks.anomaly.predictions import END_OF_SESSION, name_of
    from nlp_rnn.text.tokenizer import BEGIN

    fits = run.task.name == "anomaly" and hasattr(run.model, "stack")
    refuse_other_models(run, fits, "explain", "a run of anomaly detection")
    text = SessionInput().parse(session)
    spans, records = spans_of(text, run.assets.judge["lines"]), Records([{"session": "", "events": text}])
    if not spans:
        raise InputError("There is no event to explain: give a session.")
    ids = encoded(run.assets, records)[0].tolist()
    if not isinstance(event, int) or not 0 <= event <= len(ids):
        end = ", its end included" if len(ids) > len(spans) else ""
        raise InputError(f"There is no event {event}: this session has {len(ids):,}{end}.")
    outputs = run.infer(records)
    place = event - 1 if event else _most_surprising(outputs["nats"][0])
    came, other = ids[place], next(k for k in outputs["expected"][0][place].tolist() if k != ids[place])
    start = place - place % run.config.data.window  # where the model begins to read anew
    read = [ids[start - 1] if start else BEGIN, *ids[start:place]]
    found = _attributed(run, read, came, other, begins=not start)
    is_end = place == len(spans)
    name, shown = (END_OF_SESSION, text) if is_end else (text[slice(*spans[place])], text[: spans[place][1]])
    said = f'event {place + 1:,}: {name} instead of "{name_of(other, run.assets)}"'
    if not place:
        said += ", before which there is nothing"
    elif start:
        said += f", read from event {start:,} on (data.window)"
    return contributions(shown, said, "log-odds of the other", spans[max(start - 1, 0) : place], found)


def _most_surprising(nats: np.ndarray) -> int:
    """The place of the most surprising event that has others before it, if there are several."""
    return int(nats[1:].argmax()) + 1 if len(nats) > 1 else 0


def _attributed(run: AnyRun, read: list[int], came: int, other: int, begins: bool) -> Attribution:
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients

    model = run.model
    vectors = tf.cast(model.embedding(tf.constant([read]))[0], tf.float32)

    def odds(vectors: Tensor) -> tf.Tensor:
        sequence, _ = model.stack(vectors)
        logits = model.head.logits(model.head.states(sequence[:, -1:], False), model.table)
        logits = tf.cast(logits[:, 0], tf.float32)
        return logits[:, other] - logits[:, came]

    gone = tf.zeros_like(vectors)
    return integrated_gradients(odds, vectors, tf.concat([vectors[:1], gone[1:]], 0) if begins else gone)


@dataclass(frozen=True)
class ExplainOptions(TextsToExplain):
    """Options of the verb `explain`."""

    event: Natural = 0
    """Explain this event, from 1, of each session; by default the most surprising one."""


def results(run: AnyRun, options: ExplainOptions) -> Iterator[Contributions]:
    """What the command shows; lines of a log from standard input are one session."""
    sessions = texts_or_lines(options.texts)
    if not options.texts and run.assets.get("judge", {}).get("lines"):
        sessions = ["\n".join(sessions)]
    for session in sessions:
        yield explain(run, session, options.event)
