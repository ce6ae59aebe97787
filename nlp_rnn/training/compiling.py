"""Optimizer, schedule and loss, from the settings of `train`."""

from __future__ import annotations

import re
from typing import Any

import keras

from nlp_rnn.config.sections import TrainConfig
from nlp_rnn.training.optimizers import SGD, AdamW, SharedAdamW, SharedSGD
from nlp_rnn.training.schedules import WarmupSchedule

_LAYER = re.compile(r"/stack/.*?_(\d+)(?:/|$)")


def courses_of(model: keras.Model, train: TrainConfig, steps: int) -> dict[str, tuple[float, int]]:
    """How the layers of a model that began with another run learn.

    Args:
        model: whose embedding and stack come from the run.
        train: its `layer_decay` and `unfreeze`.
        steps: of the whole training.

    Returns:
        By the path of a variable the factor of its learning rate, and the step from which on it learns.
    """
    if train.layer_decay == 1 and not train.unfreeze:
        return {}
    layers = {}
    for variable in model.trainable_variables:
        if "/embedding/" in variable.path:
            layers[variable.path] = -1
        elif found := _LAYER.search(variable.path):
            layers[variable.path] = int(found[1])
    highest = sorted(set(layers.values()), reverse=True)
    depths = {path: highest.index(layer) + 1 for path, layer in layers.items()}
    until = steps * train.unfreeze / max(len(highest), 1)
    return {path: (train.layer_decay**depth, round(until * depth)) for path, depth in depths.items()}


def compile_model(
    model: keras.Model,
    loss: Any,
    train: TrainConfig,
    steps_per_epoch: int | None = None,
    learning_rate: float | None = None,
) -> None:
    """Compiles a model for training.

    Args:
        loss: a Keras loss, or None where the model computes its own.
        steps_per_epoch: with it the learning rate follows `train.schedule`, and weights are averaged over time if
            `train.average` says so; without, the learning rate is constant.
        learning_rate: instead of `train.learning_rate`.
    """
    rate: Any = learning_rate or train.learning_rate
    if steps_per_epoch:
        total = steps_per_epoch * train.epochs
        warmup = round(total * train.warmup)
        rate = WarmupSchedule(rate, warmup, total, train.schedule, steps_per_epoch, train.halve_after)
    options: dict[str, Any] = {"global_clipnorm": train.clip_norm or None}
    if train.average and steps_per_epoch:
        # It begins at the initial weights: over few steps a long memory would keep them.
        momentum = min(train.average, 1.0 - 5.0 / max(total, 10))
        options |= {"use_ema": True, "ema_momentum": momentum}
    alone = model.distribute_strategy.num_replicas_in_sync == 1
    if train.optimizer == "adamw":
        adamw = AdamW if alone else SharedAdamW
        optimizer = adamw(rate, weight_decay=train.weight_decay, **options)
    else:
        sgd = SGD if alone else SharedSGD
        optimizer = sgd(rate, momentum=train.momentum, weight_decay=train.weight_decay or None, **options)
    if train.init_from and steps_per_epoch:
        optimizer.courses = courses_of(model, train, total)
    if train.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    jit = {"auto": "auto", "on": True, "off": False}[train.jit]
    if train.jit == "on":
        for layer in model._flatten_layers(include_self=False):
            if hasattr(layer, "use_native"):  # XLA knows TensorFlow's operations only
                layer.use_native, layer.use_cudnn, layer.supports_jit = False, False, True
        if hasattr(loss, "use_native"):
            loss.use_native = False
    metrics = ["accuracy"] if isinstance(loss, keras.losses.CategoricalCrossentropy) else None
    model.compile(optimizer, loss, weighted_metrics=metrics, jit_compile=jit)
