"""Rows of any length, computed in groups of similar length."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.text.ragged import by_length
from tests.conftest import slow


@pytest.mark.parametrize("lengths", [[3], [1, 1, 1], [5, 1, 40, 2, 2, 7, 300, 6, 1], [64] * 50 + [1] * 50, [9000, 1]])
@pytest.mark.parametrize("of_steps", [True, slow(False)])
def test_results_stay_with_their_rows(lengths, of_steps):
    rng = np.random.default_rng(0)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    ids, pairs = rng.integers(1, 100, splits[-1]), rng.normal(size=(splits[-1], 2)).astype(np.float32)
    seen = []

    def function(padded):
        assert padded["ids"].shape[:2] == padded["pairs"].shape[:2]
        is_step = padded["ids"] != 0
        tf.numpy_function(lambda shape: seen.append(tuple(shape)) or 0, [tf.shape(padded["ids"])], tf.int64)
        steps = tf.cast(padded["ids"], tf.float32) * padded["pairs"][..., 0]
        if of_steps:
            return {"a": steps, "b": padded["ids"]}
        return {"a": tf.reduce_sum(tf.where(is_step, steps, 0.0), 1), "b": padded["ids"][:, 0]}

    results = {"a": tf.TensorSpec([], tf.float32), "b": tf.TensorSpec([], tf.int64)}
    traced = tf.function(lambda s, i, p: by_length(s, {"ids": i, "pairs": p}, function, results, of_steps))
    found = traced(tf.constant(splits, tf.int64), tf.constant(ids, tf.int64), tf.constant(pairs))
    steps = ids * pairs[:, 0]
    expected = steps if of_steps else np.add.reduceat(steps, splits[:-1])
    np.testing.assert_allclose(found["a"], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found["b"], ids if of_steps else ids[splits[:-1]])
    padded = sum(rows * time for rows, time in seen)
    assert padded <= 1.25 * sum(lengths) + 4 * len(lengths)
    assert max(rows * time for rows, time in seen) <= max(8192, max(lengths))
