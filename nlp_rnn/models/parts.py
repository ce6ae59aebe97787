"""What the models share: embedding → stack → head."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Configured, Nest, Shape, Tensor


class Lesson(NamedTuple):
    """What a teacher says of a batch, beside what a model says: see `nlp_rnn.training.distillation`.

    Args:
        features, targets, sample_weight: of the batch.
        found: what the model's call gives, such as logits `[…, classes]`.
        taught: what the teacher's gives, of the same shape.
        temperature: T, that both are divided by.
    """

    features: Nest
    found: Tensor
    taught: Tensor
    targets: Tensor
    sample_weight: Tensor | None = None
    temperature: float = 1.0

    def divergence(self) -> Tensor:
        """KL(q ‖ p) · T² of the distributions of classes: p of the model, q of the teacher. T² keeps gradients of
        one size."""
        p, q = (
            tf.nn.log_softmax(tf.cast(logits, tf.float32) / self.temperature) for logits in (self.found, self.taught)
        )
        return self.temperature**2 * tf.reduce_sum(tf.exp(q) * (q - p), -1)


class TokenLoss:
    """For models whose head is a `SoftmaxHead`: the mean -log p of the targets, where Keras is given no loss.

    It asks the head for no more than that, so that an adaptive softmax computes only the clusters it needs. Targets of
    0 do not count. The call keeps what the head compares words with as `states`; the logits that it returns are not
    computed in a graph in which nobody uses them.
    """

    states: Tensor | None = None
    head: Any
    embedding: Any

    def imitation(self, lesson: Lesson) -> Tensor:
        """The mean divergence of a teacher's words from the model's, where the targets are not 0."""
        return mean_of_tokens(lesson.divergence(), lesson.targets, lesson.sample_weight)

    @property
    def table(self) -> Tensor:
        """The vectors that the head is tied to, if it is."""
        return self.embedding.embeddings if self.head.tied_size else None

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        model: Any = self
        if model.loss is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)  # type: ignore[misc]
        nats = self.head.nats(self.states, y, self.table)
        return tf.add_n([mean_of_tokens(nats, y, sample_weight), *model.losses])


def mean_of_tokens(values: Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """The mean of `[batch, time]` where the targets are not 0, weighted by `[batch]` or `[batch, 1]`."""
    counts = tf.cast(targets != 0, tf.float32)
    if sample_weight is not None:
        weights = tf.cast(sample_weight, tf.float32)
        counts *= weights if weights.shape.rank == 2 else weights[:, None]
    return tf.math.divide_no_nan(tf.reduce_sum(values * counts), tf.reduce_sum(counts))


def mean_of_rows(values: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """The mean of `[batch]`, each weighted, as Keras's losses have it."""
    if sample_weight is not None:
        values *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
    return tf.reduce_mean(values)


class PartsModel(Configured, keras.Model):
    """A model of three parts, each a layer with an output size that the next one is built for.

    Args:
        embedding: features → vectors `[batch, time, output_dim]`.
        stack: `(vectors, mask, initial_state)` → (sequence `[batch, time, output_size]`, final state).
        head: what comes after.
        reads: name of the feature that the embedding takes.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("reads",)
    PARTS: ClassVar[tuple[str, ...]] = ("embedding", "stack", "head")

    def __init__(
        self,
        embedding: keras.layers.Layer,
        stack: keras.layers.Layer,
        head: keras.layers.Layer,
        reads: str = "tokens",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # the parts round what they read, each for itself
        self.embedding, self.stack, self.head, self.reads = embedding, stack, head, reads

    def build(self, features_shape: Shape | None = None) -> None:
        shapes = {
            self.embedding: (None, None),
            self.stack: (None, None, self.embedding.output_dim),
            self.head: (None, None, self.stack.output_size),
        }
        for part, shape in shapes.items():
            if not part.built:  # parts that were loaded come built
                part.build(shape)
        self.built = True

    def mask(self, features: dict[str, Tensor]) -> Tensor:
        """Booleans `[batch, time]`: which steps are not padding, by "lengths"; without them ids that are not 0, and all
        frames."""
        steps = features[self.reads]
        if "lengths" in features:
            return tf.sequence_mask(features["lengths"], tf.shape(steps)[1])
        return ops.not_equal(steps, 0) if len(steps.shape) == 2 else tf.ones(tf.shape(steps)[:2], tf.bool)

    def embed(self, features: dict[str, Tensor], training: bool) -> Tensor:
        """Features → vectors."""
        return self.embedding(features[self.reads], training=training)

    def encode(self, features: dict[str, Tensor], training: bool) -> tuple[Tensor, Tensor, Nest]:
        """Features → the stack's sequence, the mask, and the stack's final state. The feature "vectors" takes the place
        of what the embedding gives."""
        mask = self.mask(features)
        vectors = features["vectors"] if "vectors" in features else self.embed(features, training)
        sequence, final_state = self.stack(vectors, mask=mask, training=training)
        return sequence, mask, final_state

    def imitation(self, lesson: Lesson) -> Tensor:
        """How far logits are from those of a teacher, for `nlp_rnn.training.distillation`: the divergence of the
        classes; of steps with classes each, its sum over those that are not padding."""
        rows = lesson.divergence()
        if len(rows.shape) == 2:
            rows = tf.reduce_sum(tf.where(self.mask(lesson.features), rows, 0.0), 1)
        return mean_of_rows(rows, lesson.sample_weight)

    @property
    def state_parts(self) -> int:
        """How many `[batch, state_size]` the state of all layers has, where the stack reads in one direction."""
        return self.stack.layers * self.stack.state_parts

    @property
    def state_size(self) -> int:
        """Numbers in each of them."""
        return self.stack.state_size

    def grouped(self, parts: list[Tensor]) -> list[list[Tensor]]:
        """The state's parts in order → by layer, as the stack takes them."""
        size = self.stack.state_parts
        return [parts[i : i + size] for i in range(0, len(parts), size)]

    @classmethod
    def from_config(cls, config: dict[str, object], custom_objects: object = None) -> PartsModel:
        model = super().from_config(config, custom_objects)
        model.build()
        return model
