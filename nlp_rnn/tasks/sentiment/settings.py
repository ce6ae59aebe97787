"""Settings of the sentiment task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import (
    EmbeddingConfig,
    GroupedData,
    HeadConfig,
    StackConfig,
    TokenizerConfig,
    TrainConfig,
)
from nlp_rnn.config.values import Formerly, Natural


@dataclass(frozen=True)
class SentimentData(GroupedData):
    """Where the reviews come from."""

    text: str = "text"
    """Column of the text."""
    label: str = "label"
    """Column of the label."""
    labels: Annotated[dict[str, str], tyro.conf.arg(metavar="VALUE NAME")] = field(default_factory=dict)
    """Names for the values of the label column, in the order of the classes: 0 negative 1 positive."""
    max_tokens: Natural = 0
    """Longer texts are cut to this many tokens (and counted); 0 cuts the longest twentieth of the training texts,
    none to fewer than 128, and all to 512."""
    kept_part: Annotated[Literal["start", "end", "both"], Formerly("keep")] = "start"
    """Which part of a text that is too long is kept; "both" keeps the first and the last half."""

    @property
    def longest(self) -> int:
        """`max_tokens`, or what it is at most."""
        return self.max_tokens or 512


@dataclass(frozen=True)
class Config:
    """Settings of the sentiment task."""

    data: SentimentData = field(default_factory=SentimentData)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    stack: StackConfig = field(default_factory=StackConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
