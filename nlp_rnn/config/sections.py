"""The sections of settings that tasks share; each task composes them into a `Config` dataclass.

A field's docstring is its help text on the command line; a number's range stands in its type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

import tyro

from nlp_rnn.config.values import AtLeast, Count, Fraction, Natural, NotNegative, Positive, Range, Size
from nlp_rnn.errors import InputError
from nlp_rnn.machine import fastest_precision


@dataclass(frozen=True)
class DataConfig:
    """Where the records come from."""

    train: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE")] = ("starter",)
    """Training data, also given as --data: a file, a folder with split files, a hub id, "starter", "-" for stdin."""
    validation: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE")] = ()
    """Validation data; by default the validation split beside the training data, or a held-out part of that."""
    test: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE")] = ()
    """Test data, evaluated once after training."""
    format: Literal["auto", "csv", "tsv", "jsonl", "txt", "parquet", "conll"] = "auto"
    """Format of local files; "auto" goes by the suffix (.gz is unpacked)."""
    delimiter: str = ""
    """What parts the columns of csv and tsv files, such as ; or tab; by default it is found out."""
    validation_fraction: Fraction = 0.1
    """Part of the training data held out for validation where there is no validation data."""
    test_fraction: Fraction = 0.0
    """Part of the training data held out for testing where there is no test data."""
    seed: Annotated[int, AtLeast(-1)] = -1
    """Seed of the parts that are held out at random; -1 takes `train.seed`. With one of its own, runs of several
    `train.seed` hold out the same records, as members of an ensemble should."""


@dataclass(frozen=True)
class GroupedData(DataConfig):
    """Where the records come from, some of which may belong together."""

    group: str = ""
    """Column that says what belongs together, such as a film, an author or a document: parts that are held out then
    have no group that training sees."""
    train_records: Annotated[int, AtLeast(0)] = 0
    """Train on so many of the training records, drawn at random, at least one with each label; 0 takes all. What is
    held out stays the same, and more records contain the fewer, so that learning curves can be compared."""


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes ids."""

    kind: Literal["subword", "word", "character", "byte"] = "subword"
    """Subword is SentencePiece's unigram model with byte fallback: no text is lost."""
    size: Count = 8000
    """Vocabulary size, special tokens included (ignored by "byte")."""
    vocabulary: str = ""
    """A file of vocabulary words, one per line, used instead of the training words (needs kind word); or a run whose
    tokenizer is taken as it is."""
    split_digits: tyro.conf.FlagConversionOff[bool] = False
    """At most one digit per subword, so that numbers are read and written digit by digit."""
    min_count: Natural = 1
    """Words or characters seen less often in training are unknown."""
    normalization: Literal["none", "nfc", "nfkc"] = "nfkc"
    """Unicode normalisation form applied first."""
    lowercase: tyro.conf.FlagConversionOff[bool] = False
    """Fold case by Unicode lower-casing."""
    split: Literal["unicode", "fine", "treebank", "whitespace"] = "unicode"
    """How "word" splits text: "unicode" takes runs of letters and digits, and single characters of scripts without
    blanks (Chinese, Japanese, Thai, …); "fine" also splits at apostrophes (Ada 's) and keeps numbers and abbreviations
    whole; "treebank" is "fine" with hyphenated words whole; "whitespace" splits nowhere else."""


@dataclass(frozen=True)
class EmbeddingConfig:
    """The vectors of the tokens."""

    size: Size = 128
    """Dimensions; with `vectors`, they must be those of the file."""
    vectors: str = ""
    """A file of pre-trained vectors: GloVe, word2vec (as text or binary) or fastText (needs tokenizer.kind word)."""
    extra_words: Natural = 0
    """Number of words from the top of the vectors file to add to the vocabulary even if training has not seen them."""
    trainable: tyro.conf.FlagConversionOff[bool] = True
    """Whether the vectors are trained on, or frozen."""
    word_dropout: Fraction = 0.0
    """Probability that a token's whole vector is dropped while training."""
    dropout: Fraction = 0.0
    """Dropout of vector components, one mask per sequence."""


