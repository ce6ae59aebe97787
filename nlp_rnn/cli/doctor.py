"""`doctor`: what this machine has, which kernels would serve, and what is missing."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

NEEDED = (
    "tensorflow",
    "keras",
    "tensorflow-text",
    "datasets",
    "sentencepiece",
    "tensorboard",
    "numpy",
    "matplotlib",
    "tyro",
)


def run(arguments: list[str]) -> int:
    """Prints versions, devices, kernels and problems; exit code 1 if something is missing."""
    report = examine()
    if "--json" in arguments:
        print(json.dumps(report, indent=1))
        return 1 if report["missing"] else 0
    for section in ("versions", "devices", "kernels"):
        print(section)
        for name, value in report[section].items():
            print(f"  {name:<18} {value}")
    print("missing")
    for line in report["missing"] or ["nothing"]:
        print(f"  {line}")
    for line in report["notes"]:
        print(f"note: {line}")
    return 1 if report["missing"] else 0


def examine() -> dict[str, Any]:
    """The facts, as printed with `--json`."""
    versions = {"python": platform.python_version(), **{name: _version(name) for name in NEEDED}}
    missing = [f"{name}: pip install {name}" for name, found in versions.items() if found == "not installed"]
    if any(line.startswith(("tensorflow:", "keras:")) for line in missing):
        return {"versions": versions, "devices": {}, "kernels": {}, "missing": missing, "notes": []}
    from nlp_rnn.startup import import_tensorflow
    from nlp_rnn.training.devices import describe_device

    tf = import_tensorflow()
    if tf.keras.backend.backend() != "tensorflow":
        missing.append("Keras uses another backend: unset KERAS_BACKEND or set it to tensorflow")
    try:
        import tensorflow_text  # noqa: F401
    except Exception as error:
        missing.append(f"tensorflow-text does not load ({type(error).__name__}): install the version that matches it")
    from nlp_rnn.layers import GRU, LSTM, SimpleRNN
    from nlp_rnn.layers.kernels import describe_kernel
    from nlp_rnn.layers.native import library

    layers = {
        "LSTM": LSTM(1),
        "LSTM, weight_drop": LSTM(1, weight_drop=0.5),
        "GRU": GRU(1),
        "SimpleRNN": SimpleRNN(1),
    }
    gpus = tf.config.list_physical_devices("GPU")
    notes = [] if gpus else ['no GPU is visible: training runs on the CPU; with one, install "nlp-rnn[gpu]"']
    if not gpus and library().reason:
        notes.append(f"recurrent layers run without the compiled kernels: {library().reason}")
    if not os.environ.get("NLP_RNN_DATA"):
        notes.append("NLP_RNN_DATA is not set: tests that measure on published data sets are skipped")
    return {
        "versions": versions,
        "devices": {"used": describe_device(), "GPUs": str(len(gpus)), "CPU cores": str(os.cpu_count())},
        "kernels": {name: describe_kernel(layer) for name, layer in layers.items()},
        "missing": missing,
        "notes": notes,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
