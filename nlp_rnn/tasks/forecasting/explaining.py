"""The verb `explain`: which steps of a history raised a forecast, and which lowered it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.values import Natural
from nlp_rnn.errors import InputError, did_you_mean
from nlp_rnn.series.steps import Step, time_texts
from nlp_rnn.tasks.base import refuse_other_models
from nlp_rnn.tasks.explaining import HistoryContributions

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.run import AnyRun


def explain(run: AnyRun, data: object = None, target: str = "", **columns: Any) -> Iterator[HistoryContributions]:
    """What the last values of each series contributed to its forecast.

    Args:
        run: of a forecaster.
        data: a source or a frame; by default the run's own data, to their end.
        target: the channel whose forecast is explained; by default each.
        **columns: settings of `data`.

    Raises:
        InputError: the run is of another task, or there is no such channel.
    """
    import numpy as np

    from nlp_rnn.tasks.forecasting.features import last_times, windows_of

    refuse_other_models(run, run.task.name == "forecasting", "explain", "a forecaster")
    targets = run.assets.facts["targets"]
    if target and target not in targets:
        raise InputError(f'There is no target "{target}".{did_you_mean(target, targets)}')
    records = run.task.read(run.config, "predict") if data is None else run.read(data, "predict", **columns)
    if records is None:
        raise InputError("There is no data to explain forecasts of: give --data.")
    windows, step, lookback = windows_of(records), Step(run.assets.facts["step"]), run.config.lookback
    ends = last_times(windows)
    for indices, features in run.batches_of(records).indexed():
        for place, index in enumerate(indices):
            row = {name: value[place : place + 1] for name, value in features.items()}
            series = windows.series[windows.which[index]]
            after = step if series.has_times else Step("1")
            times = after.ahead(np.full(lookback, ends[index]), np.arange(1 - lookback, 1))
            origin = int(windows.origins[index])
            known = np.isfinite(series.known[max(origin - lookback, 0) : origin])
            given = np.pad(known, [(lookback - len(known), 0), (0, 0)])
            for channel in [targets.index(target)] if target else range(len(targets)):
                yield HistoryContributions(
                    series=series.name,
                    target=targets[channel],
                    times=time_texts(times, series.has_times),
                    inputs=targets,
                    given=given.tolist(),
                    **_of_target(run, row, channel),
                )


def _of_target(run: AnyRun, row: Any, channel: int) -> dict[str, Any]:
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients

    model = run.model
    middle = list(model.levels).index(0.5)

    def forecast(histories: Any) -> tf.Tensor:
        count = tf.shape(histories)[0]
        features = {name: tf.repeat(tf.constant(value), count, axis=0) for name, value in row.items()}
        return tf.reduce_mean(model.infer({**features, "history": histories})["quantiles"][:, :, channel, middle], 1)

    history = tf.constant(row["history"][0])
    baseline = tf.zeros_like(history) + tf.reduce_mean(history, 0, keepdims=True)
    found = integrated_gradients(forecast, history, baseline, by_feature=True)
    values = found.values.astype(float).tolist()
    return {"values": values, "forecast": found.score, "base": found.base, "missed": found.missed}


@dataclass(frozen=True)
class ExplainOptions:
    """Options of the verb `explain`."""

    data: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Series to forecast; by default the run's own data, to their end."""
    target: str = ""
    """The target whose forecast is explained; by default each."""
    most: Natural = 5
    """Forecasts to explain at most; 0 for all."""


def results(run: AnyRun, options: ExplainOptions) -> Iterator[HistoryContributions]:
    """What the command shows."""
    from itertools import islice

    yield from islice(explain(run, options.data, options.target), options.most or None)
