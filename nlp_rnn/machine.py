"""Facts about the machine that need no TensorFlow: processor, memory, and the precision that it computes fastest in."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path


def cpuinfo(key: str) -> str:
    """What Linux says of the first processor; empty where there is no such entry, as on macOS."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def processor() -> str:
    """The name of the processor."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def instructions() -> str:
    """The instructions that the processor has, as Linux lists them; its name where that is unknown."""
    return cpuinfo("flags") or cpuinfo("Features") or platform.processor()


def cores() -> int:
    """Processor cores that this process may use, where the system says so (macOS does not)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def total_memory() -> int:
    """The memory of the machine in bytes; 0 where that is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def has_nvidia_driver() -> bool:
    """Whether the driver of an NVIDIA GPU is installed."""
    return Path("/proc/driver/nvidia").exists()


def has_gpu() -> bool:
    """Whether a GPU is visible: asked of TensorFlow if that is imported already, else of the driver."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        return bool(tensorflow.config.list_physical_devices("GPU"))
    return has_nvidia_driver() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


def fastest_precision() -> str:
    """The dtype policy for training here: "mixed_bfloat16" where the processor has instructions for it.

    On a GPU it is "float32", whose products are TensorFloat-32's.
    """
    has_bfloat16 = not {"avx512_bf16", "amx_bf16"}.isdisjoint(instructions().split())
    return "mixed_bfloat16" if has_bfloat16 and not has_gpu() else "float32"
