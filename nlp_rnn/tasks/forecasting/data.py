"""Sources → series → windows of splits in time → scales, columns, baseline → batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets, Facts
from nlp_rnn.config.recipes import starter_folder
from nlp_rnn.config.values import check_levels, refuse_settings
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.forecasting.settings import Config, ForecastData

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.series import Columns, Series
    from nlp_rnn.data.windows import Windows
    from nlp_rnn.series.steps import Step

RESOURCES = "nlp_rnn.tasks.forecasting"
_MOST_WINDOWS = {"train": 50_000, "validation": 5_000, "test": 5_000}
_LONGEST_LOOKBACK, _LONGEST_HORIZON = 512, 96


@dataclass(frozen=True)
class Loaded:
    """What was read of a source."""

    series: list[Series]
    step: Step
    columns: Columns
    notes: tuple[str, ...]
    shown: str


def read(config: Config, split: str) -> Records | None:
    """`Windows` of a split; of "predict" one for each series, at its end."""
    from nlp_rnn.data.windows import Windows

    data = config.data
    if split == "predict":
        latest = _latest(data)
        return Windows.at_the_end(latest.series, config.horizon or 1, latest.notes)
    given = getattr(data, split) if split != "train" else ()
    loaded = _load(data, given, "train") or _load(data, given, split) if given else None
    loaded = loaded or (_load(data, data.train, split) if split != "train" else None)
    horizon, lookback = sizes(config)
    if loaded is not None:
        begins, ends = _part_by_steps(loaded, data, split)
        return _windows(config, split, loaded, loaded.series, begins, ends, lookback, horizon)
    train = _train_of(data)
    parts = _parts(data)
    if split not in parts:
        return None
    borders = _borders(train.series, data, parts, config.horizon)
    place = ["train", *parts].index(split) if split == "train" else parts.index(split)
    begins, ends = ([one[place + shift] for one in borders] for shift in (0, 1))
    kept = [one.until(end) for one, end in zip(train.series, ends, strict=True)]
    train = train if split == "train" else replace(train, notes=())  # they are of all parts together
    return _windows(config, split, train, kept, begins, ends, lookback, horizon)


def _latest(data: ForecastData) -> Loaded:
    """The data that end last: for testing, for validation, or for training."""
    for sources in filter(None, (data.test, data.validation, data.train)):
        for split in ("test", "validation", "train"):
            if (loaded := _load(data, sources, split)) is not None:
                return loaded
    raise InputError(f"{', '.join(data.train)} has no series to go on from: give some with --data.")


def _part_by_steps(loaded: Loaded, data: ForecastData, split: str) -> tuple[list[int], list[int]]:
    """Where a part begins and ends in series that were given for it: everywhere, or where `data.steps` says, if they
    are as long as all its parts."""
    place = ("train", "validation", "test").index(split)
    if len(data.steps) <= place or any(len(one) < sum(data.steps) for one in loaded.series):
        return [], []
    first, last = sum(data.steps[:place]), sum(data.steps[: place + 1])
    return [first] * len(loaded.series), [last] * len(loaded.series)


def _parts(data: ForecastData) -> list[str]:
    """The splits that the training source is cut into, in the order of time."""
    wanted = {"validation": data.validation_fraction, "test": data.test_fraction}
    if data.steps:
        wanted = {name: bool(data.steps[1 + i : 2 + i]) for i, name in enumerate(wanted)}
    cut = [n for n, part in wanted.items() if part and not getattr(data, n) and _load(data, data.train, n) is None]
    return ["train", *cut]


def _borders(series: list[Series], data: ForecastData, parts: list[str], horizon: int) -> list[list[int]]:
    """For each series the steps at which its parts begin, and its end; by fractions a part has `horizon` steps at
    least.

    Raises:
        InputError: steps are asked for that are not there.
    """
    import numpy as np

    if data.steps:
        longest = max(map(len, series))
        if sum(data.steps) > longest:
            raise InputError(f"data.steps are {sum(data.steps):,} in all, and the longest series has {longest:,}.")
        counts = [0, *np.cumsum(data.steps[: len(parts)])]
        return [[min(int(count), len(one)) for count in counts] for one in series]
    times = np.sort(np.concatenate([one.times for one in series]))
    every = np.unique(times)
    fractions = {"validation": data.validation_fraction, "test": data.test_fraction}
    after, cuts, last = 0.0, [], len(every)
    for name in reversed(parts[1:]):
        after += fractions[name]
        cut = times[max(min(round(len(times) * (1 - after)), len(times) - 1), 0)]
        last = max(min(int(np.searchsorted(every, cut)), last - horizon), 0)  # one forecast fits at least
        cuts.append(every[last])
    return [[0, *(int(np.searchsorted(one.times, cut)) for cut in reversed(cuts)), len(one)] for one in series]


def sizes(config: Config) -> tuple[int, int]:
    """Horizon and look-back: as they are set, or else by the season and by how long the training series are."""
    if config.horizon and config.lookback:
        return config.horizon, config.lookback
    train = _train_of(config.data)
    season = config.data.season or train.step.season
    borders = _borders(train.series, config.data, _parts(config.data), config.horizon)
    longest = max(border[1] for border in borders)
    held_out = [max(b[i + 1] - b[i] for b in borders) for i in range(1, len(borders[0]) - 1)]
    fitting = max(min([season if season > 1 else 24, _LONGEST_HORIZON, longest // 4, *held_out]), 1)
    horizon = config.horizon or fitting
    if config.lookback:
        return horizon, config.lookback
    wanted = -(-max(4 * horizon, 2 * season) // season) * season
    return horizon, max(min(wanted, _LONGEST_LOOKBACK, (longest - horizon) // 2), 1)


def _windows(
    config: Config,
    split: str,
    loaded: Loaded,
    series: list[Series],
    begins: list[int],
    ends: list[int],
    lookback: int,
    horizon: int,
) -> Windows:
    from nlp_rnn.data.windows import Windows

    data = config.data
    stride = data.stride if split == "train" else data.measured_stride
    spans = zip(begins or [0] * len(series), ends or map(len, series), strict=True)
    total = sum(max(end - horizon - max(begin, lookback) + 1, 0) for begin, end in spans)
    stride = stride or max(-(-total // _MOST_WINDOWS[split]), 1)
    notes = [*loaded.notes, f"a forecast every {stride} steps"] if stride > 1 else loaded.notes
    windows = Windows.over(series, lookback, horizon, stride, begins, ends, notes)
    if not len(windows):
        until, own = max(windows.ends), max(e - b for b, e in zip(windows.begins, windows.ends, strict=True))
        raise InputError(
            f"{loaded.shown}: no series is long enough for {split}: {lookback} steps to read and {horizon} to forecast "
            f"need {lookback + horizon}, the longest has {until} until there, {own} of them in this part; give a "
            f"smaller --lookback or --horizon."
        )
    if split != "train" and not _any_observed(windows):
        raise InputError(
            f"{loaded.shown}: no value is known of the steps for {split}, the last ones: leave those rows out, or give "
            f"--data.{split} apart."
        )
    return windows


def _any_observed(windows: Windows) -> bool:
    """Whether any step that belongs to the split has a value."""
    parts = zip(windows.series, windows.begins, windows.ends, strict=True)
    return any(one.observed[begin:end].any() for one, begin, end in parts)


def _train_of(data: ForecastData) -> Loaded:
    loaded = _load(data, data.train, "train")
    if loaded is None:
        raise InputError(f"{', '.join(data.train)} has no training data: give some with --data.")
    return loaded


def _load(data: ForecastData, sources: tuple[str, ...], split: str) -> Loaded | None:
    stamps = tuple(path.stat().st_mtime_ns for path in map(Path, sources) if path.is_file())
    return _loaded(replace(data, train=(), validation=(), test=()), tuple(sources), split, stamps)


@lru_cache(maxsize=8)
def _loaded(data: ForecastData, sources: tuple[str, ...], split: str, stamps: tuple[int, ...]) -> Loaded | None:
    from nlp_rnn.data import histories
    from nlp_rnn.data import series as tables
    from nlp_rnn.data.frames import read_frame
    from nlp_rnn.data.readers import Form

    texts = {data.time, data.series, *tables.NAMES["time"], *tables.NAMES["series"]} - {""}
    found = read_frame(sources, split, Form(data.format, data.delimiter), texts, starter_folder(RESOURCES))
    if found is None:
        return None
    frame, shown = found
    asked = tables.Columns(data.time, data.series, data.target, data.future, data.past, data.static)
    policy = tables.Policy(data.frequency, data.duplicates, data.gaps, data.timezone)
    if histories.is_of_rows(frame):
        return _of_rows(histories.series_of_rows(frame, data.frequency, shown), asked, data.frequency, shown)
    columns = tables.find_columns(frame, asked, shown)
    series, step, counts = tables.series_of(frame, columns, policy, shown)
    notes = [f"{what}: {count:,}" for what, count in counts.items()]
    return Loaded(series, step, columns, tuple(notes), shown)


def _of_rows(series: list[Series], asked: Columns, frequency: str, shown: str) -> Loaded:
    """Series that were whole rows; their channels have the names that were asked for, or none."""
    from nlp_rnn.data.grids import infer_step
    from nlp_rnn.series.steps import Step

    count = series[0].values.shape[1]
    if other := next((one for one in series if one.values.shape[1] != count), None):
        raise InputError(f"{shown}: {other.values.shape[1]} values in a step of one series, {count} in another.")
    others = [f"value {i}" if count > 1 else "value" for i in range(count)]
    names, step = asked.targets if len(asked.targets) == count else tuple(others), Step("1")
    if all(one.has_times for one in series):
        step = Step(frequency or infer_step([one.times for one in series], shown))
    return Loaded(series, step, replace(asked, time="", series="", targets=names), (), shown)


def assets(config: Config, records: Records) -> Assets:
    """Measures the training data: scales, columns and their categories, and the linear baseline."""
    import numpy as np

    from nlp_rnn.series.calendar import cycles_of
    from nlp_rnn.tasks.forecasting.baselines import Linear
    from nlp_rnn.tasks.forecasting.covariates import Covariates
    from nlp_rnn.tasks.forecasting.features import windows_of

    _refuse(config)
    windows, loaded = windows_of(records), _train_of(config.data)
    step, columns = loaded.step, loaded.columns
    horizon, lookback = sizes(config)
    mean, spread, least = _scales(windows.series, columns)
    notes = [f'"{n}" is constant in training.' for n, s in zip(columns.targets, spread, strict=True) if not s]
    spread = np.where(spread > 0, spread, np.maximum(np.abs(mean), 1.0))
    longest = max(windows.series, key=len)
    cycles = cycles_of(step, float(longest.times[-1] - longest.times[0])) if config.model.calendar == "auto" else []
    facts = Facts(
        step=step.alias,
        season=config.data.season or step.season,
        targets=list(columns.targets),
        cycles=cycles,
        several=len(windows.series) > 1,
        mean=mean.tolist(),
        spread=spread.tolist(),
        never_negative=(least >= 0).tolist(),
        levels=list(config.model.levels),
        horizon=horizon,
        counts=_is_of_counts(config, windows.series),
        example_start=int(longest.times[0]),
    )
    covariates = Covariates.of(windows.series, columns)
    linear = Linear.of(windows, lookback, facts)
    notes = [_described(loaded, facts), *notes, f"Reads {lookback} steps and forecasts {horizon}."]
    return Assets({"facts": facts, "covariates": covariates, "linear": linear}, notes)


def _scales(series: list[Series], columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, the spread and the least value of each channel, `[channels]`, of what was observed.

    Raises:
        InputError: a channel has no value, or changes that float32 cannot hold.
    """
    import numpy as np

    values = np.concatenate([one.values for one in series])
    observed = np.concatenate([one.observed for one in series])
    if empty := [name for place, name in enumerate(columns.targets) if not observed[:, place].any()]:
        raise InputError(
            f'"{empty[0]}" has no value in the training part: leave it out (--data.target names the others).'
        )
    _refuse_what_float32_cannot_hold(series, columns)
    mean = np.where(observed, values, 0).sum(0) / observed.sum(0)
    spread = np.sqrt((np.where(observed, values - mean, 0) ** 2).sum(0) / observed.sum(0))
    return mean, spread, np.where(observed, values, np.inf).min(0)


