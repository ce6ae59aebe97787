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


def reference_of(judge: dict[str, Any], name: str) -> Reference:
    """The scores of normal "sessions", or the smoothed ones of "events"."""
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


def calibrate(run: AnyRun, records: Records) -> Metrics | None:
    """Learns from normal data what scores are usual."""
    import numpy as np

    from nlp_rnn.metrics.anomalies import Reference, smoothed

    judge = run.assets.judge
    outputs = run.infer(records)
    events = [smoothed(nats, run.config.score.memory) for nats in outputs["nats"]]
    values = {name: _of_kind(outputs, judge, name) for name in PARTS} | {"events": np.concatenate(events)}
    for name, scores in values.items():
        judge[name] = Reference(scores).kept()
    judge["sessions"] = Reference(scores_of(outputs, judge)).kept()
    return None
