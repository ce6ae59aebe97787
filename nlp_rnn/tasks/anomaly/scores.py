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
    from nlp_rnn.metrics.anomalies import TAIL, Reference

    return Reference(judge.get(name, [0.0]), tail=None if name in ("sessions", "stream") else TAIL)


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


def usual_surprise(judge: dict[str, Any]) -> float:
    """The mean surprise of normal events, from which the smoothed one begins."""
    import numpy as np

    return float(judge["usual"] if "usual" in judge else np.mean(judge.get("events", [0.0])))


def parts_in_stream(nats: np.ndarray, smooth: np.ndarray, references: dict[str, Reference]) -> np.ndarray:
    """The scores of events of a stream, `[parts, events]`, of which the highest counts: where there are several, each
    is the -log of how rare it is.

    Args:
        nats: the surprise of events, `[events]`.
        smooth: as `metrics.anomalies.smoothed` has it, `[events]`.
        references: what is usual, by `stream_references`.
    """
    import numpy as np

    values = {"events": smooth, "surprises": nats}
    if len(references) == 1:
        return values[next(iter(references))][None]
    return np.stack([reference.nats_of(values[part]) for part, reference in references.items()])


def calibrate(run: AnyRun, records: Records) -> Metrics | None:
    """Learns from normal data what scores are usual."""
    import numpy as np

    from nlp_rnn.metrics.anomalies import Reference, smoothed

    judge = run.assets.judge
    outputs = run.infer(records)
    for name in PARTS:
        judge[name] = Reference(_of_kind(outputs, judge, name)).kept()
    judge["sessions"] = Reference(scores_of(outputs, judge)).kept()
    streamed = _streamed(outputs["nats"]) if judge["ends"] else outputs["nats"]
    nats = np.concatenate(streamed)
    judge["usual"] = float(nats.mean(dtype=np.float64)) if len(nats) else 0.0
    smooth = np.concatenate([smoothed(part, run.config.score.memory, judge["usual"]) for part in streamed])
    judge["events"], judge["surprises"] = Reference(smooth).kept(), Reference(nats).kept()
    judge["stream"] = Reference(parts_in_stream(nats, smooth, stream_references(judge)).max(0)).kept()
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
