"""Training on several machines: a loop around Keras's `train_step`.

Keras's `fit` cannot do it (keras-team/keras#20585). Every worker reads the same data, takes its part of every batch and
runs the same callbacks; gradients are summed over all. The first, the chief, writes the run directory, the others write
into folders that are thrown away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from nlp_rnn.data.batching import EpochSource
from nlp_rnn.errors import WorkerLost
from nlp_rnn.training.callbacks import Checkpointer, Position
from nlp_rnn.training.devices import is_chief

if TYPE_CHECKING:
    from nlp_rnn.layers.base import Nest, Tensor

# What a worker asks the others for before a step; the sum says whether one did.
_NOTHING, _SAVE, _STOP = 0.0, 1.0, 1000.0


@contextmanager
def own_folder(out: Path, resuming: bool) -> Iterator[Path]:
    """The run directory for the chief; for another worker a folder of its own, on resuming a copy of it."""
    try:
        if is_chief():
            yield out
            return
        with tempfile.TemporaryDirectory(prefix="nlp-rnn-worker-") as scratch:
            folder = Path(scratch) / out.name
            if resuming:
                shutil.copytree(out, folder, ignore=shutil.ignore_patterns(".lock"))
            yield folder
    except WorkerLost as error:
        raise WorkerLost(f"{error}: start all workers again with --resume {out}.") from error


def fit_on_workers(
    model: keras.Model,
    batches: EpochSource,
    position: Position,
    end: int,
    callbacks: Sequence[keras.callbacks.Callback],
    checkpointer: Checkpointer,
) -> None:
    """Trains from where `position` stands to the epoch `end`, as `fit` would.

    Raises:
        WorkerLost: another worker no longer answers.
    """
    strategy = model.distribute_strategy
    step = _step_of(model)
    together = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=end, verbose=0)
    model.stop_training = False
    try:
        together.on_train_begin()
        for epoch in range(position.epoch, end):
            model.reset_metrics()
            together.on_epoch_begin(epoch)
            logs: dict[str, float] = {}
            for number, batch in enumerate(batches.epoch(epoch, position.batch)):
                together.on_train_batch_begin(number)
                asked = _STOP if checkpointer.interrupted else _SAVE if checkpointer.is_due() else _NOTHING
                logs, wishes = step(*_parts(strategy, (*batch, asked)))
                checkpointer.agreed = wishes > 0
                checkpointer.interrupted |= wishes >= _STOP
                together.on_train_batch_end(number, logs)
            together.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        together.on_train_end()
    except (
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
        tf.errors.UnavailableError,
    ) as error:
        where = f"epoch {position.epoch + 1}, batch {position.batch + 1}"
        raise WorkerLost(f"A worker no longer answers in {where}") from error


def _step_of(model: keras.Model) -> Any:
    """(features, targets, weights, asked) of this worker → logs of all workers, and the sum of what they asked."""
    strategy = model.distribute_strategy
    names: list[str] = []

    def replica(features: Nest, targets: Nest, weights: Tensor | None, asked: object) -> Nest:
        logs = model.train_step((features, targets, weights))
        names[:] = sorted(logs)
        return tf.stack([asked, *(tf.cast(logs[name], tf.float32) for name in names)])

    @tf.function(reduce_retracing=True, autograph=False)
    def step(*parts: Any) -> Nest:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica, args=parts), axis=None)

    def run(*parts: Any) -> tuple[dict[str, float], float]:
        asked, *values = step(*parts).numpy().tolist()
        return {name: value / strategy.num_replicas_in_sync for name, value in zip(names, values, strict=True)}, asked

    return run


def _parts(strategy: tf.distribute.Strategy, batch: tuple[Any, ...]) -> list[Any]:
    """The parts of a batch that this worker's devices take; a number goes to each."""

    def value_of(values: Any, context: Any) -> Any:
        count, place = context.num_replicas_in_sync, context.replica_id_in_sync_group
        if isinstance(values, dict):
            return {name: value_of(value, context) for name, value in values.items()}
        if isinstance(values, float):
            return tf.constant(values)
        size = len(values) // count
        return tf.constant(values[place * size : (place + 1) * size])

    return [
        strategy.experimental_distribute_values_from_function(lambda context, v=values: value_of(v, context))
        for values in batch
    ]
