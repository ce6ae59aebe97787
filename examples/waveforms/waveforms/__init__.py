"""Waveforms: noisy samples of two channels → the shape of the wave, with a probability."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nlp_rnn.assets import Assets, Labels, register_asset
from nlp_rnn.config.recipes import starter_folder
from nlp_rnn.config.sections import DataConfig, StackConfig, TrainConfig
from nlp_rnn.data.batching import Batches, Rows
from nlp_rnn.data.fields import Fields
from nlp_rnn.data.labels import class_targets
from nlp_rnn.data.records import Records
from nlp_rnn.data.splits import read_split
from nlp_rnn.metrics.classification import classification_report, softmax
from nlp_rnn.tasks.base import Metric, NoOptions, Task
from nlp_rnn.tasks.inputs import SeriesInput


@dataclass(frozen=True)
class WaveData(DataConfig):
    """Where the waves come from."""

    values: str = "values"
    """Field of the samples: a list of steps with a number for each channel."""


@dataclass(frozen=True)
class Config:
    """Settings of the task."""

    data: WaveData = field(default_factory=WaveData)
    stack: StackConfig = field(default_factory=StackConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Wave:
    """One result: the samples, the most probable shape, and its probability."""

    values: list[list[float]]
    label: str
    probability: float


class Scaler(list[list[float]]):
    """The mean and the spread of each channel."""

    asset_kind: ClassVar[str] = "waveforms scaler"

    def save(self, path: Path) -> None:
        path.with_suffix(".json").write_text(json.dumps(self))

    @classmethod
    def load(cls, path: Path) -> Scaler:
        return cls(json.loads(path.with_suffix(".json").read_text()))


def read(config: Config, split: str) -> Records | None:
    """Records `{"values", "label", "line"}`."""
    columns = {"values": config.data.values, "label": "label"}
    fields = Fields(columns, label="label", kinds={"values": "series"})
    return read_split(config.data, split, fields, config.train.seed, starter_folder("waveforms"))


def assets(config: Config, records: Records) -> Assets:
    """Collects the labels and measures the channels."""
    steps = Rows.of(records.column("values"), np.float64).values
    scaler = Scaler([steps.mean(0).tolist(), (steps.std(0) + 1e-6).tolist()])
    return Assets({"labels": Labels(sorted(set(records.column("label")))), "scaler": scaler})


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"values", "lengths"}`, one-hot targets and weights."""
    values = Rows.of(records.column("values"), np.float32, (len(assets.scaler[0]),))
    targets = class_targets(records, assets.labels)
    return Batches({"values": values}, targets, config.train.batch_size, None, seed, config.train.buckets)


def build(config: Config, assets: Assets) -> Any:
    """Projection, recurrent stack and head."""
    from nlp_rnn.layers import FrameProjection
    from nlp_rnn.models import ClassifierHead, SequenceClassifier
    from nlp_rnn.models.sections import stack_from

    (mean, spread), head = assets.scaler, ClassifierHead(len(assets.labels), "mean+max")
    frames = FrameProjection(len(mean), 16, mean, spread)
    model = SequenceClassifier(frames, stack_from(config.stack, config.train.dtype_policy), head, reads="values")
    model.build()
    return model


def loss(config: Config) -> Any:
    """Cross-entropy."""
    from keras.losses import CategoricalCrossentropy

    return CategoricalCrossentropy(from_logits=True)


def decode(outputs: dict[str, Any], records: Records, assets: Assets, options: NoOptions) -> list[Wave]:
    """Logits → shapes and probabilities."""
    rows = zip(records.column("values"), softmax(np.asarray(outputs["logits"])), strict=True)
    return [Wave(values, assets.labels[int(p.argmax())], float(p.max())) for values, p in rows]


def evaluate(records: Records, predictions: Any, outputs: dict[str, Any], assets: Assets) -> dict[str, Any]:
    """Accuracy, macro-F1, per class, calibration."""
    targets = class_targets(records, assets.labels).argmax(-1)
    return classification_report(np.asarray(outputs["logits"]), targets, assets.labels)


def signatures(config: Config, model: Any, assets: Assets) -> dict[str, Any]:
    """`serving_default` takes padded samples and their lengths."""
    import tensorflow as tf

    values = tf.TensorSpec([None, None, len(assets.scaler[0])], tf.float32, "values")

    @tf.function(input_signature=[values, tf.TensorSpec([None], tf.int32, "lengths")], autograph=False)
    def serve(values: Any, lengths: Any) -> dict[str, Any]:
        p = tf.nn.softmax(model({"values": values, "lengths": lengths}, training=False))
        return {"label": tf.gather(tf.constant(assets.labels), tf.argmax(p, -1)), "probability": tf.reduce_max(p, -1)}

    return {"serving_default": serve}


register_asset(Scaler.asset_kind, "waveforms:Scaler.load")
TASK: Task[Config, Wave, NoOptions] = Task(
    name="waveforms",
    Config=Config,
    Prediction=Wave,
    input=SeriesInput("values", ((0.0, 0.1), (0.7, 0.8), (1.0, 0.9), (0.7, 0.8), (0.0, 0.0))),
    metric=Metric("accuracy"),
    unit="steps",
    resources="waveforms",
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    decode=decode,
    evaluate=evaluate,
    show=lambda wave, record: f"{wave.label} {wave.probability:.0%}",
    signatures=signatures,
)
