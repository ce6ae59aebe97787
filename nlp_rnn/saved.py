"""What a run directory holds → task and settings, assets, model, and records read with its settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from nlp_rnn.assets import Assets
from nlp_rnn.config.sections import DataConfig, Settings
from nlp_rnn.config.values import override, read_yaml
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError
from nlp_rnn.paths import replace_files, replacing
from nlp_rnn.registry import get_task
from nlp_rnn.tasks.base import AnyTask

if TYPE_CHECKING:
    import keras

FORMAT = 1


def read_settings(path: Path, task: str | None = None) -> tuple[AnyTask, Settings]:
    """The task and the configuration of a run directory.

    Raises:
        InputError: it is none, is from a newer version, or is of another task than `task`.
    """
    if not (path / "config.yaml").is_file():
        reason = "holds no run (it has no config.yaml)" if path.is_dir() else "does not exist"
        reason = "is a file" if path.is_file() else reason
        inside = sorted(child.parent.name for child in path.glob("*/config.yaml")) if path.is_dir() else []
        remedy = (
            f"give one of the runs in it, such as {path / inside[0]}"
            if inside
            else "give the directory that training wrote"
        )
        raise InputError(f"{path} {reason}; {remedy}.")
    values = read_yaml(path / "config.yaml")
    name, form = values.pop("task", None), values.pop("format", FORMAT)
    for digest in ("assets", "begun_with"):
        values.pop(digest, None)
    if not isinstance(form, int) or form > FORMAT:
        raise InputError(f"{path} was written by a newer version of nlp-rnn; upgrade with `pip install -U nlp-rnn`.")
    if not isinstance(name, str):
        raise InputError(f"{path / 'config.yaml'} does not say which task it is of; copy the run again.")
    if task is not None and name != task:
        raise InputError(f'{path} is a run of the task "{name}", not "{task}"; use that task\'s commands.')
    found = get_task(name)
    return found, override(found.Config(), values)


def task_of(path: str, task: str | None = None) -> AnyTask:
    """The task of a run directory.

    Raises:
        InputError: as `read_settings`.
    """
    return read_settings(Path(path), task)[0]


def load_assets(path: Path) -> Assets:
    """The assets of a run directory.

    Raises:
        InputError: they are not those that the run saved.
    """
    values = read_yaml(path / "config.yaml")
    allowed = [values.get("assets")]
    if not (path / "report.json").exists():  # ended while they were exchanged for what was learned
        allowed.append(values.get("begun_with"))
    return Assets.load(path / "assets", *filter(None, allowed))


def write_settings(path: Path, about: dict[str, object], settings: dict[str, object], assets: Assets) -> None:
    """Writes `config.yaml` and `assets/` of a run directory. Whenever it is ended, both fit together: where they were
    written before, one file of the assets changes at most, for what is learned after training.

    Args:
        path: the run directory.
        about: the task and the format.
        settings: plain values.
        assets: of the run.
    """
    path.mkdir(parents=True, exist_ok=True)
    begun_with = begun_with_assets(path)
    with tempfile.TemporaryDirectory(dir=path, prefix=".assets.tmp") as temporary:
        assets.save(Path(temporary))
        now = Assets.fingerprint(Path(temporary))
        digests = {"assets": now, **({"begun_with": begun_with} if begun_with not in ("", now) else {})}
        if not begun_with:  # a run begins with both or none
            replace_files(Path(temporary), path / "assets")
        with replacing(path / "config.yaml") as place:
            text = yaml.safe_dump({**about, **digests, **settings}, sort_keys=False, allow_unicode=True)
            place.write_text(text, encoding="utf-8")
        if begun_with:
            replace_files(Path(temporary), path / "assets")


def begun_with_assets(path: Path) -> str:
    """The digest of the assets that a run began with, whatever was added to them after training; empty, where there is
    no run."""
    if not (path / "config.yaml").is_file():
        return ""
    values = read_yaml(path / "config.yaml")
    return str(values.get("begun_with") or Assets.fingerprint(path / "assets"))


def model_in(path: Path, task: AnyTask, assets: Assets) -> keras.Model:
    """The model of a run directory.

    Raises:
        InputError: it is damaged, or is not that of the task and the assets.
    """
    import keras

    import nlp_rnn.models  # noqa: F401  registers the classes

    try:
        model = keras.saving.load_model(path / "model.keras", compile=False)
    except Exception as error:  # whatever a damaged archive raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = reason if zipfile.is_zipfile(path / "model.keras") else "it is not complete"
        raise InputError(f"{path / 'model.keras'} cannot be loaded ({reason}); copy the run again.") from error
    try:
        fits = task.fits is None or task.fits(model, assets)
    except AttributeError:  # of another task, or of your own
        fits = not type(model).__module__.startswith("nlp_rnn.")
    if not fits:
        raise InputError(f"{path / 'model.keras'} does not belong to {path / 'assets'}: copy the run again.")
    return model


def report_in(path: Path) -> dict[str, Any]:
    """What `report.json` of a run directory says; nothing, where there is none that can be read, since predicting needs
    none."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((path / "report.json").read_text(encoding="utf-8")))
    return {}


def read_records(task: AnyTask, config: Settings, data: object, split: str, **columns: Any) -> Records:
    """Records of a task from a source or from rows in memory.

    Args:
        task: whose records they are.
        config: its settings; those of `data` say how the source is read, as far as `columns` does not.
        data: what `data.train` takes, or rows in memory.
        split: of a source with several; "predict" for records without labels.
        **columns: settings of `data`.

    Raises:
        InputError: the source cannot be read, or has no such split.
    """
    from nlp_rnn.data.memory import sources_of

    sources = sources_of(data)
    place = "test" if split == "predict" else split
    settings = override(config, {"data": {"delimiter": "", place: sources, **columns}})
    refuse_training_settings(config.data, settings.data)
    records = task.read(settings, split)
    if records is None:
        raise InputError(f'{", ".join(sources)} has no "{split}" split.')
    return records


def refuse_training_settings(data: DataConfig, given: DataConfig) -> None:
    """What training alone has to do with must be as a run has it when its data are read.

    Args:
        data: the section of the run.
        given: the same with another source.

    Raises:
        InputError: it is other.
    """
    for name in ("train_records", "backward"):
        if getattr(given, name, None) != getattr(data, name, None):
            raise InputError(f"data.{name} is a setting of training, and the run is trained: leave it out.")


def weights_digest(model: keras.Model) -> str:
    """A digest of what a model has learned."""
    digest = hashlib.blake2b(digest_size=8)
    for variable in model.weights:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def write_state(path: Path, model: keras.Model, about: dict[str, object], parts: Sequence[np.ndarray]) -> None:
    """Keeps the state of a stream.

    Args:
        path: the file.
        model: that goes on from it.
        about: plain values.
        parts: arrays.
    """
    with replacing(path) as place, open(place, "wb") as sink:
        arrays: dict[str, Any] = {f"part_{i}": part for i, part in enumerate(parts)}
        np.savez(sink, about=np.array(json.dumps({**about, "run": weights_digest(model)})), **arrays)


def read_state(path: Path, model: keras.Model, count: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What `write_state` kept, with `count` arrays.

    Raises:
        InputError: the file is of another run, or is something else.
    """
    try:
        with np.load(path) as found:
            about = json.loads(str(found["about"]))
            parts = [found[f"part_{i}"] for i in range(count)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(f"{path} holds no state of `watch`; name another --state, or delete it.") from None
    if about.pop("run", None) != weights_digest(model):
        raise InputError(f"{path} is the state of another run; name another --state, or delete it.")
    return about, parts
