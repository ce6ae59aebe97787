"""How far back a language model learns and remembers: gradients by distance, losses by place in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


def gradient_reach(model: keras.Model, windows: np.ndarray) -> np.ndarray:
    """The norm of the gradient that reaches back k steps: |∂(-log p of the last token) / ∂(vector k steps before)|.

    Where it falls by a factor at each step it vanishes: what lies further back cannot be learned (Hochreiter 1991;
    Bengio et al. 1994, "Learning Long-Term Dependencies with Gradient Descent is Difficult").

    Args:
        model: a `LanguageModel`.
        windows: int32 `[windows, steps + 1]`, parts of a text; the state is zero at the first token of each.

    Returns:
        `[steps]`: the mean norm for k = 0, 1, …
    """
    import tensorflow as tf

    tokens, targets = windows[:, :-1], windows[:, -1:]
    vectors = tf.cast(model.embedding(tokens), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        sequence, _ = model.stack(vectors)
        total = tf.reduce_sum(model.head.nats(model.head.states(sequence[:, -1:]), targets, model.table))
    gradient = tape.gradient(total, vectors)
    return np.linalg.norm(gradient.numpy(), axis=-1).mean(0)[::-1]


def loss_by_place(model: keras.Model, windows: np.ndarray) -> np.ndarray:
    """The mean -log p of the tokens at each place of windows that begin with a state of zeros, in nats.

    How fast it falls shows how much of what came before the model uses.

    Args:
        model: a `LanguageModel`.
        windows: int32 `[windows, steps + 1]`.

    Returns:
        `[steps]`.
    """
    nats = model.infer({"tokens": windows[:, :-1], "targets": windows[:, 1:]})["nats"]
    return nats.numpy().mean(0)
