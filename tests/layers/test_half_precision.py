"""Under mixed_float16 the gradients of weights are sums over all steps, which a float16 could not hold."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import GRU, LSTM, SimpleRNN


def gradients(kind, policy, scale):
    """Gradients of a loss that is scaled as `LossScaleOptimizer` does."""
    keras.utils.set_random_seed(1)
    layer = kind(16, dtype=policy)
    inputs = np.random.default_rng(1).normal(size=(32, 20, 8)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(inputs, training=True), tf.float32)) * scale
    return [gradient.numpy() for gradient in tape.gradient(loss, [v.value for v in layer.trainable_variables])]


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_gradients_of_weights_do_not_overflow(kind):
    scale = 2.0**12
    found, expected = gradients(kind, "mixed_float16", scale), gradients(kind, "float32", scale)
    assert max(np.abs(gradient).max() for gradient in expected) > np.finfo(np.float16).max
    for one, other in zip(found, expected, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=0.05, atol=0.02 * np.abs(other).max())
