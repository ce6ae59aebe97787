"""What normal data score, saved with a run: by it others are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Records
    from nlp_rnn.metrics.anomalies import Reference
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import Metrics

PARTS = ("mean", "peak")
_OF_STREAM = {"any": ("events", "surprises"), "peak": ("surprises",)}  # by kind of score; others are smoothed


def reference_of(judge: dict[str, Any], name: str) -> Reference:
    """The scores of normal "sessions"; of a "stream" those of events, the smoothed ones of "events", and the
    "surprises" themselves."""
    from nlp_rnn.metrics.anomalies import Reference

    return Reference(judge.get(name, [0.0]))


def scores_of(outputs: dict[str, object], judge: dict[str, Any]) -> np.ndarray:
    """The score of each session, `[sessions]`: of "any" the -log of how rare the rarest of its parts is."""
    import numpy as np

    kind = judge["score"]["kind"]
    if kind != "any":
        return _of_kind(outputs, judge, kind)
    parts = {name: _of_kind(outputs, judge, name) for name in PARTS}
    references = {name: reference_of(judge, name) for name in PARTS}
    rare = [[references[name].nats(score) for score in scores] for name, scores in parts.items()]
    return np.max(rare, axis=0)


def _of_kind(outputs: dict[str, Any], judge: dict[str, Any], kind: str) -> np.ndarray:
    import numpy as np

    from nlp_rnn.metrics.anomalies import session_score

    how = judge["score"]
    pairs = zip(outputs["nats"], outputs["rank"], strict=True)
    return np.array([session_score(n, r, kind, how["stretch"], how["top"]) for n, r in pairs])


def stream_references(judge: dict[str, Any]) -> dict[str, Reference]:
    """What makes the score of an event in a stream: the surprise of the last "events", its own among the "surprises",
    or both."""
    parts = _OF_STREAM.get(judge["score"]["kind"], ("events",))
    known = [part for part in parts if part in judge] or ["events"]  # earlier runs have none of single events
    return {part: reference_of(judge, part) for part in known}


def scores_in_stream(nats: np.ndarray, smooth: np.ndarray, references: dict[str, Reference]) -> np.ndarray:
    """The score of each event of a stream: where two things make it, the -log of how rare the rarer one is.

    Args:
        nats: the surprise of events, `[events]`.
        smooth: as `metrics.anomalies.smoothed` has it, `[events]`.
        references: what is usual, by `stream_references`.
    """
    import numpy as np

    values = {"events": smooth, "surprises": nats}
    if len(references) == 1:
        return values[next(iter(references))]
    return np.max([reference.nats_of(values[part]) for part, reference in references.items()], axis=0)


def calibrate(run: AnyRun, records: Records) -> Metrics | None:
    """Learns from normal data what scores are usual."""
    import numpy as np

    from nlp_rnn.metrics.anomalies import Reference, smoothed

    judge = run.assets.judge
    outputs = run.infer(records)
    streamed = _streamed(outputs["nats"]) if judge["ends"] else outputs["nats"]
    smooth = np.concatenate([smoothed(nats, run.config.score.memory) for nats in streamed])
    nats = np.concatenate(streamed)
    values = {name: _of_kind(outputs, judge, name) for name in PARTS} | {"events": smooth, "surprises": nats}
    for name, scores in values.items():
        judge[name] = Reference(scores).kept()
    judge["sessions"] = Reference(scores_of(outputs, judge)).kept()
    judge["stream"] = Reference(scores_in_stream(nats, smooth, stream_references(judge))).kept()
    return None


def _streamed(sessions: list[np.ndarray]) -> list[np.ndarray]:
    """The surprises of sessions that follow each other: the first event of each says that the one before has ended."""
    ended, found = 0.0, []
    for nats in sessions:
        events = nats[:-1].copy()
        events[:1] += ended
        ended = nats[-1]
        found.append(events)
    return found
