"""From surprises to scores, alarms and reasons, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly.scores import reference_of, scores_of
from nlp_rnn.tasks.anomaly.settings import Options
from nlp_rnn.tasks.base import Asked, Metrics, Outputs

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Records

REASONS, END_OF_SESSION = 3, "(end)"


@dataclass(frozen=True)
class Surprise:
    """An event that was not expected.

    Args:
        place: of the event in its session, from 1.
        event: the event; of a line, its template.
        surprise: -log p, in nats.
        expected: what was likelier, the likeliest first.
    """

    place: int
    event: str
    surprise: float
    expected: list[str]


@dataclass(frozen=True)
class Judgement:
    """One result.

    Args:
        session: name of the session.
        score: how unusual it is.
        p_value: how often normal sessions score as high, or higher.
        alarm: whether that is at most the budget of false alarms.
        events: how many there are.
        unknown: how many of them training has not seen.
        why: the events that surprised most.
    """

    session: str
    score: float
    p_value: float
    alarm: bool
    events: int
    unknown: int
    why: list[Surprise]


def decode(outputs: Outputs, records: Records, assets: Assets, options: Options) -> list[Judgement]:
    """Surprises → scores, and reasons."""
    from nlp_rnn.display.console import console
    from nlp_rnn.tasks.anomaly.data import words_of

    reference, lines = reference_of(assets.judge, "sessions"), assets.judge["lines"]
    if "sessions" in assets.judge:  # the epochs of training are measured before normal scores are known
        console.warn_once(reference.beyond(options.budget))
    known = {*assets.tokenizer.vocabulary}
    found = []
    for place, (record, score) in enumerate(zip(records, scores_of(outputs, assets.judge), strict=True)):
        words = words_of(record["events"] or "", lines).split()
        p_value = reference.p_value(float(score))
        unknown = sum(word not in known for word in words)
        nats, ranks, expected = (outputs[name][place] for name in ("nats", "rank", "expected"))
        why = surprises(words, nats, ranks, expected, assets) if words else []
        name = str(record.get("session") or "")
        found.append(Judgement(name, float(score), p_value, p_value <= options.budget, len(words), unknown, why))
    return found


def surprises(
    words: Sequence[str],
    nats: np.ndarray,
    ranks: np.ndarray,
    expected: np.ndarray,
    assets: Assets,
    count: int = REASONS,
) -> list[Surprise]:
    """The events that surprised most and were not the likeliest, in their order."""
    import numpy as np

    most = np.sort(np.argsort(-nats, kind="stable")[:count])
    words = [*words, END_OF_SESSION]

    def one(place: int) -> Surprise:
        event, names = _shown(words[place]), [name_of(k, assets) for k in expected[place].tolist()]
        return Surprise(place + 1, event, float(nats[place]), [name for name in names if name != event])

    return [one(place) for place in most.tolist() if place < len(words) and ranks[place] > 0]


def _shown(word: str) -> str:
    from nlp_rnn.text.templates import BLANK

    return word.replace(BLANK, " ")


def name_of(event: int, assets: Assets) -> str:
    """What an event that was expected is called, by its id."""
    from nlp_rnn.text.tokenizer import END, SPECIAL

    return END_OF_SESSION if event == END else _shown(assets.tokenizer.vocabulary[event - SPECIAL])


def evaluate(records: Records, predictions: Sequence[Judgement], outputs: Outputs, assets: Assets) -> Metrics:
    """The surprise of normal events; where there are anomalies too, how well scores tell them apart."""
    import numpy as np

    from nlp_rnn.metrics.anomalies import detection_report
    from nlp_rnn.tasks.anomaly.data import encoded

    is_anomaly = np.array([record.get("odd", False) for record in records])
    normal = [nats for nats, odd in zip(outputs["nats"], is_anomaly, strict=True) if not odd]
    metrics: Metrics = {"nats": float(np.concatenate(normal or outputs["nats"]).mean(dtype=np.float64))}
    scores = np.array([one.score for one in predictions])
    alarms = np.array([one.alarm for one in predictions])
    report = detection_report(scores, is_anomaly, alarms)
    metrics |= report or {"alarms": float(alarms.mean())}
    metrics["sessions"] = len(records)
    if report:
        ids, lengths = encoded(assets, records)
        sessions = np.split(ids, np.cumsum(lengths)[:-1])
        others = {name: detection_report(values, is_anomaly) for name, values in assets.simple.scores(sessions).items()}
        for key in ("auc_roc", "auc_pr", "recall_at_1_percent"):
            metrics[f"{key} of"] = {name: values[key] for name, values in others.items()}
        kinds = sorted(
            {str(r.get("kind")) for r, odd in zip(records, is_anomaly, strict=True) if odd and r.get("kind")}
        )
        if len(kinds) > 1:
            metrics["auc_roc by kind"] = _by_kind(records, scores, is_anomaly, kinds)
    return metrics


def _by_kind(records: Records, scores: np.ndarray, is_anomaly: np.ndarray, kinds: list[str]) -> dict[str, float]:
    import numpy as np

    from nlp_rnn.metrics.anomalies import detection_report

    of_kind = np.array([str(record.get("kind")) for record in records])
    found = {}
    for kind in kinds:
        kept = ~is_anomaly | (of_kind == kind)
        found[kind] = detection_report(scores[kept], is_anomaly[kept])["auc_roc"]
    return found


def remarks(metrics: Metrics) -> list[str]:
    """Says where a simple method tells anomalies apart as well."""
    from nlp_rnn.metrics.comparison import beaten_by

    others = metrics.get("auc_roc of")
    if not others:
        return []
    name, value = max(others.items(), key=lambda pair: pair[1])
    if value < metrics["auc_roc"]:
        return []
    return [beaten_by("auc_roc", name, value, metrics["auc_roc"])]


def from_row(row: dict[str, Any], options: Options, asked: Asked | None = None) -> Judgement:
    """A row of the signature `serving_default`."""
    session = str(asked.record.get("session") or "") if asked else ""
    columns = (row[f"why_{name}"] for name in ("place", "event", "surprise", "expected"))
    why = [
        Surprise(place, event, surprise, [name for name in expected if name])
        for place, event, surprise, expected in zip(*columns, strict=True)
        if place
    ]
    p_value = row["p_value"]
    return Judgement(session, row["score"], p_value, p_value <= options.budget, row["events"], row["unknown"], why)


def show(prediction: Judgement, record: dict[str, object] | None = None) -> str:
    """`ALARM 7.21 (p 0.0003) session-17: event 5 "…" instead of "…"`; with a record, what it was."""
    mark = "ALARM" if prediction.alarm else "ok   "
    was = "" if record is None else (" (an anomaly)" if record.get("odd") else " (normal)")
    lines = [f"{mark} {prediction.score:.3f} (p {prediction.p_value:.2g}) {prediction.session}{was}".rstrip()]
    for one in prediction.why if prediction.alarm else []:
        event = one.event if len(one.event) <= 80 else one.event[:79] + "…"
        instead = f' instead of "{one.expected[0][:80]}"' if one.expected else ""
        lines.append(f'      event {one.place} "{event}" ({one.surprise:.1f} nats){instead}')
    return "\n".join(lines)


def errors(records: Records, predictions: Sequence[Judgement], count: int) -> list[str]:
    """The false alarms with the highest scores, and the anomalies without an alarm with the lowest, in turn."""
    wrong = [pair for pair in zip(predictions, records, strict=True) if pair[0].alarm != bool(pair[1].get("odd"))]
    wrong.sort(key=lambda pair: pair[0].score)
    false, missed = [pair for pair in wrong[::-1] if pair[0].alarm], [pair for pair in wrong if not pair[0].alarm]
    chosen = [pair for two in zip_longest(false, missed) for pair in two if pair is not None]
    return [show(prediction, record) for prediction, record in chosen[:count]]
