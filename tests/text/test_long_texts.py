"""Texts of any length: tokenised in pieces, and read in windows, with the results of the whole."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nlp_rnn.data.records import Records
from nlp_rnn.data.tokenizing import encode, token_rows
from nlp_rnn.data.words import sentences_of
from nlp_rnn.tasks.language_modeling import data as language_data
from nlp_rnn.text.normalization import Normalizer
from nlp_rnn.text.tokenizer import as_tensor, pieces_of
from nlp_rnn.text.tokenizers import ByteTokenizer, CharacterTokenizer, SubwordTokenizer, WordTokenizer
from tests.subjects import SUBJECTS

WORDS = """the cat sat on a mat . Ada met Bob in New York ! é e\u0301 ﬁne 日本 🐈 don't 3.50""".split()  # noqa: SIM905


def long_text(size, seed=0, marks=(" ", " ", " ", "\n", "  ")):
    generator, parts, length = random.Random(seed), [], 0
    while length < size:
        parts.append(generator.choice(WORDS) + generator.choice(marks))
        length += len(parts[-1])
    return "".join(parts)


TEXTS = [long_text(130_000), "", "short one", long_text(60_000, seed=1), "x" * 120_000]


def tokenizers():
    normalizer = Normalizer("nfkc", lowercase=True)
    yield SubwordTokenizer.train([long_text(5000)], 400, normalizer)
    yield WordTokenizer.train([long_text(5000)], 100, normalizer)
    yield WordTokenizer.train([long_text(5000)], 100, normalizer, split="fine")
    yield CharacterTokenizer.train([long_text(5000)], 100, normalizer)
    yield ByteTokenizer(normalizer)


def test_pieces_are_the_text_and_end_where_a_line_a_sentence_or_a_word_ends():
    for text in TEXTS:
        pieces = list(pieces_of(text))
        assert "".join(piece for _, piece in pieces) == text
        assert [start for start, _ in pieces] == [sum(len(p) for _, p in pieces[:i]) for i in range(len(pieces))]
        assert all(len(piece) <= 50_000 for _, piece in pieces)
    assert all(piece[-1] == "\n" for _, piece in list(pieces_of(TEXTS[0]))[:-1])
    assert all(piece[-2:] == ". " for _, piece in list(pieces_of(long_text(120_000, marks=[" "])))[:-1])


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda tokenizer: f"{tokenizer.kind}")
def test_pieces_have_the_ids_of_the_whole(tokenizer):
    texts = TEXTS if tokenizer.kind in ("character", "byte") else TEXTS[:-1]  # a word may not be cut
    expected = tokenizer.encode(texts)
    ids, lengths = encode(tokenizer, texts)
    np.testing.assert_array_equal(lengths, expected.row_lengths().numpy())
    np.testing.assert_array_equal(ids, expected.values.numpy())
    for kept in ("start", "end", "both"):
        rows, cut = token_rows(tokenizer, texts, 101, kept)
        assert cut == sum(len(row) > 101 for row in expected.to_list()) >= 2
        for number, row in enumerate(expected.to_list()):
            part = {"start": row[:101], "end": row[-101:], "both": row[:50] + row[-51:]}[kept]
            found = rows.values[rows.starts[number] : rows.starts[number + 1]].tolist()
            assert found == (part if len(row) > 101 else row)


def test_words_of_long_texts_are_in_their_places():
    tokenizer = WordTokenizer([], Normalizer("nfkc"), "fine")
    found = sentences_of(tokenizer, Records([{"text": text} for text in TEXTS[:4]]), 100)
    words = tokenizer.words(as_tensor(TEXTS[:4]))
    np.testing.assert_array_equal(found.starts[found.starts < found.ends], words.starts.values.numpy())
    np.testing.assert_array_equal(found.words[found.words != b""], words.words.values.numpy())
    assert (found.lengths <= 100).all()


def test_a_long_text_is_scored_in_windows_as_it_is_as_a_whole(monkeypatch):
    run = SUBJECTS["language-modeling"].run
    inputs = ["the cat sat", "", long_text(9000, marks=[" "]), "a mat", "the dog " * 300]
    expected = run(inputs)
    monkeypatch.setattr(language_data, "_LONGEST_ROW", 100)
    found = run(inputs)
    for one, other in zip(found, expected, strict=True):
        assert (one.text, one.units) == (other.text, other.units)
        assert one.log_probability == pytest.approx(other.log_probability, rel=1e-4)
    assert run(inputs[:1]) == expected[:1]
