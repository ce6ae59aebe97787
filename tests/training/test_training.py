"""What the settings of `train` do."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.config.sections import TrainConfig
from nlp_rnn.config.values import override
from nlp_rnn.errors import Diverged, InputError
from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.tasks.sentiment import TASK
from nlp_rnn.training.callbacks import LossGuard, Position
from nlp_rnn.training.compiling import compile_model
from nlp_rnn.training.devices import describe_kernels
from nlp_rnn.training.schedules import WarmupSchedule
from tests.conftest import slow
from tests.subjects import SUBJECTS, write_reviews

SMALL = {"embedding": {"size": 8}, "stack": {"units": 4}, "tokenizer": {"kind": "word", "min_count": 1}}
QUICK = {"epochs": 1, "batch_size": 8, "buckets": 1, "learning_rate": 0.02}


def train(out, train=None, **settings):
    """Trains on the few reviews that all tests share."""
    sections = {**SMALL, "data": SUBJECTS["sentiment"].data, "train": {**QUICK, **(train or {})}, **settings}
    return nlp_rnn.train("sentiment", out=out, **sections)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_schedule_follows_its_formula(kind):
    schedule = WarmupSchedule(2.0, warmup_steps=10, total_steps=110, kind=kind)
    for step in (0, 5, 9, 10, 35, 60, 110, 200):
        progress = min(max((step - 10) / 100, 0), 1)
        fall = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}[kind]
        expected = 2.0 * ((step + 1) / 10 if step < 10 else fall)
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()


def test_the_rate_halves_in_each_epoch_after_some():
    schedule = WarmupSchedule(8.0, 0, 60, "halving", epoch_steps=10, halve_after=3)
    assert [float(schedule(step)) for step in (0, 19, 29, 30, 39, 40, 59)] == [8.0, 8.0, 8.0, 4.0, 4.0, 2.0, 1.0]


def test_gradients_are_clipped_by_their_global_norm():
    moved = {}
    for clip in (0.0, 1.0):
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((4,)), layer])
        settings = TrainConfig(optimizer="sgd", learning_rate=1.0, clip_norm=clip)
        compile_model(model, keras.losses.MeanSquaredError(), settings)
        model.train_on_batch(np.full((2, 4), 100.0), np.full((2, 1), 100.0))
        moved[clip] = float(np.linalg.norm(layer.kernel.numpy()))
    assert moved[0.0] > 1e4
    assert moved[1.0] == pytest.approx(1.0, rel=1e-4)


def test_training_stops_when_patience_runs_out_and_the_best_epoch_is_kept(tmp_path):
    run = train(tmp_path / "run", train={"epochs": 30, "patience": 2, "learning_rate": 0.3})
    accuracies = [row["val_accuracy"] for row in run.history]
    results = [(row["val_accuracy"], -row["val_cross_entropy"]) for row in run.history]
    best = results.index(max(results))
    assert run.report["best_epoch"] == best + 1
    assert len(accuracies) == best + 3 < 30
    assert run.report["metrics"]["validation"]["accuracy"] == pytest.approx(accuracies[best])


@pytest.mark.slow  # a training
def test_the_weights_of_the_best_epochs_are_averaged(tmp_path):
    run = train(tmp_path / "run", train={"epochs": 5, "patience": 0, "learning_rate": 0.003, "average_epochs": 3})
    results = [(-row["val_accuracy"], row["val_cross_entropy"]) for row in run.history]
    best = sorted(range(5), key=results.__getitem__)[:3]
    assert run.report["best_epoch"] == best[0] + 1
    paths = [run.path / "checkpoints" / f"best-{epoch:05d}.npz" for epoch in best]
    for i, variable in enumerate(run.model.trainable_variables):
        name = f"model/{[v is variable for v in run.model.variables].index(True):05d}"
        values = [np.load(path)[name] for path in paths]
        np.testing.assert_allclose(variable.numpy(), np.mean(values, 0), rtol=1e-5, atol=1e-6, err_msg=str(i))


@pytest.mark.parametrize(("flags", "expected"), [("fma avx512_bf16", "mixed_bfloat16"), slow("fma avx2", "float32")])
@pytest.mark.slow  # trainings
def test_precision_by_itself_is_what_the_processor_is_fast_at_and_stays(tmp_path, monkeypatch, flags, expected):
    monkeypatch.setattr("nlp_rnn.machine.cpuinfo", lambda key: flags)
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind=None: [])
    assert TrainConfig(precision="auto").dtype_policy == expected
    run = train(tmp_path / "run", train={"precision": "auto"})
    monkeypatch.setattr("nlp_rnn.machine.cpuinfo", lambda key: "nothing")
    found = nlp_rnn.load(run.path)
    assert found.config.train.precision == expected
    assert found.model.stack.dtype_policy.name == expected


@pytest.mark.parametrize("precision", [pytest.param("mixed_float16", marks=pytest.mark.slow), "mixed_bfloat16"])
def test_mixed_precision_trains_saves_and_exports(tmp_path, precision):
    run = train(tmp_path / "run", train={"epochs": 4, "precision": precision})
    assert run.metrics["accuracy"] > 0.55
    assert all(v.dtype == "float32" for v in run.model.trainable_variables)
    again = nlp_rnn.load(run.path)
    assert again("a fine film").probabilities == pytest.approx(run("a fine film").probabilities, abs=1e-3)
    copy, tokens = portable_copy(run.model), {"tokens": np.array([[5, 6, 7, 0]])}
    assert copy.compute_dtype == "float32"
    np.testing.assert_allclose(copy(tokens), run.model(tokens), atol=0.05)


@pytest.mark.slow  # XLA compiles for ten seconds
def test_jit_compiled_training_agrees_with_plain(tmp_path):
    still = {
        "embedding": {"size": 8, "word_dropout": 0.0},
        "head": {"dropout": 0.0, "pooling": "mean"},
    }  # XLA draws other numbers
    plain, jit = (train(tmp_path / mode, **still, train={"jit": mode}) for mode in ("off", "on"))
    for one, other in zip(plain.model.trainable_variables, jit.model.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-3)


@pytest.mark.slow  # trainings
@pytest.mark.parametrize(("optimizer", "cell"), [("adamw", "simple_rnn"), ("sgd", "gru")])
def test_other_cells_and_optimizers_learn(tmp_path, optimizer, cell):
    rate = 0.02 if optimizer == "adamw" else 0.3
    settings = {"epochs": 4, "optimizer": optimizer, "learning_rate": rate, "weight_decay": 1e-3}
    run = train(tmp_path / "run", train=settings, stack={"cell": cell, "units": 8})
    assert run.history[-1]["loss"] < run.history[0]["loss"] - 0.05


def test_balanced_classes_count_alike(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"text {i},{'rare' if i % 10 == 0 else 'common'}\n" for i in range(100)))
    settings = {"data": {"train": str(data), "validation_fraction": 0.0}, "train": {"class_weights": "balanced"}}
    config = override(TASK.Config(), {**settings, "tokenizer": {"kind": "byte"}})
    records = TASK.read(config, "train")
    assets = TASK.assets(config, records)
    batches = TASK.batches(config, assets, records, seed=0)
    by_class = batches.targets.T @ batches.weights
    np.testing.assert_allclose(by_class, [50, 50], rtol=1e-5)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1e9])
def test_a_loss_that_explodes_stops_training(loss):
    guard = LossGuard(Position(2, 7))
    guard.on_train_batch_end(0, {"loss": 0.7})
    with pytest.raises(Diverged, match="epoch 3, batch 8: try a lower"):
        guard.on_train_batch_end(1, {"loss": loss})


def test_every_recurrent_layer_is_reported(reviews):
    assert set(describe_kernels(reviews.model)) == {"forward_0", "backward_0"}


def test_exported_graph_avoids_cudnn_in_layers_of_keras_too():
    tokens = keras.Input((None,), dtype="int32")
    vectors = keras.layers.LSTM(3)(keras.layers.Embedding(5, 2)(tokens))
    copy = portable_copy(keras.Model(tokens, keras.layers.Dense(2)(vectors)))
    assert [layer.use_cudnn for layer in copy.layers if isinstance(layer, keras.layers.LSTM)] == [False]


def test_exported_graph_avoids_cudnn(reviews):
    copy = portable_copy(reviews.model)
    layers = [layer for layer in copy._flatten_layers() if isinstance(layer, keras.layers.LSTM)]
    assert len(layers) == 2
    assert all(layer.use_cudnn is False for layer in layers)
    tokens = {"tokens": np.array([[5, 6, 7, 0], [8, 0, 0, 0]])}
    np.testing.assert_allclose(copy(tokens), reviews.model(tokens), atol=1e-6)


@pytest.mark.slow  # a process of its own that trains twice
def test_several_devices_end_with_the_weights_of_one(tmp_path, python):
    """In a process of its own: a processor is split into devices before TensorFlow starts."""
    code = """
