"""What the models share: embedding → stack → head."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

_PARTS = ("embedding", "stack", "head")


class TokenLoss:
    """For models whose head is a `SoftmaxHead`: the mean -log p of the targets, where Keras is given no loss.

    It asks the head for no more than that, so that an adaptive softmax computes only the clusters it needs. Targets of
    0 do not count. The call keeps what the head compares words with as `states`; the logits that it returns are not
    computed in a graph in which nobody uses them.
    """

    states: Any = None
    head: Any
    embedding: Any

    @property
    def table(self) -> Any:
        """The vectors that the head is tied to, if it is."""
        return self.embedding.embeddings if self.head.tied_size else None

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        model: Any = self
        if model.loss is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)  # type: ignore[misc]
        nats = self.head.nats(self.states, y, self.table)
        return tf.add_n([mean_of_tokens(nats, y, sample_weight), *model.losses])


def mean_of_tokens(values: Any, targets: Any, sample_weight: Any = None) -> Any:
    """The mean of `[batch, time]` where the targets are not 0, weighted by `[batch]` or `[batch, 1]`."""
    counts = tf.cast(targets != 0, tf.float32)
    if sample_weight is not None:
        weights = tf.cast(sample_weight, tf.float32)
        counts *= weights if weights.shape.rank == 2 else weights[:, None]
    return tf.math.divide_no_nan(tf.reduce_sum(values * counts), tf.reduce_sum(counts))


class PartsModel(keras.Model):
    """A model of three parts, each a layer with an output size that the next one is built for.

    Args:
        embedding: features → vectors `[batch, time, output_dim]`.
        stack: `(vectors, mask, initial_state)` → (sequence `[batch, time, output_size]`, final state).
        head: what comes after.
    """

    def __init__(
        self, embedding: keras.layers.Layer, stack: keras.layers.Layer, head: keras.layers.Layer, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.embedding, self.stack, self.head = embedding, stack, head

    def build(self, features_shape: Any = None) -> None:
        shapes = {
            self.embedding: (None, None),
            self.stack: (None, None, self.embedding.output_dim),
            self.head: (None, None, self.stack.output_size),
        }
        for part, shape in shapes.items():
            if not part.built:  # parts that were loaded come built
                part.build(shape)
        self.built = True

    def embed(self, features: dict[str, Any], training: bool) -> Any:
        """Features → vectors."""
        return self.embedding(features["tokens"], training=training)

    def encode(self, features: dict[str, Any], training: bool) -> tuple[Any, Any, Any]:
        """Features → the stack's sequence, the mask, and the stack's final state."""
        mask = ops.not_equal(features["tokens"], 0)
        sequence, final_state = self.stack(self.embed(features, training), mask=mask, training=training)
        return sequence, mask, final_state

    def get_config(self) -> dict[str, Any]:
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in _PARTS}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PartsModel:
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects) for name in _PARTS
        }
        others = {name: value for name, value in config.items() if name not in _PARTS}
        model = cls(*parts.values(), **others)
        model.build()
        return model
