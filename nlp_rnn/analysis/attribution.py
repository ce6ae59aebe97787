"""What of an input made a model say what it says: integrated gradients, checked by what they must sum to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nlp_rnn.layers.base import Tensor

_FEWEST, _MOST = 32, 512  # points of the integral
_AT_ONCE = 20_000  # steps of sequences in one call


@dataclass(frozen=True)
class Attribution:
    """What each step contributed.

    Args:
        values: of the steps, `[time]`, or of their features, `[time, features]`; positive where it raised the score.
        score: of the input.
        base: of the input from which everything is gone.
        missed: the part of their difference that the values do not sum to.
    """

    values: np.ndarray
    score: float
    base: float
    missed: float


def integrated_gradients(
    function: Callable[[Any], Any],
    inputs: Tensor,
    baseline: Tensor | None = None,
    by_feature: bool = False,
    tolerance: float = 0.01,
) -> Attribution:
    """Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365).

        a_t = Σ_i (x_ti - b_ti) ∫ ∂F(b + α(x - b)) / ∂x_ti dα        Σ_t a_t = F(x) - F(b)

    The integral is taken by Gauss and Legendre's rule, at twice as many points until the sum is right.

    Args:
        function: F, `[batch, time, features]` → `[batch]`.
        inputs: x, `[time, features]`.
        baseline: b, such as vectors of zeros, the default.
        by_feature: whether values are those of the features of each step, a_ti, `[time, features]`.
        tolerance: the part of F(x) - F(b) by which the sum may be wrong.

    Example:

    >>> import tensorflow as tf
    >>> found = integrated_gradients(lambda x: tf.reduce_sum(x**2, [1, 2]), tf.constant([[1.0], [2.0]]))
    >>> found.values.round(3).tolist(), round(found.score, 3)
    ([1.0, 4.0], 5.0)
    """
    import tensorflow as tf

    inputs = tf.cast(inputs, tf.float32)
    baseline = tf.zeros_like(inputs) if baseline is None else tf.cast(baseline, tf.float32)
    base, score = function(tf.stack([baseline, inputs])).numpy().astype(float).tolist()
    points = _FEWEST
    while True:
        values = _integral(function, baseline, inputs - baseline, points)
        error = abs(score - base - float(values.sum()))
        scale = max(abs(score - base), 1e-3)
        if error <= tolerance * scale or points >= _MOST:
            return Attribution(values if by_feature else values.sum(-1), score, base, error / scale)
        points *= 2


def _integral(function: Callable[[Any], Any], baseline: Tensor, difference: Tensor, points: int) -> np.ndarray:
    import tensorflow as tf

    places, weights = np.polynomial.legendre.leggauss(points)
    alphas, weights = ((places + 1) / 2).astype("float32"), (weights / 2).astype("float32")
    size = max(1, _AT_ONCE // max(int(difference.shape[0]), 1))
    total = np.zeros(difference.shape, np.float32)
    for start in range(0, points, size):
        part = slice(start, start + size)
        between = tf.constant(baseline[None] + alphas[part, None, None] * difference[None])
        with tf.GradientTape() as tape:
            tape.watch(between)
            found = tf.reduce_sum(function(between))
        gradient = tape.gradient(found, between)
        total += np.einsum("n,ntf->tf", weights[part], gradient.numpy())
    return total * difference.numpy()
