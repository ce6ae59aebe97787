"""Subwords: SentencePiece's unigram model."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from nlp_rnn.errors import InputError
from nlp_rnn.text.normalization import REPLACEMENT, Normalizer, code_points_at
from nlp_rnn.text.tokenizer import BEGIN, CHARACTERS, END, PAD, UNKNOWN, Tokenizer, as_tensor, in_chunks, in_pieces

_LONGEST_LINE = 4000


_TRAINING: dict[str, Any] = {
    "model_type": "unigram",
    "hard_vocab_limit": False,
    "byte_fallback": True,
    "character_coverage": 0.9995,
    "remove_extra_whitespaces": False,
    "max_sentence_length": _LONGEST_LINE * 4,
    "shuffle_input_sentence": True,
    "pad_id": PAD,
    "unk_id": UNKNOWN,
    "bos_id": BEGIN,
    "eos_id": END,
    "num_threads": 2,  # fixed: sums in another order give another vocabulary
    "minloglevel": 2,
}


class SubwordTokenizer(Tokenizer):
    """SentencePiece's unigram language model with byte fallback (Kudo 2018, arXiv:1804.10959).

    Characters that the vocabulary lacks are spelt in bytes, so that decoding gives back the normalised text;
    only U+2581, which SentencePiece uses for the blank, comes back as one, and a blank that begins the text is lost.

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
        cls,
        texts: Iterable[str],
        size: int,
        normalizer: Normalizer | None = None,
        sample: int = 1_000_000,
        split_digits: bool = False,
    ) -> SubwordTokenizer:
        """Learns a vocabulary of at most `size` pieces from `sample` lines of the texts.

        With `split_digits` no piece has more than one digit.

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
                vocab_size=size,
                split_digits=split_digits,
                normalization_rule_tsv=rules.name,
                input_sentence_size=sample,
                **_TRAINING,
            )
        except RuntimeError as error:
            raise InputError(f"No subword vocabulary of {size} could be learned: {error}.") from None
        return cls(_without_path(sink.getvalue()), normalizer)

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

    def pieces(self) -> list[bytes]:
        return [self._piece(i) for i in range(self.size)]

    def _piece(self, number: int) -> bytes:
        if number == UNKNOWN:
            return REPLACEMENT.encode()
        if self._pieces.is_control(number):
            return b""
        piece = self._pieces.id_to_piece(number)
        return bytes([int(piece[3:5], 16)]) if self._pieces.is_byte(number) else piece.replace("▁", " ").encode()

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return self._op().detokenize(ids)

    def _save_vocabulary(self, folder: Path) -> None:
        (folder / "model.spm").write_bytes(self._model)


def _training_lines(texts: Iterable[str], normalizer: Normalizer) -> Iterator[bytes]:
    """Normalised texts, cut to pieces of a length that SentencePiece's trainer does not skip."""
    for batch in in_chunks(in_pieces(texts), 1000, len, CHARACTERS):
        for line in normalizer(as_tensor(batch)).numpy():
            text = line.decode("utf-8")
            for start in range(0, len(text), _LONGEST_LINE):
                piece = text[start : start + _LONGEST_LINE]
                if piece.strip():
                    yield piece.encode("utf-8")


def _without_path(model: bytes) -> bytes:
    """A model without the path of the file of rules, which would be another each time: field 6 of the message of the
    normalizer, field 3 (https://github.com/google/sentencepiece, sentencepiece_model.proto). Its own classes for these
    messages need another version of protobuf than TensorFlow does."""
    parts = []
    for number, first, inner, end in _fields(model):
        if number == 3:
            kept = b"".join(model[i:k] for field, i, _, k in _fields(model, inner, end) if field != 6)
            parts.append(model[first : first + 1] + _varint(len(kept)) + kept)
        else:
            parts.append(model[first:end])
    return b"".join(parts)


def _fields(message: bytes, place: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a message of protobuf its number, where it begins, where its value begins, and its end."""
    end = len(message) if end is None else end
    while place < end:
        first = place
        tag, place = _read_varint(message, place)
        kind, value = tag & 7, place
        if kind == 0:
            _, place = _read_varint(message, place)
        elif kind == 2:
            size, value = _read_varint(message, place)
            place = value + size
        else:
            place += {1: 8, 5: 4}[kind]
        yield tag >> 3, first, value, place


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    number = shift = 0
    while message[place] & 128:
        number |= (message[place] & 127) << shift
        place, shift = place + 1, shift + 7
    return number | message[place] << shift, place + 1


def _no_rules() -> Any:
    """A file of normalisation rules that changes nothing but a noncharacter.

    With no rule at all ("identity") tensorflow-text prints a line each time it loads the model.
    """
    rules = tempfile.NamedTemporaryFile("w", suffix=".tsv")
    rules.write("FFFE\tFFFD\n")
    rules.flush()
    return rules
