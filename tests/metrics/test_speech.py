"""Error rates against jiwer's."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.metrics.speech import alignment, confusions, count_errors, speech_report

SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=8).map(" ".join)
SAID = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=8).map(" ".join)


@given(st.lists(st.tuples(SENTENCES, SAID), min_size=1, max_size=6))
def test_rates_are_those_of_jiwer(pairs):
    right, said = (list(part) for part in zip(*pairs, strict=True))
    found, expected = speech_report(right, said), jiwer.process_words(right, said)
    assert found["wer"] == pytest.approx(expected.wer)
    assert found["cer"] == pytest.approx(jiwer.cer(right, said))
    total = found["substitutions"] + found["deletions"] + found["insertions"]
    assert total == expected.substitutions + expected.deletions + expected.insertions
    assert found["deletions"] - found["insertions"] == expected.deletions - expected.insertions


def test_each_kind_of_error_is_counted():
    found = speech_report(["one two three", "four"], ["one too three four", ""])
    assert (found["substitutions"], found["deletions"], found["insertions"], found["words"]) == (1, 1, 1, 4)
    assert found["wer"] == 0.75
    assert found["right"] == 0.0


def test_strings_are_measured_apart_from_single_recordings():
    found = speech_report(["one", "two", "one two"], ["one", "too", "one two"], ["a", "b", "a"], [True, True, False])
    assert found["wer"] == 0.0
    assert found["right"] == 0.5
    assert found["wer by speaker"] == {"a": 0.0, "b": None}


def test_nothing_said_has_no_rate():
    assert speech_report([""], [""])["wer"] is None
    assert count_errors([], ["a"])["insertions"] == 1
    assert alignment([], []) == []


def test_what_was_taken_for_what():
    assert confusions(["five nine", "nine"], ["nine nine", ""]).most_common() == [
        (("five", "nine"), 1),
        (("nine", None), 1),
    ]
