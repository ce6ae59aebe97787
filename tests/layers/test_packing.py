"""Weights in fewer bits: what they are worth when they are read, and that loops unpack them once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.embedding import TokenEmbedding
from nlp_rnn.layers.packing import PackedVariable, pack_weights, rows_of
from nlp_rnn.layers.precision import weights_cast_once
from nlp_rnn.layers.recurrent import LSTM


def reference(value, weights):
    """What is read, by the formula: rounded to whole numbers up to 127 by row, or the upper half of the bits."""
    if weights == "int8":
        scale = np.abs(value).max(-1, keepdims=True) / 127
        return np.round(value / np.where(scale, scale, 1)) * scale
    bits = value.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def dense(rows, columns):
    layer = keras.layers.Dense(columns)
    layer.build((None, rows))
    values = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    values[1] = 0
    layer.kernel.assign(values)
    return layer, values


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_what_is_read_is_the_formula(weights):
    layer, values = dense(64, 64)
    layer.bias.assign(np.arange(64.0))
    pack_weights(layer, weights)
    expected = reference(values, weights)
    np.testing.assert_allclose(layer.kernel.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert layer.kernel.parts[0].dtype.name == weights
    assert layer.kernel.dtype == "float32"
    x = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    np.testing.assert_allclose(layer(x), x @ expected + np.arange(64.0), rtol=1e-4, atol=1e-4)
    ids = np.array([[3, 1], [63, 3]])
    np.testing.assert_allclose(rows_of(layer.kernel, ids), expected[ids], rtol=1e-6, atol=1e-7)


def test_small_and_narrow_matrices_and_vectors_are_kept_as_they_are_worth_it():
    small, values = dense(8, 8)
    pack_weights(small, "int8")
    np.testing.assert_array_equal(small.kernel.numpy(), values)
    narrow, _ = dense(3000, 2)
    pack_weights(narrow, "int8")
    assert [part.dtype.name for part in narrow.kernel.parts] == ["bfloat16"], (
        "a scale for each row of two saves nothing"
    )


@pytest.mark.parametrize("fixed", [0, 300])
def test_a_table_is_looked_up_without_unpacking_all_of_it(fixed):
    layer = TokenEmbedding(1000, 32, fixed=fixed)
    ids = tf.constant([[0, 5, 999], [700, 699, 701]])
    before = layer(ids).numpy()
    pack_weights(layer, "int8")
    np.testing.assert_allclose(layer(ids), before, atol=0.05 / 127)
    graph = tf.function(layer).get_concrete_function(ids).graph
    sizes = [op.outputs[0].shape.num_elements() for op in graph.get_operations() if op.type == "Cast"]
    assert max(size for size in sizes if size) < 1000


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_a_loop_finds_the_weights_unpacked(weights):
    cell = LSTM(32)
    cell.use_native = False
    cell.build((None, 1, 32))
    pack_weights(cell, weights)
    assert sum(isinstance(variable, PackedVariable) for variable in cell.variables) == 2

    def run(x, once):
        def step(t, total):
            return t + 1, total + cell(x + total[:, None])

        def loop():
            return tf.while_loop(lambda t, _: t < 5, step, (0, tf.zeros([2, 32])))[1]

        if not once:
            return loop()
        with weights_cast_once(cell):
            return loop()

    x = tf.random.normal([2, 1, 32], seed=1)
    found, casts = [], []
    for once in (False, True):
        function = tf.function(lambda x, once=once: run(x, once)).get_concrete_function(x)
        found.append(function(x).numpy())
        outer = [op for op in function.graph.get_operations() if op.type == "Cast"]
        casts.append(sum(op.inputs[0].dtype.name == weights for op in outer))
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert casts == [0, 2], "within the loop, and before it"
