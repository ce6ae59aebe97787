"""Typed configurations: a recipe, then a YAML file, then dotted options, all of one schema.

The sections below are shared by the tasks; each task composes them into a `Config` dataclass and may extend
`DataConfig` with the names of its columns. A field's docstring is its help text on the command line.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
import yaml

from nlp_rnn.errors import InputError, did_you_mean

RECIPES = Path(__file__).parent / "recipes"
C = TypeVar("C")


@dataclass(frozen=True)
class DataConfig:
    """Where the records come from."""

    train: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE")] = ("starter",)
    """Training data, also given as --data: a file, a folder with split files, a hub id, "starter", "-" for stdin."""
    validation: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE")] = ()
    """Validation data; where none is given or found beside the training data, a part of that is held out."""
    test: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE")] = ()
    """Test data, evaluated once after training."""
    format: Literal["auto", "csv", "tsv", "jsonl", "txt", "parquet", "conll"] = "auto"
    """Format of local files; "auto" goes by the suffix (.gz is looked through)."""
    validation_fraction: float = 0.1
    """Part of the training data held out for validation where there is no validation data."""
    test_fraction: float = 0.0
    """Part of the training data held out for testing where there is no test data."""


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes ids."""

    kind: Literal["subword", "word", "character", "byte"] = "subword"
    """Subword is SentencePiece's unigram model with byte fallback: no text is lost."""
    size: int = 8000
    """Vocabulary size, special tokens included (ignored by "byte")."""
    vocabulary: str = ""
    """A file of the words to know, one a line, instead of those that training sees (needs kind word)."""
    split_digits: tyro.conf.FlagConversionOff[bool] = False
    """Let no subword have more than one digit, so that numbers are read and written digit by digit."""
    min_count: int = 1
    """Words or characters seen less often in training are unknown."""
    normalization: Literal["none", "nfc", "nfkc"] = "nfkc"
    """Unicode normalisation form applied first."""
    lowercase: tyro.conf.FlagConversionOff[bool] = False
    """Fold case by Unicode lower-casing."""
    split: Literal["unicode", "fine", "treebank", "whitespace"] = "unicode"
    """How "word" finds words: runs of letters and digits; "fine" also parts what an apostrophe adds (Ada 's) and keeps
    numbers and abbreviations whole; "treebank" is "fine" with hyphenated words whole; or what white space separates."""


@dataclass(frozen=True)
class EmbeddingConfig:
    """The vectors of the tokens."""

    size: int = 128
    """Dimensions; with `vectors`, they must be those of the file."""
    vectors: str = ""
    """A text file of pre-trained vectors: GloVe, word2vec or fastText (needs tokenizer.kind word)."""
    extra_words: int = 0
    """Words of the vectors file, from its top, that join the vocabulary although training never saw them."""
    trainable: tyro.conf.FlagConversionOff[bool] = True
    """Whether the vectors are trained on, or frozen."""
    word_dropout: float = 0.0
    """Probability that a token's whole vector is dropped while training."""
    dropout: float = 0.0
    """Dropout of vector components, one mask per sequence."""


@dataclass(frozen=True)
class StackConfig:
    """The recurrent layers."""

    cell: Literal["simple_rnn", "gru", "lstm"] = "lstm"
    """Kind of recurrent cell."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the simple RNN."""
    units: int = 128
    """State size per direction."""
    layers: int = 1
    """Depth."""
    bidirectional: tyro.conf.FlagConversionOff[bool] = True
    """Whether each layer reads in both directions."""
    residual: tyro.conf.FlagConversionOff[bool] = False
    """Add each layer's input to its output, where their sizes agree."""
    dropout: float = 0.0
    """Variational dropout on the input of each layer after the first and on the output of the last: one
    mask per sequence."""
    weight_drop: float = 0.0
    """DropConnect on the recurrent kernels: a mask on the weights, drawn once per step of training."""


@dataclass(frozen=True)
class HeadConfig:
    """From the sequence to the classes."""

    pooling: Literal["last", "mean", "max", "mean+max", "last+mean+max", "attention"] = "attention"
    """How a sequence becomes one vector."""
    attention_units: int = 64
    """Size of the hidden layer of attention pooling."""
    dropout: float = 0.0
    """Dropout before the output layer."""


