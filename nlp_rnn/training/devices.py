"""The machine: which devices there are, which kernel serves a model, how much memory was used."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nlp_rnn.config import TrainConfig, cache_folder
from nlp_rnn.errors import InputError


def import_tensorflow() -> Any:
    """Imports TensorFlow without its start-up chatter; lets GPUs take memory as they need it, and keeps what is freed.

    No log variable silences TensorFlow 2.21 as it starts; what it writes to file descriptor 2 meanwhile is
    shown only if the import fails.
    """
    _keep_freed_memory()
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back():
        import keras  # noqa: F401
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.get_logger().setLevel("ERROR")
    return tf


def keep_what_xla_compiles() -> None:
    """Lets TensorFlow, if it is not imported yet, keep what XLA compiles for the processor from run to run."""
    if "tensorflow" in sys.modules or Path("/proc/driver/nvidia").exists():
        return
    machine = f"{version('tensorflow')} {_cpuinfo('flags')}"
    folder = cache_folder() / f"xla-{hashlib.sha256(machine.encode()).hexdigest()[:16]}"
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache" not in flags and " " not in str(folder):
        os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={folder}".strip()


def _keep_freed_memory() -> None:
    """Has the C library reuse large blocks, if it is glibc and the environment does not tell it what to do.

    Otherwise it returns each to the system at once, and TensorFlow, which frees a tensor at its last use, waits for the
    same pages at the next step: over a large vocabulary a third of the time of training. One arena, since what
    one thread frees another allocates, and only the first arena holds blocks above 64 MB.
    """
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not told:
        arena_max, mmap_max, top_pad = -8, -4, -2  # as malloc.h numbers them
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((arena_max, 1), (mmap_max, 0), (top_pad, 64 << 20)):
            mallopt(parameter, value)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    with tempfile.TemporaryFile() as spool:
        os.dup2(spool.fileno(), 2)
        try:
            yield
        except BaseException:
            spool.seek(0)
            os.write(kept, spool.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def strategy_for(train: TrainConfig) -> Any:
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
        raise InputError("TF_CONFIG names several workers: leave out train.devices, and set CUDA_VISIBLE_DEVICES.")
    names = [name if ":" in name else f"GPU:{name}" for name in train.devices.replace(" ", "").split(",") if name]
    there = [":".join(device.name.split(":")[-2:]) for device in tf.config.list_logical_devices()] if names else []
    for name in names:
        if name not in there:
            raise InputError(f"There is no device {name}; there are: {', '.join(there)}.")
        if names.count(name) > 1:
            raise InputError(f"train.devices names {name} twice.")
    count = workers * max(len(tf.config.list_physical_devices("GPU")), 1) if workers > 1 else len(names)
    if count and train.batch_size % count:
        raise InputError(f"train.batch_size is {train.batch_size}; it must be a multiple of the {count} devices.")
    if workers > 1:
        others = ", ".join(worker for worker in together if worker != own)
        print(f"This is {own}. Training begins when {others} can be reached …", file=sys.stderr, flush=True)
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


def has_workers(strategy: Any) -> bool:
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
    return f"{_processor()}, {os.cpu_count()} cores"


def fastest_precision() -> str:
    """The dtype policy for training here: "mixed_bfloat16" where the processor has instructions for it.

    On a GPU it is "float32", whose products are TensorFloat-32's.
    """
    import tensorflow as tf

    has_bfloat16 = not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())
    return "mixed_bfloat16" if has_bfloat16 and not tf.config.list_physical_devices("GPU") else "float32"


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def describe_kernels(model: Any) -> dict[str, str]:
    """For each recurrent layer of a model, by its name, the kernel that serves it and why no faster one."""
    import keras

    from nlp_rnn.layers.recurrent import describe_kernel

    found = {}
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.RNN):
            found[layer.name] = describe_kernel(layer)
    return found


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
