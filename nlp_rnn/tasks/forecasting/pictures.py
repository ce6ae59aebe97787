"""Forecasts as pictures, for `predict --plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.series.steps import Step
from nlp_rnn.tasks.forecasting.settings import Options

if TYPE_CHECKING:
    from nlp_rnn.data.windows import Windows
    from nlp_rnn.display.forecasts import Fan, Fans
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.forecasting.predictions import Forecasts

_SHOWN = 3


def picture(run: AnyRun, given: object, options: Options) -> Fans:
    """Histories and their forecasts, drawn.

    Args:
        run: a forecaster.
        given: records, or one history.
        options: of the forecast.
    """
    from nlp_rnn.data.records import Records
    from nlp_rnn.display.forecasts import Fans
    from nlp_rnn.tasks.forecasting.features import windows_of
    from nlp_rnn.tasks.forecasting.predictions import decode
    from nlp_rnn.tasks.inputs import records_of

    records = given if isinstance(given, Records) else records_of(run.task.input, [given])
    found = decode(run.infer(records, options), records, run.assets, options)
    windows = windows_of(records)
    return Fans([fan for place in range(min(len(windows), 9)) for fan in fans_of(windows, found, place)])


def fans_of(windows: Windows, found: Forecasts, place: int) -> list[Fan]:
    """The fan of each target of a forecast."""
    import numpy as np

    from nlp_rnn.display.forecasts import Fan

    series, origin = windows.series[windows.which[place]], int(windows.origins[place])
    quantiles = found.quantiles[place]
    horizon = len(quantiles)
    first = max(origin - max(_SHOWN * horizon, 20), 0)
    step = found.step if series.has_times else Step("1")
    after = step.ahead(np.full(horizon, series.times[origin - 1]), np.arange(1, horizon + 1))
    times = np.concatenate([series.times[first:origin], after])
    times = times.astype("datetime64[s]") if series.has_times else times
    actual = series.known[origin : origin + horizon]
    return [
        Fan(
            f"{series.name} {target}".strip(),
            times,
            series.known[first:origin, channel],
            quantiles[:, channel],
            found.levels,
            actual[:, channel],
        )
        for channel, target in enumerate(found.targets)
    ]
