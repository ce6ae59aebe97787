"""Courses of the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable("nlp_rnn")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then falls along a half cosine (Loshchilov and Hutter 2017), a line, by halves, or not
    at all.

    Args:
        peak: the highest learning rate.
        warmup_steps: steps of the rise.
        total_steps: step at which "cosine" and "linear" reach 0.
        kind: "cosine", "linear", "halving" (Zaremba et al. 2014, arXiv:1409.2329) or "constant".
        epoch_steps: steps of an epoch, for "halving".
        halve_after: epochs at the peak; in each one after them the rate is half of that before.

    Example:

    >>> schedule = WarmupSchedule(1.0, warmup_steps=10, total_steps=110, kind="linear")
    >>> float(schedule(4)), float(schedule(60))
    (0.5, 0.5)
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        kind: str = "cosine",
        epoch_steps: int = 1,
        halve_after: int = 0,
    ) -> None:
        self.peak, self.warmup_steps, self.total_steps, self.kind = peak, warmup_steps, total_steps, kind
        self.epoch_steps, self.halve_after = epoch_steps, halve_after

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = ops.cast(step, "float32")
        rise = (step + 1.0) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        progress = ops.clip(progress, 0.0, 1.0)
        if self.kind == "cosine":
            fall = 0.5 * (1.0 + ops.cos(3.141592653589793 * progress))
        elif self.kind == "linear":
            fall = 1.0 - progress
        elif self.kind == "halving":
            fall = 0.5 ** ops.maximum(ops.floor(step / self.epoch_steps) + 1.0 - self.halve_after, 0.0)
        else:
            fall = ops.ones_like(progress)
        return self.peak * ops.where(step < self.warmup_steps, rise, fall)

    def get_config(self) -> dict[str, Any]:
        names = ("peak", "warmup_steps", "total_steps", "kind", "epoch_steps", "halve_after")
        return {name: getattr(self, name) for name in names}
