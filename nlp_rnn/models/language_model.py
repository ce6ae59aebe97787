"""Language models: what comes next, with a state that goes on from batch to batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, Shape, Tensor
from nlp_rnn.models.dynamic import Adaptation, Learner
from nlp_rnn.models.neural_cache import Cache, forgotten, mixed, recall
from nlp_rnn.models.parts import PartsModel, TokenLoss


@keras.saving.register_keras_serializable("nlp_rnn")
class LanguageModel(TokenLoss, PartsModel):
    """Predicts the next token from those before it.

    With the feature "reset" a batch goes on where the one before it ended (truncated back-propagation through time):
    the state is kept in variables outside `variables`, one set for training and one for measuring, and is zero where
    "reset" is 1. Without it every row begins from zeros.

    Args:
        embedding: ids `[batch, time]` → vectors, such as `TokenEmbedding`.
        stack: such as a `RecurrentStack` of one direction.
        head: such as `SoftmaxHead`.
        activation_penalty: α, weight of the mean square of the stack's outputs (AR of AWD-LSTM, Merity et al. 2018,
            arXiv:1708.02182).
        change_penalty: β, weight of the mean square of their change from step to step (TAR).
        adapts: whether it has the weights `roots`, by which it can learn from what it reads: the sizes of gradients.

    Compiled without a loss it trains on that of `TokenLoss`.

    Call arguments:
        features: `{"tokens": int32 [batch, time]}`, with "reset", int32 `[batch, 1]`, where the state is carried.
        training: whether to drop.

    Returns:
        float32 logits of the next tokens `[batch, time, vocabulary]`.

    Example:

    >>> from nlp_rnn.layers import RecurrentStack, SoftmaxHead, TokenEmbedding
    >>> model = LanguageModel(TokenEmbedding(50, 8), RecurrentStack("gru", 8, bidirectional=False), SoftmaxHead(50, 8))
    >>> logits, state = model.advance(keras.ops.ones((2, 5), "int32"))
    >>> logits.shape, state[0][0].shape
    (TensorShape([2, 5, 50]), TensorShape([2, 8]))
    """

    OPTIONS = (*PartsModel.OPTIONS, "activation_penalty", "change_penalty", "adapts")

    def __init__(
        self,
        *parts: Any,
        activation_penalty: float = 0.0,
        change_penalty: float = 0.0,
        adapts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*parts, **kwargs)
        self.activation_penalty, self.change_penalty, self.adapts = activation_penalty, change_penalty, adapts
        self.roots: list[keras.Variable] = []
        self.learner = Learner(self)
        self._carried: dict[str, list[tf.Variable]] = {}
        self._remembered: dict[tuple[int, int], list[tf.Variable]] = {}

    def build(self, features_shape: Shape | None = None) -> None:
        super().build(features_shape)
        if self.adapts and not self.roots:
            self.roots = [
                self.add_weight(name=f"root_{number}", shape=weight.shape, initializer="zeros", trainable=False)
                for number, weight in enumerate(self.learner.weights)
            ]

    def count_params(self) -> int:
        """Numbers that are trained, or were given; not the sizes of their gradients."""
        return super().count_params() - sum(int(np.prod(root.shape)) for root in self.roots)

    @property
    def carried(self) -> list[tf.Variable]:
        """The state that training carries from batch to batch; a checkpoint holds it."""
        return self._carried.get("training", [])

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        # Kept for `compute_loss`: a graph in which nobody asks for the logits does not compute them.
        self.states = self._continue(features, "training", training)
        return self.head.logits(self.states, self.table)

    def infer(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """The "nats" of the "targets" among the features, -log p, `[batch, time]`."""
        states = self._continue(features, "measuring", False)
        return {"nats": self.head.nats(states, features["targets"], self.table)}

    def infer_further(
        self, features: dict[str, Tensor], cache: Cache | None = None, adaptation: Adaptation | None = None
    ) -> dict[str, Any]:
        """As `infer`, and beside it what models say that remember what they read, or learn from it.

        Args:
            features: as those of `infer`.
            cache: of the last states; adds what it finds the targets' probabilities to be, "recalled", -1 where it is
                empty, and the nats of both together, "cached": see `nlp_rnn.models.neural_cache`.
            adaptation: how to learn; adds the nats of the model that does, "adapted", whose states are then those that
                are remembered: see `nlp_rnn.models.dynamic`.
        """
        states, targets = self._continue(features, "measuring", False), features["targets"]
        found = {"nats": self.head.nats(states, targets, self.table)}
        nats = found["nats"]
        if adaptation is not None:
            nats, states = self.learner.adapt(features, adaptation, like=states)
            found["adapted"] = nats
        if cache is None:
            return found
        carried = self._memory_of(targets.shape[0] or 1, cache.size, states.shape[-1]) if "reset" in features else None
        if carried is None:
            before = forgotten(tf.shape(targets)[0], tf.minimum(cache.size, tf.shape(targets)[1]), states.shape[-1])
        else:
            before = carried[0].value(), carried[1] * (1 - features["reset"])
        recalled, after = recall(states, targets, before, cache.sharpness)
        for variable, value in zip(carried or (), after, strict=False):
            variable.assign(value)
        return {**found, "recalled": recalled, "cached": mixed(nats, recalled, cache.weight)}

    def _memory_of(self, lanes: int, size: int, features: int) -> list[tf.Variable]:
        """What a cache of a size holds between windows; traced graphs go on with theirs, so none is dropped."""
        if (lanes, size) not in self._remembered:
            with tf.init_scope():
                nothing = forgotten(lanes, size, features)
                found = [tf.Variable(value, trainable=False) for value in nothing]
            self._remembered = {**self._remembered, (lanes, size): found}
        return self._remembered[lanes, size]

    def advance(
        self, tokens: Tensor, state: Nest = None, training: bool = False, mask: Tensor | None = None
    ) -> tuple[Tensor, Nest]:
        """Goes on from a state.

        Args:
            tokens: int32 `[batch, time]`.
            state: as returned; None for zeros.
            training: whether to drop.
            mask: boolean `[batch, time]`, False at padding on the right, over which the state stands still.

        Returns:
            Logits `[batch, time, vocabulary]`, and the state after the last step: for each layer a list of
            `[batch, state_size]`.
        """
        states, state = self.read(tokens, state, training, mask)
        return self.head.logits(states, self.table), state

    def read(
        self, tokens: Tensor, state: Nest = None, training: bool = False, mask: Tensor | None = None
    ) -> tuple[Tensor, Nest]:
        """As `advance`, but what the head compares words with instead of logits."""
        if not self.built:
            self.build()
        vectors = self.embedding(tokens, training=training)
        sequence, state = self.stack(vectors, mask=mask, initial_state=state, training=training)
        if training:
            self._penalize(sequence)
        return self.head.states(sequence, training), state

    def _continue(self, features: dict[str, Tensor], purpose: str, training: bool) -> Tensor:
        tokens = features["tokens"]
        if "reset" not in features:
            return self.read(tokens, training=training)[0]
        keep = 1.0 - tf.cast(features["reset"], tf.float32)
        carried = self._variables_for(purpose, tokens.shape[0] or 1)
        before = self.grouped([variable * keep for variable in carried])
        states, after = self.read(tokens, before, training)
        for variable, value in zip(carried, tf.nest.flatten(after), strict=True):
            variable.assign(tf.cast(value, tf.float32))
        return states

    def _variables_for(self, purpose: str, lanes: int) -> list[tf.Variable]:
        found = self._carried.get(purpose)
        if found is None or found[0].shape[0] != lanes:
            with tf.init_scope():
                zeros = tf.zeros((lanes, self.stack.state_size))
                found = [tf.Variable(zeros, trainable=False) for _ in range(self.state_parts)]
            self._carried = {**self._carried, purpose: found}
        return found

    def _penalize(self, sequence: Tensor) -> None:
        sequence = ops.cast(sequence, "float32")
        if self.activation_penalty:
            self.add_loss(self.activation_penalty * ops.mean(ops.square(sequence)))
        if self.change_penalty:
            self.add_loss(self.change_penalty * ops.mean(ops.square(sequence[:, 1:] - sequence[:, :-1])))
