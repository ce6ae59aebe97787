"""Tagging schemes, and the rule of `conlleval`."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.errors import InputError
from nlp_rnn.text.schemes import (
    SCHEMES,
    allowed_steps,
    detect_scheme,
    is_well_formed,
    may_follow,
    spans_of,
    split_tag,
    tag_names,
    tags_of,
)


@st.composite
def sentences(draw):
    """A length and entities that do not overlap."""
    gaps = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("ABC")), max_size=6))
    place, spans = 0, []
    for gap, length, label in gaps:
        spans.append((place + gap, place + gap + length, label))
        place += gap + length
    return place + draw(st.integers(0, 2)), spans


@given(st.lists(sentences(), min_size=1, max_size=10))
def test_entities_survive_every_scheme(drawn):
    for (length, spans), scheme in itertools.product(drawn, SCHEMES):
        tags = tags_of(length, spans, scheme)
        assert len(tags) == length
        assert spans_of(tags) == spans
        assert is_well_formed(tags, scheme)


def conlleval_chunks(tags):
    """The rule of the shared task's script, as it is written there: a chunk ends and begins by the tags around."""
    chunks, start = [], None
    previous, previous_type = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        current, _, current_type = tag.partition("-")
        end_of_chunk = (
            (previous in "BI" and current in "BSO")
            or previous == "E"
            or previous == "S"
            or (previous not in "O" and previous_type != current_type)
        )
        begin_of_chunk = (
            current in "BS"
            or (previous in "OES" and current in "EI")
            or (current != "O" and previous_type != current_type)
        )
        if start is not None and end_of_chunk:
            chunks.append((start, place, previous_type))
            start = None
        if begin_of_chunk:
            start = place
        previous, previous_type = current, current_type
    return chunks


def test_any_sequence_of_tags_is_read_as_conlleval_reads_it():
    generator = random.Random(0)
    tags = ["O", *(f"{prefix}-{label}" for prefix in "BIES" for label in "XY")]
    for _ in range(5000):
        sequence = generator.choices(tags, k=generator.randint(0, 8))
        assert spans_of(sequence) == conlleval_chunks(sequence), sequence


@pytest.mark.parametrize("scheme", SCHEMES)
def test_detection(scheme):
    spans = [(0, 2, "A"), (2, 3, "A"), (4, 6, "B")]
    assert detect_scheme([tags_of(7, spans, scheme), ["O", "O"]]) == scheme


def test_detection_survives_a_few_mistakes():
    good = [tags_of(3, [(0, 2, "A")], "iob2")] * 20
    assert detect_scheme([*good, ["O", "I-A", "O"]]) == "iob2"


def test_no_scheme():
    with pytest.raises(InputError, match=r"mix E-, S- \(IOBES\) with L-, U- \(BILOU\)"):
        detect_scheme([["S-A"], ["U-A"]])
    for tag in ("PER", "X-PER", "B-", "B PER", ""):
        with pytest.raises(ValueError, match="is not a tag: use O, or a prefix and a label"):
            split_tag(tag)


def test_allowed_steps_are_those_of_well_formed_sequences():
    tags = tag_names(["A", "B"])
    inner, start, end = allowed_steps(tags)
    generator = np.random.default_rng(0)
    for _ in range(500):
        row = generator.integers(0, len(tags), 4)
        allowed = start[row[0]] and end[row[-1]] and all(inner[i, j] for i, j in itertools.pairwise(row))
        assert allowed == is_well_formed([tags[i] for i in row], "iobes")
    assert may_follow("B-A", "I-A", "iob1")
    assert not may_follow("O", "I-A", "iob2")
