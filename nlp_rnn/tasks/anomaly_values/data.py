"""Sources → signals → what is normal of them → windows, scaled by what was usual until then → batches."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets, Facts
from nlp_rnn.config.values import check_levels, refuse_settings
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.anomaly_values.settings import Config, SignalData

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Record, Records
    from nlp_rnn.data.series import Columns
    from nlp_rnn.data.signals import Signal

RESOURCES = "nlp_rnn.tasks.anomaly_values"
_MOST_WINDOWS, _FEWEST = 50_000, 20
Loaded = tuple["list[Signal]", "Columns", "tuple[str, ...]"]


def read(config: Config, split: str) -> Records | None:
    """Records `{"series", "history", "begin", "labels"}`, a signal each, judged from the step `begin` on."""
    from nlp_rnn.data.records import Records

    data = config.data
    if split == "predict":
        data = replace(data, label="")  # whether it is known is not asked
        found = _load(data, data.test or data.train, "train") or _load(data, data.test or data.train, "test")
        if found is None:
            raise InputError(f"{', '.join(data.test or data.train)} has no signals.")
        return Records([record_of(one) for one in found[0]], notes=found[2])
    given = getattr(data, split) if split != "train" else ()
    loaded = _load(data, given, "train") or _load(data, given, split) if given else None
    loaded = loaded or (_load(data, data.train, split) if split != "train" else None)
    if loaded is not None:
        begins = [_probation(one, data)[1] if split == "test" else 0 for one in loaded[0]]
        rows = [record_of(one, begin) for one, begin in zip(loaded[0], begins, strict=True) if begin < len(one)]
        return Records(rows, notes=loaded[2])
    signals, _, notes = _train_of(data)
    parts = _parts(data)
    if split not in ("train", *parts):
        return None
    place = ["train", *parts].index(split)
    rows = []
    for one in signals:
        borders = _borders(one, data, parts)
        if borders[place + 1] > borders[place]:
            rows.append(record_of(one.until(borders[place + 1]), borders[place]))
    return Records(rows, notes=notes if split == "train" else ())


def record_of(signal: Signal, begin: int = 0) -> Record:
    """A signal as a record, judged from a step on; by its digest, changed labels are noticed when a run resumes."""
    about = {"series": signal.series.name, "history": signal.series, "begin": begin, "labels": signal.labels}
    return {**about, "digest": repr(signal)}


def _parts(data: SignalData) -> list[str]:
    """The splits that the training source is cut into, in the order of time."""
    wanted = {"validation": data.validation_fraction, "test": data.test_fraction or data.probation}
    return [n for n, part in wanted.items() if part and not getattr(data, n) and _load(data, data.train, n) is None]


def _probation(signal: Signal, data: SignalData) -> tuple[int, int]:
    """Of what is normal by `probation`, where the part for validation begins and where it ends."""
    end = int(data.probation * len(signal))
    end = min(end, data.probation_steps or end)
    return end - round(end * data.validation_fraction), end


def _borders(signal: Signal, data: SignalData, parts: list[str]) -> list[int]:
    """The steps at which the parts of a signal begin, and its end."""
    steps = len(signal)
    if data.probation:
        middle, end = _probation(signal, data)
        return [0, *([middle] if "validation" in parts else []), end, *([steps] if "test" in parts else [])]
    test = steps - (round(steps * data.test_fraction) if "test" in parts else 0)
    middle = test - (round(steps * data.validation_fraction) if "validation" in parts else 0)
    return [0, *([middle] if "validation" in parts else []), *([test] if "test" in parts else []), steps]


def _train_of(data: SignalData) -> Loaded:
    loaded = _load(data, data.train, "train")
    if loaded is None:
        raise InputError(f"{', '.join(data.train)} has no training data: give some with --data.")
    return loaded


def _load(data: SignalData, sources: tuple[str, ...], split: str) -> Loaded | None:
    stamps = tuple(path.stat().st_mtime_ns for path in map(Path, sources) if path.exists())
    return _loaded(replace(data, train=(), validation=(), test=()), tuple(sources), split, stamps)


@lru_cache(maxsize=8)
def _loaded(data: SignalData, sources: tuple[str, ...], split: str, stamps: tuple[int, ...]) -> Loaded | None:
    from nlp_rnn.data.readers import Form
    from nlp_rnn.data.series import Columns
    from nlp_rnn.data.signals import SignalForm, read_signals
    from nlp_rnn.tasks.anomaly_values.starter import signals

    columns = Columns(data.time, data.series, data.target)
    form = SignalForm(Form(data.format, data.delimiter), columns, data.label, data.normal, data.windows, data.timezone)
    return read_signals(sources, split, form, signals)


def assets(config: Config, records: Records) -> Assets:
    """What is known of the signals; what scores are usual is learned after training."""
    _refuse(config)
    columns = _train_of(config.data)[1]
    series = [row["history"] for row in records]
    if not any(len(one) > config.lookback + _FEWEST for one in series):
        longest = max(map(len, series), default=0)
        raise InputError(
            f"No signal is long enough to train on: the longest has {longest} steps in this part, and "
            f"{config.lookback} are read before each that is learned (--lookback)."
        )
    names = list(columns.targets)
    flat = [name for i, name in enumerate(names) if all((one.values[:, i] == one.values[0, i]).all() for one in series)]
    notes = [f'"{name}" is constant in training: any change of it will be an anomaly.' for name in flat]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    steps = sum(map(len, series))
    if odd := sum(int((row["labels"] > 0).sum()) for row in records if row.get("labels") is not None):
        notes.append(f"{odd:,} of them are labelled as anomalies: no window with one is learned.")
    notes = [f"{len(series):,} signal{'s' * (len(series) != 1)} of {shown}; {steps:,} steps to learn from.", *notes]
    warm_up = warm_up_of(config)
    facts = {**vars(config.score), "warm_up": warm_up, "lookback": config.lookback}
    judge = Facts(targets=names, levels=list(config.model.levels), **facts)
    return Assets({"judge": judge}, notes)


def warm_up_of(config: Config) -> int:
    """Steps of a signal before one is judged."""
    usual = min(4 * config.lookback, max(config.score.memory, config.lookback))
    return max(config.score.warm_up or usual, config.lookback)


def _refuse(config: Config) -> None:
    refuse_settings(config.train, "train", "anomaly detection", "class_weights", "label_smoothing", "buckets")
    refuse_settings(config.stack, "stack", "anomaly detection", "bidirectional", "activation")
    check_levels(config.model.levels)


def settle(config: Config, assets: Assets, records: Records) -> tuple[Config, str]:
    """Writes down which columns they are."""
    columns = _train_of(config.data)[1]
    data = replace(config.data, time=columns.time, series=columns.series, target=columns.targets)
    return replace(config, data=data, score=replace(config.score, warm_up=assets.judge["warm_up"])), ""


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Windows `{"history"}` and the value after each, both scaled; in training none that holds an anomaly."""
    import numpy as np

    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.windows import Windows
    from nlp_rnn.metrics.signals import running_scale
    from nlp_rnn.tasks.anomaly_values.features import Scaled

    series = [row["history"] for row in records]
    for one in series:
        check(one.values.shape[1], one.name, assets)
    begins = [row.get("begin", 0) for row in records]
    origins = [np.arange(begin, len(one)) for begin, one in zip(begins, series, strict=True)]
    if seed is not None:
        origins = [
            _normal(steps, row.get("labels"), config.lookback) for steps, row in zip(origins, records, strict=True)
        ]
        stride = config.data.stride or max(-(-sum(map(len, origins)) // _MOST_WINDOWS), 1)
        origins = [steps[::-stride][::-1] for steps in origins]
        if not any(map(len, origins)):
            longest = max(map(len, series), default=0)
            raise InputError(
                f"Nothing can be learned or chosen by data without {config.lookback + 1} steps in a row that are free "
                f"of anomalies (the longest signal has {longest}): are --data.label and --data.normal right, and is "
                f"--lookback not too long?"
            )
    which = np.repeat(np.arange(len(series)), [len(steps) for steps in origins])
    windows = Windows(series, which, np.concatenate(origins), 1)
    scales = [running_scale(one.values, config.score.memory, config.score.least_spread) for one in series]
    history, targets = (Scaled(windows, span, scales) for span in ((-config.lookback, 0), (0, 1)))
    size = config.train.batch_size if seed is not None else max(config.train.batch_size, 512)
    record_of = which if seed is None else None
    targets_: Any = targets
    features: Any = {"history": history}
    return Batches(features, targets_, size, None, seed, 1, record_of=record_of)


def _normal(origins: np.ndarray, labels: np.ndarray | None, lookback: int) -> np.ndarray:
    """The steps that have as many before them as are read, all of them normal."""
    import numpy as np

    origins = origins[origins >= lookback]
    if labels is None or not labels.any():
        return origins
    odd = np.concatenate([[0], np.cumsum(labels > 0)])
    return origins[odd[origins + 1] == odd[origins - lookback]]


def check(channels: int, name: str, assets: Assets) -> None:
    """Refuses signals of other channels than the run's."""
    targets = assets.judge["targets"]
    if channels != len(targets):
        shown = f'The signal "{name}"' if name else "The signal"
        raise InputError(
            f"{shown} has {channels} value{'s' * (channels != 1)} in a step; this run watches {len(targets)}: "
            f"{', '.join(targets)}."
        )
