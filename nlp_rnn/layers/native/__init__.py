"""The kernels in C++, of recurrences, chains and scans: compiled on first use where there is a compiler, and then kept.

They need TensorFlow's headers, which come with it, and a C++17 compiler (`$CXX`, `c++`, `g++` or `clang++`); without
one the loops of `loop.py` serve. `NLP_RNN_NATIVE=0` turns them off, `NLP_RNN_CACHE` names another folder than
`~/.cache/nlp-rnn` for what was compiled.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
from tensorflow.python.saved_model import save_context

from nlp_rnn.machine import cores, instructions
from nlp_rnn.paths import cache_folder, is_private

SOURCES = Path(__file__).parent
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-shared", "-fPIC", "-pthread"]


@dataclass(frozen=True)
class Library:
    """The compiled operations, or why there are none.

    Args:
        operations: the module of TensorFlow's wrappers; None where they cannot be had.
        reason: why they cannot.
    """

    operations: Any
    reason: str = ""


def foreign_graph() -> str:
    """What is being traced that may hold nothing but TensorFlow's own kernels of all devices; empty if nothing is."""
    if save_context.in_save_context():
        return "a SavedModel is being written"
    return "the graph is for XLA" if GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()) else ""


def unavailable() -> str:
    """Why the operations cannot serve in what is being traced or run now; empty if they can."""
    return foreign_graph() or library().reason


@functools.cache
def library() -> Library:
    """Compiles the operations, unless that was done before, and loads them."""
    if os.environ.get("NLP_RNN_NATIVE", "1") == "0":
        return Library(None, "NLP_RNN_NATIVE is 0")
    found = _built_library()
    if found.operations is None:
        print(f"Recurrent layers run slower on this machine: {found.reason}.", file=sys.stderr, flush=True)
    return found


def _built_library() -> Library:
    compiler = _compiler()
    if compiler is None:
        return Library(None, "there is no C++ compiler")
    try:
        path = _compiled(compiler)
        operations = tf.load_op_library(str(path))
        set_threads = ctypes.CDLL(str(path)).nlp_rnn_set_threads
        for name in ("recurrent_forward", "recurrent_backward", "chain", "scan_forward", "scan_backward"):
            getattr(operations, f"nlp_rnn_{name}")
    except (OSError, AttributeError, subprocess.SubprocessError, tf.errors.OpError) as error:
        output = getattr(error, "stderr", "") or str(error)
        return Library(None, f"compiling or loading them failed: {output.strip().splitlines()[-1] if output else ''}")
    set_threads(tf.config.threading.get_intra_op_parallelism_threads() or cores())
    return Library(operations)


def _compiler() -> str | None:
    candidates = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    return next((found for name in candidates if name and (found := shutil.which(name))), None)


def _compiled(compiler: str) -> Path:
    """The library's path, after compiling it if need be: one per source, TensorFlow, compiler and processor.

    The digest of its contents is part of its name: what is not what was compiled here, or what others may write, is
    compiled anew.
    """
    flags = [*FLAGS, "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"]
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".cc", ".h"))
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256()
    for part in [tf.__version__, version, instructions(), *flags, *(path.read_text() for path in sources)]:
        key.update(part.encode())
    folder, name = cache_folder(), f"recurrent-{key.hexdigest()[:16]}"
    for path in folder.glob(f"{name}-*.so"):
        if is_private(path) and path.stem == f"{name}-{_digest(path)}":
            return path
    print("Compiling the kernels for this machine, once …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch) / "built.so"
        options = [*flags, *tf.sysconfig.get_compile_flags()]
        parts = [source for source in sources if source.suffix == ".cc"]
        objects = [str(Path(scratch) / f"{source.stem}.o") for source in parts]
        commands = [[compiler, *options, "-c", str(s), "-o", o] for s, o in zip(parts, objects, strict=True)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(_quietly, commands))
        _quietly([compiler, *options, *objects, "-o", str(built), *tf.sysconfig.get_link_flags()])
        built.chmod(0o700)
        path = folder / f"{name}-{_digest(built)}.so"
        os.replace(built, path)  # whole, also when several processes compile
    return path


def _quietly(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
