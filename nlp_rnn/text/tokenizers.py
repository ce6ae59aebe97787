"""The tokenizers by kind: learned from a configuration, loaded from a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from nlp_rnn.config.sections import TokenizerConfig
from nlp_rnn.errors import InputError
from nlp_rnn.text.lookup import ByteTokenizer, CharacterTokenizer, WordTokenizer
from nlp_rnn.text.normalization import Normalizer
from nlp_rnn.text.subword import SubwordTokenizer
from nlp_rnn.text.tokenizer import Tokenizer

__all__ = [
    "ByteTokenizer",
    "CharacterTokenizer",
    "SubwordTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "load_tokenizer",
    "train_tokenizer",
]


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str], extra: Iterable[str] = ()) -> Tokenizer:
    """Learns the tokenizer that a configuration describes; `extra` words join a word vocabulary.

    Raises:
        InputError: the given vocabulary cannot be read, or is not of words.
    """
    normalizer = Normalizer(config.normalization, config.lowercase)
    if (taken := tokenizer_of_run(config.vocabulary)) is not None:
        return taken
    if config.vocabulary:
        if config.kind != "word":
            raise InputError(f'--tokenizer.vocabulary is a list of words; the kind is "{config.kind}", not "word".')
        words = dict.fromkeys([*_listed_words(Path(config.vocabulary)), *extra])
        return WordTokenizer(list(words), normalizer, config.split)
    if config.kind == "subword":
        return SubwordTokenizer.train(texts, config.size, normalizer, split_digits=config.split_digits)
    if config.kind == "word":
        return WordTokenizer.train(texts, config.size, normalizer, config.min_count, config.split, extra)
    if config.kind == "character":
        return CharacterTokenizer.train(texts, config.size, normalizer, config.min_count)
    return ByteTokenizer(normalizer)


def tokenizer_of_run(path: str) -> Tokenizer | None:
    """The tokenizer of a run, if the path is one that has a tokenizer."""
    folder = Path(path, "assets", "tokenizer")
    return load_tokenizer(folder) if path and folder.is_dir() else None


def _listed_words(path: Path) -> list[str]:
    """The words of a file, one a line; what follows a tab, such as a count, is left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The vocabulary {path} cannot be read ({error}).") from None
    words = [line.split("\t")[0].strip() for line in lines]
    if not any(words):
        raise InputError(f"The vocabulary {path} has no words: one a line is needed.")
    return [word for word in words if word]


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Loads a tokenizer that `save` wrote.

    Raises:
        InputError: the folder holds none.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        normalizer = Normalizer(description["normalization"], description["lowercase"])
        if description["kind"] == "subword":
            return SubwordTokenizer((folder / "model.spm").read_bytes(), normalizer)
        if description["kind"] not in ("byte", "word", "character"):
            raise ValueError(f"there is no kind {description['kind']!r} of tokenizer")
        if description["kind"] == "byte":
            return ByteTokenizer(normalizer)
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        if not isinstance(vocabulary, list) or len(set(vocabulary)) != len(vocabulary):
            raise ValueError("the vocabulary is no list of different entries")
        if description["kind"] == "word":
            counts = {name: description[name] for name in ("frequent", "extra") if name in description}
            split = description["split"]
            rules = description.get("rules", 1)  # how scripts without blanks are split changed twice
            if (rules < 2 and split in ("fine", "treebank")) or (rules < 3 and split == "unicode"):
                split = f"{split}-1"
            return WordTokenizer(vocabulary, normalizer, split, **counts)
        return CharacterTokenizer(vocabulary, normalizer)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder} holds no complete tokenizer ({error}); train again or copy it anew.") from None
