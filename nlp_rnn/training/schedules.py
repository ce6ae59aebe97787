"""Courses of the learning rate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("nlp_rnn")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then falls along a half cosine (Loshchilov and Hutter 2017), a line, or not at all.

    Args:
        peak: the highest learning rate.
        warmup_steps: steps of the rise.
        total_steps: step at which "cosine" and "linear" reach 0.
        kind: "cosine", "linear" or "constant".

    Example:

    >>> schedule = WarmupSchedule(1.0, warmup_steps=10, total_steps=110, kind="linear")
    >>> float(schedule(4)), float(schedule(60))
    (0.5, 0.5)
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, kind: str = "cosine") -> None:
        self.peak, self.warmup_steps, self.total_steps, self.kind = peak, warmup_steps, total_steps, kind

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = (step + 1.0) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        progress = ops.clip(progress, 0.0, 1.0)
        if self.kind == "cosine":
            fall = 0.5 * (1.0 + ops.cos(3.141592653589793 * progress))
        elif self.kind == "linear":
            fall = 1.0 - progress
        else:
            fall = ops.ones_like(progress)
        return self.peak * ops.where(step < self.warmup_steps, rise, fall)

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("peak", "warmup_steps", "total_steps", "kind")}
