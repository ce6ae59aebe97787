"""The verbs `backtest`, what the run would have forecast at times past, beside simple methods, and `explain`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.values import Count
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Command, Metrics, refuse_other_models
from nlp_rnn.tasks.forecasting import explaining

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from nlp_rnn.data.windows import Windows
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.forecasting.predictions import Forecasts


@dataclass(frozen=True)
class Backtest:
    """Forecasts from several times past, without training anew.

    Args:
        windows: where they begin.
        forecasts: what was forecast.
        errors: by method, the model first, the absolute errors in spreads of training, `[windows, horizon, channels]`.
        metrics: of all windows.
    """

    windows: Windows
    forecasts: Forecasts
    errors: dict[str, np.ndarray]
    metrics: Metrics

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each window its series, the time it begins, and the mean absolute error of each method."""
        found = []
        for place in range(len(self.windows)):
            means = {name: _mean(values[place]) for name, values in self.errors.items()}
            forecast = self.forecasts[place]
            found.append({"series": forecast.series, "begins": forecast.times[0], **means})
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"windows": self.rows, "metrics": self.metrics}

    def __str__(self) -> str:
        names = list(self.errors)
        heads = ["series"] * bool(self.forecasts.names[0]) + ["begins", *names]
        table = [
            heads,
            *(
                [str(row[n]) if n in row and isinstance(row[n], str) else _shown(row[n]) for n in heads]
                for row in self.rows
            ),
        ]
        table.append(["all"] + [""] * (len(heads) - len(names) - 1) + [_shown(_mean(v)) for v in self.errors.values()])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        covered = ", ".join(
            f"{name.removeprefix('coverage_')} % interval {value:.1%}"
            for name, value in self.metrics.items()
            if name.startswith("coverage_") and value is not None
        )
        head = "Mean absolute error, in spreads of the training data:"
        return "\n".join([head, *lines, f"Part of the values within: {covered}."])

    def plot(self) -> Figure:
        """The last forecast, the error by horizon, and the calibration."""
        import numpy as np

        from nlp_rnn.display.forecasts import plot_backtest
        from nlp_rnn.tasks.forecasting.pictures import fans_of

        by_step = {}
        for name, values in self.errors.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of steps that were never observed
                by_step[name] = np.nanmean(values, axis=(0, 2))
        actual = self.windows.actual()[:, : self.forecasts.quantiles.shape[1]]
        known = np.isfinite(actual)
        below = []
        for place, level in enumerate(self.forecasts.levels):
            quantile = self.forecasts.quantiles[..., place]
            is_below = (actual < quantile) + 0.5 * (actual == quantile)  # such as days without rain
            below.append((level, float(is_below[known].mean())))
        return plot_backtest(
            fans_of(self.windows, self.forecasts, len(self.windows) - 1)[0], by_step, below, "MAE (spreads)"
        )


def backtest(run: AnyRun, data: object = None, windows: int = 12, ets: bool = True, **columns: Any) -> Backtest:
    """Forecasts from the last times past, one after the other without overlap, of each series.

    Args:
        run: a forecaster; it is not trained anew.
        data: a source or a frame; by default the run's own test data, else its validation data.
        windows: forecasts of each series, at most.
        ets: beside the other methods also exponential smoothing, where statsmodels is installed.
        **columns: settings of `data`.

    Raises:
        InputError: the run is no forecaster, or there is no data.
    """
    import numpy as np

    from nlp_rnn.tasks.forecasting.baselines import baselines_of, exponential_smoothing, spreads_of
    from nlp_rnn.tasks.forecasting.features import windows_of
    from nlp_rnn.tasks.forecasting.predictions import Forecasts

    refuse_other_models(run, hasattr(run.model, "lookback"), "backtest", "a forecaster")
    own = (run.task.read(run.config, split) for split in ("test", "validation"))
    records = run.read(data, **columns) if data is not None else next(filter(None, own), None)
    if records is None:
        raise InputError("There is no data to test on: give --data.")
    chosen = _apart(windows_of(records), run.config.lookback, windows)
    forecasts, metrics = run.predict_and_measure(chosen)
    assert isinstance(forecasts, Forecasts)
    horizon, spread = forecasts.quantiles.shape[1], spreads_of(chosen, run.assets.facts)
    others = baselines_of(chosen, run.assets, horizon)
    if ets:
        others |= exponential_smoothing(chosen, run.assets.facts["season"], horizon)
    actual = chosen.actual()[:, :horizon]
    found = {"model": forecasts.median, **others}
    return Backtest(chosen, forecasts, {n: np.abs(actual - v) / spread for n, v in found.items()}, metrics)


def _apart(records: Windows, lookback: int, count: int) -> Windows:
    """The last windows of each series that do not overlap."""
    import numpy as np

    from nlp_rnn.data.windows import Windows

    every = Windows.over(records.series, lookback, records.horizon, records.horizon, records.begins, records.ends)
    kept = [places[-count:] for _, places in every.parts()]
    return every.select(np.concatenate(kept).tolist() if kept else [])


def _mean(values: np.ndarray) -> float | None:
    import numpy as np

    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else None


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class BacktestOptions:
    """Options of the verb `backtest`."""

    windows: Count = 12
    """Forecasts of each series: the last ones that do not overlap."""
    data: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Series to test on; by default the run's own test data."""
    plot: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the last forecast, the error by horizon and the calibration to a .png, .svg or .pdf file."""
    ets: tyro.conf.FlagConversionOff[bool] = True
    """Also exponential smoothing, where statsmodels is installed; it is fitted anew for each window."""


def _results(run: AnyRun, options: BacktestOptions) -> Iterator[Backtest]:
    from nlp_rnn.display.figures import figure_path, save_figure
    from nlp_rnn.paths import check_place

    if options.plot is not None:
        check_place(figure_path(options.plot, "--plot"), "--plot")
    found = backtest(run, options.data, options.windows, options.ets)
    if options.plot is not None:
        save_figure(found.plot(), options.plot)
    yield found


COMMANDS = (
    Command("backtest", "Forecasts from times past, beside simple methods.", BacktestOptions, _results),
    Command(
        "explain",
        "Shows which values of a history raised its forecast.",
        explaining.ExplainOptions,
        explaining.results,
    ),
)
