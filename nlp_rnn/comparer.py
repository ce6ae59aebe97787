"""Several models trained on the same data, with equally many weights, for equally long: what `nlp-rnn compare` does.

Each training is a process of its own, so that its memory is its own, and a run directory that can be resumed.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.config.comparable import cells_of, check_comparable, counts_of
from nlp_rnn.config.sections import RecurrentSettings, Settings, split_seed
from nlp_rnn.config.space import dotted
from nlp_rnn.config.values import check_ranges, override, seconds_of
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.metrics.comparison import Candidate, Comparison, as_dict
from nlp_rnn.paths import replacing
from nlp_rnn.planner import Plan, planned, settings_of, with_fewer
from nlp_rnn.processes import refuse_standard_input, train_apart
from nlp_rnn.registry import get_task
from nlp_rnn.run import load
from nlp_rnn.trainer import given_settings, read_splits, with_absolute_paths

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import AnyTask

_PARTS = 20  # of the test data, whose differences tell what chance does
_PREDICTED = 500  # records whose prediction is timed
_ROUNDS = 5


def compare(
    task: str,
    models: str | Sequence[str] = "lstm,gru,mingru,simple_rnn",
    budget: str | float = "5m",
    seeds: int = 3,
    out: str | Path | None = None,
    labels: int | Sequence[int] = (),
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
        out: a folder, by default `runs/compare-<recipe>`, for the runs, comparison.json and comparison.html; what is
            finished in it is not done again.
        labels: numbers of training records with which each model is trained too, in about as many steps.
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
    given = given_settings(task, recipe, config, sections, names)
    settings = check_comparable(task, given, dotted(sections))
    seconds = seconds_of(budget) if isinstance(budget, str) else budget
    if not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise InputError(f'The budget {budget!r} is no time: give seconds above 0, or a time such as "5m".')
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise InputError(f"seeds is {seeds!r}; it must be a whole number, at least 1.")
    folder = Path(out or f"runs/compare-{recipe}")
    return compare_with(task, settings, names, seconds, seeds, folder, recipe, counts_of(labels))


def compare_with(
    task: str,
    settings: RecurrentSettings,
    models: Sequence[str],
    seconds: float,
    seeds: int,
    out: Path,
    recipe: str = "starter",
    labels: Sequence[int] = (),
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
        labels: numbers of training records with which each model is trained too, in about as many steps.

    Raises:
        InputError: a model or the data make no sense, the budget is shorter than an epoch, or the folder holds another
            comparison.
        Interrupted: a training was; the same call goes on.
    """
    found = get_task(task)
    check_ranges(settings)
    refuse_standard_input(settings, "compare")
    settings = override(with_absolute_paths(settings), {"train": {"patience": 0, "steps": 0, "passes": 1}})
    # The same records are held out whatever the seed of training is: no model is measured on what another one learned.
    settings = override(settings, {"data": {"seed": split_seed(settings)}})
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder with --out.")
    splits = read_splits(found, settings)
    records = len(splits["train"])
    _check_labels(found, settings, labels, records)
    plans = planned(found, settings, models, seconds, splits, out)
    wanted = {}
    for count in (0, *labels):
        for seed in range(seeds):
            for plan in plans:
                own = settings_of(settings, plan.name, plan.units, plan.epochs, seed)
                own = with_fewer(own, count, records) if count else own
                wanted[_folder(out, plan, seed, count)] = own
    _train_all(task, wanted, recipe, seconds)
    measured = _measured(found, plans, seconds, seeds, out, labels)
    _write(measured, out)
    return measured


def _train_all(task: str, wanted: Mapping[Path, RecurrentSettings], recipe: str, seconds: float) -> None:
    """Trains a run in each folder with its settings, one after the other."""
    left = [folder for folder in wanted if not (folder / "report.json").exists()]
    if left:
        minutes = len(left) * seconds / 60
        console.print(
            f"Trainings: {len(left)}, of {minutes:,.1f} minutes together; each takes some seconds more to begin "
            f"and to end."
        )
    for folder, own in wanted.items():
        if folder in left:
            console.print(f"Training {left.index(folder) + 1} of {len(left)}: {folder.name} …")
        train_apart(task, own, recipe, folder)


