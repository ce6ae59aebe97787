"""Several models of one kind as one: their parts side by side, or the mean of what they forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from nlp_rnn.layers.base import Tensor
from nlp_rnn.layers.ensemble import (
    EnsembleClassifierHead,
    EnsembleDense,
    EnsembleEmbedding,
    EnsembleSoftmaxHead,
    EnsembleStack,
    EnsembleTaggingHead,
    Members,
)
from nlp_rnn.layers.ensemble_decoder import EnsembleBridge, EnsembleDecoder
from nlp_rnn.layers.ngrams import NgramLogits
from nlp_rnn.layers.softmax import SoftmaxHead
from nlp_rnn.models.classifier import ClassifierHead
from nlp_rnn.models.forecaster import Forecaster
from nlp_rnn.models.parts import PartsModel
from nlp_rnn.models.tagger import TaggingHead
from nlp_rnn.models.translator import Translator

_HEADS: dict[type, type] = {
    ClassifierHead: EnsembleClassifierHead,
    TaggingHead: EnsembleTaggingHead,
    SoftmaxHead: EnsembleSoftmaxHead,
    keras.layers.Dense: EnsembleDense,
}
Parts: TypeAlias = dict[str, Any]
"""The parts of a model by name."""


def ensemble_of(models: Sequence[keras.Model]) -> keras.Model:
    """One model that says the mean of what several say, whose layers it takes.

    Args:
        models: of one class, with the same inputs and outputs. Those that go on from a state, such as language models
            and translators, must have cells of one kind and size.

    Returns:
        A model of the same class, but that forecasters make an `EnsembleForecaster`.

    Raises:
        ValueError: they are of different classes or sizes, or of a class that has no parts.

    Example:

    >>> from nlp_rnn.layers import RecurrentStack, TokenEmbedding
    >>> from nlp_rnn.models import SequenceClassifier
    >>> parts = lambda: (TokenEmbedding(50, 4), RecurrentStack("gru", 4), ClassifierHead(3))
    >>> model = ensemble_of([SequenceClassifier(*parts()), SequenceClassifier(*parts())])
    >>> model({"tokens": keras.ops.ones((2, 5), "int32")}).shape
    TensorShape([2, 3])
    """
    first = models[0]
    kinds = {type(model) for model in models}
    if all(isinstance(model, Forecaster) for model in models):
        members = [member for model in models for member in getattr(model, "members", [model])]
        return EnsembleForecaster(members, dtype=first.dtype_policy, name=first.name)
    if len(kinds) > 1:
        raise ValueError(f"they are of several kinds: {', '.join(sorted(kind.__name__ for kind in kinds))}")
    if len({getattr(model, "lookahead", 0) for model in models}) > 1:
        raise ValueError("they hear different numbers of steps ahead (audio.lookahead)")
    if not isinstance(first, (PartsModel, Translator)):
        raise ValueError(f"a {type(first).__name__} has no parts that could stand side by side")
    members = [member for model in models for member in _members_of(model)]
    if isinstance(first, Translator):
        parts = _of_translators(members)
    else:
        parts = _of_parts(members, goes_on=hasattr(first, "advance"))
    options = {name: getattr(first, name) for name in first.OPTIONS}
    model = type(first)(**parts, **options, dtype=first.dtype_policy, name=first.name)
    model.build()
    return model


def _members_of(model: keras.Model) -> list[Parts]:
    """The parts of a model, or of each member of one that is an ensemble."""
    if not model.built:
        model.build()
    parts = {name: getattr(model, name) for name in model.PARTS}
    count = max([len(part.members) for part in parts.values() if isinstance(part, Members)], default=1)
    return [
        {name: part.members[k] if isinstance(part, Members) else part for name, part in parts.items()}
        for k in range(count)
    ]


def _of_parts(members: Sequence[Parts], goes_on: bool) -> Parts:
    embeddings, stacks, heads = ([parts[name] for parts in members] for name in ("embedding", "stack", "head"))
    stack = _stack(stacks, embeddings)
    if goes_on and not stack.bidirectional:
        _refuse_other_states(stacks)
    joined: Parts = {
        "embedding": EnsembleEmbedding(embeddings, name="embedding"),
        "stack": stack,
        "head": _head(heads, [stack.output_size for stack in stacks]),
    }
    if "ngrams" in members[0]:
        joined["ngrams"] = _mean_of_ngrams([parts["ngrams"] for parts in members])
    return joined


def _of_translators(members: Sequence[Parts]) -> Parts:
    names = ("source_embedding", "embedding", "stack", "decoder", "bridge", "head")
    sources, embeddings, stacks, decoders, bridges, heads = ([parts[n] for parts in members] for n in names)
    if len({source is None for source in sources}) > 1:
        raise ValueError("some have one embedding for both languages, and others have two")
    _refuse_other_states([decoder.stack for decoder in decoders])
    memories, layers = [stack.output_size for stack in stacks], [stack.layers for stack in stacks]
    read = [source or embedding for source, embedding in zip(sources, embeddings, strict=True)]
    sizes = [embedding.output_dim for embedding in embeddings]
    return {
        "source_embedding": None if sources[0] is None else EnsembleEmbedding(sources, name="source_embedding"),
        "stack": _stack(stacks, read),
        "bridge": None if bridges[0] is None else EnsembleBridge(bridges, memories, layers, name="bridge"),
        "embedding": EnsembleEmbedding(embeddings, name="embedding"),
        "decoder": EnsembleDecoder(decoders, sizes, memories, name="decoder"),
        "head": _head(heads, [decoder.units for decoder in decoders]),
    }


def _stack(stacks: Sequence[Any], embeddings: Sequence[Any]) -> EnsembleStack:
    return EnsembleStack(stacks, [embedding.output_dim for embedding in embeddings], name="stack")


def _head(heads: Sequence[object], sizes: Sequence[int]) -> keras.layers.Layer:
    kind = next((joins for of, joins in _HEADS.items() if all(isinstance(head, of) for head in heads)), None)
    if kind is None:
        raise ValueError(f"heads such as {type(heads[0]).__name__} cannot stand side by side")
    if len({getattr(head, "kind", None) for head in heads}) > 1:
        raise ValueError("some have a CRF, and others have none")
    return kind(heads, sizes, name="head")


def _refuse_other_states(stacks: Sequence[Any]) -> None:
    states = [f"{stack.state_parts} × {stack.state_size}" for stack in stacks]
    if len(set(states)) > 1:
        raise ValueError(
            f"their cells are of other kinds or sizes, so that their states do not stand side by side: the state of a "
            f"layer has {', '.join(states)} numbers"
        )


def _mean_of_ngrams(members: Sequence[NgramLogits | None]) -> NgramLogits | None:
    """Linear models, of which the mean is one; those that have none are left out."""
    some = [member for member in members if member is not None]
    if not some:
        return None
    if len({(member.classes, member.order, member.buckets) for member in some}) > 1:
        raise ValueError("their n-grams are of other lengths, or have other numbers of buckets")
    joined = NgramLogits.from_config(some[0].get_config())
    joined.build((None, None))
    tables, biases = ([getattr(m, n) * m.weight for m in some] for n in ("table", "bias"))
    joined.assign(sum(tables) / len(members), sum(biases) / len(members))
    joined.weight.assign(1.0)
    return joined


@keras.saving.register_keras_serializable("nlp_rnn")
class EnsembleForecaster(Forecaster):
    """The mean of the quantiles that several forecasters give (Lichtendahl et al. 2013, "Is It Better to Average
    Probabilities or Quantiles?"): forecasts as sharp as theirs, whose quantiles never cross.

    Args:
        members: `Forecaster`s of the same channels, look-back, horizon, levels and covariates.

    Example:

    >>> from nlp_rnn.models import SegmentForecaster
    >>> members = [SegmentForecaster(1, 24, 12, units=8, cell=cell) for cell in ("gru", "lstm")]
    >>> EnsembleForecaster(members).infer({"history": keras.ops.ones((3, 24, 1))})["quantiles"].shape
    TensorShape([3, 12, 1, 7])
    """

    _ALIKE = ("channels", "lookback", "horizon", "levels", "step", "cycles", "known", "past")

    def __init__(self, members: Sequence[Forecaster], **kwargs: Any) -> None:
        first = members[0]
        for name in self._ALIKE:
            if any(getattr(member, name) != getattr(first, name) for member in members):
                raise ValueError(f"they differ in {name}")
        options = {name: getattr(first, name) for name in Forecaster.OPTIONS if name != "layers"}
        super().__init__(**options, layers=first.layers_, **kwargs)
        self.members = list(members)
        self.build()

    def _build_parts(self) -> None:
        for member in self.members:
            if not member.built:
                member.build()
        self.set_scales(self.members[0].scales)

    def infer(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _mean_of([member.infer(features) for member in self.members])

    def forecast(self, features: Mapping[str, Tensor], horizon: int, samples: int) -> dict[str, Tensor]:
        return _mean_of([member.forecast(features, horizon, samples) for member in self.members])

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> Tensor:
        shift, spread = self.scale_of(features["history"])
        return (self.infer(features)["quantiles"] - shift[..., None]) / spread[..., None]

    def get_config(self) -> dict[str, Any]:
        config = keras.Model.get_config(self)
        return {**config, "members": [keras.saving.serialize_keras_object(member) for member in self.members]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> EnsembleForecaster:
        members = [
            keras.saving.deserialize_keras_object(member, custom_objects=custom_objects) for member in config["members"]
        ]
        return cls(**{**config, "members": members})


def _mean_of(outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tf.add_n([one[name] for one in outputs]) / len(outputs) for name in outputs[0]}
