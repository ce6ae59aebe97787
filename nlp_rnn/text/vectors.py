"""Pre-trained word vectors from files: GloVe, word2vec (as text or binary), fastText."""

from __future__ import annotations

import gzip
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.config.sections import EmbeddingConfig, TokenizerConfig
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.text.lookup import WordTokenizer


_BEGIN, _READ = 4096, 1 << 22
_FASTTEXT = (793712314).to_bytes(4, "little")  # with which its models begin


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words that were asked for.

    Args:
        words: those of them that the file has, in its order.
        matrix: float32 `[words, dimensions]`.
    """

    words: list[str]
    matrix: np.ndarray

    def table(self, vocabulary: list[str], seed: int = 0) -> tuple[np.ndarray, float]:
        """A matrix `[vocabulary, dimensions]`, and the part of the vocabulary that the file covers.

        Words without a vector are drawn from a normal distribution with the mean and spread of the others.
        """
        generator = np.random.default_rng(seed)
        mean, spread = self.matrix.mean(), self.matrix.std()
        table = generator.normal(mean, spread, (len(vocabulary), self.matrix.shape[1])).astype(np.float32)
        place = {word: i for i, word in enumerate(self.words)}
        found = [(i, place[word]) for i, word in enumerate(vocabulary) if word in place]
        if found:
            rows, sources = np.array(found).T
            table[rows] = self.matrix[sources]
        return table, len(found) / max(len(vocabulary), 1)


def read_vectors(path: str | Path, wanted: Iterable[str]) -> WordVectors:
    """Reads the vectors of the `wanted` words; others are passed over without being parsed.

    Raises:
        InputError: the file is missing, has no vectors, or a line has another number of dimensions.
    """
    needed = set(wanted)
    words: list[str] = []
    rows: list[np.ndarray] = []
    dimensions = 0
    for number, word, values in _entries(Path(path)):
        dimensions = dimensions or (values.count(" ") + 1 if isinstance(values, str) else len(values))
        if word not in needed:
            continue
        needed.discard(word)
        try:
            row = np.array(values.split(" ") if isinstance(values, str) else values, np.float32)
        except ValueError:
            raise InputError(f"{path}, line {number}: a vector of numbers is needed after the word.") from None
        if len(row) != dimensions:
            raise InputError(
                f"{path}, line {number}: {len(row)} dimensions where the lines before have {dimensions}; "
                f"the file is cut off or damaged."
            )
        words.append(word)
        rows.append(row)
    if not dimensions:
        raise InputError(f"{path} holds no vectors.")
    matrix = np.stack(rows) if rows else np.zeros((0, dimensions), np.float32)
    return WordVectors(words, matrix)


def vectors_for(embedding: EmbeddingConfig, words: WordTokenizer, seed: int) -> tuple[np.ndarray, str]:
    """The table of the vectors of a tokenizer's words, and a sentence on how many were found.

    Raises:
        InputError: the dimensions are not those of the configuration, or no word is in the file.
    """
    from nlp_rnn.text.tokenizer import SPECIAL

    vectors = read_vectors(embedding.vectors, words.vocabulary)
    if vectors.matrix.shape[1] != embedding.size:
        found = vectors.matrix.shape[1]
        raise InputError(f"{embedding.vectors} has {found} dimensions: give --embedding.size {found}.")
    if not vectors.words:
        raise InputError(f"{embedding.vectors} has none of the {len(words.vocabulary)} words of the training data.")
    table, coverage = vectors.table(words.vocabulary, seed)
    padded = np.concatenate([np.zeros((SPECIAL, embedding.size), np.float32), table])
    note = f"{embedding.vectors}: vectors for {coverage:.1%} of the {len(words.vocabulary):,} words"
    return padded, note


def extra_words(embedding: EmbeddingConfig, tokenizer: TokenizerConfig) -> list[str]:
    """The first `extra_words` words of the vectors file, if there is one: GloVe and fastText sort theirs by frequency.

    Raises:
        InputError: there are vectors, but the tokenizer is not of words.
    """
    if not embedding.vectors:
        return []
    if tokenizer.kind != "word":
        raise InputError(f"embedding.vectors needs words: give --tokenizer.kind word (it is {tokenizer.kind}).")
    return [word for _, word, _ in itertools.islice(_entries(Path(embedding.vectors)), embedding.extra_words)]


def _entries(path: Path) -> Iterator[tuple[int, str, str | np.ndarray]]:
    """(line or place, word, its numbers, as text or as they are); a word2vec header is passed over."""
    if not path.is_file():
        raise InputError(f"The vectors file {path} does not exist; give one of GloVe, word2vec or fastText.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            begin = file.read(_BEGIN)
            _refuse_other_formats(path, begin)
            file.seek(0)
            if header := _binary_header(begin):
                yield from _of_word2vec(path, file, *header)
                return
            for number, line in enumerate(io.TextIOWrapper(file, "utf-8", "replace", newline="\n"), 1):
                word, _, values = line.rstrip(" \r\n").partition(" ")
                if number == 1 and values.isdigit():
                    continue
                if values:
                    yield number, word, values
    except (EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is cut off or damaged ({error}); fetch it again.") from None


def _refuse_other_formats(path: Path, begin: bytes) -> None:
    if begin.startswith(_FASTTEXT):
        raise InputError(f"{path} is a model of fastText: give the file of its vectors, which ends with .vec.")
    if begin.startswith(b"\x80") and b"gensim" in begin:
        raise InputError(
            f"{path} was saved by gensim: load it there and write the vectors with "
            f'vectors.save_word2vec_format("vectors.bin", binary=True), those of a model from model.wv.'
        )


def _binary_header(begin: bytes) -> tuple[int, int] | None:
    """How many words and dimensions a binary file of word2vec has; None of a text."""
    found = re.match(rb"(\d+) (\d+)\n", begin)
    numbers = begin[found.end() :].partition(b" ")[2] if found else b""
    # Of several numbers as they are, some bytes are those of no text.
    is_text = re.fullmatch(rb"[\t\n\r -\xff]*", numbers) and "\ufffd" not in numbers.decode("utf-8", "replace")[:-3]
    return None if found is None or is_text else (int(found[1]), int(found[2]))


def _of_word2vec(path: Path, file: Any, count: int, dimensions: int) -> Iterator[tuple[int, str, np.ndarray]]:
    """The words of a binary file of word2vec, each followed by a blank and its numbers."""
    file.readline()
    size, held, at = 4 * dimensions, b"", 0
    for place in range(1, count + 1):
        while (end := held.find(b" ", at)) < 0 or len(held) < end + 1 + size:
            more = file.read(_READ)
            if not more:
                raise InputError(f"{path} ends after {place - 1:,} of {count:,} words; fetch it again.")
            held, at = held[at:] + more, 0
        word = held[at:end].lstrip(b"\n").decode("utf-8", "replace")
        yield place, word, np.frombuffer(held, "<f4", dimensions, end + 1)
        at = end + 1 + size
