"""The run directory as an object: what the command line, notebooks and servers call to predict and evaluate.

config.yaml  assets/<name>/  model.keras  checkpoints/  metrics.jsonl  report.json  card.md  logs/  plots/
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import yaml

from nlp_rnn.config import override, read_yaml, to_dict
from nlp_rnn.data.batching import Batches
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError
from nlp_rnn.registry import get_task
from nlp_rnn.tasks.base import Assets, Task

FORMAT = 1
_CHUNK = 4000


class Run:
    """A trained model with all that is needed to use it.

    Args:
        task: what it does.
        config: the task's `Config` it was trained with.
        assets: tokenizers and labels.
        model: the `keras.Model`; fine-tune it as you like.
        path: the run directory.
        report: what `report.json` holds.

    Example:

        run = nlp_rnn.load("runs/starter")
        run("A joyless slog.").label
        run.evaluate("test.csv", text="review", label="verdict")["accuracy"]
    """

    def __init__(
        self,
        task: Task,
        config: Any,
        assets: Assets,
        model: Any,
        path: str | Path | None = None,
        report: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.config, self.assets, self.model = task, config, assets, model
        if task.search is not None:
            model.search = task.search(config, assets)
        self.path = Path(path) if path is not None else None
        self.report = report or {}

    def __repr__(self) -> str:
        return f"Run({self.task.name}, {self.path})"

    @property
    def metrics(self) -> dict[str, Any]:
        """Those of the test data, or of the validation data where there was none."""
        results = self.report.get("metrics", {})
        return results.get("test") or results.get("validation") or {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch of training: losses, validation metrics, speed."""
        path = (self.path or Path()) / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def __call__(self, inputs: str | Sequence[str]) -> Any:
        """Predicts for a text, or for a list of texts."""
        if isinstance(inputs, str):
            return next(self.predict([inputs]))
        return list(self.predict(inputs))

    def predict(self, inputs: Sequence[str] | Records) -> Iterator[Any]:
        """Predictions for texts or records, in order, a chunk in memory at a time."""
        records = inputs if isinstance(inputs, Records) else self._as_records(inputs)
        for chunk in records.chunks(_CHUNK):
            yield from self.task.decode(self.infer(chunk), chunk, self.assets)

    def evaluate(self, data: Any, **columns: Any) -> dict[str, Any]:
        """The task's metrics on a data source or on records.

        Args:
            data: whatever `data.train` takes, or `Records`.
            **columns: settings of `data`, such as `text="review"`.
        """
        return evaluate_records(self, data if isinstance(data, Records) else self.read(data, **columns))

    def read(self, data: str | Sequence[str], split: str = "test", **columns: Any) -> Records:
        """Reads records for this run from a data source; of one with several splits, `split`."""
        sources = [data] if isinstance(data, (str, Path)) else list(data)
        place = "test" if split == "predict" else split
        settings = {place: [str(source) for source in sources], **columns}
        return self.task.read(override(self.config, {"data": settings}), split)

    def batches(self, data: str | dict[str, Any], seed: int | None = 0) -> Any:
        """A `tf.data.Dataset` for `model.fit`: one epoch per pass, in an order that `seed` gives.

        Args:
            data: a data source, or settings of `data` such as `{"train": "mine.csv", "text": "review"}`.
        """
        settings = data if isinstance(data, dict) else {"train": [str(data)]}
        settings = {"validation_fraction": 0.0, "test_fraction": 0.0, **settings}
        config = override(self.config, {"data": settings})
        return self.task.batches(config, self.assets, self.task.read(config, "train"), seed).dataset()

    def compile(self, learning_rate: float | None = None) -> None:
        """Compiles the model with the loss and optimizer of the configuration, the learning rate constant."""
        from nlp_rnn.training.compiling import compile_model

        compile_model(self.model, self.task.loss(self.config), self.config.train, learning_rate=learning_rate)

    def calibrate(self, records: Records) -> None:
        """Fits what makes the model's confidences honest, where it has such a thing, to labelled records."""
        if hasattr(self.model, "calibrate"):
            logits = self.infer(records)["logits"]
            self.model.calibrate(logits, self._batches[records].targets)

    def infer(self, records: Records) -> dict[str, Any]:
        """Outputs of the model for each record, in order.

        Returns:
            By name what `by_record` of the task's batches makes of them.
        """
        if records not in self._batches:
            self._batches[records] = self.task.batches(self.config, self.assets, records, None)
        batches = self._batches[records]
        found: dict[str, dict[int, Any]] = {}
        for indices, features in batches.indexed():
            for name, value in self._infer_batch(features).items():
                column = found.setdefault(name, {})
                for place, index in enumerate(indices):
                    column[int(index)] = value[place]
        return {name: batches.by_record([column[i] for i in range(len(column))]) for name, column in found.items()}

    def held_out(self, count: int) -> Records | None:
        """A few test records, or validation records, spread over all of them."""
        records = self.task.read(self.config, "test") or self.task.read(self.config, "validation")
        if records is None:
            return None
        return records.select(sorted({int(i) for i in np.linspace(0, len(records) - 1, count)}))

    def save(self, path: str | Path) -> None:
        """Writes the run so that `nlp_rnn.load` finds it.

        Raises:
            InputError: another run is there.
        """
        path = Path(path)
        own = self.path is not None and path.resolve() == self.path.resolve()
        if not own and (path / "config.yaml").exists():
            raise InputError(f"{path} holds another run: choose another folder, or delete that one first.")
        self.save_settings(path)
        temporary = path / ".model.tmp.keras"
        self.model.save(temporary)
        temporary.replace(path / "model.keras")
        if self.report:
            (path / "report.json").write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        self.path = path

    def save_settings(self, path: Path) -> None:
        """Writes `config.yaml` and `assets/`."""
        path.mkdir(parents=True, exist_ok=True)
        self.assets.save(path / "assets")
        settings = {"task": self.task.name, "format": FORMAT, **to_dict(self.config)}
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        (path / "config.yaml").write_text(text, encoding="utf-8")

    def export(self, path: str | Path) -> Path:
        """Writes a SavedModel that takes raw strings."""
        from nlp_rnn.export.savedmodel import export_saved_model

        def signatures(model: Any) -> dict[str, Any]:
            return self.task.signatures(self.config, model, self.assets)

        return export_saved_model(Path(path), self.model, self.assets, signatures)

    @cached_property
    def _batches(self) -> WeakKeyDictionary[Records, Batches]:
        """Records are tokenised once, however often they are measured."""
        return WeakKeyDictionary()

    @cached_property
    def _compiled(self) -> dict[tuple[tuple[str, int], ...], Any]:
        return {}

    def _infer_batch(self, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        key = tuple((name, value.ndim) for name, value in features.items())
        if key not in self._compiled:
            signature = {name: tf.TensorSpec([None] * ndim, tf.int32) for name, ndim in key}
            self._compiled[key] = tf.function(self._outputs, input_signature=[signature], autograph=False)
        outputs = self._compiled[key]({name: tf.constant(value) for name, value in features.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    def _outputs(self, features: dict[str, Any]) -> dict[str, Any]:
        if hasattr(self.model, "infer"):
            return self.model.infer(features)
        return {"logits": self.model(features, training=False)}

    def _as_records(self, inputs: Sequence[str]) -> Records:
        name = dataclasses.fields(self.task.prediction)[0].name
        return Records([{name: text} for text in inputs])


def predict_and_measure(run: Run, records: Records) -> tuple[list[Any], dict[str, Any]]:
    """Predictions for labelled records, and the task's metrics of them."""
    outputs = run.infer(records)
    predictions = run.task.decode(outputs, records, run.assets)
    return predictions, run.task.metrics(records, predictions, outputs, run.assets)


def evaluate_records(run: Run, records: Records) -> dict[str, Any]:
    """The task's metrics of a run on labelled records."""
    return predict_and_measure(run, records)[1]


def read_settings(path: Path, task: str | None = None) -> tuple[Task, Any]:
    """The task and the configuration of a run directory.

    Raises:
        InputError: it is none, is from a newer version, or is of another task than `task`.
    """
    if not (path / "config.yaml").is_file():
        reason = "holds no run (it has no config.yaml)" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {reason}; give the directory that training wrote.")
    values = read_yaml(path / "config.yaml")
    name, form = values.pop("task", None), values.pop("format", FORMAT)
    if not isinstance(form, int) or form > FORMAT:
        raise InputError(f"{path} was written by a newer version of nlp-rnn; upgrade with `pip install -U nlp-rnn`.")
    if task is not None and name != task:
        raise InputError(f'{path} is a run of the task "{name}", not "{task}"; use that task\'s commands.')
    found = get_task(str(name))
    return found, override(found.Config(), values)


def load(path: str | Path, task: str | None = None) -> Run:
    """Loads a run.

    Args:
        path: the run directory.
        task: the task that it must be of, if that matters.

    Raises:
        InputError: there is no finished run of that task.

    Example:

        nlp_rnn.load("runs/starter")(["Loved it.", "It broke."])
    """
    path = Path(path)
    found, config = read_settings(path, task)
    if not (path / "model.keras").is_file():
        raise InputError(f"{path} is not finished: continue it with `nlp-rnn train {found.name} --resume {path}`.")
    from nlp_rnn.training.devices import import_tensorflow

    import_tensorflow()
    import keras

    import nlp_rnn.models  # noqa: F401  registers the classes

    try:
        model = keras.saving.load_model(path / "model.keras", compile=False)
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = {}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path / 'model.keras'} cannot be loaded ({error}); copy the run anew.") from None
    return Run(found, config, Assets.load(path / "assets"), model, path, report)
