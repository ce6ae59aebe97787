"""Tokenizers: strings to ids and back, inside the TensorFlow graph.

Four kinds share one interface: `SubwordTokenizer` (SentencePiece), `WordTokenizer`, `CharacterTokenizer` and
`ByteTokenizer`. Ids 0 to 3 are padding, unknown, begin and end. Every text encodes to at least one id: what
would encode to nothing encodes to the unknown id, so that no row of a batch is all padding.
"""

from __future__ import annotations

import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import tensorflow as tf

from nlp_rnn.config import TokenizerConfig
from nlp_rnn.errors import InputError
from nlp_rnn.text.normalization import REPLACEMENT, Normalizer, code_points_at
from nlp_rnn.text.ragged import keep, never_empty, position_in_row

PAD, UNKNOWN, BEGIN, END = range(4)
SPECIAL = 4
Texts: TypeAlias = str | bytes | Sequence[str] | Sequence[bytes] | Any  # or a string tensor

# Letters, marks and digits, with apostrophes inside; or any one other sign. RE2's \w and \s are ASCII only.
_WORD = r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}]+)*|[^\p{L}\p{M}\p{N}\p{Z}\p{Cc}]"
_SPACES = r"[\p{Z}\p{Cc}]+"


class Tokenizer(tf.Module):
    """What all tokenizers share.

    Args:
        normalizer: applied to every text first.

    Example:

    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode(["hi"]).to_list()
    [[108, 109]]
    >>> tokenizer.decode([[108, 109]])
    ['hi']
    """

    kind: ClassVar[str]

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.normalizer = normalizer
        strings = [tf.TensorSpec([None], tf.string)]
        self._encode_traced = tf.function(self._encode_all, input_signature=strings, autograph=False)
        self._offsets_traced = tf.function(self._encode_with_offsets_all, input_signature=strings, autograph=False)
        self._decode_traced = tf.function(
            self._decode, input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False
        )

    @property
    def size(self) -> int:
        """Number of ids, the four special ones included."""
        raise NotImplementedError

    def encode(self, texts: Texts) -> tf.RaggedTensor:
        """Strings `[batch]` → int32 ids `[batch, (tokens)]`, at least one a row."""
        return self._encode_traced(as_tensor(texts))

    def encode_with_offsets(self, texts: Texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Strings `[batch]` → ids, and where each token starts and ends in its text.

        Offsets are int64 Unicode code points: `text[start:end]` is the token. In bytes that are not UTF-8
        each invalid one counts as one code point.
        """
        return self._offsets_traced(as_tensor(texts))

    def decode(self, ids: Any) -> list[str]:
        """Ids, `[batch, tokens]` padded or ragged → strings; special ids leave no trace."""
        if isinstance(ids, tf.Tensor):
            ids = tf.RaggedTensor.from_tensor(tf.cast(ids, tf.int32))
        elif not isinstance(ids, tf.RaggedTensor):
            ids = tf.ragged.constant([[int(i) for i in row] for row in ids], tf.int32, ragged_rank=1)
        return [text.decode("utf-8", "replace") for text in self.decode_graph(ids).numpy()]

    def decode_graph(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Int32 ids `[batch, (tokens)]` → strings `[batch]`, for use in a graph."""
        values = ids.values
        ids = keep(ids, (values != PAD) & (values != BEGIN) & (values != END))
        return self._decode_traced(ids)

    def encode_graph(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """As `encode`, for use in a graph that is to be exported."""
        return self._encode_all(texts)

    def tokens(self, texts: Texts) -> list[list[str]]:
        """The pieces of text that the ids stand for, by their offsets."""
        texts = [texts] if isinstance(texts, (str, bytes)) else list(texts)
        strings = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in texts]
        _, starts, ends = self.encode_with_offsets(strings)
        spans = zip(strings, starts.to_list(), ends.to_list(), strict=True)
        return [[text[s:e] for s, e in zip(begin, end, strict=True)] for text, begin, end in spans]

    def save(self, folder: str | Path) -> None:
        """Writes the tokenizer to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        form = {"normalization": self.normalizer.form, "lowercase": self.normalizer.lowercase}
        description = {"kind": self.kind, **form, **self._options()}
        (folder / "tokenizer.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        self._save_vocabulary(folder)

    def _encode_all(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return never_empty(self._encode(self.normalizer(texts)), UNKNOWN)

    def _encode_with_offsets_all(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        normalized, starts, ends = self.normalizer.with_offsets(texts)
        ids, first, last = self._encode_spans(normalized)
        starts, ends = _spans_of(first, last, starts, ends)
        return never_empty(ids, UNKNOWN), never_empty(starts, 0), never_empty(ends, 0)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalised strings → ids."""
        return self._encode_spans(texts)[0]

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Normalised strings → ids, and the code points of those strings where each starts and ends."""
        raise NotImplementedError

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        return {}

    def _save_vocabulary(self, folder: Path) -> None:
        pass


class SubwordTokenizer(Tokenizer):
    """SentencePiece's unigram language model with byte fallback (Kudo 2018, arXiv:1804.10959).

    Characters that the vocabulary lacks are spelt in bytes, so that decoding gives back the normalised text;
    only U+2581, which SentencePiece uses for the blank, comes back as one.

    Args:
        model: the bytes of a SentencePiece model whose own normalisation is "identity".
        normalizer: applied to every text first.
    """

    kind = "subword"

    def __init__(self, model: bytes, normalizer: Normalizer) -> None:
        super().__init__(normalizer)
        self._model = model  # bytes only: a SentencePiece op that is held dies when TensorFlow is seeded
        import sentencepiece

        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._blank = self._pieces.piece_to_id("▁")  # put before every text, where it stands for nothing

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, normalizer: Normalizer | None = None, sample: int = 1_000_000
    ) -> SubwordTokenizer:
        """Learns a vocabulary of at most `size` pieces from `sample` lines of the texts.

        Raises:
            InputError: the size leaves no room beside the 256 bytes, or there is no text.
        """
        import sentencepiece

        normalizer = normalizer or Normalizer()
        if size < 300:
            raise InputError(f"tokenizer.size is {size}; a subword vocabulary needs at least 300 (256 are bytes).")
        sink = io.BytesIO()
        lines = _training_lines(texts, normalizer)
        first = next(lines, None)
        if first is None:
            raise InputError("There is no text to learn a vocabulary from.")
        try:
            rules = _no_rules()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=itertools.chain([first], lines),
                model_writer=sink,
                model_type="unigram",
                vocab_size=size,
                hard_vocab_limit=False,
                byte_fallback=True,
                character_coverage=0.9995,
                normalization_rule_tsv=rules.name,
                remove_extra_whitespaces=False,
                max_sentence_length=_LONGEST_LINE * 4,
                input_sentence_size=sample,
                shuffle_input_sentence=True,
                pad_id=PAD,
                unk_id=UNKNOWN,
                bos_id=BEGIN,
                eos_id=END,
                num_threads=2,  # fixed: sums in another order give another vocabulary
                minloglevel=2,
            )
        except RuntimeError as error:
            raise InputError(f"No subword vocabulary of {size} could be learned: {error}.") from None
        return cls(sink.getvalue(), normalizer)

    @property
    def size(self) -> int:
        return self._pieces.get_piece_size()

    def _op(self) -> Any:
        import tensorflow_text as tf_text

        return tf_text.SentencepieceTokenizer(model=self._model, out_type=tf.int32)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._op().tokenize(texts)

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        ids, starts, ends = self._op().tokenize_with_offsets(texts)
        starts, ends = tf.cast(starts, tf.int64), tf.cast(ends, tf.int64)
        first, last = code_points_at(texts, starts), code_points_at(texts, ends)
        # The bytes of one character have empty spans, but for one: each is given its whole character.
        last = last.with_values(
            tf.where(ids.values == self._blank, last.values, tf.maximum(last.values, first.values + 1))
        )
        return ids, first, last

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return self._op().detokenize(ids)

    def _save_vocabulary(self, folder: Path) -> None:
        (folder / "model.spm").write_bytes(self._model)


class WordTokenizer(Tokenizer):
    """Whole words and signs, looked up in a vocabulary; others are unknown.

    Args:
        vocabulary: the words, most frequent first; word `i` has id `i + 4`.
        normalizer: applied to every text first.
        split: "unicode" takes runs of letters, marks and digits, and every other visible sign by itself;
            "whitespace" takes whatever stands between white space, for text that is tokenised already.

    Example:

    >>> tokenizer = WordTokenizer(["good", "!"], Normalizer("nfc", lowercase=True))
    >>> tokenizer.encode(["Good day!"]).to_list()
    [[4, 1, 5]]
    """

    kind = "word"

    def __init__(self, vocabulary: Sequence[str], normalizer: Normalizer | None = None, split: str = "unicode") -> None:
        super().__init__(normalizer or Normalizer())
        self.vocabulary = list(vocabulary)
        self.split = split
        keys = tf.constant(["", *self.vocabulary])  # "" is no word: a table may not be empty
        ids = tf.concat([[UNKNOWN], tf.range(SPECIAL, self.size)], 0)
        entries = tf.lookup.KeyValueTensorInitializer(keys, tf.cast(ids, tf.int64))
        self._table = tf.lookup.StaticHashTable(entries, UNKNOWN)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        normalizer: Normalizer | None = None,
        min_count: int = 1,
        split: str = "unicode",
        extra: Iterable[str] = (),
    ) -> WordTokenizer:
        """Takes the most frequent words of the texts, then the `extra` words beyond them (not counted in `size`)."""
        tokenizer = cls([], normalizer, split)
        words = _most_common(texts, tokenizer._split_traced(), size - SPECIAL, min_count)
        known = set(words)
        words += [word for word in dict.fromkeys(extra) if word not in known]
        return cls(words, tokenizer.normalizer, split)

    @property
    def size(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def _split_traced(self) -> Callable[[tf.Tensor], tf.Tensor]:
        def split(texts: tf.Tensor) -> tf.Tensor:
            return self._split(self.normalizer(texts))[0].values

        return tf.function(split, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def _split(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        import tensorflow_text as tf_text

        # The words are the "delimiters", which are kept; what stands between them is white space.
        kept = _WORD if self.split == "unicode" else r"[^\p{Z}\p{Cc}]+"
        words, starts, ends = tf_text.regex_split_with_offsets(texts, kept, kept)
        is_word = tf.logical_not(tf.strings.regex_full_match(words.values, _SPACES))
        wanted = is_word & (words.values != "")
        return keep(words, wanted), keep(starts, wanted), keep(ends, wanted)

    def _lookup(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        return words.with_values(tf.cast(self._table.lookup(words.values), tf.int32))

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._lookup(self._split(texts)[0])

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        words, starts, ends = self._split(texts)
        return self._lookup(words), code_points_at(texts, starts), code_points_at(texts, ends)

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        words = tf.constant(["", REPLACEMENT, "", "", *self.vocabulary])
        return tf.strings.reduce_join(tf.gather(words, ids), axis=1, separator=" ")

    def _options(self) -> dict[str, Any]:
        return {"split": self.split}

    def _save_vocabulary(self, folder: Path) -> None:
        _write_json(folder / "vocabulary.json", self.vocabulary)


class CharacterTokenizer(Tokenizer):
    """Unicode code points, looked up in a vocabulary; others are unknown.

    Args:
        vocabulary: single characters; character `i` has id `i + 4`.
        normalizer: applied to every text first.
    """

    kind = "character"

    def __init__(self, vocabulary: Sequence[str], normalizer: Normalizer | None = None) -> None:
        super().__init__(normalizer or Normalizer())
        self.vocabulary = list(vocabulary)
        points = np.array([ord(character) for character in self.vocabulary], np.int32)
        order = np.argsort(points)
        self._points, self._ids = points[order], (order + SPECIAL).astype(np.int32)

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, normalizer: Normalizer | None = None, min_count: int = 1
    ) -> CharacterTokenizer:
        """Takes the most frequent characters of the texts."""
        normalizer = normalizer or Normalizer()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def split(strings: tf.Tensor) -> tf.Tensor:
            return tf.strings.unicode_split(normalizer(strings), "UTF-8").values

        return cls(_most_common(texts, split, size - SPECIAL, min_count), normalizer)

    @property
    def size(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        points = tf.strings.unicode_decode(texts, "UTF-8")
        first = points.with_values(position_in_row(points))
        last = first.with_values(first.values + 1)
        if not self.vocabulary:
            return points.with_values(tf.fill(tf.shape(points.values), UNKNOWN)), first, last
        place = tf.minimum(tf.searchsorted(self._points, points.values), len(self._points) - 1)
        known = tf.gather(self._points, place) == points.values
        ids = points.with_values(tf.where(known, tf.gather(self._ids, place), UNKNOWN))
        return ids, first, last

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        characters = tf.constant(["", REPLACEMENT, "", "", *self.vocabulary])
        return tf.strings.reduce_join(tf.gather(characters, ids), axis=1)

    def _save_vocabulary(self, folder: Path) -> None:
        _write_json(folder / "vocabulary.json", self.vocabulary)


class ByteTokenizer(Tokenizer):
    """The bytes of UTF-8; byte `b` has id `b + 4`. Nothing is unknown and nothing is trained."""

    kind = "byte"

    def __init__(self, normalizer: Normalizer | None = None) -> None:
        super().__init__(normalizer or Normalizer())

    @property
    def size(self) -> int:
        return SPECIAL + 256

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        characters = tf.strings.bytes_split(texts)
        values = tf.cast(tf.reshape(tf.io.decode_raw(characters.values, tf.uint8), [-1]), tf.int32)
        return characters.with_values(values + SPECIAL)

    def _encode_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        ids = self._encode(texts)
        starts = tf.cast((ids.values - SPECIAL) & 0xC0 != 0x80, tf.int64)  # not a continuation byte
        count = tf.concat([[0], tf.cumsum(starts)], 0)
        before_row = tf.gather(count, tf.gather(ids.row_splits, ids.value_rowids()))
        first = ids.with_values(count[1:] - before_row - 1)
        return ids, first, first.with_values(first.values + 1)

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        table = tf.constant([b"\xef\xbf\xbd" if i == UNKNOWN else b"" for i in range(SPECIAL)] + _BYTES)
        joined = tf.strings.reduce_join(tf.gather(table, ids), axis=1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str], extra: Iterable[str] = ()) -> Tokenizer:
    """Learns the tokenizer that a configuration describes; `extra` words join a word vocabulary."""
    normalizer = Normalizer(config.normalization, config.lowercase)
    if config.kind == "subword":
        return SubwordTokenizer.train(texts, config.size, normalizer)
    if config.kind == "word":
        return WordTokenizer.train(texts, config.size, normalizer, config.min_count, config.split, extra)
    if config.kind == "character":
        return CharacterTokenizer.train(texts, config.size, normalizer, config.min_count)
    return ByteTokenizer(normalizer)


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
        if description["kind"] == "byte":
            return ByteTokenizer(normalizer)
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        if description["kind"] == "word":
            return WordTokenizer(vocabulary, normalizer, description["split"])
        return CharacterTokenizer(vocabulary, normalizer)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder} holds no complete tokenizer ({error}); train again or copy it anew.") from None


def as_tensor(texts: Texts) -> tf.Tensor:
    """Strings in any form → a string tensor `[batch]`. Lone surrogates become U+FFFD."""
    if isinstance(texts, tf.Tensor):
        return texts
    if isinstance(texts, (str, bytes)):
        texts = [texts]
    encoded = [text if isinstance(text, bytes) else _utf8(text) for text in texts]
    return tf.constant(encoded, tf.string, shape=[len(encoded)])


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in text).encode("utf-8")


_BYTES = [bytes([b]) for b in range(256)]
_LONGEST_LINE = 4000


def _training_lines(texts: Iterable[str], normalizer: Normalizer) -> Iterator[bytes]:
    """Normalised texts, cut to pieces of a length that SentencePiece's trainer does not skip."""
    for batch in in_chunks(texts, 1000):
        for line in normalizer(as_tensor(batch)).numpy():
            text = line.decode("utf-8")
            for start in range(0, len(text), _LONGEST_LINE):
                piece = text[start : start + _LONGEST_LINE]
                if piece.strip():
                    yield piece.encode("utf-8")


def _no_rules() -> Any:
    """A file of normalisation rules that changes nothing but a noncharacter.

    With no rule at all ("identity") tensorflow-text prints a line each time it loads the model.
    """
    rules = tempfile.NamedTemporaryFile("w", suffix=".tsv")
    rules.write("FFFE\tFFFD\n")
    rules.flush()
    return rules


def _most_common(texts: Iterable[str], split: Callable[[tf.Tensor], tf.Tensor], size: int, min_count: int) -> list[str]:
    counts: Counter[bytes] = Counter()
    for batch in in_chunks(texts, 1000):
        counts.update(split(as_tensor(batch)).numpy().tolist())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word.decode("utf-8") for word, count in ranked[: max(size, 0)] if count >= min_count]


def in_chunks(items: Iterable[str], n: int) -> Iterable[list[str]]:
    """The items in lists of at most `n`."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, n)):
        yield batch


def _spans_of(
    first: tf.RaggedTensor, last: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Spans of normalised code points `[first, last)` → spans of the source code points."""
    row_start = tf.gather(starts.row_splits, first.value_rowids())
    begin = tf.gather(tf.concat([starts.values, [0]], 0), row_start + first.values)
    finish = tf.gather(tf.concat([[0], ends.values], 0), row_start + last.values)
    finish = tf.where(last.values > first.values, finish, begin)
    return first.with_values(begin), first.with_values(finish)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