def _write(found: Comparison, out: Path) -> None:
    """comparison.json and comparison.html."""
    from nlp_rnn.display.comparison import as_page

    curves = curves_of(found.task, [one.name for one in found.candidates], out)
    text = json.dumps(as_dict(found), ensure_ascii=False, indent=1)
    for name, content in (("comparison.json", text), ("comparison.html", as_page(found, curves))):
        with replacing(out / name) as place:
            place.write_text(content, encoding="utf-8")


def _check_labels(task: AnyTask, settings: RecurrentSettings, labels: Sequence[int], records: int) -> None:
    if labels and not hasattr(settings.data, "train_records"):
        raise InputError(
            f"The records of the task {task.name} cannot be fewer by their number: leave the numbers of labels out."
        )
    for count in labels:
        if count >= records:
            raise InputError(f"There are {records:,} training records: {count} labels are not fewer.")
        task.read(with_fewer(settings, count, records), "train")  # with one of each label at least


def _folder(out: Path, plan: Plan, seed: int, count: int = 0) -> Path:
    return out / (f"{plan.name}-{seed}-of-{count}" if count else f"{plan.name}-{seed}")


def _measured(
    task: AnyTask, plans: Sequence[Plan], seconds: float, seeds: int, out: Path, labels: Sequence[int]
) -> Comparison:
    runs = {plan.name: [load(_folder(out, plan, seed), task.name) for seed in range(seeds)] for plan in plans}
    first = next(iter(runs.values()))[0]
    split, records = _measured_records(task, first.config)
    everything, parts, thirds = list(range(len(records))), _parts(task, len(records)), _thirds(first, records)
    reached = _seconds_to_reach(task, runs)
    speeds = _known_speeds(out, list(runs)) or _prediction_speeds({n: some[0] for n, some in runs.items()}, records)
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
                by_labels=[(count, _with_few(task, out, plan, seeds, count, records)) for count in labels],
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


def _with_few(task: AnyTask, out: Path, plan: Plan, seeds: int, count: int, records: Records) -> float:
    """The mean metric of the runs that had `count` training records."""
    runs = (load(_folder(out, plan, seed, count), task.name) for seed in range(seeds))
    return statistics.fmean(_metrics(run, records, [range(len(records))])[0] for run in runs)


def _measured_records(task: AnyTask, config: Settings) -> tuple[str, Records]:
    """The test data; without any, the validation data, which chose the best epochs; and which of them it is."""
    for split in ("test", "validation"):
        records = task.read(config, split)
        if records is not None:
            break
    assert records is not None
    if split == "validation":
        console.warn("There are no test data: the validation data, which chose the best epochs, stand in for them.")
    return split, records


def _metrics(run: AnyRun, records: Records, subsets: Sequence[Sequence[int]]) -> list[float]:
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


def _thirds(run: AnyRun, records: Records) -> list[list[int]]:
    """Places of the records in three parts by length, the shortest first; none where they have no lengths of their
    own."""
    batches = run.batches_of(records)
    lengths = np.asarray(getattr(batches, "lengths", ()))
    record_of = getattr(batches, "record_of", None)
    if record_of is not None:  # a record may have several rows
        lengths = np.bincount(record_of, lengths, minlength=len(records))
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


def _known_speeds(out: Path, models: Sequence[str]) -> dict[str, float]:
    """Those that were measured when the same comparison was finished before; none where it was not."""
    path = out / "comparison.json"
    if not path.exists():
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))["candidates"]
    found = {one["name"]: one["prediction_speed"] for one in known}
    return found if set(found) == set(models) else {}


def _prediction_speeds(runs: dict[str, Any], records: Records) -> dict[str, float]:
    """Records a second; the models take turns, and the shortest time counts, which other work disturbs least."""
    some = records.select(range(min(len(records), _PREDICTED)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(_ROUNDS + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            for _ in run.predict(some):
                pass
            if turn:  # the first traces its graph
                times[name].append(time.perf_counter() - started)
    return {name: len(some) / min(values) for name, values in times.items()}


def curves_of(task: str, models: Sequence[str], out: Path) -> dict[str, list[tuple[float, float]]]:
    """Of the first seed of each model, (seconds of training, validation metric) after each epoch."""
    name = f"val_{get_task(task).metric.name}"
    found = {}
    for model in models:
        history = load(out / f"{model}-0", task).history
        spent = np.cumsum([row["seconds"] for row in history])
        found[model] = [(float(seconds), float(row[name])) for seconds, row in zip(spent, history, strict=True)]
    return found
