"""Settings of language modelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import DataConfig, EmbeddingConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.config.values import AtLeast, Count, Formerly, Fraction, NotNegative, Range


@dataclass(frozen=True)
class LanguageData(DataConfig):
    """Where the text comes from; its lines follow each other."""

    text: str = "text"
    """Column of the text."""
    lines: Literal["auto", "end", "newline"] = "auto"
    """Token that ends a line: the end token, or a newline; "auto" uses the end token for words."""
    carry: tyro.conf.FlagConversionOff[bool] = True
    """Carry the state from line to line in evaluation; False measures each line by itself."""
    backward: tyro.conf.FlagConversionOff[bool] = False
    """Read the text from its end to its begin. Such a model writes nothing: it is there for other models to begin with
    (`train.init_backward`) or to read (`embedding.states_backward`)."""


@dataclass(frozen=True)
class LanguageHead:
    """From the states to the vocabulary."""

    kind: Literal["full", "adaptive"] = "full"
    """Full softmax, or adaptive with rare tokens in clusters: exact too, and faster for large vocabularies."""
    cutoffs: tuple[Count, ...] = (2000, 10000)
    """First id of each cluster of rarer tokens ("adaptive" only)."""
    tied: tyro.conf.FlagConversionOff[bool] = True
    """Use the embedding's vectors as the weights of the output."""
    dropout: Fraction = 0.0
    """Dropout before the output layer, one mask per lane and window."""


@dataclass(frozen=True)
class LanguageTrain(TrainConfig):
    """How the model is fitted."""

    batch_size: Count = 32
    """Lanes: parts of the text that are read side by side."""
    bptt: Annotated[int, AtLeast(1), Formerly("window")] = 64
    """Steps that gradients go back (truncated back-propagation through time); the state is carried on from window to
    window."""
    vary_bptt: Annotated[tyro.conf.FlagConversionOff[bool], Formerly("vary_window")] = True
    """Begin windows at different positions in each epoch; not under `jit` "on", which compiles for each length."""
    activation_penalty: NotNegative = 0.0
    """Weight of the mean square of the stack's outputs (AR)."""
    change_penalty: NotNegative = 0.0
    """Weight of the mean square of their change from step to step (TAR)."""


@dataclass(frozen=True)
class SearchConfig:
    """What texts do to the model that measures them. A neural cache (Grave et al. 2017, arXiv:1612.04426) remembers
    them, so that words that were just read become likelier; by dynamic evaluation (Krause et al. 2018,
    arXiv:1709.07432) the model learns from them. All of it can be changed after training, but that dynamic evaluation
    needs the sizes of gradients, which training measures where it is asked for."""

    cache: Annotated[int, Range(0, 100_000)] = 0
    """States that are remembered, with what followed them; 0 remembers none."""
    cache_weight: Fraction = 0.0
    """The cache's share of each probability; where this and the sharpness are 0, training fits both to the validation
    data once it is done."""
    cache_sharpness: NotNegative = 0.0
    """How much more similar states count."""
    dynamic: Annotated[int, Range(0, 1000)] = 0
    """Tokens after each of which the model learns from them (5 to 20 are usual); 0 for a model that stays as it is."""
    dynamic_rate: Annotated[float, Range(0, 1)] = 0.0
    """Learning rate of that; where it is 0, training fits it and the decay to validation data once it is done."""
    dynamic_decay: Fraction = 0.0
    """How much the weights are drawn back to those that were trained, at each step."""


@dataclass(frozen=True)
class Config:
    """Settings of the language modelling task."""

    data: LanguageData = field(default_factory=LanguageData)
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(kind="character", size=500))
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    stack: StackConfig = field(default_factory=lambda: StackConfig(bidirectional=False))
    head: LanguageHead = field(default_factory=LanguageHead)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: LanguageTrain = field(default_factory=LanguageTrain)

    @property
    def newline(self) -> bool:
        """Whether a line ends with a newline, rather than with the end token."""
        if self.data.lines != "auto":
            return self.data.lines == "newline"
        return self.tokenizer.kind != "word"
