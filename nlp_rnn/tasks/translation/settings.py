"""Settings of translation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import EmbeddingConfig, GroupedData, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.config.values import AtLeast, Formerly, Fraction, Natural, NotNegative, Size


@dataclass(frozen=True)
class TranslationData(GroupedData):
    """Where the pairs come from: two files of lines, or one with two columns."""

    source: str = "source"
    """Column of the text to translate; for the starter corpus its language (de, en, es, fr)."""
    target: str = "target"
    """Column of its translation; for the starter corpus its language."""
    swap: tyro.conf.FlagConversionOff[bool] = False
    """Translate in the other direction."""
    max_tokens: Natural = 0
    """Longer texts are cut to this many tokens (and counted); 0 cuts the longest hundredth of the training texts,
    none to fewer than 100, and all to 250."""
    max_ratio: NotNegative = 4.0
    """In training, drop pairs in which one text has more than 20 characters and is more than this many times as long as
    the other; 0 keeps all."""
    duplicates: tyro.conf.FlagConversionOff[bool] = True
    """In training, keep pairs that occur more than once."""

    @property
    def longest(self) -> int:
        """`max_tokens`, or what it is at most."""
        return self.max_tokens or 250


@dataclass(frozen=True)
class PairTokenizer(TokenizerConfig):
    """How text becomes ids."""

    joint: tyro.conf.FlagConversionOff[bool] = True
    """One vocabulary for both languages."""


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder: recurrent layers that attend to the encoder's states."""

    units: Size = 256
    """State size, and size of the input of the output layer."""
    layers: Size = 1
    """Depth."""
    attention: Literal["none", "additive", "concat", "dot", "general", "multi_head"] = "additive"
    """Score function of the attention; that of a transformer is always "multi_head", with `stack.heads`."""
    attention_units: Size = 256
    """Size of the hidden layer of the score, or of all heads of a recurrent decoder."""
    heads: Size = 4
    """Heads of "multi_head"."""
    input_feeding: tyro.conf.FlagConversionOff[bool] = False
    """Feed the attention output into the next step (slower: steps run one by one)."""
    dropout: Fraction = 0.0
    """Dropout before the output layer, one mask per sequence."""


@dataclass(frozen=True)
class PairHead:
    """From the states to the vocabulary."""

    tied: Literal["none", "output", "all"] = "all"
    """Share the target embedding with the output; "all" also shares the source embedding (needs a joint vocabulary)."""


@dataclass(frozen=True)
class SearchConfig:
    """How translations are searched for; all of it can be changed after training."""

    width: Annotated[int, AtLeast(1), tyro.conf.arg(aliases=["--beam"])] = 4
    """Width of the beam; 1 is greedy."""
    length_penalty: NotNegative = 1.0
    """0 ranks by probability; larger values prefer longer translations."""
    coverage_penalty: NotNegative = 0.0
    """Above 0, prefer translations that attend to the whole source."""
    min_length: Natural = 0
    """Minimum length in tokens."""
    no_repeat_ngram: Annotated[int, AtLeast(0), Formerly("no_repeat")] = 0
    """Never repeat an n-gram of this many tokens; 0 turns it off."""
    replace_unknown: tyro.conf.FlagConversionOff[bool] = True
    """For word vocabularies: replace an unknown word by the source word with the most attention (Jean et al. 2015,
    arXiv:1412.2007); False never writes unknown words."""


@dataclass(frozen=True)
class SearchOptions(SearchConfig):
    """How translations are searched for, and how many of them are given."""

    n_best: Annotated[int, AtLeast(1), tyro.conf.arg(name="n-best")] = 1
    """Translations of each text."""


@dataclass(frozen=True)
class Config:
    """Settings of the translation task."""

    data: TranslationData = field(default_factory=TranslationData)
    tokenizer: PairTokenizer = field(default_factory=PairTokenizer)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    stack: StackConfig = field(default_factory=StackConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: PairHead = field(default_factory=PairHead)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def attends(self) -> bool:
        """Whether the decoder looks at the source."""
        return self.stack.cell == "transformer" or self.decoder.attention != "none"
