"""What a run can be written as."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.values import to_dict
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import keras

    from nlp_rnn.assets import Assets
    from nlp_rnn.config.sections import Settings
    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import AnyTask

FORMATS = {
    "savedmodel": ("float32", "bfloat16", "int8"),
    "onnx": ("float32", "int8"),
    "litert": ("float32", "int8"),
}
"""And how each can keep weights."""
KERNELS = ("portable", "native")
_SOURCES = ("train", "validation", "test")  # whoever gets a model need not know where its data lay


def about_of(run: AnyRun, kernels: str = "portable") -> dict[str, Any]:
    """What a description says beside the signatures."""
    from nlp_rnn.export.savedmodel import libraries_of

    settings = to_dict(run.config)
    needed = {name: dict(asset) for name, asset in run.assets.items() if getattr(asset, "clients_need", False)}
    return {
        "task": run.task.name,
        "input": run.task.input.name,
        "libraries": ["tensorflow", *libraries_of(run.assets, kernels)],
        "labels": list(run.assets.get("labels", ())),
        "assets": needed,
        "settings": {**settings, "data": {n: v for n, v in settings["data"].items() if n not in _SOURCES}},
    }


def _file_of(module: str) -> Path:
    return Path(str(import_module(module).__file__))


def described_signatures(task: AnyTask, config: Settings, model: keras.Model, assets: Assets) -> dict[str, Signature]:
    """The signatures of a task, the default one with the example of its input if it has none."""
    from nlp_rnn.export.signatures import as_signature

    found = {name: as_signature(value) for name, value in task.signatures(config, model, assets).items()}
    default = found["serving_default"]
    example = default.example or task.input.serving_arguments([task.example_for(assets)])
    return {**found, "serving_default": replace(default, example=example)}


def export(run: AnyRun, path: Path, to: str, weights: str, kernels: str = "portable") -> Path:
    """Writes a run; see `Run.export`."""
    task = run.task
    about = {**about_of(run, kernels), "weights": weights}

    def signatures(model: keras.Model) -> dict[str, Signature]:
        return described_signatures(task, run.config, model, run.assets)

    if to not in FORMATS:
        raise InputError(f'There is no format "{to}"; choose {", ".join(FORMATS)}.')
    if weights not in FORMATS[to]:
        raise InputError(f'--to {to} has no weights of "{weights}"; choose {" or ".join(FORMATS[to])}.')
    if kernels != "portable":
        _check_native(to, kernels)
    if to == "onnx":
        from nlp_rnn.export.onnx import export_onnx

        beside = {"example.py": Path(str(files(task.resources))) / "plain.py"} if task.resources else {}
        beside |= {place.name: place for place in map(_file_of, task.modules)}
        return export_onnx(path, run.model, run.assets, signatures, about, weights == "int8", beside)
    if to == "litert":
        from nlp_rnn.export.litert import export_litert

        return export_litert(path, run.model, run.assets, signatures, about, weights == "int8")
    from nlp_rnn.export.savedmodel import export_saved_model

    example = task.example_for(run.assets)

    def predicted(model: keras.Model) -> list[dict[str, Any]]:
        return [dict(vars(one)) for one in type(run)(task, run.config, run.assets, model).predict([example])]

    return export_saved_model(path, run.model, run.assets, signatures, predicted, about, weights, kernels)


def _check_native(to: str, kernels: str) -> None:
    """Whether compiled kernels can be had.

    Raises:
        InputError: not in this format, or not on this machine.
    """
    if kernels not in KERNELS:
        raise InputError(f'There are no kernels "{kernels}"; choose {" or ".join(KERNELS)}.')
    if to != "savedmodel":
        raise InputError(f"--kernels native is for SavedModels; {to} has kernels of its own.")
    from nlp_rnn.layers import native
    from nlp_rnn.machine import has_gpu

    if reason := "a GPU is visible (CUDA_VISIBLE_DEVICES=-1 hides it)" if has_gpu() else native.unavailable():
        raise InputError(f"--kernels native cannot be had here: {reason}.")
