"""Connectionist temporal classification (Graves et al. 2006, "Connectionist Temporal Classification: Labelling
Unsegmented Sequence Data with Recurrent Neural Networks"): a loss over all ways in which steps can say a sequence.

The blank is class 0, which is also what sequences are padded with. At padded steps the logits say that the blank is
certain, which changes neither the loss nor what is decoded, so that nothing need know the lengths.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.layers.base import Tensor

BLANK = 0
_NEVER = -1e9


def blank_at_padding(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits `[batch, time, classes]` with a certain blank where the mask `[batch, time]` is False."""
    classes = logits.shape[-1]
    certain = tf.constant([0.0] + [_NEVER] * (classes - 1), logits.dtype)
    return tf.where(mask[..., None], logits, certain)


def lengths_of(logits: Tensor) -> Tensor:
    """Steps before the padding of `blank_at_padding`, int32 `[batch]`."""
    real = tf.reduce_max(logits[..., 1:], -1) > _NEVER / 2
    return tf.reduce_sum(tf.cast(real, tf.int32), -1)


def steps_needed(targets: np.ndarray) -> int:
    """The fewest steps that can say a sequence: one for each of its classes, and a blank between equal ones.

    Example:

    >>> steps_needed(np.array([5, 6, 6, 7]))
    5
    """
    targets = np.asarray(targets)
    return len(targets) + int((targets[1:] == targets[:-1]).sum())


@keras.saving.register_keras_serializable("nlp_rnn")
class CTCLoss(keras.losses.Loss):
    """-log p of a sequence, summed over all alignments.

        p(y | x) = Σ_π Π_t p(π_t | x),    π such that y is left once repetitions are merged and blanks taken out

    Targets are int32 `[batch, labels]`, padded with 0; predictions are logits `[batch, time, classes]` as
    `blank_at_padding` leaves them. A sequence that needs more steps than there are has the loss 0, and is learned
    nothing from.

    Example:

    >>> logits = np.log([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]]).astype("float32")
    >>> float(CTCLoss()(np.array([[2]]), logits))  # -log(¼ · ½ + ½ · ¼ + ¼ · ¼)
    1.1631...
    """

    def __init__(self, name: str = "ctc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        logits, targets = tf.cast(y_pred, tf.float32), tf.cast(y_true, tf.int32)
        lengths = tf.maximum(lengths_of(logits), 1)
        says_nothing = tf.reduce_all(targets == BLANK, -1)
        repeats = (targets[:, 1:] == targets[:, :-1]) & (targets[:, 1:] != BLANK)
        needed = tf.math.count_nonzero(targets, -1, dtype=tf.int32)
        needed += tf.math.count_nonzero(repeats, -1, dtype=tf.int32)
        is_whole = ~says_nothing & (needed <= lengths)
        # The operation refuses what says nothing or does not fit: it gets some class, and a loss of its own.
        first = tf.where(is_whole, targets[:, 0], 1)
        rest = tf.where(is_whole[:, None], targets[:, 1:], BLANK)
        given = tf.sparse.from_dense(tf.concat([first[:, None], rest], 1))
        found = tf.raw_ops.CTCLoss(
            inputs=tf.transpose(tf.concat([logits[..., 1:], logits[..., :1]], -1), [1, 0, 2]),
            labels_indices=given.indices,
            labels_values=given.values - 1,
            sequence_length=lengths,
        )[0]
        blank = -tf.reduce_sum(tf.nn.log_softmax(logits)[..., BLANK], -1)
        return tf.where(is_whole, found, tf.where(says_nothing, blank, 0.0))
