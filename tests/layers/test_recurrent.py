"""Recurrent layers and their stack, against the formulas in NumPy and against Keras's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn import layers
from nlp_rnn.layers import GRU, LSTM, RecurrentStack, SimpleRNN, kernel_of
from tests.layers import reference

CASES = {
    "tanh": lambda **options: SimpleRNN(activation="tanh", **options),
    "relu": lambda **options: SimpleRNN(activation="relu", **options),
    "gru": GRU,
    "gru_reset_before": lambda **options: GRU(reset_after=False, **options),
    "lstm": LSTM,
}


def random_layer(kind, units, features, **options):
    layer = CASES[kind](units=units, return_sequences=True, return_state=True, dtype="float64", **options)
    layer.build((None, None, features))
    generator = np.random.default_rng(0)
    for variable in layer.cell.trainable_variables:
        variable.assign(generator.normal(0, 0.5, variable.shape))
    return layer


@pytest.mark.parametrize("kind", CASES)
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_layers_follow_their_formulas(kind, batch, time, units, features, backwards, zero, seed):
    generator = np.random.default_rng(seed)
    sequence, mask = generator.normal(size=(batch, time, features)), generator.random((batch, time)) < 0.7
    layer = random_layer(kind, units, features, go_backwards=backwards, zero_output_for_mask=zero)
    given_states = [generator.normal(size=(batch, units)) for _ in layer.state_size]
    outputs, *states = layer(sequence, mask=tf.constant(mask), initial_state=[tf.constant(s) for s in given_states])
    kernel, recurrent, bias = (v.numpy() for v in layer.cell.trainable_variables)
    projected, inner = reference.projection(kind, sequence, kernel, bias)
    expected, expected_states = reference.one_direction(
        kind, projected, recurrent, given_states, mask, backwards, not zero, inner
    )
    np.testing.assert_allclose(outputs, expected[:, ::-1] if backwards else expected, atol=1e-10)
    for state, wanted in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(state, wanted, atol=1e-10)


@pytest.mark.parametrize("kind", CASES)
def test_gradients_are_those_of_finite_differences(kind):
    layer = random_layer(kind, 3, 2)
    generator = np.random.default_rng(2)
    sequence = tf.constant(generator.normal(size=(2, 4, 2)))
    mask = tf.constant([[True] * 4, [True, True, False, False]])
    weights = generator.normal(size=(2, 4, 3)) * mask.numpy()[..., None]

    def value():
        return tf.reduce_sum(layer(sequence, mask=mask)[0] * weights)

    with tf.GradientTape() as tape:
        result = value()
    variables = layer.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(result, [v.value for v in variables]), strict=True):
        original, step = variable.numpy(), 1e-6
        for index in list(np.ndindex(original.shape))[::5]:
            changed = original.copy()
            changed[index] += step
            variable.assign(changed)
            up = float(value())
            changed[index] -= 2 * step
            variable.assign(changed)
            down = float(value())
            variable.assign(original)
            assert gradient.numpy()[index] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("ours", "theirs"), [(SimpleRNN, "SimpleRNN"), (GRU, "GRU"), (LSTM, "LSTM")])
def test_weights_and_configuration_are_those_of_keras(ours, theirs):
    stock = getattr(keras.layers, theirs)(5, return_sequences=True)
    sequence = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    expected = stock(sequence)
    config = {**stock.get_config(), "weight_drop": 0.25}
    layer = ours.from_config(config)
    layer.build(sequence.shape)
    layer.set_weights(stock.get_weights())
    np.testing.assert_allclose(layer(sequence), expected, atol=1e-6)
    assert layer.get_config()["weight_drop"] == 0.25


@pytest.mark.parametrize("ours", [SimpleRNN, GRU, LSTM])
def test_weight_drop_masks_the_kernel_only_while_training(ours):
    layer = ours(4, weight_drop=0.5, seed=1)
    sequence = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    plain = layer(sequence)
    kernel = layer.cell.recurrent_kernel.numpy()
    dropped = layer(sequence, training=True)
    assert np.abs(dropped - plain).max() > 1e-4
    np.testing.assert_array_equal(layer.cell.recurrent_kernel.numpy(), kernel)
    np.testing.assert_array_equal(layer(sequence), plain)
    # Some masked kernel, of entries that are 0 or doubled, gives the same output: the one that seed 1 draws.
    again = ours(4, weight_drop=0.5, seed=1)
    again.build(sequence.shape)
    again.set_weights(layer.get_weights())
    mask = keras.random.dropout(np.ones_like(kernel), 0.5, seed=again.weight_drop_seed)
    again.cell.recurrent_kernel.assign(kernel * mask)
    np.testing.assert_allclose(again(sequence), dropped, atol=1e-6)


def test_weight_drop_gradients_reach_only_what_was_kept():
    layer = LSTM(4, weight_drop=0.5)
    sequence = tf.random.stateless_normal((2, 5, 3), (1, 2))
    layer.build(sequence.shape)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer(sequence, training=True))
    gradient = tape.gradient(value, layer.cell.recurrent_kernel.value).numpy()
    assert 0.2 < (gradient == 0).mean() < 0.8


def test_weight_drop_works_in_bidirectional_and_fit():
    layer = keras.layers.Bidirectional(LSTM(3, weight_drop=0.3))
    model = keras.Sequential([keras.Input((None, 2)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    before = model.get_weights()
    history = model.fit(np.ones((8, 5, 2)), np.ones((8, 1)), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for one, other in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(other).all()
        assert (one != other).any()


def test_weight_drop_must_be_a_probability():
    with pytest.raises(ValueError, match="below 1"):
        LSTM(3, weight_drop=1.0)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (LSTM(2), "no GPU is visible"),
        (LSTM(2, weight_drop=0.5), "no GPU is visible"),
        (LSTM(2, activation="relu"), "activation is not tanh"),
        (LSTM(2, recurrent_dropout=0.1), "recurrent dropout"),
        (LSTM(2, use_bias=False), "no bias"),
        (GRU(2, reset_after=False), "reset_after is False"),
        (GRU(2, use_cudnn=False), "use_cudnn is False"),
        (SimpleRNN(2), "LSTM and GRU only"),
    ],
)
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="says what is missing without a GPU")
def test_the_kernel_report_says_why(layer, reason):
    kernel, why = kernel_of(layer)
    assert kernel in ("native", "loop", "keras")
    assert reason in why


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_stack_reads_each_row_as_if_it_were_alone(cell, bidirectional):
    stack = RecurrentStack(cell, 4, layers=2, bidirectional=bidirectional, residual=True)
    generator = np.random.default_rng(0)
    lengths = [1, 3, 6]
    sequence = generator.normal(size=(3, 6, 5)).astype("float32")
    mask = np.arange(6) < np.array(lengths)[:, None]
    together, state = stack(sequence, mask=tf.constant(mask))
    assert np.all(together.numpy()[~mask] == 0)
    for row, length in enumerate(lengths):
        alone, own_state = stack(sequence[row : row + 1, :length])
        np.testing.assert_allclose(together[row, :length], alone[0], atol=1e-6)
        for states, own in zip(state, own_state, strict=True):
            for a, b in zip(states, own, strict=True):
                np.testing.assert_allclose(a[row], b[0], atol=1e-6)


def test_stack_is_what_keras_layers_make_of_it():
    stack = RecurrentStack("lstm", 4)
    sequence = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    outputs, state = stack(sequence)
    stock = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    expected = stock(sequence)
    stock.forward_layer.set_weights(stack.forward_layers[0].get_weights())
    stock.backward_layer.set_weights(stack.backward_layers[0].get_weights())
    expected = stock(sequence)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(stack.last_output(state)[:, :4], outputs[:, -1, :4], atol=1e-6)
    np.testing.assert_allclose(stack.last_output(state)[:, 4:], outputs[:, 0, 4:], atol=1e-6)


def test_stack_goes_on_from_a_state():
    stack = RecurrentStack("gru", 4, layers=2, bidirectional=False)
    sequence = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    whole, final = stack(sequence)
    _, state = stack(sequence[:, :2])
    rest, end = stack(sequence[:, 2:], initial_state=state)
    np.testing.assert_allclose(rest, whole[:, 2:], atol=1e-6)
    np.testing.assert_allclose(end[1][0], final[1][0], atol=1e-6)


def test_stack_dropout_is_one_mask_per_sequence():
    stack = RecurrentStack("gru", 64, bidirectional=False, dropout=0.5)
    outputs, _ = stack(np.random.default_rng(0).normal(size=(4, 9, 3)).astype("float32"), training=True)
    dropped = outputs.numpy() == 0
    assert (dropped.all(axis=1) == dropped.any(axis=1)).all()
    assert 0.2 < dropped.mean() < 0.8
    assert (dropped[0] != dropped[1]).any()


@pytest.mark.slow  # nine pairs of trainings
@pytest.mark.parametrize(("dtype", "both_ways"), [("int32", False), ("uint8", True), ("bool", False)])
@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM"])
def test_integers_and_booleans_are_numbers_as_in_keras(dtype, name, both_ways):
    values = np.random.default_rng(0).integers(0, 2, (4, 6, 3)).astype(dtype)

    def model(module):
        keras.utils.set_random_seed(0)
        layer = getattr(module, name)(5)
        inputs = keras.Input((6, 3), dtype=dtype)
        outputs = (keras.layers.Bidirectional(layer) if both_ways else layer)(inputs)
        made = keras.Model(inputs, keras.layers.Dense(1)(outputs))
        made.compile("sgd", "mse")
        return made

    ours, stock = model(layers), model(keras.layers)
    ours.set_weights(stock.get_weights())
    np.testing.assert_allclose(ours.predict(values, verbose=0), stock.predict(values, verbose=0), atol=1e-5)
    for made in (ours, stock):
        made.fit(values, np.ones((4, 1)), verbose=0, shuffle=False)
    for a, b in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_stack_takes_integers():
    stack = RecurrentStack("gru", 2, layers=2, residual=True)
    values = np.ones((2, 3, 4), "int32")
    expected = stack(values.astype("float32"))[0]
    np.testing.assert_array_equal(stack(values)[0], expected)
