"""Surprises → scores, how rare they are, and reasons, in the graph: as `predictions` has them, for exports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nlp_rnn.tasks.anomaly.scores import PARTS, reference_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow as tf

    from nlp_rnn.metrics.anomalies import Reference

_BEYOND = 1e30  # sorts behind all scores


def scored(nats: tf.Tensor, ranks: tf.Tensor, lengths: tf.Tensor, judge: Any) -> dict[str, tf.Tensor]:
    """How unusual sessions are.

    Args:
        nats: -log p of their events, float32 `[rows, time]`.
        ranks: their places among the events that were expected, int32 `[rows, time]`.
        lengths: of the rows, int32 `[rows]`.
        judge: what normal sessions score.

    Returns:
        "score" and "p_value", `[rows]`; "mean_surprise", `[rows]`; "surprises", `[rows, time]`, 0 where padding is.
    """
    import tensorflow as tf

    is_there = tf.sequence_mask(lengths, tf.shape(nats)[1])
    nats = tf.where(is_there, nats, 0)
    kind = judge["score"]["kind"]
    if kind == "any":
        parts = [_nats_of(_of_kind(nats, ranks, lengths, judge, one), reference_of(judge, one)) for one in PARTS]
        score = tf.maximum(*parts)
    else:
        score = _of_kind(nats, ranks, lengths, judge, kind)
    return {
        "score": score,
        "p_value": tf.exp(-_nats_of(score, reference_of(judge, "sessions"))),
        "mean_surprise": _mean(nats, lengths),
        "surprises": nats,
    }


def _mean(values: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.reduce_sum(values, 1) / tf.cast(tf.maximum(lengths, 1), tf.float32)


def _of_kind(nats: tf.Tensor, ranks: tf.Tensor, lengths: tf.Tensor, judge: Any, kind: str) -> tf.Tensor:
    """As `metrics.anomalies.session_score`, of rows padded with 0: `[rows]`."""
    import tensorflow as tf

    from nlp_rnn.metrics.anomalies import PEAK

    how = judge["score"]
    is_there = tf.sequence_mask(lengths, tf.shape(nats)[1])
    if kind == "misses":
        return _mean(tf.cast(is_there & (ranks >= how["top"]), tf.float32), lengths)
    if kind == "median":
        ordered = tf.sort(tf.where(is_there, nats, _BEYOND), 1)
        places = tf.stack([(lengths - 1) // 2, lengths // 2], 1)
        return tf.reduce_mean(tf.gather(ordered, tf.maximum(places, 0), batch_dims=1), 1)
    if kind == "peak":
        return tf.reduce_sum(tf.sort(nats, 1, "DESCENDING")[:, :PEAK], 1) / tf.cast(
            tf.clip_by_value(lengths, 1, PEAK), tf.float32
        )
    if kind == "stretch":
        size = how["stretch"]
        sums = tf.cumsum(tf.pad(nats, [[0, 0], [1, size]]), 1)
        stretches = sums[:, size:] - sums[:, :-size]
        is_whole = tf.range(tf.shape(stretches)[1])[None] + size <= lengths[:, None]
        least = tf.reduce_min(tf.where(is_whole, stretches, _BEYOND), 1) / size
        return tf.where(lengths > size, least, _mean(nats, lengths))
    return _mean(nats, lengths)


def _nats_of(scores: tf.Tensor, reference: Reference) -> tf.Tensor:
    """As `Reference.nats_of`, of `[rows]`."""
    import tensorflow as tf

    known = tf.constant(reference.known, tf.float32)
    above = tf.reduce_sum(tf.cast(known >= scores[:, None], tf.float32), 1)
    usual = 0.0 - tf.math.log(tf.maximum((above + 1) / (len(reference.known) + 1), reference.tail))
    beyond = (scores - reference.high) / reference.excess - math.log(reference.tail)
    return tf.where(scores > reference.edge, beyond, usual)


def reasons(
    found: dict[str, tf.Tensor], lengths: tf.Tensor, events: tf.Tensor, names: Sequence[str], count: int
) -> dict[str, tf.Tensor]:
    """The events that surprised most and were not the likeliest.

    Args:
        found: "nats", "rank" and "expected" of events, `[rows, time]` and `[rows, time, likely]`.
        lengths: of the rows, int32 `[rows]`, their ends included.
        events: strings `[rows, time]`.
        names: of the ids from `END` on.
        count: how many, at most.

    Returns:
        "why_place", int32 `[rows, count]`, from 1, 0 where there are fewer; "why_event", strings of the same shape;
        "why_surprise", in nats; "why_expected", strings `[rows, count, likely]`, "" where the event itself stood.
    """
    import tensorflow as tf

    from nlp_rnn.text.templates import BLANK
    from nlp_rnn.text.tokenizer import END

    is_there = tf.sequence_mask(lengths, tf.shape(found["nats"])[1])
    nats = tf.pad(tf.where(is_there, found["nats"], -1), [[0, 0], [0, count]], constant_values=-1)
    places = tf.sort(tf.math.top_k(nats, count).indices, 1)
    rank, expected, event = (
        tf.gather(tf.pad(value, [[0, 0], [0, count], *[[0, 0]] * (value.shape.rank - 2)]), places, batch_dims=1)
        for value in (found["rank"], found["expected"], events)
    )
    surprise = tf.gather(nats, places, batch_dims=1)
    is_reason = (surprise >= 0) & (rank > 0) & (events[:, :1] != "")
    likelier = tf.gather(tf.constant([name.replace(BLANK, " ") for name in names]), tf.maximum(expected - END, 0))
    event = tf.strings.regex_replace(event, BLANK, " ")
    is_other = is_reason[..., None] & (likelier != event[..., None])
    return {
        "why_place": tf.where(is_reason, places + 1, 0),
        "why_event": tf.where(is_reason, event, ""),
        "why_surprise": tf.where(is_reason, surprise, 0),
        "why_expected": tf.where(is_other, likelier, ""),
    }
