"""Windows → what the model reads of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.assets import Assets
from nlp_rnn.data.windows import Gathered, OfWindows, Windows
from nlp_rnn.errors import InputError
from nlp_rnn.series.steps import Step, time_text

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.series import Series
    from nlp_rnn.tasks.forecasting.settings import Config


def windows_of(records: Records, horizon: int = 0) -> Windows:
    """Records as windows: those that were read are some, those of inputs by themselves become some."""
    if isinstance(records, Windows):
        return records
    return Windows.at_the_end([record["history"] for record in records], horizon)


def features_of(config: Config, assets: Assets, windows: Windows) -> tuple[dict[str, Any], list[str]]:
    """The features of all windows for `Batches`, and notes.

    Raises:
        InputError: series have other channels than the run, lack times or covariates, or have another step.
    """
    facts, lookback, horizon = assets.facts, config.lookback, config.horizon
    for one in filter(len, windows.series):  # one may begin after the training part
        _check(one, facts)
    values = [one.values for one in windows.series]
    features: dict[str, Any] = {"history": Gathered(values, windows, (-lookback, 0), repeats=True)}
    notes = assets.covariates.unseen(windows.series)
    known, past = assets.covariates.sizes
    if known:
        numbers = [assets.covariates.numbers(one, "known") for one in windows.series]
        _check_future(windows, numbers, assets, horizon)
        features["known"] = _alike(Gathered(numbers, windows, (-lookback, horizon), repeats=True, filler=0.0), lookback)
    if past:
        numbers = [assets.covariates.numbers(one, "past") for one in windows.series]
        features["past"] = Gathered(numbers, windows, (-lookback, 0), repeats=True)
    if facts["cycles"]:
        features["time"] = OfWindows(last_times(windows), lookback)
    short = int((windows.origins < lookback).sum())
    if short:
        notes.append(f"series shorter than the look-back of {lookback}, begun with their first value: {short:,}")
    return features, notes


def last_times(windows: Windows) -> np.ndarray:
    """The time of the last step that is read, int64 `[windows]`."""
    return np.array(
        [windows.series[k].times[o - 1] for k, o in zip(windows.which, windows.origins, strict=True)], np.int64
    )


def _alike(rows: Gathered, lookback: int) -> Gathered:
    """Counts as long as the history, since all windows are alike."""
    rows.lengths = np.full(len(rows), lookback)
    return rows


def _check(series: Series, facts: Any) -> None:
    name = f'The series "{series.name}"' if series.name else "The series"
    channels, found = len(facts["targets"]), series.values.shape[1]
    if found != channels:
        raise InputError(
            f"{name} has {found} value{'s' * (found != 1)} in a step; this run forecasts {channels}: "
            f"{', '.join(facts['targets'])}."
        )
    step = Step(facts["step"])
    if series.has_times and step.has_times:
        if (step.ahead(np.full(len(series), series.times[0]), np.arange(len(series))) != series.times).any():
            raise InputError(
                f"{name} does not go on in steps of {facts['step']}, as those that this run has learned do."
            )
    elif facts["cycles"]:
        raise InputError(
            f"{name} has no times, and this run reads the calendar ({', '.join(facts['cycles'])}): give the times "
            "too, such "
            f'as {{"times": ["2026-01-31", …], "values": [0.5, …]}}.'
        )


def _check_future(windows: Windows, numbers: list[np.ndarray], assets: Assets, horizon: int) -> None:
    """What is known of times to come must be there for all steps that are forecast."""
    if not assets.covariates["future"]:  # static ones last for ever
        for place, part in enumerate(numbers):
            numbers[place] = np.concatenate([part, np.repeat(part[-1:], horizon, 0)])
        return
    for which, origin in zip(windows.which, windows.origins, strict=True):
        if origin + horizon > len(numbers[which]):
            one = windows.series[which]
            where = f' of the series "{one.name}"' if one.name else ""
            names = ", ".join(assets.covariates["future"])
            raise InputError(
                f"This run reads {names} for the steps to come too: after "
                f"{time_text(one.times[origin - 1], one.has_times)}{where} {len(numbers[which]) - origin} of "
                f"{horizon} are there; add rows with times and {names}, and no value of "
                f"{', '.join(assets.facts['targets'][:3])}."
            )
