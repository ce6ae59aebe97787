"""Settings of the forecasting task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import tyro

from nlp_rnn.config.sections import Cell, DataConfig, StackConfig, TrainConfig
from nlp_rnn.config.values import Count, Fraction, Natural, NotNegative, Positive, Size


@dataclass(frozen=True)
class ForecastData(DataConfig):
    """Where the series come from."""

    validation_fraction: Fraction = 0.1
    """Part of the training data, its last steps but those for testing, held out for validation where there is no
    validation data."""
    test_fraction: Fraction = 0.2
    """Part of the training data, its last steps, held out for testing where there is no test data."""
    steps: tuple[Natural, ...] = ()
    """Steps of each series for training, validation and testing, from its start, instead of the fractions; also of
    files that are given for one of these, if they are as long."""
    time: str = ""
    """Column of the times; by default ds, date, time, timestamp or datetime. Without one, steps are counted."""
    series: str = ""
    """Column that names the series that a row belongs to; by default unique_id, item_id or series, where there is
    one."""
    target: tuple[str, ...] = ()
    """Columns to forecast; by default y, target or value, or else all columns of numbers that are nothing else."""
    future: tuple[str, ...] = ()
    """Columns that are known of times to come as well, such as holidays and prices: in rows after the last value."""
    past: tuple[str, ...] = ()
    """Columns that help to forecast, and are not known of times to come."""
    static: tuple[str, ...] = ()
    """Columns with one value for each series, such as its region."""
    frequency: str = ""
    """Step between times: s, min, h, D, W, MS, ME, QS, QE, YS, YE, also with a number, 15min, or B; by default it is
    found out."""
    season: Natural = 0
    """Steps of a season, for baselines and the default look-back; 0 takes the usual one: 24 hours, 7 days, 12
    months."""
    duplicates: Literal["refuse", "first", "last", "mean", "sum"] = "refuse"
    """What counts where the time of a series repeats."""
    gaps: Literal["previous", "zero", "refuse"] = "previous"
    """What is read where values are missing: the one before, or 0 (for sales that are noted only where there are some);
    they are counted, and neither learned nor measured. No gap is filled from the value after it, which would be known
    too early; before the first value stands the mean."""
    timezone: str = ""
    """Time zone of times that have none, such as Europe/Berlin, for steps of hours and less where clocks change."""
    stride: Natural = 0
    """Steps from one training window to the next; 0 takes so many that there are at most 50,000 windows."""
    measured_stride: Natural = 0
    """Steps from one measured forecast to the next; 0 takes so many that there are at most 5,000 of each split."""


@dataclass(frozen=True)
class ForecastModel:
    """The network, and what it reads."""

    kind: Literal["segments", "encoder-decoder", "deepar"] = "segments"
    """SegRNN, which reads each channel in segments; an encoder and a decoder over steps and all channels together; or
    DeepAR, which goes on step by step and draws paths."""
    segment: Natural = 0
    """Steps in a segment ("segments" only); 0 chooses by the season."""
    scaling: Literal["auto", "standard", "window"] = "auto"
    """Values are scaled by the mean and spread of the training data, or of the window that is read; "auto" takes the
    window's where there are several series."""
    subtract_last: tyro.conf.FlagConversionOff[bool] = True
    """Forecast the difference to the last value."""
    calendar: Literal["auto", "none"] = "auto"
    """Read the hour, the weekday and the time of the year, as far as training has seen them twice."""
    floor: Literal["auto", "none"] = "auto"
    """Forecast nothing below 0 where training has no value below 0."""
    distribution: Literal["student-t", "normal", "negative-binomial"] = "student-t"
    """What DeepAR draws from; counts are negative binomial."""
    levels: tuple[Positive, ...] = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
    """Quantiles to forecast: symmetric around 0.5."""


@dataclass(frozen=True)
class ForecastStack(StackConfig):
    """The recurrent layers."""

    cell: Cell = "gru"
    """Kind of recurrent cell; the last five run all steps in parallel."""
    bidirectional: tyro.conf.FlagConversionOff[bool] = False
    """Not for forecasting, which reads in the direction of time."""


@dataclass(frozen=True)
class ForecastTrain(TrainConfig):
    """How the model is fitted."""

    batch_size: Count = 64
    """Windows in a batch."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay (AdamW) or L2 (SGD)."""


@dataclass(frozen=True)
class Config:
    """Settings of the forecasting task."""

    horizon: Natural = 0
    """Steps to forecast; 0 takes a season."""
    lookback: Natural = 0
    """Steps that are read before them; 0 chooses by season, horizon, and the length of the series."""
    data: ForecastData = field(default_factory=ForecastData)
    model: ForecastModel = field(default_factory=ForecastModel)
    stack: ForecastStack = field(default_factory=ForecastStack)
    train: ForecastTrain = field(default_factory=ForecastTrain)


@dataclass(frozen=True)
class Options:
    """What may be changed after training."""

    horizon: Natural = 0
    """Steps to forecast, at most as many as in training (DeepAR: any number); 0 takes those of training."""
    samples: Size = 200
    """Paths that DeepAR draws."""
