"""Which devices train together, and which kernel serves a model's layers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nlp_rnn.config.sections import TrainConfig
from nlp_rnn.errors import InputError
from nlp_rnn.machine import processor

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def strategy_for(train: TrainConfig) -> tf.distribute.Strategy | None:
    """The `tf.distribute` strategy of the devices that `train.devices` names, or of the workers of `TF_CONFIG`.

    Returns:
        None for a single device.

    Raises:
        InputError: a device is not there, the batch cannot be shared out evenly, or `TF_CONFIG` makes no sense.
    """
    import tensorflow as tf

    if train.deterministic:
        tf.config.experimental.enable_op_determinism()
    together, own = _workers()
    workers = len(together)
    if workers > 1 and train.devices:
        raise InputError("TF_CONFIG names several workers: leave out --train.devices, and set CUDA_VISIBLE_DEVICES.")
    names = [name if ":" in name else f"GPU:{name}" for name in train.devices.replace(" ", "").split(",") if name]
    there = [":".join(device.name.split(":")[-2:]) for device in tf.config.list_logical_devices()] if names else []
    for name in names:
        if name not in there:
            raise InputError(f"There is no device {name}. Available: {', '.join(there)}.")
        if names.count(name) > 1:
            raise InputError(f"train.devices names {name} twice.")
    count = workers * max(len(tf.config.list_physical_devices("GPU")), 1) if workers > 1 else len(names)
    if count and train.batch_size % count:
        raise InputError(f"train.batch_size is {train.batch_size}; it must be a multiple of the {count} devices.")
    if workers > 1:
        others = ", ".join(worker for worker in together if worker != own)
        print(f"This is {own}. Waiting for {others} …", file=sys.stderr, flush=True)
        with _ended_by_interrupts():
            return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy(names) if names else None


@contextlib.contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Ctrl-C ends the process at once, also while TensorFlow waits in C++, where Python would not see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def has_workers(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether a strategy spans several processes."""
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief() -> bool:
    """Whether this process writes the run: the first of the workers that `TF_CONFIG` names, or the only one."""
    workers, own = _workers()
    return len(workers) < 2 or own == workers[0]


def _workers() -> tuple[list[str], str]:
    """The workers that `TF_CONFIG` names, a chief first, and which of several this is."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        cluster = dict(config.get("cluster", {}))
        workers = [f"{kind} {i}" for kind in ("chief", "worker") for i in range(len(cluster.get(kind, [])))]
        own = f"{config['task']['type']} {int(config['task']['index'])}" if len(workers) > 1 else ""
    except (AttributeError, KeyError, TypeError, ValueError):
        form = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
        raise InputError(f"TF_CONFIG is not JSON of the form {form}.") from None
    if own and own not in workers:
        raise InputError(f"TF_CONFIG says that this is {own}; its cluster has {', '.join(workers)}.")
    return workers, own


def describe_device() -> str:
    """The accelerator, or the processor and its cores."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
        return ", ".join(names)
    return f"{processor()}, {os.cpu_count()} cores"


def describe_kernels(model: keras.Model) -> dict[str, str]:
    """For each layer of a model that takes in other steps, by its name, the kernel that serves it and why no faster
    one."""
    import keras

    from nlp_rnn.layers.kernels import describe_kernel
    from nlp_rnn.layers.scan_layer import ScanLayer
    from nlp_rnn.layers.transformer import SelfAttention

    found = {}
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, (keras.layers.RNN, ScanLayer, SelfAttention)):
            found[layer.name] = describe_kernel(layer)
    return found
