"""Settings of speech recognition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from nlp_rnn.config.sections import DataConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.config.values import ANY_NUMBER, Count, Fraction, Natural, NotNegative, Positive, Range, Size

Seconds = Annotated[float, Range(0, 1, above=True)]


@dataclass(frozen=True)
class SpeechData(DataConfig):
    """Where the recordings come from: a folder, an archive of one, a table with their names, or a data set of the
    hub."""

    audio: str = ""
    """Column of the recordings, or of their names; by default the first of audio, path, file_name,
    filename, file and wav that is there."""
    text: str = ""
    """Column of what is said; by default the first of text, sentence, transcription, transcript,
    normalized_text and label that is there."""
    speaker: str = ""
    """Column that says who speaks; by default speaker, speaker_id or client_id, where there is one."""
    pattern: str = ""
    """How names of files say what is said, and who says it, such as {text}_{speaker}_{take}, where no table does."""
    words: Annotated[dict[str, str], tyro.conf.arg(metavar="VALUE WORD")] = field(default_factory=dict)
    """Words for texts that are codes: 0 zero 1 one."""
    test_where: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE,…")] = ()
    """Which recordings are the test part, by what the pattern or the table says of them: take=0,1,2 or
    speaker=lucas."""
    spelling: Literal["plain", "as_is"] = "plain"
    """Whether texts are learned and measured in small letters without punctuation, as they are heard."""
    longest: Positive = 30.0
    """Seconds: longer recordings are left out of training, and cut at a pause to be recognised."""
    strings: tuple[Count, Count] = (1, 1)
    """The fewest and the most recordings of a speaker that training joins, anew in each epoch."""
    measured_strings: tuple[Count, Count] = (1, 1)
    """The same of strings that are measured beside the recordings by themselves, four of each."""
    pauses: tuple[NotNegative, NotNegative] = (0.0, 0.2)
    """Seconds of the pauses between joined recordings."""


@dataclass(frozen=True)
class AudioConfig:
    """From samples to what the recurrent layers read."""

    rate: Natural = 0
    """Samples in a second that the model reads, a multiple of 25; what has another rate is converted. 0 takes the
    commonest of the training data, 16,000 at most."""
    mels: Size = 40
    """Filters of the mel bank."""
    window: Seconds = 0.025
    """Seconds of a frame."""
    hop: Seconds = 0.01
    """Seconds from frame to frame."""
    frames: Size = 3
    """Frames that make one step of the recurrent layers."""
    filters: Natural = 0
    """Filters of two convolutions before the recurrent layers; 0 for none."""
    normalization: Literal["none", "recording", "running"] = "recording"
    """What is subtracted from spectra beside what is usual in training: the mean of the recording, or the mean so far
    ("running"), which `listen` needs, as far as it is known: a second counts for two thirds."""
    lookahead: Natural = 0
    """Steps after each that are heard before it is decided, where the layers read in one direction; `listen` says a
    word so much later. Without them, CTC learns to decide where a word begins."""
    dropout: Fraction = 0.0
    """Dropout of what the recurrent layers read."""


@dataclass(frozen=True)
class AugmentConfig:
    """How recordings are changed while training, anew each time."""

    speed: Fraction = 0.1
    """They become slower or faster by up to this part."""
    gain: NotNegative = 6.0
    """Decibels by which they become softer or louder."""
    noise: Fraction = 0.3
    """Part of them that gets noise."""
    warp: Fraction = 0.1
    """Frequencies become lower or higher by up to this part, as of longer and shorter vocal tracts."""
    tilt: NotNegative = 0.3
    """Spread of a smooth curve that is added to spectra, as other microphones and rooms would."""
    bands: Natural = 2
    """Bands of filters that are masked (SpecAugment)."""
    width: Natural = 8
    """Filters of a band at most."""
    stretches: Natural = 2
    """Stretches of time that are masked."""
    stretch: Natural = 15
    """Frames of a stretch at most; never more than a fifth of a recording."""


@dataclass(frozen=True)
class SpeechTokenizer(TokenizerConfig):
    """What is written: characters, pieces of words, or words."""

    kind: Literal["subword", "word", "character", "byte"] = "character"
    """Characters can spell any word; words are best where only few are ever said."""
    size: Count = 1000
    """Vocabulary size, special tokens included (ignored by "byte")."""
    split: Literal["unicode", "fine", "treebank", "whitespace"] = "whitespace"
    """How "word" splits text."""


@dataclass(frozen=True)
class SpeechStack(StackConfig):
    """The recurrent layers; for `listen`, those of one direction (--stack.bidirectional False)."""

    layers: Size = 2
    """Depth."""


@dataclass(frozen=True)
class OutputConfig:
    """From the recurrent layers to tokens."""

    blank: Annotated[float, ANY_NUMBER] = -3.0
    """Logit of the blank before training. Below 0, much is said at first, and a little data suffices to learn what is
    right; at 0, silence is learned first, from which long strings of much data are learned sooner."""


@dataclass(frozen=True)
class SpeechTrain(TrainConfig):
    """How the model is fitted."""

    batch_size: Count = 16
    """Recordings in a batch."""
    learning_rate: Positive = 2e-3
    """Peak learning rate."""


@dataclass(frozen=True)
class SearchConfig:
    """How the most probable text is searched for."""

    beam: Annotated[int, Range(1, 256)] = 1
    """Sequences that the search keeps at each step, 256 at most; 1 takes the best class at each."""
    language_model: str = ""
    """A run of the task language-modeling, of the same kind of tokens, to be heard together with the sound."""
    language_weight: NotNegative = 0.5
    """Weight α of the language model's log-probabilities."""
    bonus: Annotated[float, ANY_NUMBER] = 0.0
    """Bonus β for each token."""


@dataclass(frozen=True)
class Config:
    """Settings of speech recognition."""

    data: SpeechData = field(default_factory=SpeechData)
    audio: AudioConfig = field(default_factory=AudioConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: SpeechTokenizer = field(default_factory=SpeechTokenizer)
    stack: SpeechStack = field(default_factory=SpeechStack)
    head: OutputConfig = field(default_factory=OutputConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: SpeechTrain = field(default_factory=SpeechTrain)


Options = SearchConfig
