"""Tokens → text, unknown words replaced."""

from __future__ import annotations

import numpy as np

from nlp_rnn.decoding.detokenizing import detokenize
from nlp_rnn.text.tokenizers import WordTokenizer


def test_unknown_words_become_what_was_attended_to():

    both = {"source": WordTokenizer(["and"]), "target": WordTokenizer(["und", "."])}
    sources = ["Ada and  Böll", "Zoë", ""]
    tokens = [np.array([1, 4, 1, 5, 0]), np.array([1, 5]), np.array([1])]
    aligned = [np.array([2, 1, 0, 0, 0]), np.array([0, 0]), np.array([7])]
    assert detokenize(both, sources, tokens, aligned) == ["Böll und Ada .", "Zoë .", "�"]
    assert detokenize(both, sources, tokens) == ["� und � .", "� .", "�"]
    assert detokenize(both, [], []) == []
