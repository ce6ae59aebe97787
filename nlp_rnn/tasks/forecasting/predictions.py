"""From quantiles to forecasts, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from nlp_rnn.assets import Assets
from nlp_rnn.errors import InputError
from nlp_rnn.series.steps import Step, time_texts
from nlp_rnn.tasks.base import Asked, Metrics, Outputs
from nlp_rnn.tasks.forecasting.settings import Options

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from nlp_rnn.data.records import Records


@dataclass(frozen=True)
class ForecastRow:
    """One forecast value, as a row of a table.

    Args:
        series: name of the series.
        time: of the value.
        target: which value of the series.
        mean, median: the forecast: with the first squared errors are least, with the other absolute ones.
        quantiles: by level.
    """

    series: str
    time: str
    target: str
    mean: float
    median: float
    quantiles: dict[str, float]


@dataclass(frozen=True)
class Forecast:
    """The next values of a series.

    Args:
        series: its name.
        times: of the steps to come.
        mean, median: by target, the forecast of each step.
        quantiles: by target and level, those of each step.
    """

    series: str
    times: list[str]
    mean: dict[str, list[float]]
    median: dict[str, list[float]]
    quantiles: dict[str, dict[str, list[float]]]

    @property
    def rows(self) -> Iterator[ForecastRow]:
        """The rows of a table, one for each step and target."""
        for step, time in enumerate(self.times):
            for target, median in self.median.items():
                levels = {level: values[step] for level, values in self.quantiles[target].items()}
                yield ForecastRow(self.series, time, target, self.mean[target][step], median[step], levels)

    def frame(self) -> pd.DataFrame:
        """A frame of pandas with the columns series, time, target, mean, median, and one for each level; times are
        texts where the series has none."""
        import pandas as pd

        rows = [{**vars(row), **row.quantiles} for row in self.rows]
        found = pd.DataFrame(rows).drop(columns="quantiles")
        if "-" in self.times[0][1:]:
            found["time"] = pd.to_datetime(found["time"], format="ISO8601")
        return found


class Forecasts(Sequence[Forecast]):
    """Forecasts that are made of arrays as they are asked for.

    Args:
        quantiles: float32 `[forecasts, horizon, channels, levels]`.
        names: of the series, `[forecasts]`.
        times: place of a forecast → the times of its steps, as texts.
        targets: names of the channels.
        levels: of the quantiles.
        step: between times.
    """

    def __init__(
        self,
        quantiles: np.ndarray,
        names: Sequence[str],
        times: Callable[[int], list[str]],
        targets: Sequence[str],
        levels: Sequence[float],
        step: Step = Step("1"),  # noqa: B008
    ) -> None:
        self.quantiles, self.names, self.times, self.step = quantiles, names, times, step
        self.targets, self.levels = list(targets), [float(level) for level in levels]

    def __len__(self) -> int:
        return len(self.quantiles)

    @overload
    def __getitem__(self, index: int) -> Forecast: ...

    @overload
    def __getitem__(self, index: slice) -> list[Forecast]: ...

    def __getitem__(self, index: int | slice) -> Forecast | list[Forecast]:
        from nlp_rnn.metrics.forecasting import mean_of

        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        found = self.quantiles[index].transpose(1, 2, 0).tolist()
        quantiles = {
            target: {f"{level:g}": values for level, values in zip(self.levels, channel, strict=True)}
            for target, channel in zip(self.targets, found, strict=True)
        }
        median = {target: by_level["0.5"] for target, by_level in quantiles.items()}
        means = mean_of(self.quantiles[index], self.levels).T.tolist()
        mean = dict(zip(self.targets, means, strict=True))
        return Forecast(self.names[index], self.times(index), mean, median, quantiles)

    @property
    def median(self) -> np.ndarray:
        """`[forecasts, horizon, channels]`."""
        return self.quantiles[..., self.levels.index(0.5)]


def decode(outputs: Outputs, records: Records, assets: Assets, options: Options) -> Forecasts:
    """Quantiles → forecasts with their times."""
    import numpy as np

    from nlp_rnn.tasks.forecasting.features import last_times, windows_of

    windows, facts = windows_of(records), assets.facts
    quantiles, step = np.asarray(outputs["quantiles"]), Step(facts["step"])
    if options.horizon > quantiles.shape[1]:
        raise InputError(
            f"horizon is {options.horizon}; this run was trained to forecast {quantiles.shape[1]} steps: train again "
            f"with a larger --horizon."
        )
    quantiles = quantiles[:, : options.horizon or None]
    if facts["counts"]:
        quantiles = quantiles.round()
    last, places = last_times(windows), np.arange(1, quantiles.shape[1] + 1)

    def times(index: int) -> list[str]:
        has_times = windows.series[windows.which[index]].has_times
        following = (step if has_times else Step("1")).ahead(np.full(len(places), last[index]), places)
        return time_texts(following, has_times)

    names = [windows.series[which].name for which in windows.which]
    return Forecasts(quantiles, names, times, facts["targets"], facts["levels"], step)


def from_row(row: dict[str, Any], options: Options, asked: Asked | None = None) -> Forecast:
    """A row of the signature `serving_default`."""
    import numpy as np

    from nlp_rnn.tasks.inputs import HistoryInput

    series = HistoryInput().parse(asked.record["history"]) if asked else None
    name = series.name if series else ""
    quantiles = np.array(row["quantiles"], np.float32)[None, : options.horizon or None]
    if series is None or series.has_times:
        times = time_texts(row["times"][: quantiles.shape[1]])
    else:  # steps are counted
        times = [str(int(series.times[-1]) + k) for k in range(1, quantiles.shape[1] + 1)]
    return Forecasts(quantiles, [name], lambda _: times, row["targets"], np.round(row["levels"], 6).tolist())[0]


def evaluate(records: Records, predictions: Sequence[Forecast], outputs: Outputs, assets: Assets) -> Metrics:
    """Errors, coverage, and those of simple methods."""
    from nlp_rnn.metrics.forecasting import forecast_report
    from nlp_rnn.tasks.forecasting.baselines import baselines_of, naive_errors, spreads_of
    from nlp_rnn.tasks.forecasting.features import windows_of

    assert isinstance(predictions, Forecasts)
    windows, facts = windows_of(records), assets.facts
    horizon = predictions.quantiles.shape[1]
    return forecast_report(
        windows.actual()[:, :horizon],
        predictions.quantiles,
        predictions.levels,
        spreads_of(windows, facts),
        naive_errors(windows, facts["season"]),
        facts["targets"],
        baselines_of(windows, assets, horizon),
    )


def remarks(metrics: Metrics) -> list[str]:
    """Says where a simple method does as well."""
    from nlp_rnn.metrics.comparison import beaten_by

    found = []
    for name in ("mae", "mse"):
        better = {n: v for n, v in metrics.get(f"{name} of", {}).items() if v is not None and v <= metrics[name]}
        if better:
            best = min(better, key=lambda method: better[method])
            found.append(beaten_by(name, best, better[best], metrics[name]))
    return found


def show(prediction: Forecast, record: dict[str, Any] | None = None) -> str:
    """`Seattle 2026-01-01 … 2026-01-07`, then for each target the median of the first steps and the outermost quantiles
    of the last one; with a record, what came."""
    name = f"{prediction.series} " if prediction.series else ""
    lines = [f"{name}{prediction.times[0]} … {prediction.times[-1]}"]
    width = max(map(len, prediction.median))
    for place, (target, median) in enumerate(prediction.median.items()):
        (low, lowest), *_, (high, highest) = prediction.quantiles[target].items()
        part = f"{100 * (float(high) - float(low)):.0f} %"
        lines.append(
            f"  {target:<{width}}  {_numbers(median)}   at last {lowest[-1]:.4g} to {highest[-1]:.4g} ({part})"
        )
        if record is not None and len(record["actual"]):
            lines.append(f"  {'what came':>{width}}  {_numbers(record['actual'][:, place])}")
    return "\n".join(lines)


def _numbers(values: Any, most: int = 7) -> str:
    shown = " ".join(f"{value:8.4g}" for value in values[:most])
    return shown + (" …" if len(values) > most else "")
