"""The fitting of a model: what surrounds Keras's `fit`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from nlp_rnn.config.sections import TrainConfig
from nlp_rnn.data.batching import EpochSource
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Metric
from nlp_rnn.training import checkpoints
from nlp_rnn.training.callbacks import Checkpointer, History, KeepLast, LossGuard, Position, Validation
from nlp_rnn.training.compiling import compile_model
from nlp_rnn.training.devices import has_workers
from nlp_rnn.training.progress import ProgressDisplay
from nlp_rnn.training.workers import fit_on_workers


@dataclass(frozen=True)
class Fitted:
    """How it went.

    Args:
        history: the rows of `metrics.jsonl`.
        best_epoch: the epoch, from 1, whose weights the model has.
        seconds: spent since this process began to fit.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What is to be fitted, and how.

    Args:
        loss: a Keras loss, or None where the model computes its own.
        train: the settings.
        batches: of the training data.
        measure: () → metrics on validation data.
        metric: the one that decides which weights are best.
        unit: what the steps of rows are called, such as "tokens".
        out: the run directory, for `checkpoints/`, `metrics.jsonl` and `logs/`.
        fingerprints: of the data and whatever else must be the same on resuming, by what it is.
        settings: all of them by dotted name; those that are not in `changeable` must be the same too.
        changeable: names of settings that may change.
    """

    loss: keras.losses.Loss | None
    train: TrainConfig
    batches: EpochSource
    measure: Callable[[], dict[str, Any]]
    metric: Metric
    unit: str
    out: Path
    fingerprints: dict[str, str]
    settings: dict[str, Any]
    changeable: tuple[str, ...]


def fit(model: keras.Model, plan: Plan, resume: bool = False) -> Fitted:
    """Fits a model and leaves it with its best weights.

    Args:
        model: what is fitted.
        plan: how.
        resume: whether to continue from the newest checkpoint.

    Raises:
        InputError: there is nothing to resume, or the data, the vocabulary or the settings have changed.
        Interrupted: by Ctrl-C, after a checkpoint.
        Diverged: the loss is no longer a number; the last good checkpoint is kept.
    """
    train, batches = plan.train, plan.batches
    steps = batches.steps_per_epoch
    with model.distribute_strategy.scope():
        compile_model(model, plan.loss, train, steps)
        model.optimizer.build(model.trainable_variables)
        _build_metrics(model, batches)
    position, folder = Position(), plan.out / "checkpoints"
    metric = plan.metric
    validation = Validation(
        plan.measure, folder, train.patience, metric.lower_is_better, train.average_epochs, metric.tie
    )
    history = History(plan.out, batches.elements_per_epoch, plan.unit)
    progress = ProgressDisplay(position, train.epochs, steps, batches.elements_per_epoch / steps, plan.unit)
    checkpointer = Checkpointer(folder, position, validation, history, plan.fingerprints, plan.settings, steps, train)
    checkpoints.sweep(folder)
    if resume and checkpoints.is_any(folder):
        _restore(model, plan, checkpointer)
    else:
        history.restore(0)
    began = time.perf_counter()
    try:
        callbacks = [LossGuard(position), validation, history, progress, checkpointer]
        _run(model, plan, callbacks, checkpointer)
    finally:
        progress.stop()
        checkpointer.release()
    validation.load_best()
    return Fitted(history.rows, validation.best_epoch + 1, time.perf_counter() - began)


def _run(model: keras.Model, plan: Plan, callbacks: list[keras.callbacks.Callback], checkpointer: Checkpointer) -> None:
    """Trains from where the checkpointer, one of the callbacks, stands to the last epoch."""
    position, validation = checkpointer.position, checkpointer.validation
    batches, train = plan.batches, plan.train
    # All epochs of a fit are equally long, so what is left of a resumed one is a fit of its own.
    for end in [position.epoch + 1, train.epochs] if position.batch else [train.epochs]:
        if position.epoch >= end or validation.exhausted:
            continue
        if has_workers(model.distribute_strategy):
            fit_on_workers(model, batches, position, end, callbacks, checkpointer)
        else:
            _run_epochs(model, batches, position, end, callbacks)


def _run_epochs(
    model: keras.Model, batches: EpochSource, position: Position, end: int, callbacks: list[keras.callbacks.Callback]
) -> None:
    """Keras's `fit` from where training stands to the epoch `end`."""
    last = KeepLast()
    model.fit(
        batches.dataset(position),
        steps_per_epoch=batches.steps_per_epoch - position.batch,
        initial_epoch=position.epoch,
        epochs=end,
        callbacks=[*callbacks, last],
        shuffle=False,
        verbose=0,
    )
    last.restore()


def _build_metrics(model: keras.Model, batches: EpochSource) -> None:
    """Keras creates the variables of metrics when they are first used; a checkpoint needs them from the start."""
    features, targets, weights = next(batches.epoch(0))
    model.compute_metrics(features, targets, model(features, training=False), weights)
    model.reset_metrics()


def _restore(model: keras.Model, plan: Plan, checkpointer: Checkpointer) -> None:
    """Goes back to the newest checkpoint that is intact."""
    checkpointer.set_model(model)
    for path, state, arrays in checkpoints.stored(checkpointer.folder):
        if state is not None:
            _refuse_changes(plan, state)
        if state is None or state["batch"] >= checkpointer.steps_per_epoch:
            console.warn(f"{path} is damaged; using the checkpoint before it.")
            continue
        try:
            checkpointer.restore(arrays, state)
        except ValueError:
            raise InputError(
                f"The settings in {plan.out / 'config.yaml'} build a different model from the one that this run began "
                f"with: restore them, or train again with another --out."
            ) from None
        console.print(f"Resuming in epoch {state['epoch'] + 1} at batch {state['batch'] + 1}.")
        return
    raise InputError(
        f"{plan.out} has no intact checkpoint to resume from: delete {checkpointer.folder} to begin it anew with "
        f"--resume, or train with another --out."
    )


def _refuse_changes(plan: Plan, state: dict[str, Any]) -> None:
    """What a run depends on must be as it was when it began; changes that are allowed are said."""
    if state.get("format") != checkpoints.FORMAT:
        raise InputError(
            f"The checkpoint of {plan.out} was written by another version of nlp-rnn: "
            f"continue with that version, or train again with another --out."
        )
    for what, begun_with in state["fingerprints"].items():
        if begun_with != plan.fingerprints.get(what):
            raise InputError(
                f"The {what} of {plan.out} changed since this run began: restore it, or train again with another --out."
            )
    now = json.loads(json.dumps(plan.settings))
    for name, begun_with in state.get("settings", now).items():
        if name not in now or now[name] == begun_with:
            continue
        if name not in plan.changeable:
            raise InputError(
                f"{name} in {plan.out / 'config.yaml'} is {now[name]}; this run began with {begun_with}: restore it, "
                f"or train again with another --out."
            )
        console.print(f"{name} is {now[name]} from here on; it was {begun_with}.")
