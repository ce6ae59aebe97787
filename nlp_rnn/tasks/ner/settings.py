"""Settings of named entity recognition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import EmbeddingConfig, GroupedData, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.config.values import ANY_NUMBER, Count, Fraction, Natural, Range, Size


@dataclass(frozen=True)
class NerData(GroupedData):
    """Where the annotated sentences come from."""

    text: str = "text"
    """Field of the text, where entities are given by their places in it."""
    entities: str = "entities"
    """Field of those entities: a list of {"start", "end", "label"}, in code points."""
    max_tokens: Count = 512
    """Longer sentences continue in another row (counted); nothing is cut."""
    tokens: str = "tokens"
    """Field of the list of tokens, where each has a tag."""
    tags: str = "tags"
    """Field of the list of tags (on the hub often ner_tags)."""
    token_column: Annotated[int, ANY_NUMBER] = 0
    """Column of the tokens in CoNLL files, counted from 0."""
    tag_column: Annotated[int, ANY_NUMBER] = -1
    """Column of the tags in CoNLL files; -1 is the last."""
    scheme: Literal["auto", "iob1", "iob2", "iobes", "bilou"] = "auto"
    """Tagging scheme of the source; "auto" detects it."""
    labels: Annotated[dict[str, str], tyro.conf.arg(metavar="VALUE NAME")] = field(default_factory=dict)
    """Names for the labels of the source: PER person LOC location."""


@dataclass(frozen=True)
class NerEmbedding(EmbeddingConfig):
    """What the model sees of a word: its vector, its characters, how it is written."""

    replace_rare: Fraction = 0.5
    """Probability that a word seen once is read as unknown while training, so that the unknown word is learned."""
    characters: Literal["none", "cnn", "lstm"] = "cnn"
    """How the characters of a word are read."""
    character_size: Size = 30
    """Dimensions of a character's vector."""
    character_units: Size = 30
    """Features of a word that come from its characters."""
    max_characters: Size = 24
    """Longer words keep their beginning and their end, half each."""
    states: str = ""
    """A run of a language model of characters, whose states become part of each word's vector (Akbik et al. 2018). It
    is frozen, and needed no more after training."""
    states_backward: str = ""
    """The same of one that was trained with `data.backward`; both have one vocabulary."""
    case_size: Natural = 8
    """Dimensions of the letter-case vector (lower, Title, UPPER, …); 0 for none."""


@dataclass(frozen=True)
class NerHead:
    """From the sequence to the tags."""

    kind: Literal["crf", "softmax"] = "crf"
    """Whether a tag depends on the one before (CRF) or not."""
    dropout: Fraction = 0.0
    """Dropout before the output layer, one mask per sentence."""


@dataclass(frozen=True)
class Config:
    """Settings of the named entity recognition task."""

    data: NerData = field(default_factory=NerData)
    tokenizer: TokenizerConfig = field(
        default_factory=lambda: TokenizerConfig(kind="word", size=50000, lowercase=True, split="fine")
    )
    embedding: NerEmbedding = field(default_factory=NerEmbedding)
    stack: StackConfig = field(default_factory=StackConfig)
    head: NerHead = field(default_factory=NerHead)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class EntityOptions:
    """Which entities count."""

    min_confidence: Annotated[float, Range(0, 1), tyro.conf.arg(name="min-confidence")] = 0.0
    """Leave out entities whose confidence is lower."""
