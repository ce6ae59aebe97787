"""Settings of anomaly detection in values over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import Cell, DataConfig, StackConfig, TrainConfig
from nlp_rnn.config.values import Count, Fraction, Natural, NotNegative, Positive, Range, Size


@dataclass(frozen=True)
class SignalData(DataConfig):
    """Where the values come from. Rows are steps, in the order of their times; what is labelled as anomalous is not
    trained on."""

    validation_fraction: Fraction = 0.15
    """Part of each signal held out for validation, and for learning what scores are usual, where there is no validation
    data: the last steps before those for testing."""
    test_fraction: Fraction = 0.25
    """Part of each signal, its last steps, held out for testing where there is no test data."""
    probation: Fraction = 0.0
    """Part of each signal, from its start, that is taken as normal: it is trained and validated on, and all that
    follows is for testing. 0 goes by the fractions."""
    probation_steps: Natural = 0
    """At most so many steps of a signal are taken as normal by `probation`; 0 knows no limit."""
    time: str = ""
    """Column of the times; by default ds, date, time, timestamp or datetime. Without one, rows are counted."""
    series: str = ""
    """Column that names the signal that a row belongs to; by default unique_id, item_id or series, where there is one.
    In a folder each table is a signal."""
    target: tuple[str, ...] = ()
    """Columns to watch, all of them together; by default y, target or value, or else all columns of numbers that are
    nothing else."""
    label: str = ""
    """Column that says which rows are normal; by default label, anomaly, is_anomaly, is_outlier or
    outlier, where there is one."""
    normal: tuple[str, ...] = ("normal", "0", "false", "benign", "ok", "-", "")
    """Labels of normal rows, in any case; all others are anomalies."""
    windows: str = ""
    """A JSON file of anomalous stretches by signal, {"cpu.csv": [["2026-01-31 10:00", "2026-01-31 12:00"]]}; by
    default windows.json in a folder of signals."""
    timezone: str = ""
    """Time zone of times that have none, such as Europe/Berlin."""
    stride: Natural = 0
    """Steps from one training window to the next; 0 takes so many that there are at most 50,000 windows."""


@dataclass(frozen=True)
class SignalModel:
    """The forecaster."""

    levels: tuple[Positive, ...] = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
    """Quantiles of the next value to forecast: symmetric around 0.5."""
    subtract_last: tyro.conf.FlagConversionOff[bool] = True
    """Forecast the difference to the last value."""


@dataclass(frozen=True)
class SignalStack(StackConfig):
    """The recurrent layers."""

    cell: Cell = "gru"
    """Kind of recurrent cell; the last five run all steps in parallel."""
    bidirectional: tyro.conf.FlagConversionOff[bool] = False
    """Not for signals, which are read in the direction of time."""


@dataclass(frozen=True)
class SignalScore:
    """How deviations become the score of a step."""

    memory: Count = 1000
    """Steps whose mean and spread say what is usual: values are scaled by them."""
    least_spread: NotNegative = 0.0
    """A spread is at least this part of the mean's size: smaller changes of a quiet signal are then not unusual."""
    warm_up: Natural = 0
    """Steps of a signal that are read before one is judged, so that what is usual is known; 0 takes four times the
    look-back, or the memory, if that is less."""
    smooth: Count = 5
    """Steps whose mean is compared with what is usual, so that a shift of the level is seen."""
    rest: NotNegative = 200.0
    """Steps in which the height of an alarm fades that a further one must exceed; 0 raises an alarm at each step above
    the threshold."""


@dataclass(frozen=True)
class SignalTrain(TrainConfig):
    """How the model is fitted."""

    batch_size: Count = 64
    """Windows in a batch."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay (AdamW) or L2 (SGD)."""


@dataclass(frozen=True)
class Config:
    """Settings of anomaly detection in values over time."""

    lookback: Size = 48
    """Steps that are read before each that is judged."""
    data: SignalData = field(default_factory=SignalData)
    model: SignalModel = field(default_factory=SignalModel)
    stack: SignalStack = field(default_factory=SignalStack)
    score: SignalScore = field(default_factory=SignalScore)
    train: SignalTrain = field(default_factory=SignalTrain)


@dataclass(frozen=True)
class Options:
    """What may be changed after training."""

    budget: Annotated[float, Range(0, 1, above=True, below=True)] = 0.001
    """Part of the normal steps whose score may be above the threshold."""
    threshold: Literal["budget", "dynamic"] = "budget"
    """By the budget, from normal validation data; or dynamic, from the scores of each signal themselves, as Telemanom
    does (Hundman et al. 2018)."""