import json, sys
import numpy as np, tensorflow as tf, nlp_rnn
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
out, settings, quick = sys.argv[1], *map(json.loads, sys.argv[2:])
def train(name, **changes):
    return nlp_rnn.train("sentiment", out=f"{out}/{name}", **settings, train={**quick, **changes})
one, two = train("one"), train("two", devices="CPU:0,CPU:1")
assert two.model.distribute_strategy.num_replicas_in_sync == 2
for a, b in zip(one.model.trainable_variables, two.model.trainable_variables):
    np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
assert one.metrics["accuracy"] == two.metrics["accuracy"]
try:
    train("odd", devices="CPU:0,CPU:1", batch_size=9)
except nlp_rnn.errors.InputError as error:
    assert "must be a multiple of the 2 devices" in str(error)
else:
    raise AssertionError("an odd batch was shared out")
again = nlp_rnn.load(f"{out}/two")
np.testing.assert_allclose(again("a fine film").probability, one("a fine film").probability, atol=1e-4)
print("done")
"""
    still = {"embedding": {"size": 8, "word_dropout": 0.0}, "head": {"dropout": 0.0, "pooling": "mean"}}
    settings = {**SMALL, **still, "data": write_reviews(tmp_path)}
    quick = {**QUICK, "epochs": 2, "optimizer": "sgd", "learning_rate": 0.1, "average": 0.9}
    assert python(code, tmp_path, json.dumps(settings), json.dumps(quick)).split()[-1] == "done"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": "CPU:7"}, "There is no device CPU:7. Available: CPU:0"),
        ({"devices": "CPU:0,CPU:0"}, "train.devices names CPU:0 twice"),
    ],
)
def test_devices_that_cannot_be_used_are_named(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        train(tmp_path / "run", train=settings)


@pytest.mark.slow  # XLA compiles in two processes
def test_what_xla_compiles_is_kept_for_the_next_run(tmp_path):
    settings = ["--train.jit", "on", "--train.epochs", "1", "--train.buckets", "1", "--stack.units", "4"]
    environment = {**os.environ, "NLP_RNN_CACHE": str(tmp_path / "cache"), "NLP_RNN_NATIVE": "0"}
    kept = []
    for number in (1, 2):
        command = [sys.executable, "-m", "nlp_rnn", "train", "sentiment", *settings, "--out", tmp_path / str(number)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        kept.append(sorted(tmp_path.glob("cache/xla-*/*")))
    assert kept[0]
    assert kept[0] == kept[1]


@pytest.mark.slow  # a process of its own
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_is_kept_from_step_to_step(python):
    code = """
        import resource
        from nlp_rnn.startup import import_tensorflow
        tf = import_tensorflow()
        numbers = tf.data.Dataset.from_generator(lambda: range(40), output_signature=tf.TensorSpec([], tf.float32))
        double = tf.function(lambda value: tf.reduce_sum(tf.fill([9 << 20], value) * 2.0))  # of 9216 pages
        faults = []
        for number in numbers:
            double(number).numpy()
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        print(faults[-1] - faults[19])
    """
    assert int(python(textwrap.dedent(code)).split()[-1]) < 4 * 9216
