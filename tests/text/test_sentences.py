"""Words with their places, sentences, and what is seen of words."""

from __future__ import annotations

import unicodedata

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.text.lookup import WORDS, CharacterTokenizer, WordTokenizer
from nlp_rnn.text.normalization import Normalizer
from nlp_rnn.text.sentences import WordFeatures, row_starts
from nlp_rnn.text.tokenizer import as_tensor

TOKENIZERS = {split: WordTokenizer(["ada"], Normalizer("nfkc", True), split) for split in WORDS}


def split(texts, kind="fine", max_tokens=100):
    """The words of each text in its sentences."""
    words = TOKENIZERS[kind].words(as_tensor(texts))
    found, begins = [], iter(row_starts(words, max_tokens).numpy())
    for text, starts, ends in zip(texts, words.starts.to_list(), words.ends.to_list(), strict=True):
        found.append([])
        for start, end in zip(starts, ends, strict=True):
            if next(begins):
                found[-1].append([])
            found[-1][-1].append(text[start:end])
    return found


SENTENCES = {
    "Ada's dog won't bark.": ["Ada 's dog won 't bark ."],
    "O'Neill met D'Angelo at 3.50, not 1,200.": ["O'Neill met D'Angelo at 3.50 , not 1,200 ."],
    "The U.N. met. It talked.": ["The U.N. met .", "It talked ."],
    "Dr. Sow and J. Smith left. Bye": ["Dr . Sow and J . Smith left .", "Bye"],
    '"Go!" he said. "No." (Why?) Yes': ['" Go ! " he said .', '" No . "', "( Why ? )", "Yes"],
    "Charles\nBabbage\r\n\r\nthree\n \nfour": ["Charles Babbage", "three", "four"],
    "wait... what?! No.": ["wait . . . what ? !", "No ."],
    "东京很大。大阪也是。": ["东 京 很 大 。", "大 阪 也 是 。"],
    "no end. here": ["no end . here"],
}


def test_sentences():
    found = split(list(SENTENCES))
    assert [[" ".join(row) for row in rows] for rows in found] == list(SENTENCES.values())


def test_hyphens_and_long_sentences():
    assert split(["Jean-Luc left"], "treebank") == [[["Jean-Luc", "left"]]]
    assert split(["Jean-Luc left"], "fine") == [[["Jean", "-", "Luc", "left"]]]
    assert split(["a b c d e"], max_tokens=2) == [[["a", "b"], ["c", "d"], ["e"]]]


@given(st.sampled_from(sorted(WORDS)), st.lists(st.text(max_size=40), min_size=1, max_size=20))
def test_words_stand_where_they_say(kind, texts):
    texts = [text.replace("\x00", "") for text in texts]
    words = TOKENIZERS[kind].words(as_tensor(texts))
    rows = zip(texts, words.words.to_list(), words.starts.to_list(), words.ends.to_list(), strict=True)
    for text, found, starts, ends in rows:
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        assert all(start <= end for start, end in zip(starts, ends, strict=True))
        assert starts == sorted(starts)
        for word, start, end in zip(found, starts, ends, strict=True):
            assert word.decode() in unicodedata.normalize("NFKC", text[start:end])
        visible = {c for c in text if unicodedata.category(c)[0] in "LN"}
        covered = {c for start, end in zip(starts, ends, strict=True) for c in text[start:end]}
        assert visible <= covered, "no letter is lost"


def test_features_of_words():
    characters = CharacterTokenizer.train(["abcdefgh", "XYZ"], 100, Normalizer("nfkc"))
    see = WordFeatures(TOKENIZERS["fine"], characters, max_characters=4)
    words = ["Ada", "ab", "abcdefgh", "Ж", "x" * 10_000]
    ids, spelled, cases = see(tf.constant(words))
    assert ids.numpy().tolist() == [4, 1, 1, 1, 1]
    assert characters.decode(spelled[2:3]) == ["abgh"], "of long words the beginning and the end"
    assert spelled.row_lengths().numpy().tolist() == [3, 2, 4, 1, 4]
    assert cases.numpy().tolist() == [3, 2, 2, 3, 2]


def test_rare_and_extra_words_are_known_after_loading(tmp_path):
    from nlp_rnn.text.tokenizers import load_tokenizer

    words = WordTokenizer.train(["b b a a c"], 100, Normalizer("nfc"), extra=["zoo", "a"])
    assert words.vocabulary == ["a", "b", "c", "zoo"]
    words.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.frequent, again.extra) == (2, 1)