Cell = Literal[
    "simple_rnn", "gru", "lstm", "layernorm_lstm", "mingru", "minlstm", "sru", "qrnn", "rglru", "transformer"
]
PARALLEL_CELLS = ("mingru", "minlstm", "sru", "qrnn", "rglru")


@dataclass(frozen=True)
class StackConfig:
    """The recurrent layers, or a transformer beside them."""

    cell: Cell = "lstm"
    """Kind of recurrent cell. The state of mingru, minlstm, sru, qrnn and rglru goes through no matrix product, so that
    all steps run in parallel; stacks of several of them need `normalization` and `residual`. A "transformer" has
    attention instead of a state; it needs a low learning rate and a long warm-up."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the simple RNN."""
    units: Size = 128
    """State size per direction."""
    layers: Size = 1
    """Depth."""
    bidirectional: tyro.conf.FlagConversionOff[bool] = True
    """Whether each layer reads in both directions."""
    residual: tyro.conf.FlagConversionOff[bool] = False
    """Add each layer's input to its output, where their sizes agree."""
    normalization: Literal["none", "layer", "rms"] = "none"
    """What each layer's input and the last layer's output go through; residuals go around it."""
    feedforward: Natural = 0
    """Units of a feed-forward block after each layer; 0 for none, but four times `units` in a transformer."""
    chrono: Natural = 0
    """Steps over which the gates begin by remembering (chrono initialisation); 0 for the usual biases."""
    heads: Size = 4
    """Heads of a transformer's attention."""
    context: Size = 128
    """Steps that a transformer of one direction looks back on, in language models, events, translations and streams."""
    dropout: Fraction = 0.0
    """Variational dropout on the input of each layer after the first and on the output of the last: one
    mask per sequence."""
    weight_drop: Fraction = 0.0
    """DropConnect: a mask on the weights, drawn once per step of training, of the recurrent kernels; of cells that run
    in parallel, which have none, of the kernels of the gates."""


@dataclass(frozen=True)
class HeadConfig:
    """From the sequence to the classes."""

    pooling: Literal["last", "mean", "max", "mean+max", "last+mean+max", "attention"] = "attention"
    """How a sequence becomes one vector."""
    attention_units: Size = 64
    """Size of the hidden layer of attention pooling."""
    dropout: Fraction = 0.0
    """Dropout before the output layer."""
    ngrams: Annotated[int, Range(0, 8)] = 0
    """Longest n-grams, in tokens, of a linear model that is added to the network, with a weight that is fitted to the
    validation data; it helps with long texts. 0 adds none."""
    ngram_buckets: Annotated[int, Range(2, 2**27)] = 2**21
    """Values that the linear model has for each class; n-grams in the same bucket share one."""


