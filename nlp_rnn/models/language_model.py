"""Language models: what comes next, with a state that goes on from batch to batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.models.parts import PartsModel


@keras.saving.register_keras_serializable("nlp_rnn")
class LanguageModel(PartsModel):
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

    def __init__(
        self, *parts: Any, activation_penalty: float = 0.0, change_penalty: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(*parts, **kwargs)
        self.activation_penalty, self.change_penalty = activation_penalty, change_penalty
        self._carried: dict[str, list[tf.Variable]] = {}

    @property
    def carried(self) -> list[tf.Variable]:
        """The state that training carries from batch to batch; a checkpoint holds it."""
        return self._carried.get("training", [])

    def call(self, features: dict[str, Any], training: bool = False) -> Any:
        return self._continue(features, "training", training)

    def infer(self, features: dict[str, Any]) -> dict[str, Any]:
        """The "nats" of the "targets" among the features, -log p, `[batch, time]`."""
        logits = self._continue(features, "measuring", False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(features["targets"], logits)
        return {"nats": losses}

    def advance(self, tokens: Any, state: Any = None, training: bool = False, mask: Any = None) -> tuple[Any, Any]:
        """Goes on from a state.

        Args:
            tokens: int32 `[batch, time]`.
            state: as returned; None for zeros.
            training: whether to drop.
            mask: boolean `[batch, time]`, False at padding on the right, over which the state stands still.

        Returns:
            Logits `[batch, time, vocabulary]`, and the state after the last step: for each layer a list of
            `[batch, units]`.
        """
        vectors = self.embedding(tokens, training=training)
        sequence, state = self.stack(vectors, mask=mask, initial_state=state, training=training)
        if training:
            self._penalize(sequence)
        table = self.embedding.embeddings if self.head.tied_size else None
        return self.head(sequence, embeddings=table, training=training), state

    def _continue(self, features: dict[str, Any], purpose: str, training: bool) -> Any:
        tokens = features["tokens"]
        if "reset" not in features:
            return self.advance(tokens, training=training)[0]
        keep = 1.0 - tf.cast(features["reset"], tf.float32)
        carried = self._variables_for(purpose, tokens.shape[0] or 1)
        before = [variable * keep for variable in carried]
        size = len(carried) // self.stack.layers
        state = [before[i : i + size] for i in range(0, len(before), size)]
        logits, after = self.advance(tokens, state, training)
        for variable, value in zip(carried, tf.nest.flatten(after), strict=True):
            variable.assign(tf.cast(value, tf.float32))
        return logits

    def _variables_for(self, purpose: str, lanes: int) -> list[tf.Variable]:
        found = self._carried.get(purpose)
        if found is None or found[0].shape[0] != lanes:
            count = self.stack.layers * (2 if self.stack.cell == "lstm" else 1)
            with tf.init_scope():
                found = [tf.Variable(tf.zeros((lanes, self.stack.units)), trainable=False) for _ in range(count)]
            self._carried = {**self._carried, purpose: found}
        return found

    def _penalize(self, sequence: Any) -> None:
        sequence = ops.cast(sequence, "float32")
        if self.activation_penalty:
            self.add_loss(self.activation_penalty * ops.mean(ops.square(sequence)))
        if self.change_penalty:
            self.add_loss(self.change_penalty * ops.mean(ops.square(sequence[:, 1:] - sequence[:, :-1])))

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("activation_penalty", "change_penalty")}
        return {**super().get_config(), **own}
