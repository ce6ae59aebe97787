"""The run directory as an object: what the command line, notebooks and servers call to predict and evaluate.

config.yaml  assets/<name>/  model.keras  checkpoints/  metrics.jsonl  report.json  card.md  logs/  plots/
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from nlp_rnn.assets import Assets
from nlp_rnn.card import model_card
from nlp_rnn.config.values import override, to_dict
from nlp_rnn.data.batching import EpochSource
from nlp_rnn.data.memory import data_settings, is_table
from nlp_rnn.data.records import Records
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.paths import replacing
from nlp_rnn.registry import get_task
from nlp_rnn.saved import (
    FORMAT,
    load_assets,
    model_in,
    read_records,
    read_settings,
    report_in,
    weights_digest,
    write_settings,
)
from nlp_rnn.tasks.base import C, Features, Metrics, O, Outputs, P, Task, changed_options
from nlp_rnn.tasks.inputs import records_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_CHUNK = 4000
_FEWEST_HALVED = 20


class Run(Generic[C, P, O]):
    """A trained model with all that is needed to use it.

    Args:
        task: what it does.
        config: the task's `Config` that it was trained with.
        assets: what stands between raw input and tensors.
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
        task: Task[C, P, O],
        config: C,
        assets: Assets,
        model: keras.Model,
        path: str | Path | None = None,
        report: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.config, self.assets, self.model = task, config, assets, model
        self.path = Path(path) if path is not None else None
        self.report = report or {}
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"Run({self.task.name}, {self.path})"

    @property
    def metrics(self) -> Metrics:
        """Those of the test data, or of the validation data where there was none."""
        results = self.report.get("metrics", {})
        return results.get("test") or results.get("validation") or {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch of training: losses, validation metrics, speed."""
        path = (self.path or Path()) / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def options(self, **changes: Any) -> O:
        """What may be changed after training, as the configuration has it but for the changes.

        Raises:
            InputError: there is no such option, or a number is out of range.
        """
        found: O = changed_options(self.task, self.config, changes)
        return found

    def __call__(self, inputs: Any, **changes: Any) -> Any:
        """Predicts for one input, or for a list of inputs; `changes` are those of `options`."""
        options = self.options(**changes)
        if isinstance(inputs, Mapping) or (not is_table(inputs) and self.task.input.is_one(inputs)):
            return next(self.predict([inputs], options))
        if not hasattr(inputs, "__iter__"):
            raise InputError(f"A run takes {self.task.input.noun}s, one or a list of them, not {inputs!r}.")
        return list(self.predict(inputs, options))

    def predict(self, inputs: Iterable[Any] | Records, options: O | None = None) -> Iterator[P]:
        """Predictions for inputs, for rows in memory or for records, in order, a chunk in memory at a time.

        Raises:
            InputError: the inputs are one text rather than several, or one of them is none.
        """
        if isinstance(inputs, (str, bytes)):
            raise InputError(
                f"predict takes several inputs: give a list, or call the run for one {self.task.input.noun}."
            )
        if not isinstance(inputs, Records):
            inputs = inputs if hasattr(inputs, "__len__") else list(inputs)
            inputs = self.read(inputs, "predict") if is_table(inputs) else records_of(self.task.input, inputs)
        return self._predictions(inputs, self.options() if options is None else options)

    def _predictions(self, records: Records, options: O) -> Iterator[P]:
        for chunk in records.chunks(_CHUNK):
            yield from self.task.decode(self.infer(chunk, options), chunk, self.assets, options)

    def evaluate(self, data: Any, options: O | None = None, **columns: Any) -> Metrics:
        """The task's metrics on a data source or on records.

        Args:
            data: whatever `data.train` takes, rows in memory, or `Records`.
            options: those of `options`, where they are not those of the configuration.
            **columns: settings of `data`, such as `text="review"`.
        """
        records = data if isinstance(data, Records) else self.read(data, **columns)
        return self.predict_and_measure(records, options)[1]

    def predict_and_measure(self, records: Records, options: O | None = None) -> tuple[Sequence[P], Metrics]:
        """Predictions for labelled records, and the task's metrics of them."""
        options = self.options() if options is None else options
        outputs = self.infer(records, options)
        predictions = self.task.decode(outputs, records, self.assets, options)
        return predictions, self.task.evaluate(records, predictions, outputs, self.assets)

    def read(self, data: Any, split: str = "test", **columns: Any) -> Records:
        """Reads records for this run from a source or from rows in memory; of one with several splits, `split`."""
        return read_records(self.task, self.config, data, split, **columns)

    def batches(self, data: Any, seed: int | None = 0) -> tf.data.Dataset:
        """Batches for `model.fit`: one epoch per pass, in an order that `seed` gives.

        Args:
            data: a data source, rows in memory, or settings of `data` such as
                `{"train": "mine.csv", "text": "review"}`.
            seed: of the order.
        """
        settings = {"validation_fraction": 0.0, "test_fraction": 0.0, **data_settings(data)}
        config = override(self.config, {"data": settings})
        records = self.task.read(config, "train")
        assert records is not None
        return self.task.batches(config, self.assets, records, seed).dataset()

    def compile(self, learning_rate: float | None = None) -> None:
        """Compiles the model with the loss and optimizer of the configuration, the learning rate constant."""
        from nlp_rnn.training.compiling import compile_model

        loss = self.task.loss(self.config)
        compile_model(self.model, loss, self.config.train, learning_rate=learning_rate)

    def calibrate(self, records: Records) -> Metrics | None:
        """Fits what makes the model's confidences honest, where it has such a thing, to labelled records.

        Returns:
            The metrics of the records with each half calibrated on the other, since confidences look better than they
            are where they were fitted; None where there is nothing to fit, or there are fewer than 20.
        """
        if self.task.calibrate is not None:
            return self.task.calibrate(self, records)
        if not hasattr(self.model, "calibrate"):
            return None
        targets = self.batches_of(records).targets  # type: ignore[attr-defined]
        outputs = self.infer(records)
        metrics = None
        if len(records) >= _FEWEST_HALVED:
            is_first = np.random.default_rng(0).permutation(len(records)) < len(records) // 2
            honest = np.array(outputs["logits"])
            for fitted in (is_first, ~is_first):
                some = {name: value[fitted] for name, value in outputs.items() if isinstance(value, np.ndarray)}
                self.model.calibrate(some, targets[fitted])
                outputs = self.infer(records)
                honest[~fitted] = outputs["logits"][~fitted]
            outputs_of_halves = {**outputs, "logits": honest}
            predictions = self.task.decode(outputs_of_halves, records, self.assets, self.options())
            metrics = self.task.evaluate(records, predictions, outputs_of_halves, self.assets)
        if note := self.model.calibrate(outputs, targets):
            console.print(note)
        return metrics

    def infer(self, records: Records, options: O | None = None) -> Outputs:
        """Outputs of the model for each record, in order.

        Returns:
            By name what the task's model infers: an array `[records, …]`, or a list of an array for each record where
            those differ in shape.
        """
        options = self.options() if options is None else options
        if options not in self._inference:
            self._inference[options] = lambda features: self.task.infer(self.model, features, options)
        return self.compute(records, self._inference[options])

    def compute(self, records: Records, function: Callable[[Features], Outputs]) -> Outputs:
        """Any function of the features of a batch, over all records, in order.

        Args:
            records: what the batches are made of.
            function: tensors by name → tensors `[batch, …]` by name; it is traced once.

        Returns:
            As `infer`.
        """
        import tensorflow as tf

        if os.getpid() != self._process:
            raise InputError(
                "This process was forked from the one that loaded the run, whose threads TensorFlow needs: load the "
                "run after forking, in each process, or start processes with the method spawn."
            )
        batches = self.batches_of(records)
        traced = self._traced_for(function, batches)
        found: dict[str, dict[int, Any]] = {}
        for indices, features in batches.indexed():
            outputs = traced({name: tf.constant(value) for name, value in features.items()})
            for name, value in outputs.items():
                column, rows = found.setdefault(name, {}), value.numpy()
                for place, index in enumerate(indices):
                    column[int(index)] = rows[place]
        return {name: batches.by_record([column[i] for i in range(len(column))]) for name, column in found.items()}

    def held_out(self, count: int) -> Records | None:
        """A few test records, or validation records, spread over all of them."""
        records = self.task.read(self.config, "test") or self.task.read(self.config, "validation")
        if records is None:
            return None
        return records.select(sorted({int(i) for i in np.linspace(0, len(records) - 1, count)}))

    def save(self, path: str | Path, metrics: Mapping[str, Metrics] | None = None) -> None:
        """Writes the run so that `nlp_rnn.load` finds it.

        Args:
            path: its directory.
            metrics: those of the model as it is now, by split, such as `{"test": run.evaluate("test.csv")}`. Where the
                weights are not those that the report measured, what it says counts as measured before.

        Raises:
            InputError: another run is there.
        """
        path = Path(path)
        own = self.path is not None and path.resolve() == self.path.resolve()
        if not own and (path / "config.yaml").exists():
            raise InputError(f"{path} holds another run: choose another folder, or delete that one first.")
        if not own and path.exists() and (path.is_file() or any(path.iterdir())):
            raise InputError(f"{path} holds something else: choose another folder.")
        self.save_settings(path)
        temporary = path / ".model.tmp.keras"
        self.model.save(temporary)
        temporary.replace(path / "model.keras")
        self.path = path
        if self.report:
            self._bring_up_to_date(metrics)
            for name, text in (
                ("card.md", model_card(self)),
                ("report.json", json.dumps(self.report, indent=1) + "\n"),
            ):
                with replacing(path / name) as place:
                    place.write_text(text, encoding="utf-8")

    def _bring_up_to_date(self, metrics: Mapping[str, Metrics] | None) -> None:
        """Tells metrics of other weights from those of the model as it is."""
        digest = weights_digest(self.model)
        if digest != self.report.get("weights", digest):
            before = self.report.get("metrics_before", self.report["metrics"])
            self.report = {**self.report, "metrics": {}, "metrics_before": before, "weights": digest}
        if metrics is not None:
            self.report = {**self.report, "metrics": dict(metrics)}

    def save_settings(self, path: Path) -> None:
        """Writes `config.yaml` and `assets/`."""
        write_settings(path, {"task": self.task.name, "format": FORMAT}, to_dict(self.config), self.assets)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: what `save` writes, and where the run came from."""
        with tempfile.TemporaryDirectory() as folder:
            self.assets.save(Path(folder) / "assets")
            self.model.save(Path(folder) / "model.keras")
            contents = io.BytesIO()
            with zipfile.ZipFile(contents, "w") as archive:
                for path in sorted(Path(folder).rglob("*")):
                    archive.write(path, path.relative_to(folder))
        return _unpickled, (self.task.name, self.config, contents.getvalue(), self.path, self.report)

    def export(
        self, path: str | Path, to: str = "savedmodel", weights: str = "float32", kernels: str = "portable"
    ) -> Path:
        """Writes the model for use elsewhere.

        Args:
            path: the folder to write.
            to: "savedmodel", which takes raw input; "onnx" or "litert", which take ids.
            weights: "float32", "int8", or for a SavedModel "bfloat16".
            kernels: of a SavedModel: "portable", TensorFlow's own, or "native", which are compiled where it is loaded.

        Raises:
            InputError: the folder holds something else, packages are missing, or this model cannot be written so.
            ExportDiffers: it gives other results than the run; nothing is written then.
        """
        from nlp_rnn.export import formats

        return formats.export(self, Path(path), to, weights, kernels)

    def batches_of(self, records: Records) -> EpochSource:
        """The batches of records for prediction; they are tokenised once, however often they are measured."""
        if records not in self._batches:
            self._batches[records] = self.task.batches(self.config, self.assets, records, None)
        return self._batches[records]

    def _traced_for(self, function: Callable[[Features], Outputs], batches: EpochSource) -> Any:
        """The function as a graph for batches of any size and length."""
        import tensorflow as tf

        specs = batches.element_spec[0]
        key = tuple((name, spec.shape[1:], spec.dtype) for name, spec in specs.items())
        traced = self._traced.setdefault(function, {})
        if key not in traced:
            signature = {name: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype) for name, spec in specs.items()}
            traced[key] = tf.function(function, input_signature=[signature], autograph=False)
        return traced[key]

    @cached_property
    def _batches(self) -> WeakKeyDictionary[Records, EpochSource]:
        return WeakKeyDictionary()

    @cached_property
    def _inference(self) -> dict[O, Callable[[Features], Outputs]]:
        return {}

    @cached_property
    def _traced(self) -> WeakKeyDictionary[Callable[[Features], Outputs], dict[Any, Any]]:
        return WeakKeyDictionary()


AnyRun: TypeAlias = Run[Any, Any, Any]


def _unpickled(task: str, config: C, contents: bytes, path: Path | None, report: dict[str, object]) -> AnyRun:
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()
    found = get_task(task)
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(io.BytesIO(contents)).extractall(folder)
        assets = Assets.load(Path(folder) / "assets")
        return Run(found, config, assets, model_in(Path(folder), found, assets), path, report)


def load(path: str | Path, task: str | None = None) -> AnyRun:
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
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()  # before tokenizers do, since it keeps TensorFlow quiet
    assets = load_assets(path)
    model = model_in(path, found, assets)
    report = report_in(path)
    if report:  # of version 0.1.0 it does not say of which weights it is
        report.setdefault("weights", weights_digest(model))
    return Run(found, config, assets, model, path, report)