@dataclass(frozen=True)
class TrainConfig:
    """How the model is fitted."""

    epochs: Count = 10
    """Passes over the training data, at most; see `steps` and `passes`."""
    steps: Natural = 0
    """Steps that a recipe's epochs come to with its own data. With others, where `epochs` is not given, epochs and
    passes make about as many; 0 takes the epochs as they are."""
    passes: Count = 1
    """Passes over the training data that make one epoch."""
    batch_size: Count = 32
    """Sequences in a batch."""
    buckets: Count = 8
    """Number of sequence lengths that batches are padded to."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Optimizer."""
    momentum: Fraction = 0.9
    """Momentum of "sgd"."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay (AdamW) or L2 (SGD)."""
    warmup: NotNegative = 0.05
    """Fraction of all steps with linear warm-up of the learning rate."""
    schedule: Literal["cosine", "linear", "halving", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    halve_after: Natural = 4
    """Epochs before a "halving" schedule begins to halve the learning rate in each."""
    clip_norm: NotNegative = 1.0
    """Gradients are scaled down to this global norm; 0 turns clipping off."""
    average: Fraction = 0.0
    """Decay of a moving average of the weights, which is validated and kept; 0 turns it off. With few steps it is
    lowered, so that the average spans a fifth of them at most."""
    average_epochs: Count = 1
    """Average the weights of this many best epochs; 1 keeps the best epoch."""
    label_smoothing: Fraction = 0.0
    """Fraction of the target probability spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weight records so that all classes count equally."""
    init_from: str = ""
    """A run to begin with, of any task: its vocabulary, embedding and layers, and of the same task all that fits."""
    init_backward: str = ""
    """With `init_from`: a language model that was trained with `data.backward`, whose layers become those that read
    backwards."""
    layer_decay: Annotated[float, Range(0, 1, above=True)] = 1.0
    """With `init_from`: what part of the learning rate of one layer the layer below it gets (Howard and Ruder 2018:
    0.38). New layers have the whole rate."""
    unfreeze: Fraction = 0.0
    """With `init_from`: part of all steps in which its layers begin to learn one after the other, the highest first and
    the embedding last (gradual unfreezing)."""
    teacher: str = ""
    """A run of the same task, such as a large one or an ensemble, that the model learns to imitate beside what the data
    say (distillation). Its vocabularies are taken; give the data and the --data.seed that it had."""
    teacher_weight: Annotated[float, Range(0, 1, above=True)] = 0.5
    """With `teacher`: how much what it says counts; what the data say has the rest."""
    teacher_temperature: Positive = 1.0
    """With `teacher`: what the scores of both are divided by, so that unlikely answers count more. Forecasts have no
    scores."""
    patience: Natural = 3
    """Stop after this many epochs without a better validation result; 0 never stops."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    """Keras dtype policy; "auto" takes "mixed_bfloat16" on a processor that multiplies bfloat16 faster, and "float32"
    elsewhere."""
    jit: Literal["auto", "on", "off"] = "auto"
    """XLA compilation of the training step."""
    devices: str = ""
    """GPUs to train on together, such as 0,1: each takes its part of every batch. Empty takes the first there is."""
    seed: Natural = 0
    """Seed of everything random: a run on the CPU is repeatable."""
    deterministic: tyro.conf.FlagConversionOff[bool] = False
    """Make a run on a GPU repeatable too, by slower kernels."""
    checkpoint_seconds: NotNegative = 60.0
    """Seconds between checkpoints within an epoch; one is also taken as each epoch begins."""

    @property
    def dtype_policy(self) -> str:
        """`precision` as Keras knows it, on this machine."""
        return fastest_precision() if self.precision == "auto" else self.precision


class Settings(Protocol):
    """What the settings of every task have."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def data(self) -> DataConfig:
        """Where the records come from."""

    @property
    def train(self) -> TrainConfig:
        """How the model is fitted."""


class RecurrentSettings(Settings, Protocol):
    """What the settings of tasks have whose models have a stack."""

    @property
    def stack(self) -> StackConfig:
        """Its layers."""


S = TypeVar("S", bound=Settings)


_ONLY_OF = {"activation": "simple_rnn", "heads": "transformer", "context": "transformer"}


_ONLY_WITH = {
    **dict.fromkeys(("train.teacher_weight", "train.teacher_temperature"), "teacher"),
    **dict.fromkeys(("train.init_backward", "train.layer_decay", "train.unfreeze"), "init_from"),
}


def refuse_idle(
    config: Settings, given: Iterable[str], cells: Collection[str] = (), varied: Collection[str] = ()
) -> None:
    """Settings that do nothing beside the others must not be given, since nobody would notice: those of the stack that
    its cell does not have, those of beginning with a run without a run.

    Args:
        config: the settings.
        given: dotted names of those that the user gave.
        cells: those that are trained; by default that of the settings.
        varied: settings that are tried with several values.

    Raises:
        InputError: one is given.
    """
    cell = getattr(getattr(config, "stack", None), "cell", "")
    used = cells or ([cell] if cell else [])
    for name in given:
        needs = _ONLY_WITH.get(name)
        if needs and not (getattr(config.train, needs) or f"train.{needs}" in varied):
            raise InputError(f"train.{needs} is not given, without which {name} does nothing: give both or none.")
        only_of = _ONLY_OF.get(name.removeprefix("stack.")) if name.startswith("stack.") else None
        if used and only_of not in (None, *used):
            which = "stack.cell is" if len(used) == 1 else "the cells are"
            raise InputError(f"{name} is a setting of {only_of}, and {which} {', '.join(used)}: leave one of them out.")


def split_seed(config: Settings) -> int:
    """The seed of the parts that are held out, of settings with the sections `data` and `train`."""
    return int(config.train.seed if config.data.seed < 0 else config.data.seed)
