"""The verb `explain`: which values of a signal made the model expect another one than came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.values import Fraction, Natural, Range
from nlp_rnn.errors import InputError
from nlp_rnn.series.steps import time_texts
from nlp_rnn.tasks.base import refuse_other_models
from nlp_rnn.tasks.explaining import HistoryContributions

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.data.series import Series
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.anomaly_values.watched import ValueAlarm


@dataclass(frozen=True)
class ExpectedValue(HistoryContributions):
    """What each value before an alarm contributed to what was expected in its place, the median of the forecast, less
    what is usual, the mean of the steps before.

    Args:
        time: of the alarm.
        why: what came, and what was expected or is usual.
        score: how unusual the step is, in nats.
    """

    time: str
    why: str
    score: float

    @property
    def heading(self) -> str:
        """What came, what was expected, and what is usual."""
        name = f"{self.series} {self.time}".strip()
        return f"{name}: {self.why}; expected {self.forecast:.4g}, {self.base:.4g} after nothing but usual values"


def explain(run: AnyRun, data: object = None, budget: float = 0.001, **columns: Any) -> Iterator[ExpectedValue]:
    """What the values before each alarm contributed to what was expected of its least expected value, the most unusual
    alarm first.

    Args:
        run: of anomaly detection in values.
        data: a source or a frame; by default the run's own data.
        budget: part of normal steps whose score may be above the threshold.
        **columns: settings of `data`.

    Raises:
        InputError: the run is of another task.
    """
    refuse_other_models(run, run.task.name == "anomaly-values", "explain", "a run of anomaly-values")
    records = run.task.read(run.config, "predict") if data is None else run.read(data, "predict", **columns)
    if records is None:
        raise InputError("There are no signals to explain: give --data.")
    judged = run.predict(records, run.options(budget=budget))
    alarms = [(alarm, row["history"]) for row, one in zip(records, judged, strict=True) for alarm in one.alarms]
    for alarm, series in sorted(alarms, key=lambda pair: -pair[0].score):
        yield _explained(run, series, alarm)


def _explained(run: AnyRun, series: Series, alarm: ValueAlarm) -> ExpectedValue:
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients
    from nlp_rnn.metrics.signals import running_scale
    from nlp_rnn.tasks.anomaly_values.features import scaled

    judge, cause = run.assets.judge, alarm.why[0]
    channel, lookback = judge["targets"].index(cause.target), judge["lookback"]
    places = np.arange(alarm.step - lookback, alarm.step)  # no step is judged that has fewer before it
    until = series.values[: alarm.step]
    mean, spread = (part[-1] for part in running_scale(until, judge["memory"], judge["least_spread"]))
    window = tf.constant(scaled(until[places], mean, spread).astype(np.float32))
    middle = judge["levels"].index(0.5)

    def median(histories: tf.Tensor) -> tf.Tensor:
        return run.model.infer({"history": histories})["quantiles"][:, 0, channel, middle]

    found = integrated_gradients(median, window, by_feature=True)
    return ExpectedValue(
        series=series.name,
        target=cause.target,
        times=time_texts(series.times[places], series.has_times),
        inputs=judge["targets"],
        values=(found.values * spread[channel]).astype(float).tolist(),
        given=series.observed[places].tolist(),
        forecast=float(mean[channel] + spread[channel] * found.score),
        base=float(mean[channel] + spread[channel] * found.base),
        missed=found.missed,
        time=alarm.time,
        why=str(cause),
        score=alarm.score,
    )


@dataclass(frozen=True)
class ExplainOptions:
    """Options of the verb `explain`."""

    data: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Signals; by default the run's own data."""
    budget: Annotated[Fraction, Range(0, 1, above=True, below=True)] = 0.001
    """Part of the normal steps whose score may be above the threshold."""
    most: Natural = 5
    """Alarms to explain at most, the most unusual ones; 0 for all."""


def results(run: AnyRun, options: ExplainOptions) -> Iterator[ExpectedValue]:
    """What the command shows."""
    from itertools import islice

    from nlp_rnn.display.console import console

    found = list(islice(explain(run, options.data, options.budget), options.most or None))
    if not found:
        console.print("No step is unusual enough for an alarm: a larger --budget has more.")
    yield from found
