"""What is handed to cuDNN, against a stand-in for its operation, written from its documentation in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import GRU, LSTM, RecurrentStack, kernels
from tests.conftest import slow
from tests.layers import reference


def cudnn(input, input_h, input_c, params, sequence_lengths, rnn_mode, direction, time_major, is_training):
    """CudnnRNNV3: `input` is `[time, batch, features]`; the weights of every layer and direction, then their biases.

    Gates are in cuDNN's order: i, f, g, o of an LSTM, r, z, n of a GRU.
    """
    assert time_major
    assert is_training
    sequence, params = input.numpy().transpose(1, 0, 2), params.numpy()
    gates, directions = {"lstm": 4, "gru": 3}[rnn_mode], {"unidirectional": 1, "bidirectional": 2}[direction]
    pseudo_layers, _, units = input_h.shape
    at, weights, biases = 0, [], []

    def take(*shape):
        nonlocal at
        at += np.prod(shape)
        return params[at - np.prod(shape) : at].reshape(shape)

    for index in range(pseudo_layers):
        features = sequence.shape[-1] if index < directions else directions * units
        weights.append([take(gates, units, features), take(gates, units, units)])
    for _ in range(pseudo_layers):
        biases.append([take(gates, units), take(gates, units)])
    assert at == len(params)
    given = [state.numpy() for state in ([input_h, input_c] if rnn_mode == "lstm" else [input_h])]
    mask, after = np.arange(sequence.shape[1]) < np.array(sequence_lengths)[:, None], []
    for layer in range(pseudo_layers // directions):
        outputs = []
        for d in range(directions):
            index = layer * directions + d
            kernel, recurrent, bias = in_order_of_keras(rnn_mode, *weights[index], *biases[index])
            projected, inner = reference.projection(rnn_mode, sequence, kernel, bias)
            states = [state[index] for state in given]
            output, last = reference.one_direction(rnn_mode, projected, recurrent, states, mask, d == 1, False, inner)
            outputs.append(output)
            after.append(last)
        sequence = np.concatenate(outputs, -1)
    h, c = (np.stack([last[part] for last in after]) for part in (0, -1))
    outputs, h, c = (tf.constant(x, tf.float32) for x in (sequence.transpose(1, 0, 2), h, c))
    return outputs, h, c, tf.zeros([0]), tf.zeros([0], tf.int8)


def in_order_of_keras(rnn_mode, w, u, b_w, b_u):
    """W, U `[gates, units, …]` and the biases `[gates, units]` as Keras has them: gates side by side, z before r."""
    order = [1, 0, 2] if rnn_mode == "gru" else [0, 1, 2, 3]
    kernel, recurrent = (np.concatenate([x[gate].T for gate in order], -1) for x in (w, u))
    outer, inner = (np.concatenate([x[gate] for gate in order]) for x in (b_w, b_u))
    return kernel, recurrent, np.stack([outer, inner]) if rnn_mode == "gru" else outer + inner


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as the layers can see."""
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", cudnn)
    monkeypatch.setattr(kernels, "has_gpu", lambda: True)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("masked", "residual"), [(True, True), (False, False), slow(True, False), slow(False, True)])
def test_cudnn_gets_what_the_loop_gets(request, cell, bidirectional, masked, residual):
    layer = RecurrentStack(cell, 3, layers=3, bidirectional=bidirectional, residual=residual, weight_drop=0.5)
    layer.build((None, None, 4))
    generator = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(generator.normal(0, 0.7, variable.shape))
    sequence = tf.constant(generator.normal(size=(3, 5, 4)), tf.float32)
    parts = (2 if cell == "lstm" else 1) * (2 if bidirectional else 1)
    state = [[tf.constant(generator.normal(size=(3, 3)), tf.float32) for _ in range(parts)] for _ in range(3)]
    mask = tf.constant(np.arange(5) < np.array([5, 1, 3])[:, None]) if masked else None
    looped = layer(sequence, mask=mask, initial_state=state)
    request.getfixturevalue("gpu")
    assert {kernels.kernel_of(one)[0] for one in layer.forward_layers} == {"cudnn"}
    fast = layer(sequence, mask=mask, initial_state=state)
    for one, other in zip(tf.nest.flatten(fast), tf.nest.flatten(looped), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", [LSTM, GRU])
@pytest.mark.parametrize(
    "options", [{"dropout": 0.5}, {"go_backwards": True}, {"return_sequences": True, "go_backwards": True}]
)
def test_a_layer_alone_too(request, kind, options):
    layer = kind(3, return_state=True, **options)
    sequence = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 4)), tf.float32)
    kept, seed = layer(sequence), layer.cell.seed_generator.state.numpy()
    looped = layer(sequence, training=True)
    assert np.allclose(looped[0], kept[0]) == ("dropout" not in options)
    request.getfixturevalue("gpu")
    layer.cell.seed_generator.state.assign(seed)
    layer.cell._dropout_mask = None
    for one, other in zip(layer(sequence, training=True), looped, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_lies_between_layers_keeps_them_apart(gpu):
    apart = RecurrentStack("lstm", 3, layers=2, dropout=0.5)
    assert apart._at_once(training=True) == [[0], [1]]
    assert apart._at_once(training=False) == [[0, 1]]
    assert RecurrentStack("lstm", 3, layers=2, residual=True)._at_once(training=False) == [[0], [1]]
