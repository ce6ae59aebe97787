"""Sequence classification: embedding → recurrent stack → pooling → classes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor
from nlp_rnn.layers.pooling import SequencePooling
from nlp_rnn.metrics.classification import fit_temperature
from nlp_rnn.models.parts import PartsModel


@keras.saving.register_keras_serializable("nlp_rnn")
class ClassifierHead(SequenceLayer):
    """Pools a sequence and classifies the vector, with a temperature that calibrates its confidence.

    The logits are divided by `temperature` (Guo et al. 2017, arXiv:1706.04599), a weight that training leaves
    at 1 and that is fitted afterwards on validation data: classes stay as they are, probabilities become honest.

    Args:
        classes: number of classes.
        pooling: as `SequencePooling`'s kind.
        attention_units: size of the hidden layer of attention pooling.
        dropout: dropout on the pooled vector.

    Call arguments:
        sequence: `[batch, time, features]`.
        mask: boolean `[batch, time]`.
        last: `[batch, features]`, for the pooling "last".
        training: whether to drop.

    Returns:
        float32 logits `[batch, classes]`.
    """

    OPTIONS = ("classes", "attention_units", "dropout")

    def __init__(
        self,
        classes: int,
        pooling: str = "attention",
        attention_units: int = 64,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes, self.attention_units, self.dropout = classes, attention_units, dropout
        self.pooling = SequencePooling(pooling, attention_units, dtype=self.dtype_policy, name="pooling")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        self.output_layer = keras.layers.Dense(classes, dtype="float32", name="output")

    def build(self, sequence_shape: Shape) -> None:
        self.pooling.build(sequence_shape)
        self.output_layer.build((None, sequence_shape[-1] * len(self.pooling.parts)))
        self.temperature = self.add_weight(
            name="temperature", shape=(), initializer="ones", trainable=False, dtype="float32", autocast=False
        )
        self.built = True

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, last: Tensor | None = None, training: bool = False
    ) -> Tensor:
        vector, _ = self.pooling(sequence, mask=mask, last=last)
        return self.classify(vector, training=training)

    def classify(self, vector: Tensor, training: bool = False) -> Tensor:
        """Pooled vectors → logits."""
        logits = self.output_layer(self.drop(vector, training=training))
        return ops.cast(logits, "float32") / self.temperature

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooling": self.pooling.kind}


@keras.saving.register_keras_serializable("nlp_rnn", name="TextClassifier")  # as runs of version 0.1.0 have it
class SequenceClassifier(PartsModel):
    """Classifies sequences of tokens or of frames.

    Args:
        embedding: ids `[batch, time]`, or frames `[batch, time, channels]`, → vectors `[batch, time, features]`.
        stack: `(vectors, mask, initial_state)` → (sequence, final state), such as `RecurrentStack`.
        head: such as `ClassifierHead`.

    Call arguments:
        features: `{"tokens": int32 [batch, time]}`, right-padded with 0; or what `reads` names, with "lengths", int32
            `[batch]`.
        training: whether to drop.

    Returns:
        float32 logits `[batch, classes]`.

    Example:

    >>> from nlp_rnn.layers import RecurrentStack, TokenEmbedding
    >>> model = SequenceClassifier(TokenEmbedding(100, 16), RecurrentStack("gru", 8), ClassifierHead(3))
    >>> model({"tokens": keras.ops.ones((2, 5), "int32")}).shape
    TensorShape([2, 3])
    """

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        sequence, mask, state = self.encode(features, training)
        last = self.stack.last_output(state, sequence, mask)
        return self.head(sequence, mask=mask, last=last, training=training)

    def infer(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """What a prediction is made from: "logits" `[batch, classes]` and the "weights" of the tokens
        `[batch, time]` in the pooling."""
        sequence, mask, state = self.encode(features, False)
        last = self.stack.last_output(state, sequence, mask)
        vector, weights = self.head.pooling(sequence, mask=mask, last=last)
        return {"logits": self.head.classify(vector), "weights": weights}

    def calibrate(self, logits: np.ndarray, targets: np.ndarray) -> None:
        """Fits the head's temperature to logits `[records, classes]` of this model and one-hot targets."""
        uncalibrated = logits * float(self.head.temperature.numpy())
        self.head.temperature.assign(fit_temperature(uncalibrated, targets.argmax(-1)))
