"""Vectors of words from the states of language models of characters."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nlp_rnn.layers import ContextualEmbedding, RecurrentStack, TextReader, TokenEmbedding

BEGIN, BLANK = 3, 4
SENTENCES = [["abc", "d", "ef"], ["gh"], ["a", "bcdefgh", "a", "a"]]


def reader(seed, cell="lstm"):
    keras.utils.set_random_seed(seed)
    stack = RecurrentStack(cell, 5, layers=2, bidirectional=False)
    found = TextReader(TokenEmbedding(20, 4), stack)
    found.build((None, None))
    return found


def ids_of(words, longest=9, count=5):
    """Padded ids; letters begin at 5."""
    rows = [[ord(letter) - ord("a") + 5 for letter in word] for word in words]
    rows = [row + [0] * (longest - len(row)) for row in rows]
    return rows + [[0] * longest] * (count - len(rows))


def states(one, ids):
    """By the reader alone, of one text without padding: what it has reached after each id."""
    return one(np.array([[BEGIN, *ids]], np.int32), mask=np.ones((1, len(ids) + 1), bool)).numpy()[0]


@pytest.mark.parametrize("both", [False, True])
def test_a_word_has_the_states_at_its_end_and_its_begin(both):
    forward, backward = reader(1), reader(2) if both else None
    layer = ContextualEmbedding(forward, backward, BEGIN, BLANK)
    found = layer(np.array([ids_of(words) for words in SENTENCES], np.int32)).numpy()
    assert found.shape == (3, 5, 10 if both else 5)
    assert layer.units == found.shape[-1]
    for words, row in zip(SENTENCES, found, strict=True):
        text = " ".join(words)
        ids = [BLANK if letter == " " else ord(letter) - ord("a") + 5 for letter in text]
        to_the_right, place = states(forward, ids), 0
        for word, vector in zip(words, row, strict=False):
            end = place + len(word)
            np.testing.assert_allclose(vector[:5], to_the_right[end], atol=1e-6)
            if both:
                to_the_left = states(backward, ids[::-1])
                np.testing.assert_allclose(vector[5:], to_the_left[len(ids) - place], atol=1e-6)
            place = end + 1
        assert not row[len(words) :].any()


def test_it_learns_nothing_and_is_saved_and_loaded():
    layer = ContextualEmbedding(reader(1, "gru"), reader(2, "gru"), BEGIN, BLANK)
    ids = np.array([ids_of(words) for words in SENTENCES], np.int32)
    layer(ids)
    assert layer.trainable_variables == []
    again = ContextualEmbedding.from_config(layer.get_config())
    again.build(ids.shape)
    again.set_weights(layer.get_weights())
    assert again.trainable_variables == []
    np.testing.assert_array_equal(again(ids), layer(ids))


def test_words_without_characters_are_nothing():
    layer = ContextualEmbedding(reader(1), reader(2), BEGIN, BLANK)
    assert not layer(np.zeros((2, 3, 4), np.int32)).numpy().any()
    assert layer(np.zeros((2, 0, 4), np.int32)).shape == (2, 0, 10)
