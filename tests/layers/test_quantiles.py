"""Quantiles and distributions, beside NumPy and their own laws."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import OrderedQuantiles, pinball
from nlp_rnn.layers.distributions import Distribution


def test_quantiles_never_cross_and_the_middle_is_free():
    layer = OrderedQuantiles(5, 3)
    found = layer(tf.random.normal([200, 8], stddev=30.0, seed=1)).numpy()
    assert found.shape == (200, 3, 5)
    assert (np.diff(found, axis=-1) >= 0).all()
    assert (found[..., 2] < 0).any()
    assert (found[..., 2] > 0).any()
    with pytest.raises(ValueError, match="must be odd"):
        OrderedQuantiles(4)
    again = OrderedQuantiles.from_config(layer.get_config())
    again.build((None, 8))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(tf.ones([2, 8])), layer(tf.ones([2, 8])))


def test_the_pinball_loss_is_least_at_the_quantiles():
    """Minimised over a sample, the loss finds the quantiles of the sample."""
    sample, levels = np.random.default_rng(0).exponential(size=2000).astype(np.float32), [0.1, 0.5, 0.9]
    found = tf.Variable([0.5, 1.0, 1.5])
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build([found])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(pinball(sample, tf.tile(found[None], [2000, 1]), levels))
        optimizer.apply(tape.gradient(loss, [found]), [found])

    for _ in range(600):
        step()
    np.testing.assert_allclose(found, np.quantile(sample, levels), atol=0.05)


@pytest.mark.parametrize(("kind", "raw"), [("normal", [0.3, 0.2]), ("student-t", [0.3, 0.2, 1.0])])
def test_densities_sum_to_one_and_draws_follow_them(kind, raw):
    family = Distribution(kind)
    parameters = family.of(tf.constant([raw]))
    grid = tf.linspace(-400.0, 400.0, 800_001)
    density = np.exp(-family.nats(grid, [p[0] for p in parameters]).numpy())
    assert density.sum() * 0.001 == pytest.approx(1.0, abs=1e-3)
    u, v = tf.random.stateless_uniform([2, 200_000], [1, 2], 1e-6, 1.0)
    drawn = np.sort(family.draw(parameters, u, v).numpy())
    cumulative = np.cumsum(density) * 0.001
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        expected = grid.numpy()[np.searchsorted(cumulative, level)]
        assert np.quantile(drawn, level) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("mean", "alpha"), [(0.4, 0.5), (7.0, 0.01), (120.0, 0.3), (5000.0, 1.0)])
def test_counts_are_drawn_by_the_inverse_of_their_distribution(mean, alpha):
    family, counts = Distribution("negative-binomial"), np.arange(200_000, dtype=np.float32)
    parameters = [tf.constant(mean), tf.constant(alpha)]
    density = np.exp(-family.nats(counts, parameters).numpy().astype(np.float64))
    assert density.sum() == pytest.approx(1.0, abs=1e-2)
    assert (density * counts).sum() == pytest.approx(mean, rel=2e-2)
    u = np.linspace(0.001, 0.999, 99).astype(np.float32)
    found = family.draw([tf.fill([99], mean), tf.fill([99], alpha)], tf.constant(u), tf.constant(u)).numpy()
    expected = np.searchsorted(np.cumsum(density) / density.sum(), u)
    np.testing.assert_allclose(found, expected, rtol=0.03, atol=1)
