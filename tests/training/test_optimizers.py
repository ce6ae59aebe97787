"""Optimizers of few passes end where Keras's do."""

from __future__ import annotations

import functools
import itertools

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


OPTIONS = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "global norm": {"global_clipnorm": 0.5},
    "norm": {"clipnorm": 0.5},
    "value": {"clipvalue": 0.5},
    "average": {"use_ema": True, "ema_momentum": 0.8},
    "all": {"global_clipnorm": 0.5, "weight_decay": 0.1, "use_ema": True, "ema_momentum": 0.8},
}
KINDS = {
    "sgd": (SGD, keras.optimizers.SGD, {}),
    "momentum": (SGD, keras.optimizers.SGD, {"momentum": 0.9}),
    "adamw": (AdamW, keras.optimizers.AdamW, {}),
    "amsgrad": (AdamW, keras.optimizers.AdamW, {"amsgrad": True}),
}


@functools.cache
def _expected(kind: str, options: str, sparse: bool) -> list[np.ndarray]:
    """Where Keras's own ends; in a graph it ends there too."""
    _, stock, own = KINDS[kind]
    return _trained(stock(0.3, **own, **OPTIONS[options]), sparse, graph=False)


def case(kind: str, options: str, graph: bool):
    """Options one by one are slow where the update is Keras's own, and in graphs, which take long to trace: what these
    add, the order of reads and writes, shows with all of them."""
    in_default = options == "all" or (options == "plain" and not graph) or (kind in ("sgd", "adamw") and not graph)
    return pytest.param(kind, options, graph, marks=[] if in_default else pytest.mark.slow)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("kind", "options", "graph"),
    [case(*parts) for parts in itertools.product(KINDS, OPTIONS, (False, True))],
)
def test_equals_keras(kind, options, graph, sparse):
    ours, _, own = KINDS[kind]
    found = _trained(ours(0.3, **own, **OPTIONS[options]), sparse, graph)
    for one, other in zip(found, _expected(kind, options, sparse), strict=True):
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
