"""Samples at one rate → at another, in the graph, whatever the rates."""

from __future__ import annotations

import math

import tensorflow as tf

_GRID = 25  # rates are rounded to multiples of it: all usual ones are some, and filters stay small
_ZEROS = 16  # zero crossings of the filter on either side
_PASSED = 0.95  # of the lower of both Nyquist frequencies


def resampled(samples: tf.Tensor, rate: object, to: int) -> tf.Tensor:
    """A row of samples at another rate, by a band-limited interpolation (Smith 1984, "A Flexible Sampling-Rate
    Conversion Method"): a sinc with a Hann window, one filter for each phase.

    Args:
        samples: float32 `[time]`.
        rate: their rate in hertz, a number or int32 `[]`.
        to: the rate wanted, a multiple of 25.

    Returns:
        float32 `[ceil(time · to / rate)]`.

    Example:

    >>> resampled(tf.ones([441]), 44100, 8000).shape
    TensorShape([80])
    """
    rate = tf.maximum((tf.cast(rate, tf.int32) + _GRID // 2) // _GRID, 1)
    goal, time = tf.constant(to // _GRID), tf.shape(samples)[0]
    return tf.cond(rate == goal, lambda: tf.identity(samples), lambda: _converted(samples, time, rate, goal))


def resampled_rows(samples: tf.Tensor, lengths: tf.Tensor, rates: tf.Tensor, to: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Right-padded rows, each of a rate of its own, at one rate.

    Args:
        samples: float32 `[batch, time]`.
        lengths, rates: int32 `[batch]`.
        to: the rate wanted.

    Returns:
        float32 `[batch, time']` and the lengths there.
    """
    grid = tf.maximum((rates + _GRID // 2) // _GRID, 1)
    new_lengths = -(-lengths * (to // _GRID) // grid)
    longest = tf.reduce_max(tf.concat([new_lengths, [1]], 0))

    def one(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
        found = resampled(row[0][: row[1]], row[2], to)[:longest]
        return tf.pad(found, [[0, longest - tf.shape(found)[0]]])

    spec = tf.TensorSpec([None], tf.float32)
    rows = tf.map_fn(one, (samples, lengths, rates), fn_output_signature=spec)
    return tf.ensure_shape(rows, [None, None]), new_lengths


def _converted(samples: tf.Tensor, time: tf.Tensor, rate: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """Output phase p of block k lies at input place (k · goal + p) · rate / goal: a convolution with a step of `rate`,
    with a filter for each phase."""
    divisor = _greatest_divisor(rate, goal)
    step, phases = rate // divisor, goal // divisor
    ratio = tf.cast(step, tf.float32) / tf.cast(phases, tf.float32)
    cutoff = _PASSED * tf.minimum(1.0, 1.0 / ratio)
    half = tf.cast(tf.math.ceil(_ZEROS / cutoff), tf.int32)
    blocks = -(-time // step) + 1
    padded = tf.pad(samples, [[half, blocks * step + half - time]])
    places = tf.cast(tf.range(-half, step + half + 1), tf.float32)
    apart = places[:, None] - tf.cast(tf.range(phases), tf.float32) * ratio
    weights = (
        cutoff
        * _sinc(cutoff * apart)
        * tf.where(
            tf.abs(apart) < tf.cast(half, tf.float32),
            0.5 + 0.5 * tf.cos(apart * (math.pi / tf.cast(half, tf.float32))),
            0.0,
        )
    )
    frames = tf.signal.frame(padded, tf.shape(places)[0], step)
    found = tf.reshape(frames @ weights, [-1])
    return found[: -(-time * goal // rate)]


def _sinc(x: tf.Tensor) -> tf.Tensor:
    angle = x * math.pi
    return tf.where(tf.abs(angle) < 1e-6, 1.0, tf.sin(angle) / tf.where(tf.abs(angle) < 1e-6, 1.0, angle))


def _greatest_divisor(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Euclid's algorithm."""
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, a % b), (a, b))[0]
