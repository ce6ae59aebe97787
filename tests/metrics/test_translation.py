"""BLEU by the length of the reference."""

from __future__ import annotations

import pytest

from nlp_rnn.metrics.translation import translation_report


def test_bleu_by_length_is_that_of_the_texts_of_the_length():
    short = [("A dog runs .", "A dog runs .")] * 20
    long = [("a " * 12 + "b c d", "a " * 12 + "x y z")] * 20
    report = translation_report(*zip(*(short + long), strict=True))
    alone = translation_report(*zip(*long, strict=True))
    assert report["bleu_words_1_9"] == pytest.approx(100)
    assert report["bleu_words_10_19"] == pytest.approx(alone["bleu_tokenized_lowercase"])
    assert "bleu_words_20_up" not in report
