"""How models are made comparable: as many weights for each, and as many epochs as there is time for."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.assets import Assets
from nlp_rnn.config.sections import PARALLEL_CELLS, RecurrentSettings
from nlp_rnn.config.values import override, to_dict
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.paths import replacing
from nlp_rnn.run import AnyRun, Run
from nlp_rnn.trainer import batches_for, built, prepare_machine

if TYPE_CHECKING:
    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.base import AnyTask

_PROBED = 12  # batches whose time is taken
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


def settings_of(
    settings: RecurrentSettings, name: str, units: int | None = None, epochs: int | None = None, seed: int = 0
) -> RecurrentSettings:
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


def with_fewer(settings: RecurrentSettings, count: int, records: int) -> RecurrentSettings:
    """The same settings for `count` of all the training records, which are read over again, so that training has
    about as many steps as with all of them."""
    passes = max(1, round(records / count))
    return override(settings, {"data": {"train_records": count}, "train": {"passes": passes}})


def planned(
    task: AnyTask,
    settings: RecurrentSettings,
    models: Sequence[str],
    seconds: float,
    splits: Mapping[str, Records],
    out: Path,
) -> list[Plan]:
    """The plan of each model; what a folder holds already is kept, so that what was begun can be finished."""
    asked = {"task": task.name, "models": list(models), "seconds": seconds, "settings": to_dict(settings)}
    path = out / "plan.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept and kept["asked"] != json.loads(json.dumps(asked)):
        raise InputError(f"{out} holds a comparison with other settings: give another folder with --out.")
    if not kept and out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no comparison: give another folder with --out.")
    data = {name: records.fingerprint() for name, records in splits.items()}
    if kept and kept["data"] != data:
        raise InputError(f"The data have changed since {out} was begun: give another folder with --out.")
    if kept:
        return [Plan(**plan) for plan in kept["plans"]]
    settings, _ = prepare_machine(settings)
    assets = task.assets(settings, splits["train"])
    prepared, batches = batches_for(task, settings, assets, splits)
    without = [name for name in models if name in (*PARALLEL_CELLS, "transformer")]
    if settings.stack.weight_drop and without:
        console.print(
            f"stack.weight_drop ({settings.stack.weight_drop}) is for recurrent kernels: {', '.join(without)} "
            f"{'does' if len(without) == 1 else 'do'} without it."
        )
    wanted = built(task, settings_of(prepared, models[0]), assets).count_params()
    plans: list[Plan] = []
    for name in models:
        units = prepared.stack.units if not plans else _units_for(task, prepared, name, assets, wanted)
        plans.append(_plan(task, settings_of(prepared, name, units), assets, batches["train"], seconds))
    out.mkdir(parents=True, exist_ok=True)
    found = {"asked": asked, "data": data, "plans": [asdict(plan) for plan in plans]}
    with replacing(path) as place:
        place.write_text(json.dumps(found), encoding="utf-8")
    return plans


def _plan(task: AnyTask, settings: RecurrentSettings, assets: Assets, batches: EpochSource, seconds: float) -> Plan:
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


def _units_for(task: AnyTask, settings: RecurrentSettings, name: str, assets: Assets, wanted: int) -> int:
    """The units with which a model has about as many weights as are wanted.

    Weights are a quadratic function of the units, which three models tell.
    """
    # None that embeddings have too, since some cells have another matrix where sizes differ; and the heads of a
    # transformer share its units evenly.
    even = 2 * settings.stack.heads if name == "transformer" else 1
    widths = tuple(even * (width // even + 1) - (even == 1) for width in (33, 67, 131))
    counts = [built(task, settings_of(settings, name, width), assets).count_params() for width in widths]
    square, linear, constant = np.polyfit(widths, counts, 2)
    if abs(square) < 1e-9:
        units = (wanted - constant) / linear
    else:
        units = (-linear + math.sqrt(max(linear**2 - 4 * square * (constant - wanted), 0.0))) / (2 * square)
    return even * max(1, round(units / even))


def _seconds_per_step(run: AnyRun, batches: EpochSource) -> float:
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
