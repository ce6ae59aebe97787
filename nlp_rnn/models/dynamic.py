"""Dynamic evaluation: a language model that learns from what it has just read, while it is measured.

After each segment of a text the weights make a step down the gradient of its loss, and are drawn back to those that
were trained (Krause et al. 2018, arXiv:1709.07432):

    w ← w - η g / (r + ε) + λ min(r / mean(r), 1 / λ) (w₀ - w)

g is the gradient of the segment's mean -log p; r the root of the mean square that gradients have on training text; w₀
the trained weights; ε, which the paper leaves to be tuned, the mean of all r, so that η means the same in every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.base import Nest, Tensor

Read = Callable[[list[Tensor], Tensor, Tensor, Nest], tuple[Tensor, Tensor, Nest]]
"""(weights, ids, targets, state) → -log p of the targets `[1, time]`, states `[1, time, features]`, the next state."""


class Adaptation(NamedTuple):
    """How a model learns while it is measured.

    Args:
        steps: of a segment.
        rate: η.
        decay: λ.
    """

    steps: int
    rate: float
    decay: float


class Learned(NamedTuple):
    """What was read, and what came of it.

    Args:
        nats: -log p of the targets, `[1, time]`, each by the weights that had not seen it.
        states: what the head compared words with, `[1, time, features]`.
        weights: after the text.
        state: after the text.
    """

    nats: Tensor
    states: Tensor
    weights: list[Tensor]
    state: Nest


def gradients_of(
    read: Read, weights: list[Tensor], tokens: Tensor, targets: Tensor, state: Nest
) -> tuple[list[Tensor], Tensor, Tensor, Nest]:
    """Those of the mean -log p of a segment, whose targets of 0 do not count; and what `read` gives."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        nats, states, after = read(weights, tokens, targets, state)
        counts = tf.cast(targets != 0, nats.dtype)
        loss = tf.math.divide_no_nan(tf.reduce_sum(nats * counts), tf.reduce_sum(counts))
    found = tape.gradient(loss, weights, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient) for gradient in found], nats, states, after


def learn(
    read: Read,
    trained: Sequence[Tensor],
    roots: Sequence[Tensor],
    how: Adaptation,
    tokens: Tensor,
    targets: Tensor,
    weights: Sequence[Tensor],
    state: Nest,
) -> Learned:
    """Reads a text segment by segment, and learns from each after it was measured.

    Args:
        read: what reads a segment.
        trained: w₀.
        roots: r, of the same shapes; all 0 before they are known, with which nothing is learned.
        how: the segments and the steps.
        tokens: int32 `[1, time]`.
        targets: int32 `[1, time]`, 0 at padding on the right.
        weights: as they are at the beginning.
        state: before the text.
    """
    count = -(-tf.shape(tokens)[1] // how.steps)
    # Not `add_n`: of fixed shapes, TensorFlow makes it a variable that two calls at the same time would share.
    total = tf.reduce_sum(tf.stack([tf.reduce_sum(root) for root in roots]))
    mean = tf.math.divide_no_nan(total, float(sum(root.shape.num_elements() for root in roots)))

    def stepped(weight: Tensor, first: Tensor, gradient: Tensor, root: Tensor) -> Tensor:
        moved = weight - how.rate * tf.math.divide_no_nan(gradient, root + mean)
        if not how.decay:
            return moved
        share = tf.minimum(how.decay * tf.math.divide_no_nan(root, mean), 1.0)
        return moved + share * (first - weight)

    def one(place: Tensor, weights: list[Tensor], state: Nest, *found: tf.TensorArray) -> tuple[object, ...]:
        part = slice(place * how.steps, (place + 1) * how.steps)
        gradients, *given, after = gradients_of(read, weights, tokens[:, part], targets[:, part], state)
        weights = [stepped(*one) for one in zip(weights, trained, gradients, roots, strict=True)]
        after = tf.nest.map_structure(lambda a, b: tf.ensure_shape(tf.cast(a, b.dtype), b.shape), after, state)
        written = [a.write(place, tf.cast(v[0], tf.float32)) for a, v in zip(found, given, strict=True)]
        return place + 1, weights, after, *written

    shapes = ([None], [None, None])
    arrays = [tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=shape) for shape in shapes]
    _, after, state, *found = tf.while_loop(
        lambda place, *_: place < count, one, (tf.constant(0), list(weights), state, *arrays)
    )
    nats, states = (array.concat()[None] for array in found)
    return Learned(nats, states, after, state)