def _is_of_counts(config: Config, series: list[Series]) -> bool:
    """Whether counts are forecast.

    Raises:
        InputError: they are, and the values are none.
    """
    if config.model.kind != "deepar" or config.model.distribution != "negative-binomial":
        return False
    if any(((one.values < 0) | (one.values != one.values.round()))[one.observed].any() for one in series):
        raise InputError("Not all values are counts (0, 1, 2, …): take --model.distribution student-t.")
    return True


def _described(loaded: Loaded, facts: Facts) -> str:
    """What was read, in a sentence."""
    targets, step = facts["targets"], loaded.step
    names = ", ".join(targets[:8]) + (f" and {len(targets) - 8} more" if len(targets) > 8 else "")
    calendar = f"; calendar: {', '.join(facts['cycles'])}" if facts["cycles"] else ""
    how = f"step {step.alias}" if step.has_times else "no times"
    return f"{len(loaded.series):,} series of {names}; {how}, season {facts['season']}{calendar}."


def _refuse_what_float32_cannot_hold(series: list[Series], columns: Columns) -> None:
    """Changes that are small beside the values themselves would be lost.

    Raises:
        InputError: there are such.
    """
    import numpy as np

    for one in filter(len, series):  # one may begin after the training part
        steps = np.spacing(np.abs(one.values).max(0).astype(np.float32))
        for name, step, spread in zip(columns.targets, steps, one.values.std(0), strict=True):
            if 0 < spread < 50 * step:
                where = f' of the series "{one.name}"' if one.name else ""
                raise InputError(
                    f'"{name}"{where} changes by about {spread:.3g}, and float32 tells values of its size apart by '
                    f"{step:.3g}: subtract a constant from it first."
                )


