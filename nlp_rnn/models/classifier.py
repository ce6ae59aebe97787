"""Sequence classification: embedding → recurrent stack → pooling → classes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor
from nlp_rnn.layers.pooling import SequencePooling
from nlp_rnn.metrics.classification import fit_mixture, fit_temperature
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
        self.output_layer.build((None, self.pooled_size(sequence_shape[-1])))
        self.temperature = self.add_weight(
            name="temperature", shape=(), initializer="ones", trainable=False, dtype="float32", autocast=False
        )
        self.built = True

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, last: Tensor | None = None, training: bool = False
    ) -> Tensor:
        vector, _ = self.pooling(sequence, mask=mask, last=last)
        return self.classify(vector, training=training)

    def pooled_size(self, features: int) -> int:
        """Features of a pooled vector, of a sequence with so many."""
        return features * len(self.pooling.parts)

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
        reads: name of the feature that the embedding takes.
        ngrams: such as `NgramLogits`: ids → logits that are added, but for training, with a weight that `calibrate`
            fits.

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

    PARTS = (*PartsModel.PARTS, "ngrams")

    def __init__(self, *parts: Any, ngrams: Any = None, **kwargs: Any) -> None:
        super().__init__(*parts, **kwargs)
        self.ngrams = ngrams

    def build(self, features_shape: Shape | None = None) -> None:
        super().build(features_shape)
        if self.ngrams is not None and not self.ngrams.built:
            self.ngrams.build((None, None))

    def call(self, features: dict[str, Tensor], training: bool = False) -> Tensor:
        sequence, mask, state = self.encode(features, training)
        last = self.stack.last_output(state, sequence, mask)
        logits = self.head(sequence, mask=mask, last=last, training=training)
        if self.ngrams is None or training:
            return logits
        return logits + self.ngrams.weight * self._said_by_ngrams(features)

    def _said_by_ngrams(self, features: dict[str, Tensor]) -> Tensor:
        """Their logits; the feature "shares" takes the place of what each id adds."""
        if "shares" not in features:
            return self.ngrams(features[self.reads])
        return ops.sum(features["shares"], 1) + self.ngrams(ops.zeros_like(features[self.reads]))

    def infer(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """What a prediction is made from: "logits" `[batch, classes]` and the "weights" of the tokens
        `[batch, time]` in the pooling; with n-grams also the logits of the "network" and of the "ngrams" alone."""
        sequence, mask, state = self.encode(features, False)
        last = self.stack.last_output(state, sequence, mask)
        vector, weights = self.head.pooling(sequence, mask=mask, last=last)
        logits = self.head.classify(vector)
        if self.ngrams is None:
            return {"logits": logits, "weights": weights}
        others = self._said_by_ngrams(features)
        return {
            "logits": logits + self.ngrams.weight * others,
            "weights": weights,
            "network": logits,
            "ngrams": others,
        }

    def calibrate(self, outputs: dict[str, np.ndarray], targets: np.ndarray) -> str:
        """Fits the head's temperature, and the weight of the n-grams, to what `infer` made of records, and one-hot
        targets: → what is worth saying."""
        classes, temperature = targets.argmax(-1), float(self.head.temperature.numpy())
        if self.ngrams is None:
            self.head.temperature.assign(fit_temperature(outputs["logits"] * temperature, classes))
            return ""
        network, others = outputs["network"] * temperature, outputs["ngrams"]
        own, theirs = fit_mixture(np.stack([network, others]), classes)
        self.head.temperature.assign(1 / max(own, 0.05))
        self.ngrams.weight.assign(theirs)
        joined = own * network + theirs * others
        right = [f"{(part.argmax(-1) == classes).mean():.1%}" for part in (network, others, joined)]
        return "Accuracy of the network {}, of n-grams {}, of both {}, whose weights these records gave.".format(*right)