class Learner:
    """A language model that learns while it is measured, in weights of its own: the model's stay as they are.

    Args:
        model: a `LanguageModel`.

    Example:

    >>> import keras
    >>> from nlp_rnn.layers import RecurrentStack, SoftmaxHead, TokenEmbedding
    >>> from nlp_rnn.models import LanguageModel
    >>> parts = TokenEmbedding(50, 8), RecurrentStack("gru", 8, bidirectional=False), SoftmaxHead(50)
    >>> model = LanguageModel(*parts, adapts=True)
    >>> text = tf.constant([[2, *[7, 8, 9] * 10]])
    >>> model.learner.know_gradients([text], steps=5)
    >>> features = {"tokens": text[:, :-1], "targets": text[:, 1:]}
    >>> found = model.infer_further(features, adaptation=Adaptation(5, 0.01, 0.0))
    >>> bool(tf.reduce_mean(found["adapted"]) < tf.reduce_mean(found["nats"]))
    True
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._kept: list[tf.Variable] = []

    @property
    def weights(self) -> list[keras.Variable]:
        """What learns, in its order."""
        parts = (getattr(self.model, name) for name in self.model.PARTS)
        return [weight for part in parts for weight in part.weights if keras.backend.is_float_dtype(weight.dtype)]

    def know_gradients(self, texts: Iterable[Tensor], steps: int) -> None:
        """Sets the model's `roots`.

        Args:
            texts: int32 `[1, time + 1]`, each read from zeros; every id but the first is a target.
            steps: of a segment; what is left of a text is not read.
        """
        if not self.model.built:
            self.model.build()
        weights = [tf.convert_to_tensor(weight) for weight in self.weights]

        @tf.function(autograph=False)
        def squares_of(
            tokens: Tensor, targets: Tensor, state: Nest, squares: list[Tensor]
        ) -> tuple[Nest, list[Tensor]]:
            gradients, *_, after = gradients_of(self._read, weights, tokens, targets, state)
            return after, [total + gradient**2 for total, gradient in zip(squares, gradients, strict=True)]

        squares, count = [tf.zeros_like(weight) for weight in weights], 0
        for text in texts:
            state = self._zeros()
            for place in range(0, text.shape[1] - steps, steps):
                part = text[:, place : place + steps + 1]
                state, squares = squares_of(part[:, :-1], part[:, 1:], state, squares)
                count += 1
        for root, total in zip(self.model.roots, squares, strict=True):
            root.assign(tf.sqrt(total / max(count, 1)))

    def adapt(self, features: dict[str, Tensor], how: Adaptation, like: Tensor) -> tuple[Tensor, Tensor]:
        """The nats of the "targets" among the features, and the states; with "reset" it goes on where the batch before
        ended, else each row begins with the weights that were trained.

        Args:
            features: those of `LanguageModel.infer`.
            how: the segments and the steps.
            like: states without learning, of the same shape.
        """
        trained = [tf.cast(weight, tf.float32) for weight in self.weights]
        roots = [tf.convert_to_tensor(root) for root in self.model.roots]
        zeros = tf.nest.flatten(self._zeros())

        def read(tokens: Tensor, targets: Tensor, before: list[Tensor]) -> Learned:
            weights, state = before[: len(trained)], self.model.grouped(before[len(trained) :])
            return learn(self._read, trained, roots, how, tokens, targets, weights, state)

        tokens, targets = features["tokens"], features["targets"]
        if "reset" in features:
            begins, kept = tf.reshape(features["reset"], []) == 1, self._kept_like([*trained, *zeros])
            before = [tf.where(begins, a, b) for a, b in zip([*trained, *zeros], kept, strict=True)]
            found = read(tokens, targets, before)
            for variable, value in zip(kept, [*found.weights, *tf.nest.flatten(found.state)], strict=True):
                variable.assign(value)
            return found.nats, tf.ensure_shape(found.states, like.shape)

        def one(row: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            found = read(row[0][None], row[1][None], [*trained, *zeros])
            return found.nats[0], found.states[0]

        wanted = (tf.TensorSpec([None], tf.float32), tf.TensorSpec([None, None], tf.float32))
        nats, states = tf.map_fn(one, (tokens, targets), fn_output_signature=wanted, parallel_iterations=1)
        return nats, tf.ensure_shape(states, like.shape)

    def _read(self, weights: list[Tensor], tokens: Tensor, targets: Tensor, state: Nest) -> tuple[Tensor, Tensor, Nest]:
        """The model with other weights than its own."""
        with keras.StatelessScope(state_mapping=list(zip(self.weights, weights, strict=True))):
            states, after = self.model.read(tokens, state, mask=targets != 0)
            return self.model.head.nats(states, targets, self.model.table), states, after

    def _zeros(self) -> Nest:
        """The state at the beginning of a text."""
        shape = (1, self.model.state_size)
        return self.model.grouped([tf.zeros(shape) for _ in range(self.model.state_parts)])

    def _kept_like(self, values: Sequence[Tensor]) -> list[tf.Variable]:
        """Weights and state between windows."""
        if not self._kept:
            with tf.init_scope():
                self._kept = [tf.Variable(tf.zeros(value.shape), trainable=False) for value in values]
        return self._kept
