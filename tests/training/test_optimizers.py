"""Optimizers of few passes end where Keras's do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.training.optimizers import SGD, AdamW


def _trained(optimizer: keras.optimizers.Optimizer, sparse: bool, graph: bool) -> list[np.ndarray]:
    """The variables, and the optimizer's own, after four steps."""
    drawn = np.random.default_rng(0)
    shapes = {"table": (7, 5), "bias": (5,), "scalar": ()}
    variables = [keras.Variable(drawn.normal(size=shape), name=name) for name, shape in shapes.items()]
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(variables)

    def step(rows: tf.Tensor, ids: tf.Tensor, others: list[tf.Tensor]) -> None:
        slices = tf.IndexedSlices(rows, ids, tf.constant([7, 5]))
        optimizer.apply([slices if sparse else tf.convert_to_tensor(slices), *others], variables)

    if graph:
        step = tf.function(step)
    for ids in ([0, 1, 1], [6, 2, 3], [1, 4, 1], [5, 5, 0]):
        others = [tf.constant(drawn.normal(size=shape), tf.float32) for shape in ((5,), ())]
        step(tf.constant(drawn.normal(size=(3, 5)), tf.float32), tf.constant(ids), others)
    return [keras.ops.convert_to_numpy(variable) for variable in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"global_clipnorm": 0.5},
        {"clipnorm": 0.5},
        {"clipvalue": 0.5},
        {"use_ema": True, "ema_momentum": 0.8},
        {"global_clipnorm": 0.5, "weight_decay": 0.1, "use_ema": True, "ema_momentum": 0.8},
    ],
)
@pytest.mark.parametrize(
    ("ours", "stock", "own"),
    [
        (SGD, keras.optimizers.SGD, {}),
        (SGD, keras.optimizers.SGD, {"momentum": 0.9}),
        (AdamW, keras.optimizers.AdamW, {}),
        (AdamW, keras.optimizers.AdamW, {"amsgrad": True}),
    ],
)
def test_equals_keras(ours, stock, own, options, sparse, graph):
    found, expected = (_trained(kind(0.3, **own, **options), sparse, graph) for kind in (ours, stock))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=5e-5, atol=2e-5)  # 1 - 0.999 in float32 has five digits


def test_a_gradient_that_is_not_a_number_shows():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable(3.0)]
    optimizer = SGD(0.1, global_clipnorm=1.0)
    optimizer.apply([tf.constant([np.inf, 0.0]), tf.constant(1.0)], variables)
    assert np.isnan(variables[0].numpy()).all()
    assert np.isnan(variables[1].numpy())


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_survives_serialization(kind):
    optimizer = kind(0.3, weight_decay=0.1, global_clipnorm=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is kind
    assert again.get_config() == optimizer.get_config()
