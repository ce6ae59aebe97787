"""What a language model has just read, remembered: words that followed similar states become likelier."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from nlp_rnn.layers.base import Tensor

_AT_ONCE = 256  # steps that are compared with all before them


class Cache(NamedTuple):
    """What is remembered, and how much it counts.

    Args:
        size: how many states.
        weight: λ, the cache's share of each probability.
        sharpness: θ, how much more similar states count.
    """

    size: int
    weight: float
    sharpness: float


Memory = tuple[Tensor, Tensor]
"""States `[batch, size, features]` and the ids that followed them, int32 `[batch, size]`, 0 where there is none."""


def forgotten(batch: Tensor, size: Tensor, features: int) -> Memory:
    """A memory of nothing."""
    return tf.zeros(tf.stack([batch, size, features])), tf.zeros(tf.stack([batch, size]), tf.int32)


def recall(states: Tensor, targets: Tensor, memory: Memory, sharpness: float) -> tuple[Tensor, Memory]:
    """How probable a neural cache finds words (Grave et al. 2017, arXiv:1612.04426).

        p(w | h_t) ∝ Σ_i exp(θ h_t · h_i) [w followed h_i],        i: the states before t that are remembered

    Args:
        states: h, `[batch, time, features]`.
        targets: what follows them, int32 `[batch, time]`; 0 is padding.
        memory: of what came before; as many are remembered at every step.
        sharpness: θ, how much more similar states count.

    Returns:
        p of the targets, float32 `[batch, time]`, -1 where nothing is remembered; and the memory after the last step.

    Example:

    >>> states, targets = tf.ones((1, 3, 2)), tf.constant([[7, 7, 8]])
    >>> recall(states, targets, forgotten(1, 5, 2), 1.0)[0].numpy().tolist()
    [[-1.0, 1.0, 0.0]]
    """
    states = tf.cast(states, tf.float32)
    size, steps = tf.shape(memory[1])[1], tf.shape(targets)[1]
    known = tf.concat([memory[0], states], 1)
    followed = tf.concat([memory[1], targets], 1)
    width = tf.minimum(steps, _AT_ONCE)
    count = -(-steps // tf.maximum(width, 1))
    over = count * width - steps
    padded, padded_targets = tf.pad(known, [[0, 0], [0, over], [0, 0]]), tf.pad(followed, [[0, 0], [0, over]])
    place, other = tf.range(width)[:, None], tf.range(size + width)[None]
    is_before = (other >= place) & (other < size + place)

    def some(number: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        first = number * width
        before, words = padded[:, first : first + size + width], padded_targets[:, first : first + size + width]
        scores = sharpness * tf.matmul(before[:, size:], before, transpose_b=True)
        counts = is_before & (words != 0)[:, None]
        scores = tf.where(counts, scores, scores.dtype.min)
        shares = tf.where(counts, tf.exp(scores - tf.reduce_max(scores, 2, keepdims=True)), 0.0)
        is_it = words[:, size:, None] == words[:, None]
        total = tf.reduce_sum(shares, 2)
        p = tf.reduce_sum(tf.where(is_it, shares, 0.0), 2)
        return number + 1, found.write(number, tf.where(total > 0, tf.math.divide_no_nan(p, total), -1.0))

    found = tf.TensorArray(tf.float32, count, element_shape=[states.shape[0], None])
    _, found = tf.while_loop(lambda number, _: number < count, some, (0, found))
    joined = tf.reshape(tf.transpose(found.stack(), [1, 0, 2]), tf.stack([tf.shape(targets)[0], count * width]))
    return joined[:, :steps], (known[:, steps:], followed[:, steps:])


def mixed(nats: Tensor, recalled: Tensor, weight: float) -> Tensor:
    """-log((1 - λ) p + λ p_cache) for -log p of the model, what `recall` found, and the weight λ; -log p where nothing
    is remembered."""
    p = (1.0 - weight) * tf.exp(-nats) + weight * recalled
    return tf.where(recalled < 0, nats, -tf.math.log(tf.maximum(p, 1e-38)))
