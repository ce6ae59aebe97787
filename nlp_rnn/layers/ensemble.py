"""Parts of several models side by side, which make of them one model: an ensemble.

Each member reads its own part of the features and gives its own; heads say the mean of what theirs say. Since a part of
an ensemble has the contract of the part of a model, whatever works with a model works with an ensemble: generation,
beam search, streams, exports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor


def mean_of_log_p(logits: Sequence[Tensor]) -> Tensor:
    """Log of the mean of the probabilities that logits `[…, classes]` stand for: an ensemble's logits.

    Example:

    >>> sure, unsure = tf.constant([0.0, 100.0]), tf.constant([0.0, 0.0])
    >>> tf.exp(mean_of_log_p([sure, unsure])).numpy().tolist()
    [0.25, 0.75]
    """
    every = tf.stack([tf.nn.log_softmax(ops.cast(one, "float32")) for one in logits])
    return tf.reduce_logsumexp(every, 0) - math.log(len(logits))


class Members(SequenceLayer):
    """Layers of one kind side by side.

    Args:
        members: the layers.
        sizes: of the features that each reads, where it reads its own part of them.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("sizes",)
    FACTS: ClassVar[tuple[str, ...]] = ()
    """What all members have alike, such as the size of a vocabulary."""

    def __init__(self, members: Sequence[keras.layers.Layer], sizes: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if not members:
            raise ValueError("members are none; there must be at least one.")
        self.members, self.sizes = list(members), [int(size) for size in sizes]

    def __getattr__(self, name: str) -> Any:
        if name in type(self).FACTS:
            return getattr(self.members[0], name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    def get_config(self) -> dict[str, Any]:
        members = [keras.saving.serialize_keras_object(member) for member in self.members]
        return {**super().get_config(), "members": members}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Makes it again from what `get_config` returned."""
        members = [
            keras.saving.deserialize_keras_object(member, custom_objects=custom_objects) for member in config["members"]
        ]
        return cls(**{**config, "members": members})

    def build(self, *shapes: Any) -> None:
        for number, member in enumerate(self.members):
            if not member.built:
                member.build(*self.shapes_of(number, shapes))
        self.built = True

    def shapes_of(self, number: int, shapes: Sequence[Shape]) -> list[Shape]:
        """What a member is built for."""
        return [(*shape[:-1], self.sizes[number]) if self.sizes else shape for shape in shapes]

    def parts(self, features: Tensor) -> list[Tensor]:
        """`[…, features]` → what each member reads."""
        return tf.split(features, self.sizes, -1)

    def total(self, name: str) -> int:
        """The sum of what the members have."""
        return sum(getattr(member, name) for member in self.members)


def side_by_side(values: Sequence[Tensor]) -> Tensor:
    """`[…, features]` of the members → those of the ensemble."""
    return ops.concatenate([ops.cast(value, values[0].dtype) for value in values], axis=-1)


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleEmbedding(Members):
    """Features → the vectors of all members, side by side.

    Args:
        members: the embeddings, of one vocabulary.
    """

    FACTS = ("vocabulary_size", "tokens", "mel", "stacking", "samples_per_step", "steps_of", "normalization", "prior")

    @property
    def output_dim(self) -> int:
        """Features of a step."""
        return self.total("output_dim")

    @property
    def embeddings(self) -> list[Tensor]:
        """The tables, for heads that are tied to them."""
        return [member.embeddings for member in self.members]

    def call(self, features: Nest, *others: Tensor, training: bool = False) -> Tensor:
        return side_by_side([member(features, *others, training=training) for member in self.members])

    def steps_from(self, frames: Tensor) -> Tensor:
        """As that of a `SoundEmbedding`."""
        return side_by_side([member.steps_from(frames) for member in self.members])


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleStack(Members):
    """Stacks side by side, with the contract of a `RecurrentStack`; the layers of one follow those of another in the
    state.

    Args:
        members: the stacks. Where a state goes in or out, those of one cell and size.
        sizes: of the features that each reads.
    """

    FACTS = ("state_parts", "state_size", "bidirectional")

    @property
    def layers(self) -> int:
        """Of all members together."""
        return self.total("layers")

    @property
    def output_size(self) -> int:
        """Features of the output sequence."""
        return self.total("output_size")

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, initial_state: Nest = None, training: bool = False
    ) -> tuple[Tensor, list[list[Tensor]]]:
        states = [None] * len(self.members) if initial_state is None else self.states_of(initial_state)
        found = [
            member(part, mask=mask, initial_state=state, training=training)
            for member, part, state in zip(self.members, self.parts(sequence), states, strict=True)
        ]
        return side_by_side([outputs for outputs, _ in found]), [layer for _, state in found for layer in state]

    def states_of(self, state: Nest) -> list[Nest]:
        """The state of all layers → that of each member."""
        return by_counts(state, [member.layers for member in self.members])

    def zero_state(self, batch: Tensor | int) -> list[list[Tensor]]:
        """The state at the beginning, of so many rows."""
        return [layer for member in self.members for layer in member.zero_state(batch)]

    def last_output(
        self, final_state: list[list[Tensor]], sequence: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As that of a `RecurrentStack`, of all members side by side."""
        sizes = [member.output_size for member in self.members]
        sequences = [None] * len(sizes) if sequence is None else tf.split(sequence, sizes, -1)
        every = zip(self.members, self.states_of(final_state), sequences, strict=True)
        return side_by_side([member.last_output(state, part, mask) for member, state, part in every])


def by_counts(items: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """A sequence → parts of so many items each.

    Example:

    >>> by_counts("abc", [1, 2])
    [['a'], ['b', 'c']]
    """
    rest = iter(items)
    return [[next(rest) for _ in range(count)] for count in counts]


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleClassifierHead(Members):
    """The mean of the members' probabilities, with a temperature of its own.

    Args:
        members: `ClassifierHead`s of the same classes.
        sizes: of the features that each reads.

    Call arguments:
        sequence, mask, last, training: as a `ClassifierHead` takes them.

    Returns:
        float32 logits `[batch, classes]`.
    """

    FACTS = ("classes",)

    def build(self, *shapes: Any) -> None:
        super().build(*shapes)
        self.temperature = self.add_weight(
            name="temperature", shape=(), initializer="ones", trainable=False, dtype="float32", autocast=False
        )

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, last: Tensor | None = None, training: bool = False
    ) -> Tensor:
        return self.classify(self.pooling(sequence, mask=mask, last=last)[0], training=training)

    def pooling(self, sequence: Tensor, mask: Tensor | None = None, last: Tensor | None = None) -> tuple[Tensor, Nest]:
        """The members' vectors side by side, and the mean of the weights of steps."""
        lasts = [None] * len(self.members) if last is None else self.parts(last)
        every = zip(self.members, self.parts(sequence), lasts, strict=True)
        found = [member.pooling(part, mask=mask, last=one) for member, part, one in every]
        return side_by_side([vector for vector, _ in found]), tf.add_n([w for _, w in found]) / len(found)

    def classify(self, vector: Tensor, training: bool = False) -> Tensor:
        """Pooled vectors → logits."""
        sizes = [member.pooled_size(size) for member, size in zip(self.members, self.sizes, strict=True)]
        vectors = tf.split(vector, sizes, -1)
        logits = [member.classify(one, training=training) for member, one in zip(self.members, vectors, strict=True)]
        return mean_of_log_p(logits) / self.temperature


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleTaggingHead(Members):
    """Chains whose scores are the mean of those of the members, so that what they say of a sequence is the geometric
    mean; of tags each by itself, the mean of the probabilities.

    Args:
        members: `TaggingHead`s of the same tags.
        sizes: of the features that each reads.
    """

    FACTS = ("tags", "kind", "best")

    def call(self, sequence: Tensor, mask: Tensor | None = None, training: bool = False) -> Tensor:
        every = zip(self.members, self.parts(sequence), strict=True)
        scores = [member(part, mask=mask, training=training) for member, part in every]
        return mean_of_log_p(scores) if self.kind == "softmax" else tf.add_n(scores) / len(scores)


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleDense(Members):
    """Logits: the mean of the probabilities that the members' logits stand for.

    Args:
        members: `Dense` layers of as many classes.
        sizes: of the features that each reads.
    """

    FACTS = ("units",)

    def call(self, features: Tensor) -> Tensor:
        return mean_of_log_p([m(part) for m, part in zip(self.members, self.parts(features), strict=True)])


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleSoftmaxHead(Members):
    """The mean of the members' probabilities of words, with the contract of a `SoftmaxHead`.

    Args:
        members: `SoftmaxHead`s of one vocabulary.
        sizes: of the features that each reads.
    """

    FACTS = ("vocabulary",)

    @property
    def tied_size(self) -> int:
        """Of the members that are tied to their embeddings; 0 if none is."""
        return self.total("tied_size")

    def call(self, sequence: Tensor, embeddings: list[Tensor] | None = None, training: bool = False) -> Tensor:
        return self.logits(self.states(sequence, training), embeddings)

    def states(self, sequence: Tensor, training: bool = False) -> Tensor:
        """What the words' vectors are compared with, those of all members side by side."""
        every = zip(self.members, self.parts(sequence), strict=True)
        return side_by_side([member.states(part, training) for member, part in every])

    def logits(self, states: Tensor, embeddings: list[Tensor] | None = None) -> Tensor:
        """float32 log-probabilities `[batch, time, vocabulary]`."""
        return mean_of_log_p([member.logits(*given) for member, *given in self._each(states, embeddings)])

    def nats(self, states: Tensor, targets: Tensor, embeddings: list[Tensor] | None = None) -> Tensor:
        """-log p of the targets, float32 `[batch, time]`."""
        found = [member.nats(one, targets, table) for member, one, table in self._each(states, embeddings)]
        return math.log(len(found)) - tf.reduce_logsumexp(-tf.stack(found), 0)

    def _each(self, states: Tensor, embeddings: list[Tensor] | None) -> list[tuple[Any, Tensor, Tensor | None]]:
        sizes = [member.tied_size or size for member, size in zip(self.members, self.sizes, strict=True)]
        tables = embeddings or [None] * len(sizes)
        return list(zip(self.members, tf.split(states, sizes, -1), tables, strict=True))
