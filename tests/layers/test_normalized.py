"""The LSTM with layer normalisation inside, against the formula in NumPy, against Keras's loop, and in a stack."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import LayerNormLSTM, LayerNormLSTMCell, RecurrentStack, kernel_of
from tests.conftest import slow
from tests.layers.reference import sigmoid


def drawn(layer, features, seed=0):
    """The layer with all its weights drawn, the gains and biases too."""
    layer.build((None, None, features))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0.3, 0.7, weight.shape) for weight in layer.get_weights()])
    return layer


def by_formula(layer, x, mask):
    """Outputs and last h and c, step by step."""
    cell, units = layer.cell, layer.units
    w = {name: getattr(cell, name).numpy() for name in ("kernel", "recurrent_kernel", "bias", "input_gain")}
    w |= {name: getattr(cell, name).numpy() for name in ("recurrent_gain", "cell_gain", "cell_bias")}

    def norm(v):
        return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-3)

    h = c = np.zeros((len(x), units))
    outputs = []
    for t in range(x.shape[1]):
        gates = norm(x[:, t] @ w["kernel"]) * w["input_gain"] + norm(h @ w["recurrent_kernel"]) * w["recurrent_gain"]
        i, f, g, o = np.split(gates + w["bias"], 4, -1)
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        new_h = sigmoid(o) * np.tanh(norm(new_c) * w["cell_gain"] + w["cell_bias"])
        real = mask[:, t, None]
        h, c = np.where(real, new_h, h), np.where(real, new_c, c)
        outputs.append(np.where(real, new_h, outputs[-1] if outputs else 0))
    return np.stack(outputs, 1), h, c


@pytest.fixture
def sequence():
    x = np.random.default_rng(1).normal(size=(3, 6, 4))
    return x, np.arange(6) < np.array([6, 4, 1])[:, None]


@pytest.mark.parametrize("training", [False, True])
def test_it_is_the_formula_and_keras_s_own_loop_of_its_cell(sequence, training):
    x, mask = sequence
    layer = drawn(LayerNormLSTM(5, return_sequences=True, return_state=True, dtype="float64"), 4)
    assert kernel_of(layer)[0] == "loop"
    assert "its gates are normalised" in kernel_of(layer)[1]
    found = layer(x, mask=tf.constant(mask), training=training)
    for one, other in zip(found, by_formula(layer, x, mask), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    stock = keras.layers.RNN(
        LayerNormLSTMCell(5, dtype="float64"), return_sequences=True, return_state=True, dtype="float64"
    )
    stock.build((None, None, 4))
    stock.set_weights(layer.get_weights())
    for one, other in zip(found, stock(x, mask=tf.constant(mask)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    ("policy", "scale", "loop"),
    [
        ("mixed_bfloat16", 1, True),
        ("mixed_float16", 1e4, True),
        ("float16", 1, False),
        *(
            slow(policy, scale, loop)
            for policy in ("mixed_bfloat16", "mixed_float16", "float16")
            for scale in (1, 1e4)
            for loop in (True, False)
        ),
    ],
)
def test_half_precision(sequence, policy, scale, loop):
    x, mask = scale * sequence[0].astype("float32"), tf.constant(sequence[1])
    layer = drawn(LayerNormLSTM(5, use_bias=scale == 1, return_sequences=True), 4)
    options = {} if loop or scale > 1 else {"unroll": True}  # by Keras's own loop
    half = LayerNormLSTM.from_config({**layer.get_config(), "dtype": policy, **options})
    half.build((None, 6, 4))
    half.set_weights(layer.get_weights())
    with tf.GradientTape() as tape:
        found = half(x, mask=mask, training=True)
        total = tf.reduce_sum(tf.cast(found, tf.float32))
    assert found.dtype == half.compute_dtype
    np.testing.assert_allclose(tf.cast(found, "float32"), layer(x, mask=mask), atol=0.1)
    gradients = tape.gradient(total, [v.value for v in half.trainable_variables])
    assert all(np.isfinite(tf.cast(gradient, tf.float32)).all() for gradient in gradients)


def test_gradients_are_those_of_differences(sequence):
    x, mask = sequence
    layer = drawn(LayerNormLSTM(3, return_sequences=True, dtype="float64"), 4)
    weights = tf.random.stateless_normal((3, 6, 3), (1, 2), dtype="float64")

    def value():
        return tf.reduce_sum(layer(x, mask=tf.constant(mask), training=True) * weights)

    with tf.GradientTape() as tape:
        result = value()
    gradients = tape.gradient(result, [variable.value for variable in layer.trainable_variables])
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        original, step = variable.numpy(), 1e-6
        for index in list(np.ndindex(original.shape))[:: max(original.size // 5, 1)]:
            changed = []
            for sign in (1, -1):
                moved = original.copy()
                moved[index] += sign * step
                variable.assign(moved)
                changed.append(float(value()))
            variable.assign(original)
            expected = (changed[0] - changed[1]) / (2 * step)
            assert gradient.numpy()[index] == pytest.approx(expected, rel=1e-5, abs=1e-7), variable.path


@pytest.mark.parametrize(
    "dropped", [{"recurrent_dropout": 0.5}, {"dropout": 0.5, "implementation": 1}, {"dropout": 0.5}]
)
def test_dropout_keeps_shapes_and_drops_only_while_training(dropped, sequence):
    x = sequence[0].astype("float32")
    layer = drawn(LayerNormLSTM(5, return_sequences=True, seed=1, **dropped), 4)
    plain = drawn(LayerNormLSTM(5, return_sequences=True), 4)
    assert layer(x, training=True).shape == (3, 6, 5)
    assert np.abs(layer(x, training=True) - plain(x)).max() > 1e-3
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-6)
    stock = keras.layers.RNN(LayerNormLSTMCell(5, **dropped), return_sequences=True)
    assert stock(x, training=True).shape == (3, 6, 5)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    assert np.isfinite(model.fit(x, x[..., :1], verbose=0).history["loss"]).all()
    assert len(layer.non_trainable_variables) == 1, "the state of one generator"


def test_a_mask_for_each_gate_is_the_formula():
    cell = LayerNormLSTMCell(5, recurrent_dropout=0.5, seed=1)
    cell.build((None, 4))
    rng = np.random.default_rng(0)
    cell.set_weights([rng.normal(size=weight.shape) for weight in cell.get_weights()[:-1]] + cell.get_weights()[-1:])
    x, h, c = (rng.normal(size=(2, size)).astype("float32") for size in (4, 5, 5))
    found, _ = cell(x, [h, c], training=True)
    masks = [np.asarray(mask) for mask in cell.get_recurrent_dropout_mask(h)]
    assert len(masks) == 4

    def norm(v):
        return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-3)

    products = [(h * m) @ u for m, u in zip(masks, np.split(cell.recurrent_kernel.numpy(), 4, -1), strict=True)]
    gates = norm(x @ cell.kernel.numpy()) * cell.input_gain.numpy()
    gates = gates + norm(np.concatenate(products, -1)) * cell.recurrent_gain.numpy() + cell.bias.numpy()
    i, f, g, o = np.split(gates, 4, -1)
    after = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    expected = sigmoid(o) * np.tanh(norm(after) * cell.cell_gain.numpy() + cell.cell_bias.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_second_derivatives(sequence):
    layer = drawn(LayerNormLSTM(3, dtype="float64"), 4)
    x = tf.constant(sequence[0])

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(value, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        first = tf.reduce_sum(slope(x)[:, 2])
    found, step = tape.gradient(first, x).numpy(), 1e-5
    for place in [(0, 0, 0), (1, 2, 3), (2, 4, 1)]:
        moved = np.zeros(x.shape)
        moved[place] = step
        both = [float(tf.reduce_sum(slope(x + sign * moved)[:, 2])) for sign in (1, -1)]
        assert found[place] == pytest.approx((both[0] - both[1]) / (2 * step), rel=1e-4, abs=1e-7)


def test_scaling_what_it_reads_changes_nothing(sequence):
    x, mask = sequence
    layer = drawn(LayerNormLSTM(5, dtype="float64"), 4)
    np.testing.assert_allclose(layer(100 * x, mask=tf.constant(mask)), layer(x, mask=tf.constant(mask)), atol=1e-3)


def test_a_stack_of_both_directions_learns_and_goes_on_from_its_state(tmp_path):
    x = np.random.default_rng(2).normal(size=(64, 9, 4)).astype("float32")
    stack = RecurrentStack("layernorm_lstm", 8, layers=2, weight_drop=0.1, chrono=9)
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, keras.layers.Dense(1)(stack(inputs)[0]))
    model.compile(keras.optimizers.Adam(0.03), "mse")
    losses = model.fit(x, x.sum(-1, keepdims=True), epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    one = RecurrentStack("layernorm_lstm", 8, bidirectional=False)
    whole, _ = one(x)
    first, state = one(x[:, :4])
    rest, _ = one(x[:, 4:], initial_state=state)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, atol=1e-6)