def _refuse(config: Config) -> None:
    refuse_settings(config.train, "train", "forecasting", "class_weights", "label_smoothing", "buckets")
    refuse_settings(config.stack, "stack", "forecasting", "bidirectional", "activation")
    if len(config.data.steps) > 3:
        raise InputError(
            f"data.steps are those of training, validation and testing; there are {len(config.data.steps)}."
        )
    if config.model.kind != "deepar":
        refuse_settings(config.model, "model", f"forecasting by {config.model.kind}", "distribution")
    check_levels(config.model.levels)


def settle(config: Config, assets: Assets, records: Records) -> tuple[Config, str]:
    """Writes down what follows from the data: columns, step, horizon, look-back, segment, scaling."""
    loaded = _train_of(config.data)
    horizon, lookback = sizes(config)
    columns, facts = loaded.columns, assets.facts
    segment = min(config.model.segment or _segment(facts["season"], horizon, lookback), lookback)
    scaling = config.model.scaling
    if scaling == "auto":
        scaling = "window" if facts["several"] else "standard"
    data = replace(config.data, time=columns.time, series=columns.series, target=columns.targets)
    data = replace(data, frequency=facts["step"] if loaded.step.has_times else "", season=facts["season"])
    model = replace(config.model, segment=segment, scaling=scaling)
    return replace(config, horizon=horizon, lookback=lookback, data=data, model=model), ""


def _segment(season: int, horizon: int, lookback: int) -> int:
    """Steps in a segment: a season, or a part of it, so that there are several segments to read."""
    most = max(min(lookback // 3, horizon, 48), 1)
    fitting = [size for size in range(1, most + 1) if max(season, size) % min(season, size) == 0]
    return fitting[-1] if fitting and season > 1 else most


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"history", …}`, what followed, and weights."""
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.windows import Gathered
    from nlp_rnn.tasks.forecasting.features import features_of, windows_of

    windows = windows_of(records, config.horizon)
    features, notes = features_of(config, assets, windows)
    if seed is not None and config.model.kind == "deepar":  # it is told each value before it predicts the next one
        features["following"] = Gathered([one.values for one in windows.series], windows, (0, config.horizon))
    targets: Any = Gathered([one.known for one in windows.series], windows, (0, config.horizon))
    size = config.train.batch_size if seed is not None else max(config.train.batch_size, 256)
    return Batches(features, targets, size, None, seed, 1, notes=notes)
