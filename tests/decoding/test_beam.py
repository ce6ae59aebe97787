"""Beam search against exhaustive search over a tiny vocabulary."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.decoding.beam import Beam, top_k
from nlp_rnn.errors import InputError

BEGIN, END, VOCABULARY, PLACES = 0, 1, 5, 3
GENERATOR = np.random.default_rng(0)
# p(next | the two before), another one in each row
TABLES = np.log(GENERATOR.dirichlet(np.ones(VOCABULARY), (4, VOCABULARY, VOCABULARY))).astype("float32")
LOOKS = GENERATOR.dirichlet(np.ones(PLACES), (VOCABULARY,)).astype("float32")


def step(tokens, state):
    log_p = tf.gather_nd(tf.constant(TABLES), tf.stack([state["row"], state["before"], tokens], -1))
    return log_p, tf.gather(tf.constant(LOOKS), tokens), {"row": state["row"], "before": tokens}


@functools.cache
def traced(beam, banned, wanted):
    """A search of any number of rows."""
    rows = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[rows, rows])
    def run(rows, limits):
        state = {"row": rows, "before": tf.zeros_like(rows)}
        return beam.search(step, state, PLACES, limits, BEGIN, END, banned, wanted)

    return run


def search(beam, limits, rows=(0, 1, 2, 3), banned=(), wanted=None):
    found = traced(beam, banned, wanted)(tf.constant(rows), tf.constant(limits))
    return [part.numpy() for part in found]


def score(row, tokens, beam):
    before, total, looks = (BEGIN, BEGIN), 0.0, np.zeros(PLACES)
    for token in (*tokens, END):
        total += TABLES[row, before[0], before[1], token]
        looks += LOOKS[before[1]]
        before = (before[1], token)
    length = ((5 + len(tokens) + 1) / 6) ** beam.length_penalty
    return total / length + beam.coverage_penalty * np.log(np.minimum(looks, 1)).sum()


def best(row, beam, limit, allowed=lambda tokens: True):
    others = [token for token in range(VOCABULARY) if token != END]
    found = [
        (score(row, tokens, beam), tokens)
        for length in range(limit + 1)
        for tokens in itertools.product(others, repeat=length)
        if allowed(tokens)
    ]
    return sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("length_penalty", "coverage_penalty"),
    [  # each value once by default; the others are the same graph with other numbers
        (0.0, 0.0),
        (1.0, 0.3),
        (2.0, 0.0),
        pytest.param(0.0, 0.3, marks=pytest.mark.slow),
        pytest.param(1.0, 0.0, marks=pytest.mark.slow),
        pytest.param(2.0, 0.3, marks=pytest.mark.slow),
    ],
)
def test_a_wide_beam_finds_what_exhaustive_search_finds(length_penalty, coverage_penalty):
    beam = Beam(200, length_penalty, coverage_penalty)
    limits = [3, 2, 3, 1]
    tokens, scores, _ = search(beam, limits)
    for row, limit in enumerate(limits):
        expected = best(row, beam, limit)
        count = min(len(expected), 10)
        np.testing.assert_allclose(scores[row, :count], [s for s, _ in expected[:count]], atol=1e-4)
        assert tuple(tokens[row, 0, : len(expected[0][1])]) == expected[0][1]


def test_a_beam_of_one_is_greedy():
    tokens, scores, _ = search(Beam(1, 0.0), [6] * 4)
    for row in range(4):
        before, said, total = (BEGIN, BEGIN), [], 0.0
        while True:
            token = int(TABLES[row, before[0], before[1]].argmax()) if len(said) < 6 else END
            total += TABLES[row, before[0], before[1], token]
            before = (before[1], token)
            if token == END:
                break
            said.append(token)
        assert (tokens[row, 0, len(said) :] == 0).all()
        assert tokens[row, 0, : len(said)].tolist() == said
        assert scores[row, 0] == pytest.approx(total, abs=1e-4)


def test_a_row_does_not_depend_on_those_beside_it():
    beam = Beam(3)
    tokens, scores, attention = search(beam, [5, 2, 4, 3])
    for row, limit in enumerate([5, 2, 4, 3]):
        alone = search(beam, [limit], rows=(row,))
        np.testing.assert_array_equal(tokens[row, :, :limit], alone[0][0])
        np.testing.assert_allclose(scores[row], alone[1][0], atol=1e-5)
        np.testing.assert_allclose(attention[row, :, :limit], alone[2][0], atol=1e-5)


def test_a_search_for_fewer_ends_with_the_same_best():
    beam = Beam(4, length_penalty=1.0, coverage_penalty=0.2)
    tokens, scores, attention = search(beam, [6] * 4)
    for wanted in (1, 2):
        fewer = search(beam, [6] * 4, wanted=wanted)
        np.testing.assert_array_equal(fewer[0][:, :wanted], tokens[:, :wanted])
        np.testing.assert_allclose(fewer[1][:, :wanted], scores[:, :wanted], atol=1e-6)
        np.testing.assert_allclose(fewer[2][:, :wanted], attention[:, :wanted], atol=1e-6)


def test_lengths_repeats_and_bans_are_kept():
    def no_pair_twice(tokens):
        pairs = list(itertools.pairwise(tokens))
        return len(pairs) == len(set(pairs))

    for beam, allowed in [
        (Beam(400, min_length=2), lambda tokens: len(tokens) >= 2),
        (Beam(400, no_repeat_ngram=1), lambda tokens: len(tokens) == len(set(tokens))),
        (Beam(400, no_repeat_ngram=2), no_pair_twice),
    ]:
        _, scores, _ = search(beam, [4] * 4)
        for row in range(4):
            expected = [s for s, _ in best(row, beam, 4, allowed)[:8]]
            np.testing.assert_allclose(scores[row, :8], expected, atol=1e-4)
    tokens, _, _ = search(Beam(3, min_length=3), [4] * 4, banned=(0, 3))
    assert not {0, 3} & set(tokens[:, 0, :3].reshape(-1).tolist())


def test_attention_is_that_of_the_best():
    tokens, _, attention = search(Beam(4), [5] * 4)
    for row in range(4):
        said = [BEGIN, *tokens[row, 0][tokens[row, 0] != 0]]
        for place in range(len(said) - 1):
            np.testing.assert_allclose(attention[row, 0, place], LOOKS[said[place]], atol=1e-6)


@pytest.mark.parametrize(("columns", "k"), [(5, 5), (16, 1), (100, 3), (100, 7), (1000, 12), (4999, 9)])
def test_the_best_of_many_columns(columns, k):
    values = np.random.default_rng(0).normal(size=(6, columns)).astype("float32")
    values[1] = -1e9
    found, which = top_k(tf.constant(values), k)
    expected = tf.math.top_k(values, k)
    np.testing.assert_array_equal(found, expected.values)
    np.testing.assert_array_equal(np.take_along_axis(values, which.numpy(), 1), expected.values)
    assert all(len(set(row)) == k for row in which.numpy().tolist())


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="The width of the beam is 0; it must be at least 1"):
        Beam(0)
    with pytest.raises(InputError, match="length_penalty is -1; it must be at least 0"):
        Beam(2, -1)
    assert math.isfinite(search(Beam(4), [0] * 4)[1][0, 0]), "nothing but the end"
