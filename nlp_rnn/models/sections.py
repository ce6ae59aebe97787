"""Parts of models from the sections of a configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nlp_rnn.config.sections import EmbeddingConfig, StackConfig
from nlp_rnn.layers.embedding import TokenEmbedding
from nlp_rnn.layers.stack import RecurrentStack, stack_of
from nlp_rnn.layers.transformer import TransformerStack


def embedding_from(
    section: EmbeddingConfig, vocabulary: int, dtype: str, name: str = "embedding", **options: Any
) -> TokenEmbedding:
    """The embedding that a section describes, of a vocabulary; `options` win over the section."""
    drops = {"word_dropout": section.word_dropout, "dropout": section.dropout, "trainable": section.trainable}
    return TokenEmbedding(vocabulary, section.size, **{**drops, **options}, dtype=dtype, name=name)


def stack_from(
    section: StackConfig, dtype: str, name: str = "stack", **options: Any
) -> RecurrentStack | TransformerStack:
    """The layers that a section describes; `options` win over the section."""
    return stack_of(**{**asdict(section), **options}, dtype=dtype, name=name)


def forecaster_options(section: StackConfig) -> dict[str, Any]:
    """What a `Forecaster`, whose stack reads in one direction, takes of a section."""
    others = ("bidirectional", "activation", "context")
    return {name: value for name, value in asdict(section).items() if name not in others}