@dataclass(frozen=True)
class TrainConfig:
    """How the model is fitted."""

    epochs: int = 10
    """Passes over the training data, at most."""
    batch_size: int = 32
    """Sequences in a batch."""
    buckets: int = 8
    """Number of sequence lengths that batches are padded to."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Optimizer."""
    momentum: float = 0.9
    """Momentum of "sgd"."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) or L2 (SGD)."""
    warmup: float = 0.05
    """Part of all steps over which the learning rate rises linearly."""
    schedule: Literal["cosine", "linear", "halving", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    halve_after: int = 4
    """Epochs before a "halving" schedule begins to halve the learning rate in each."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm; 0 turns clipping off."""
    average: float = 0.0
    """Decay of a moving average of the weights, which is then what is validated and kept; 0 turns it off. Where steps
    are few it is lowered, so that the average spans a fifth of them at most."""
    average_epochs: int = 1
    """Keep the mean of the weights of so many epochs, those with the best validation results; 1 keeps the best's."""
    label_smoothing: float = 0.0
    """Part of the target's mass spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh records so that every class counts alike."""
    patience: int = 3
    """Stop after this many epochs without a better validation result; 0 never stops."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    """Keras dtype policy; "auto" takes "mixed_bfloat16" on a processor that multiplies bfloat16 faster, and "float32"
    elsewhere."""
    jit: Literal["auto", "on", "off"] = "auto"
    """XLA compilation of the training step."""
    devices: str = ""
    """GPUs to train on together, such as 0,1: each takes its part of every batch. Empty takes the first there is."""
    seed: int = 0
    """Seed of everything random: a run on the CPU is repeatable."""
    deterministic: tyro.conf.FlagConversionOff[bool] = False
    """Make a run on a GPU repeatable too, by slower kernels."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints within an epoch; one is also taken as each epoch begins."""

    @property
    def dtype_policy(self) -> str:
        """`precision` as Keras knows it, on this machine."""
        if self.precision != "auto":
            return self.precision
        from nlp_rnn.training.devices import fastest_precision

        return fastest_precision()


def cache_folder() -> Path:
    """Where what was compiled for this machine is kept: `NLP_RNN_CACHE`, or `~/.cache/nlp-rnn`."""
    return Path(os.environ.get("NLP_RNN_CACHE") or Path.home() / ".cache" / "nlp-rnn")


def load_recipe(task: str, name: str) -> dict[str, Any]:
    """Reads the named recipe of a task as nested dicts.

    A task without recipes, such as one of your own, has an empty "starter".

    Raises:
        InputError: there is no such recipe.
    """
    path = RECIPES / task / f"{name}.yaml"
    if not path.is_file():
        known = recipe_names(task)
        if name == "starter" and not known:
            return {}
        raise InputError(f'Task "{task}" has no recipe "{name}".{did_you_mean(name, known)}')
    return read_yaml(path)


def recipe_names(task: str) -> list[str]:
    """Names of the recipes that come with a task."""
    return sorted(path.stem for path in (RECIPES / task).glob("*.yaml"))


def recipe_header(task: str, name: str) -> str:
    """The comment at the top of a recipe: its command, result and minutes."""
    lines = (RECIPES / task / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line.lstrip("# "))
    return "\n".join(header)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file of nested mappings.

    Raises:
        InputError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"Config file {path} does not exist.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold sections such as `train:` with settings below them.")
    return values


def override(config: C, values: dict[str, Any], where: str = "") -> C:
    """Returns a copy of a config dataclass with the nested `values` put in, each checked against its type.

    Raises:
        InputError: a key is unknown, or a value has the wrong type.

    Example:

    >>> override(TrainConfig(), {"epochs": 3}).epochs
    3
    """
    hints = get_type_hints(type(config))
    names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    changes = {}
    for key, value in values.items():
        dotted = f"{where}{key}"
        if key not in names:
            raise InputError(f'There is no setting "{dotted}".{did_you_mean(str(key), names)}')
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise InputError(f'"{dotted}" is a section: give its settings below it.')
            changes[key] = override(current, value, f"{dotted}.")
        else:
            changes[key] = _checked(value, hints[key], dotted)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def _checked(value: Any, hint: Any, dotted: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f'"{dotted}" is {value!r}; it must be one of: {", ".join(map(str, arguments))}.')
        return value
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_checked(item, arguments[0], dotted) for item in items)
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f'"{dotted}" must be a mapping, such as {{0: negative, 1: positive}}.')
        return {str(k): str(v) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f'"{dotted}" is {value!r}; it must be of type {hint.__name__}.')
    return value


# What numbers must be: by a sentence, the test and the names of the settings.
_RANGES: dict[str, tuple[Callable[[float], bool], set[str]]] = {
    "at least 1": (
        lambda value: value >= 1,
        {"attention_units", "average_epochs", "batch_size", "buckets", "character_size", "character_units", "epochs"}
        | {"heads", "layers", "max_characters", "max_tokens", "size", "units", "width", "window"},
    ),
    "at least 0 and below 1": (
        lambda value: 0 <= value < 1,
        {"average", "dropout", "label_smoothing", "momentum", "test_fraction", "validation_fraction", "weight_drop"}
        | {"word_dropout"},
    ),
    "at least 0": (
        lambda value: value >= 0,
        {"activation_penalty", "change_penalty", "clip_norm", "coverage_penalty", "extra_words", "length_penalty"}
        | {"max_ratio", "min_length", "no_repeat", "patience", "warmup", "weight_decay"},
    ),
    "above 0": (lambda value: value > 0, {"learning_rate"}),
}


def check_ranges(config: Any) -> None:
    """Numbers of a configuration's sections must make sense; names that are not known here are not looked at.

    Raises:
        InputError: one does not.

    Example:

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     stack: StackConfig = StackConfig(units=0)
    >>> check_ranges(Config())
    Traceback (most recent call last):
    nlp_rnn.errors.InputError: stack.units is 0; it must be at least 1.
    """
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for name, value in vars(values).items() if dataclasses.is_dataclass(values) else ():
            if not isinstance(value, (int, float)):
                continue
            for wanted, (is_right, names) in _RANGES.items():
                if name in names and not is_right(value):
                    raise InputError(f"{section.name}.{name} is {value}; it must be {wanted}.")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as nested dicts of plain values, as written to `config.yaml`."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


__all__ = [
    "RECIPES",
    "DataConfig",
    "EmbeddingConfig",
    "HeadConfig",
    "StackConfig",
    "TokenizerConfig",
    "TrainConfig",
    "check_ranges",
    "load_recipe",
    "override",
    "read_yaml",
    "recipe_header",
    "recipe_names",
    "to_dict",
]
