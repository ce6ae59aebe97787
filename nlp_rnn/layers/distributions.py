"""Distributions of a number: their parameters from a network, -log p, and draws by given uniform numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from nlp_rnn.layers.base import Tensor

_LEAST = 1e-4
_HALVINGS = 40


@dataclass(frozen=True)
class Distribution:
    """A family of distributions.

    Args:
        kind: "student-t", "normal", or "negative-binomial" for counts.
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in ("student-t", "normal", "negative-binomial"):
            raise ValueError(f'kind is "{self.kind}"; it must be student-t, normal or negative-binomial.')

    @property
    def parameters(self) -> int:
        """How many numbers describe one."""
        return 3 if self.kind == "student-t" else 2

    @property
    def of_counts(self) -> bool:
        """Whether its values are counts."""
        return self.kind == "negative-binomial"

    def of(self, raw: Tensor) -> list[Tensor]:
        """Any numbers `[…, parameters]` → the parameters `[…]` of each: location, spread and degrees of freedom; or
        mean and overdispersion α, so that the variance is μ + α·μ²."""
        first, *others = tf.unstack(tf.cast(raw, tf.float32), axis=-1)
        positive = [tf.nn.softplus(one) + _LEAST for one in others]
        if self.of_counts:
            return [tf.nn.softplus(first) + _LEAST, *positive]
        return [first, positive[0], *(one + 2.0 for one in positive[1:])]

    def nats(self, values: Tensor, parameters: list[Tensor]) -> Tensor:
        """-log p of values, `[…]`."""
        if self.of_counts:
            mean, alpha = parameters
            r = 1.0 / alpha
            log_p = tf.math.lgamma(values + r) - tf.math.lgamma(r) - tf.math.lgamma(values + 1.0)
            return -(log_p + r * tf.math.log(r / (r + mean)) + values * tf.math.log(mean / (r + mean)))
        location, spread, *freedom = parameters
        z = (values - location) / spread
        if not freedom:
            return 0.5 * z**2 + tf.math.log(spread) + 0.5 * math.log(2 * math.pi)
        df = freedom[0]
        log_p = tf.math.lgamma((df + 1) / 2) - tf.math.lgamma(df / 2) - 0.5 * tf.math.log(math.pi * df)
        return -(log_p - tf.math.log(spread) - (df + 1) / 2 * tf.math.log1p(z**2 / df))

    def draw(self, parameters: list[Tensor], u: Tensor, v: Tensor) -> Tensor:
        """Values drawn by two uniform numbers from (0, 1), so that equal numbers draw alike: of Student's t by the
        polar method (Bailey 1994), of the normal distribution by that of Box and Muller, of counts by the inverse of
        the distribution function at u."""
        if self.of_counts:
            return _count_at(u, *parameters)
        location, spread, *freedom = parameters
        radius = tf.sqrt(-2.0 * tf.math.log(u))
        if freedom:
            radius = tf.sqrt(freedom[0] * _exp_minus_1(-2.0 / freedom[0] * tf.math.log(u)))
        return location + spread * radius * tf.cos(2 * math.pi * v)


def _exp_minus_1(x: Tensor) -> Tensor:
    """exp(x) - 1, also where x is near 0; ONNX has no operation for it."""
    return tf.where(x < 0.02, x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4))), tf.exp(x) - 1)


def _count_at(u: Tensor, mean: Tensor, alpha: Tensor) -> Tensor:
    """The least count k with P(X ≤ k) ≥ u, by halving; P(X ≤ k) is the incomplete beta function I(q; r, k + 1) at
    q = r/(r + μ)."""
    r = 1.0 / alpha
    q = r / (r + mean)
    high = tf.math.ceil(mean + 12 * tf.sqrt(mean + alpha * mean**2) + 12.0) + tf.zeros_like(u)
    low = tf.fill(tf.shape(high), -1.0)
    r, q = r + tf.zeros_like(u), q + tf.zeros_like(u)

    def halve(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        middle = tf.floor((low + high) / 2)
        is_enough = tf.math.betainc(r, middle + 1, q) >= u
        return tf.where(is_enough, low, middle), tf.where(is_enough, middle, high)

    def is_apart(low: Tensor, high: Tensor) -> Tensor:
        return tf.reduce_any(high - low > 1)

    _, found = tf.while_loop(is_apart, halve, (low, high), maximum_iterations=_HALVINGS)
    return found
