"""Several models trained on the same data, with equally many weights, for equally long: what `nlp-rnn compare` does.

Each training is a process of its own, so that its memory is its own, and a run directory that can be resumed.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.assets import Assets
from nlp_rnn.config.comparable import cells_of, check_comparable
from nlp_rnn.config.sections import PARALLEL_CELLS
from nlp_rnn.config.space import dotted
from nlp_rnn.config.values import check_ranges, override, seconds_of, to_dict
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.metrics.comparison import Candidate, Comparison
from nlp_rnn.paths import replacing
from nlp_rnn.processes import refuse_standard_input, train_apart
from nlp_rnn.registry import get_task
from nlp_rnn.run import Run, load
from nlp_rnn.trainer import batches_for, built, given_settings, prepare_machine, read_splits, with_absolute_paths

if TYPE_CHECKING:
    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.base import AnyTask

_PROBED = 12  # batches whose time is taken
_PARTS = 20  # of the test data, which the bootstrap draws
_PREDICTED = 500  # records whose prediction is timed
_ROUNDS = 3
_TRANSFORMERS_RATE, _TRANSFORMERS_WARMUP = 1e-3, 0.1


@dataclass(frozen=True)
class Plan:
    """How one model is trained.

    Args:
        name: of the model.
        units: of its layers, with which it has as many weights as the first model.
        parameters: how many those are.
        epochs: that fit into the budget.
    """

    name: str
    units: int
    parameters: int
    epochs: int


def compare(
    task: str,
    models: str | Sequence[str] = "lstm,gru,mingru,simple_rnn",
    budget: str | float = "5m",
    seeds: int = 3,
    out: str | Path | None = None,
    recipe: str = "starter",
    config: str | Path | None = None,
    **sections: Any,
) -> Comparison:
    """Trains models on the same data and measures them: what the verb `compare` does.

    Args:
        task: name of the task.
        models: cells, as `stack.cell` has them. The first sets how many weights all have.
        budget: of training, for each model and seed: seconds, or a time such as "90s" or "5m".
        seeds: trainings of each model.
        out: a folder, by default `runs/compare-<recipe>`; what is finished in it is not done again.
        recipe: name of the settings to begin with.
        config: a YAML file of settings that go before the recipe's.
        **sections: settings that go before both, as for `nlp_rnn.train`.

    Returns:
        What was measured; `nlp_rnn.display.comparison` has its table, its pictures and its page.

    Raises:
        InputError: data or settings are wrong, or are what `compare` chooses itself.
        Interrupted: a training was; the same call goes on.

    Example:

        found = nlp_rnn.compare("sentiment", "lstm,gru,qrnn", budget="1m", data={"train": "mine.csv"})
        print(as_text(found))
    """
    names = cells_of(models)
    settings = given_settings(task, recipe, config, sections, names)
    check_comparable(task, settings, dotted(sections))
    seconds = seconds_of(budget) if isinstance(budget, str) else float(budget)
    if not seconds > 0 or seeds < 1:
        raise InputError("A comparison needs a budget above 0 seconds and a seed or more.")
    return compare_with(task, settings, names, seconds, seeds, Path(out or f"runs/compare-{recipe}"), recipe)


def compare_with(
    task: str, settings: Any, models: Sequence[str], seconds: float, seeds: int, out: Path, recipe: str = "starter"
) -> Comparison:
    """Trains models with finished settings and measures them.

    Args:
        task: name of the task.
        settings: of the first model; the others differ in their cell, and in what goes with it.
        models: cells, as `stack.cell` has them.
        seconds: of training, for each model and seed.
        seeds: trainings of each model.
        out: a folder; what is finished in it is not done again.
        recipe: name of the settings, for the reports.

    Raises:
        InputError: a model or the data make no sense, the budget is shorter than an epoch, or the folder holds another
            comparison.
        Interrupted: a training was; the same call goes on.
    """
    found = get_task(task)
    check_ranges(settings)
    refuse_standard_input(settings, "compare")
    settings = override(with_absolute_paths(settings), {"train": {"patience": 0, "steps": 0, "passes": 1}})
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder with --out.")
    plans = _plans(found, settings, models, seconds, out)
    for seed in range(seeds):
        for plan in plans:
            folder = _folder(out, plan, seed)
            if not (folder / "report.json").exists():
                console.print(f"Training {folder.name} …")
            train_apart(task, _settings_of(settings, plan.name, plan.units, plan.epochs, seed), recipe, folder)
    return _measured(found, plans, seconds, seeds, out)


def _settings_of(settings: Any, name: str, units: int | None = None, epochs: int | None = None, seed: int = 0) -> Any:
    """The settings of one model. Cells that run in parallel, and transformers, are stacked, with residuals around
    normalised layers; they have no recurrent kernel to drop from. A transformer needs a lower learning rate."""
    stack: dict[str, Any] = {"cell": name}
    if name in (*PARALLEL_CELLS, "transformer"):
        stack |= {"weight_drop": 0.0, "layers": max(2, settings.stack.layers), "residual": True}
        stack |= {"normalization": "rms"} if settings.stack.normalization == "none" else {}
    if name in ("simple_rnn", "rglru", "transformer"):  # which have no gates that chrono initialisation knows
        stack["chrono"] = 0
    if units is not None:
        stack["units"] = units
    train: dict[str, Any] = {"seed": settings.train.seed + seed}
    if name == "transformer":
        train |= {"learning_rate": min(settings.train.learning_rate, _TRANSFORMERS_RATE), "schedule": "cosine"}
        train |= {"warmup": max(settings.train.warmup, _TRANSFORMERS_WARMUP), "optimizer": "adamw"}
    if epochs is not None:
        train["epochs"] = epochs
    return override(settings, {"stack": stack, "train": train})


def _folder(out: Path, plan: Plan, seed: int) -> Path:
    return out / f"{plan.name}-{seed}"


# Before training: how wide each model may be, and for how many epochs there is time.


def _plans(task: AnyTask, settings: Any, models: Sequence[str], seconds: float, out: Path) -> list[Plan]:
    """Those of each model; what a folder holds already is kept, so that what was begun can be finished."""
    asked = {"task": task.name, "models": list(models), "seconds": seconds, "settings": to_dict(settings)}
    path = out / "plan.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept and kept["asked"] != json.loads(json.dumps(asked)):
        raise InputError(f"{out} holds a comparison with other settings: give another folder with --out.")
    if not kept and out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no comparison: give another folder with --out.")
    splits = read_splits(task, settings)
    data = {name: records.fingerprint() for name, records in splits.items()}
    if kept and kept["data"] != data:
        raise InputError(f"The data have changed since {out} was begun: give another folder with --out.")
    if kept:
        return [Plan(**plan) for plan in kept["plans"]]
    settings, _ = prepare_machine(settings)
    assets = task.assets(settings, splits["train"])
    prepared, batches = batches_for(task, settings, assets, splits)
    wanted = built(task, _settings_of(prepared, models[0]), assets).count_params()
    plans: list[Plan] = []
    for name in models:
        units = prepared.stack.units if not plans else _units_for(task, prepared, name, assets, wanted)
        plans.append(_plan(task, _settings_of(prepared, name, units), assets, batches["train"], seconds))
    out.mkdir(parents=True, exist_ok=True)
    found = {"asked": asked, "data": data, "plans": [asdict(plan) for plan in plans]}
    with replacing(path) as place:
        place.write_text(json.dumps(found), encoding="utf-8")
    return plans


def _plan(task: AnyTask, settings: Any, assets: Assets, batches: EpochSource, seconds: float) -> Plan:
    name, units = settings.stack.cell, settings.stack.units
    model = built(task, settings, assets)
    each = batches.steps_per_epoch * _seconds_per_step(Run(task, settings, assets, model), batches)
    epochs = math.floor(seconds / each)
    if epochs < 1:
        raise InputError(
            f"One epoch of {name} takes about {each:.1f} s here: give --budget {math.ceil(each * 1.1)}s or "
            f"more, or less data."
        )
    weights = model.count_params()
    console.print(f"{name}: {units} units, {weights:,} weights; {epochs} epochs of {each:.1f} s in {seconds:.0f} s.")
    return Plan(name, units, weights, epochs)


def _units_for(task: AnyTask, settings: Any, name: str, assets: Assets, wanted: int) -> int:
    """The units with which a model has about as many weights as are wanted.

    Weights are a quadratic function of the units, which three models tell.
    """
    # None that embeddings have too, since some cells have another matrix where sizes differ; and the heads of a
    # transformer share its units evenly.
    even = 2 * settings.stack.heads if name == "transformer" else 1
    widths = tuple(even * (width // even + 1) - (even == 1) for width in (33, 67, 131))
    counts = [built(task, _settings_of(settings, name, width), assets).count_params() for width in widths]
    square, linear, constant = np.polyfit(widths, counts, 2)
    if abs(square) < 1e-9:
        units = (wanted - constant) / linear
    else:
        units = (-linear + math.sqrt(max(linear**2 - 4 * square * (constant - wanted), 0.0))) / (2 * square)
    return even * max(1, round(units / even))


def _seconds_per_step(run: Run[Any, Any, Any], batches: EpochSource) -> float:
    """The mean time of a step of training, after all shapes among the batches were seen once."""
    import tensorflow as tf

    run.compile()
    run.model.make_train_function()
    some = list(islice(batches.dataset(), _PROBED))
    times = []
    for _ in range(2):
        for batch in some:
            one = iter(tf.data.Dataset.from_tensors(batch))
            started = time.perf_counter()
            float(run.model.train_function(one)["loss"])
            times.append(time.perf_counter() - started)
    return statistics.fmean(times[len(some) :])


# After training: what was asked of each.


def _measured(task: AnyTask, plans: Sequence[Plan], seconds: float, seeds: int, out: Path) -> Comparison:
    runs = {plan.name: [load(_folder(out, plan, seed), task.name) for seed in range(seeds)] for plan in plans}
    first = next(iter(runs.values()))[0]
    split, records = _measured_records(task, first.config)
    everything, parts, thirds = list(range(len(records))), _parts(task, len(records)), _thirds(first, records)
    reached = _seconds_to_reach(task, runs)
    speeds = _prediction_speeds({name: several[0] for name, several in runs.items()}, records)
    candidates = []
    for plan in plans:
        several = runs[plan.name]
        reports = [run.report for run in several]
        measured = [_metrics(run, records, [everything, *parts, *thirds]) for run in several]
        candidates.append(
            Candidate(
                name=plan.name,
                qualities=[values[0] for values in measured],
                parts=[values[1 : 1 + len(parts)] for values in measured] if parts else (),
                by_length=np.mean([values[1 + len(parts) :] for values in measured], 0).tolist(),
                seconds_to_reach=reached[plan.name],
                training_speed=statistics.median(report[f"{task.unit}_per_second"] for report in reports),
                prediction_speed=speeds[plan.name],
                memory=max(report["peak_memory_bytes"] for report in reports),
                size=(_folder(out, plan, 0) / "model.keras").stat().st_size,
                parameters=plan.parameters,
                units=plan.units,
                epochs=len(several[0].history),
                seconds=statistics.fmean(sum(row["seconds"] for row in run.history) for run in several),
            )
        )
    metric = task.metric
    found = Comparison(
        task.name,
        metric.name,
        metric.lower_is_better,
        task.unit,
        seconds,
        candidates,
        split=split,
        records=len(records),
    )
    train = task.read(first.config, "train")
    assert train is not None
    best = found.ranked()[0].name
    metrics = runs[best][0].metrics
    simple = {**metrics.get(f"{metric.name} of", {}), **task.baselines(first.config, train, records)}
    return replace(found, baselines=simple, remarks=task.remarks(metrics))


def _measured_records(task: AnyTask, config: Any) -> tuple[str, Records]:
    """The test data; without any, the validation data, which chose the best epochs; and which of them it is."""
    for split in ("test", "validation"):
        records = task.read(config, split)
        if records is not None:
            break
    assert records is not None
    if split == "validation":
        console.warn("There are no test data: the validation data, which chose the best epochs, stand in for them.")
    return split, records


def _metrics(run: Run[Any, Any, Any], records: Records, subsets: Sequence[Sequence[int]]) -> list[float]:
    """The metric of each subset of the records."""
    task, name = run.task, run.task.metric.name
    if task.goes_on:  # each stretch is read by itself
        return [float(run.evaluate(records.select(places))[name]) for places in subsets]
    options = run.options()
    outputs = run.infer(records, options)
    predictions = task.decode(outputs, records, run.assets, options)
    found = []
    for places in subsets:
        some = {n: v[places] if isinstance(v, np.ndarray) else [v[i] for i in places] for n, v in outputs.items()}
        metrics = task.evaluate(records.select(places), [predictions[i] for i in places], some, run.assets)
        found.append(float(metrics[name]))
    return found


def _parts(task: AnyTask, count: int) -> list[list[int]]:
    """Places of equal parts of the records: every twentieth, or, of what goes on from record to record, one stretch
    after the other; none of fewer than four records."""
    parts = min(_PARTS, count // 2)
    if parts < 2:
        return []
    order = np.arange(count)
    found = np.array_split(order, parts) if task.goes_on else [order[k::parts] for k in range(parts)]
    return [places.tolist() for places in found]


def _thirds(run: Run[Any, Any, Any], records: Records) -> list[list[int]]:
    """Places of the records in three parts by length, the shortest first; none where they have no lengths of their
    own."""
    lengths = np.asarray(getattr(run.batches_of(records), "lengths", ()))
    if len(lengths) != len(records) or len(set(lengths.tolist())) < 3 or run.task.goes_on:
        return []
    return [sorted(part.tolist()) for part in np.array_split(np.argsort(lengths, kind="stable"), 3)]


def _seconds_to_reach(task: AnyTask, runs: dict[str, list[Any]]) -> dict[str, float | None]:
    """For each model the mean seconds of training until its validation metric was as good as the weakest model's
    best; None where a seed never got there."""
    name, sign = f"val_{task.metric.name}", -1 if task.metric.lower_is_better else 1
    best = {model: [max(sign * row[name] for row in run.history) for run in several] for model, several in runs.items()}
    aim = min(statistics.fmean(values) for values in best.values())
    found: dict[str, float | None] = {}
    for model, several in runs.items():
        times = []
        for run in several:
            spent = np.cumsum([row["seconds"] for row in run.history])
            times += [spent[i] for i, row in enumerate(run.history) if sign * row[name] >= aim][:1]
        found[model] = float(statistics.fmean(times)) if len(times) == len(several) else None
    return found


def _prediction_speeds(runs: dict[str, Any], records: Records) -> dict[str, float]:
    """Records a second; the models take turns, and the median counts."""
    some = records.select(range(min(len(records), _PREDICTED)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(_ROUNDS + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            for _ in run.predict(some):
                pass
            if turn:  # the first traces its graph
                times[name].append(time.perf_counter() - started)
    return {name: len(some) / statistics.median(values) for name, values in times.items()}


def curves_of(task: str, models: Sequence[str], out: Path) -> dict[str, list[tuple[float, float]]]:
    """Of the first seed of each model, (seconds of training, validation metric) after each epoch."""
    name = f"val_{get_task(task).metric.name}"
    found = {}
    for model in models:
        history = load(out / f"{model}-0", task).history
        spent = np.cumsum([row["seconds"] for row in history])
        found[model] = [(float(seconds), float(row[name])) for seconds, row in zip(spent, history, strict=True)]
    return found
