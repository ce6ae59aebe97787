"""What happens during `fit` besides the steps themselves, one callback per concern.

Order matters: the validation result is computed first, then written down, then checkpointed.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np

from nlp_rnn.config.sections import TrainConfig
from nlp_rnn.display.console import console
from nlp_rnn.errors import Diverged, Interrupted
from nlp_rnn.training import checkpoints
from nlp_rnn.training.distillation import carried_by

if TYPE_CHECKING:
    from types import FrameType

Logs: TypeAlias = dict[str, Any] | None
"""What Keras hands to callbacks: results by name."""


class Position:
    """Where training stands: the epoch, and the batch in it that comes next."""

    def __init__(self, epoch: int = 0, batch: int = 0) -> None:
        self.epoch, self.batch = epoch, batch


class LossGuard(keras.callbacks.Callback):
    """Stops at a loss that is not finite or has exploded.

    Raises:
        Diverged: with where, and what to try.
    """

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position
        self.limit = math.inf

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss) and loss <= self.limit:
            if math.isinf(self.limit):
                self.limit = 100.0 * max(loss, 10.0)
            return
        what = "exploded" if math.isfinite(loss) else "is no longer a number"
        raise Diverged(
            f"The loss {what} ({loss:.4g}) in epoch {self.position.epoch + 1}, batch {self.position.batch + 1}: "
            f"try a lower --train.learning_rate, a smaller --train.clip_norm, or --train.precision float32."
        )


class Validation(keras.callbacks.Callback):
    """After each epoch: the task's metrics on validation data, early stopping, the best weights kept.

    Args:
        measure: () → metrics of the model as it is; the first decides, more is better.
        folder: where the best weights are kept.
        patience: epochs without a better result before training stops; 0 for never.
        lower_is_better: whether less of the first metric is better.
        tie: the metric, less of which is better, that decides between equal ones; without it the loss of training does,
            but does not count as a better result.
        epochs: how many of the best are kept, for the mean of their weights.
    """

    def __init__(
        self,
        measure: Callable[[], dict[str, Any]],
        folder: Path,
        patience: int,
        lower_is_better: bool = False,
        epochs: int = 1,
        tie: str = "",
    ) -> None:
        super().__init__()
        self.tie = tie
        self.measure, self.folder, self.patience, self.sign = measure, folder, patience, -1 if lower_is_better else 1
        self.epochs = epochs
        self.kept: list[dict[str, Any]] = []  # the best first: "value", "epoch", "file", "checksum"
        self.waited = self.last = 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        with averaged_weights(self.model):
            self._judge(epoch, logs)

    def _judge(self, epoch: int, logs: Logs) -> None:
        self.last = epoch
        metrics = self.measure()
        if logs is not None:
            logs.update({f"val_{k}": v for k, v in metrics.items() if isinstance(v, (int, float))})
        value = self.sign * next(iter(metrics.values()))
        tie: float = metrics[self.tie] if self.tie in metrics else (logs or {}).get("loss", 0.0)
        before = [(found["value"], -found.get("tie", math.inf)) for found in self.kept]
        place = sum((value, -tie) <= other for other in before)
        is_better = place == 0 and not (self.kept and value == self.kept[0]["value"] and not self.tie)
        if place < self.epochs:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"best-{epoch:05d}.npz"
            checksum = checkpoints.save_arrays(self.folder / name, variable_arrays("model", self.model.variables))
            self.kept.insert(place, {"value": value, "tie": tie, "epoch": epoch, "file": name, "checksum": checksum})
            del self.kept[self.epochs :]
        self.waited = 0 if is_better else self.waited + 1
        if self.exhausted:
            self.model.stop_training = True

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return bool(self.patience) and self.waited >= self.patience

    @property
    def best_epoch(self) -> int:
        """That of the best result."""
        return self.kept[0]["epoch"] if self.kept else self.last

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"kept": self.kept, "waited": self.waited}

    def restore(self, state: dict[str, Any], epoch: int) -> None:
        """Puts back what `state` returned as training stood in `epoch`; best weights that are lost since are left."""
        self.kept, self.waited, self.last = state["kept"], state["waited"], max(epoch - 1, 0)
        self._intact()

    def load_best(self) -> None:
        """Puts the best weights into the model, or the mean of those of the best epochs."""
        means: dict[str, np.ndarray] = {}
        for count, arrays in enumerate(self._intact(), 1):
            if count == 1:
                means = arrays
                continue
            for name, value in arrays.items():
                if value.dtype.kind == "f":
                    means[name] = means[name] + (value - means[name].astype("float64")) / count
        if means:
            assign_arrays("model", self.model.variables, means)

    def _intact(self) -> list[dict[str, np.ndarray]]:
        """The arrays of the epochs that are kept, but for those that are lost, which is said."""
        found, intact = [], []
        for one in self.kept:
            arrays = checkpoints.load_arrays(self.folder / one["file"], one["checksum"])
            if arrays is None:
                console.warn(
                    f"The weights of epoch {one['epoch'] + 1}, {self.folder / one['file']}, are missing or damaged: "
                    f"going on without them."
                )
                continue
            found.append(arrays)
            intact.append(one)
        self.kept = intact
        return found


class History(keras.callbacks.Callback):
    """Writes `metrics.jsonl`, one line an epoch, and TensorBoard's logs.

    Args:
        folder: the run directory.
        elements_per_epoch: steps of all rows of an epoch, for the speed.
        unit: what those are called, such as "tokens".
    """

    def __init__(self, folder: Path, elements_per_epoch: int, unit: str) -> None:
        super().__init__()
        self.path, self.logs = folder / "metrics.jsonl", folder / "logs"
        self.elements, self.unit = elements_per_epoch, unit
        self.rows: list[dict[str, Any]] = []
        self.writer: Any = None
        self.started = self.spent = 0.0

    def restore(self, epochs: int, rows: list[dict[str, Any]] | None = None) -> None:
        """Writes the rows of the first `epochs` epochs anew; without them (checkpoints of version 0.1.0 have none)
        those that can be read."""
        self.rows = _readable_rows(self.path)[:epochs] if rows is None else rows
        content = "".join(json.dumps(row) + "\n" for row in self.rows)
        checkpoints.write_bytes(self.path, content.encode())

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.spent = time.perf_counter() - self.started

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        import tensorflow as tf

        row = {"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(self.spent, 3)
        row[f"{self.unit}_per_second"] = round(self.elements / max(self.spent, 1e-9), 1)
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(row) + "\n")
        if self.writer is None:
            self.writer = tf.summary.create_file_writer(str(self.logs))
        with self.writer.as_default(step=epoch):
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(name, value)
        self.writer.flush()


def _readable_rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            rows.append(json.loads(line))
    return rows


class Checkpointer(keras.callbacks.Callback):
    """Saves everything that training depends on, and restores it bit for bit.

    A checkpoint is taken as each epoch begins and, within one, when `train.checkpoint_seconds` have passed. Ctrl-C and
    SIGTERM finish the batch, save and stop.

    Args:
        folder: where checkpoints go.
        position: moved on here; the data read it.
        validation, history: whose state is part of the checkpoint.
        fingerprints: of the training data and the like, compared on resume.
        settings: all of them by dotted name, compared on resume too.
        steps_per_epoch: batches in an epoch.
        train: the settings of training.

    With several workers `agreed` says before each step's end whether all save now.
    """

    def __init__(
        self,
        folder: Path,
        position: Position,
        validation: Validation,
        history: History,
        fingerprints: dict[str, str],
        settings: dict[str, Any],
        steps_per_epoch: int,
        train: TrainConfig,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.folder, self.position, self.validation, self.history = folder, position, validation, history
        self.fingerprints, self.steps_per_epoch, self.train = fingerprints, steps_per_epoch, train
        self.metric_arrays: dict[str, np.ndarray] | None = None
        self.last_saved = time.monotonic()
        self.interrupted = False
        self.agreed: bool | None = None
        self._handlers: dict[int, Any] = {}

    def restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        """Puts a checkpoint's state everywhere but into the metrics, which `fit` resets as it begins."""
        assign_arrays("model", self.model.variables, arrays)
        assign_arrays("optimizer", self.model.optimizer.variables, arrays)
        assign_arrays("carried", carried_by(self.model), arrays)
        self.position.epoch, self.position.batch = state["epoch"], state["batch"]
        self.metric_arrays = arrays
        self.validation.restore(state["validation"], state["epoch"])
        self.history.restore(state["epoch"], state.get("history"))

    def on_train_begin(self, logs: Logs = None) -> None:
        def interrupt(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._handlers.setdefault(number, signal.signal(number, interrupt))
            except ValueError:  # not in the main thread
                break

    def release(self) -> None:
        """Gives the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.metric_arrays is None:
            self._save()
            return
        if self.position.batch:  # an epoch that begins has measured nothing yet
            assign_arrays("metrics", self.model.metrics_variables, self.metric_arrays)
        self.metric_arrays = None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.position.batch += 1
        if self.position.batch >= self.steps_per_epoch:
            return  # the epoch's validation comes first; the checkpoint as the next epoch begins holds it
        due = self.is_due() if self.agreed is None else self.agreed
        if due:
            self._save()

    def is_due(self) -> bool:
        """Whether a checkpoint should be taken now."""
        return self.interrupted or time.monotonic() - self.last_saved >= self.train.checkpoint_seconds

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.position.epoch, self.position.batch = epoch + 1, 0
        last = self.validation.exhausted or epoch + 1 >= self.train.epochs
        if self.interrupted and not last:
            self._save()

    def _save(self) -> None:
        arrays = {
            **variable_arrays("model", self.model.variables),
            **variable_arrays("optimizer", self.model.optimizer.variables),
            **variable_arrays("metrics", self.model.metrics_variables),
            **variable_arrays("carried", carried_by(self.model)),
        }
        if not all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f"):
            raise Diverged(
                f"A weight is no longer a number in epoch {self.position.epoch + 1}, batch "
                f"{self.position.batch}: try a lower --train.learning_rate or --train.precision float32."
            )
        step = self.position.epoch * self.steps_per_epoch + self.position.batch
        state = {
            "format": checkpoints.FORMAT,
            "epoch": self.position.epoch,
            "batch": self.position.batch,
            "fingerprints": self.fingerprints,
            "settings": self.settings,
            "history": self.history.rows,
            "validation": self.validation.state(),
            "best_files": [found["file"] for found in self.validation.kept],
        }
        checkpoints.save_checkpoint(self.folder, step, arrays, state)
        self.last_saved = time.monotonic()
        if self.interrupted:
            raise Interrupted(str(self.folder.parent))


class KeepLast(keras.callbacks.Callback):
    """Undoes what `fit` does as it ends: it replaces the weights by their moving average, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.values = [variable.numpy() for variable in self.model.trainable_variables]

    def restore(self) -> None:
        """Puts the weights of the last epoch's end back."""
        for variable, value in zip(self.model.trainable_variables, self.values, strict=False):
            variable.assign(value)


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within it a model has the moving average of its weights, where its optimizer keeps one."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    values = [variable.numpy() for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, values, strict=True):
            variable.assign(value)


def variable_arrays(kind: str, variables: list[keras.Variable]) -> dict[str, np.ndarray]:
    """The values of variables, named by kind and place."""
    return {f"{kind}/{i:05d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}


def assign_arrays(kind: str, variables: list[keras.Variable], arrays: dict[str, np.ndarray]) -> None:
    """Puts values back.

    Raises:
        ValueError: their number or shapes differ: they are of another model.
    """
    names = sorted(name for name in arrays if name.startswith(f"{kind}/"))
    shapes = [tuple(arrays[name].shape) for name in names]
    if shapes != [tuple(v.shape) for v in variables]:
        raise ValueError(f"The checkpoint's {kind} variables are those of another model.")
    for name, variable in zip(names, variables, strict=True):
        variable.assign(arrays[name])
