"""Settings of anomaly detection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import DataConfig, EmbeddingConfig, StackConfig, TrainConfig
from nlp_rnn.config.values import Count, Natural, Range, Size


@dataclass(frozen=True)
class EventData(DataConfig):
    """Where the events come from. Training needs normal sessions; what has another label is left out."""

    events: str = ""
    """Column of the events: of a session, as a list or parted by blanks, or of one line of a log; by default events,
    message, msg, log, line, content or text."""
    session: str = ""
    """Column that names the session that a line belongs to; by default session, session_id, block_id, trace_id or
    request_id, where there is one."""
    label: str = ""
    """Column that says what is normal; by default label, anomaly or is_anomaly, where there is one."""
    normal: tuple[str, ...] = ("normal", "0", "0.0", "false", "benign", "ok", "-", "")
    """Labels of normal sessions, in any case; all others are anomalies."""
    form: Literal["auto", "sessions", "lines"] = "auto"
    """Whether a text holds the events of a session, parted by blanks, or one line of a log, which becomes an event by
    masking its numbers, times, addresses and paths; "auto" takes texts of the column events as sessions."""
    chunk: Count = 100
    """Lines that are read together where no column names sessions."""
    min_count: Natural = 1
    """Events seen less often in training are unknown."""
    window: Count = 256
    """Longer sessions are read in parts of so many events."""


@dataclass(frozen=True)
class EventEmbedding(EmbeddingConfig):
    """The vectors of the events."""

    size: Size = 64
    """Dimensions."""


@dataclass(frozen=True)
class EventStack(StackConfig):
    """The recurrent layers."""

    bidirectional: tyro.conf.FlagConversionOff[bool] = False
    """Not for events, which are read in the direction of time."""


@dataclass(frozen=True)
class ScoreConfig:
    """How surprises become the score of a session."""

    kind: Literal["any", "mean", "median", "peak", "stretch", "misses"] = "any"
    """The mean or the median surprise of its events; the peak, the mean of the three most surprising; the mean of its
    least surprising stretch; the part of its events that were not among the likeliest (DeepLog); or whichever of mean
    and peak is rarer among normal sessions."""
    stretch: Count = 100
    """Events of a stretch."""
    top: Count = 9
    """How many of the likeliest events are no miss."""
    memory: Count = 10
    """`watch` scores the mean surprise of about so many events, besides that of each."""


@dataclass(frozen=True)
class Config:
    """Settings of anomaly detection."""

    data: EventData = field(default_factory=EventData)
    embedding: EventEmbedding = field(default_factory=EventEmbedding)
    stack: EventStack = field(default_factory=EventStack)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Options:
    """What may be changed after training."""

    budget: Annotated[float, Range(0, 1, above=True, below=True)] = 0.01
    """Part of the normal sessions that may give a false alarm."""
