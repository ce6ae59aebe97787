"""How TensorFlow is imported: without its chatter, keeping freed memory, and what XLA compiled.

Importing this module does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

from nlp_rnn.machine import has_nvidia_driver, instructions
from nlp_rnn.paths import cache_folder, use_writable_home

if TYPE_CHECKING:
    from types import ModuleType


def import_tensorflow() -> ModuleType:
    """Imports TensorFlow without its start-up chatter; lets GPUs take memory as they need it, and keeps what is freed.

    No log variable silences TensorFlow 2.21 as it starts; what it writes to file descriptor 2 meanwhile is
    shown only if the import fails.
    """
    _keep_freed_memory()
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    use_writable_home()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back(), _uncollected():
        import keras  # noqa: F401
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.get_logger().setLevel("ERROR")
    return tf


def keep_what_xla_compiles() -> None:
    """Lets TensorFlow, if it is not imported yet, keep what XLA compiles for the processor from run to run."""
    if "tensorflow" in sys.modules or has_nvidia_driver():
        return
    machine = f"{version('tensorflow')} {instructions()}"
    folder = cache_folder() / f"xla-{hashlib.sha256(machine.encode()).hexdigest()[:16]}"
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache" not in flags and " " not in str(folder):
        os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={folder}".strip()


def _keep_freed_memory() -> None:
    """Has the C library reuse large blocks, if it is glibc and the environment does not tell it what to do.

    Otherwise it returns each to the system at once, and TensorFlow, which frees a tensor at its last use, waits for the
    same pages at the next step: over a large vocabulary a third of the time of training. Few arenas, since what
    one thread frees another allocates, and only the first arena holds blocks above 64 MB; but not one, for whose lock
    the threads of a graph of small operations would wait, which took 1.6 times as long.
    """
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not told:
        arena_max, mmap_max, top_pad = -8, -4, -2  # as malloc.h numbers them
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((arena_max, 2), (mmap_max, 0), (top_pad, 64 << 20)):
            mallopt(parameter, value)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Looks for no garbage meanwhile, and never again among what is then there: a sixth of the time until the first
    step would go into that, in vain, since modules live as long as the process."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


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
