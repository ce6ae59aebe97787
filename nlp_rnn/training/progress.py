"""What a person sees while a model trains; quiet where nobody looks."""

from __future__ import annotations

import time
from typing import Any

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nlp_rnn.display.console import console
from nlp_rnn.training.callbacks import Logs, Position


class ProgressDisplay(keras.callbacks.Callback):
    """A bar per epoch on a terminal, and one line per finished epoch anywhere.

    Args:
        position: where training stands.
        epochs: how many there will be at most.
        steps_per_epoch: batches in an epoch.
        elements_per_step: mean number of steps of the rows in a batch.
        unit: what those are called, such as "tokens".
    """

    def __init__(
        self, position: Position, epochs: int, steps_per_epoch: int, elements_per_step: float, unit: str
    ) -> None:
        super().__init__()
        self.position, self.epochs, self.steps = position, epochs, steps_per_epoch
        self.elements_per_step, self.unit = elements_per_step, unit
        self.bar: Progress | None = None
        self.task: Any = None
        self.shown = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.started, self.first = time.perf_counter(), self.position.batch
        if not console.is_terminal:
            return
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        ]
        self.bar = Progress(*columns, console=console, transient=True)
        self.bar.start()
        description = f"epoch {epoch + 1}/{self.epochs}"
        self.task = self.bar.add_task(description, total=self.steps, completed=self.first, facts="")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        now = time.perf_counter()
        if self.bar is None or now - self.shown < 0.2:
            return
        self.shown = now
        rate = (self.position.batch - self.first) * self.elements_per_step / (now - self.started)
        facts = f"loss {(logs or {}).get('loss', 0):.4f} · {rate:,.0f} {self.unit}/s"
        self.bar.update(self.task, completed=self.position.batch, facts=facts)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.stop()
        logs = logs or {}
        seconds = time.perf_counter() - self.started
        facts = [f"epoch {epoch + 1:>3}/{self.epochs}", f"loss {logs.get('loss', 0):.4f}"]
        metric = next((name for name in logs if name.startswith("val_")), None)
        if metric:
            facts.append(f"validation {metric.removeprefix('val_')} {logs[metric]:.4f}")
        facts.append(f"{seconds:.1f} s")
        console.print(" · ".join(facts))

    def stop(self) -> None:
        """Takes the bar down."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
