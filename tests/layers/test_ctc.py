"""CTC against the sum over all alignments, its gradient against finite differences, its search against enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.decoding.ctc import LanguageScores, PrefixBeam, align, best_path
from nlp_rnn.errors import InputError
from nlp_rnn.layers.ctc import CTCLoss, blank_at_padding, lengths_of, steps_needed


def said(path):
    """The sequence that an alignment says."""
    return tuple(k for k, before in zip(path, (0, *path), strict=False) if k and k != before)


def every_sequence(log_p):
    """By sequence the sum of the probabilities of its alignments, and the best of them."""
    total, best = {}, {}
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        score = sum(float(log_p[t, k]) for t, k in enumerate(path))
        total[said(path)] = total.get(said(path), 0.0) + math.exp(score)
        if score > best.get(said(path), (-math.inf,))[0]:
            best[said(path)] = (score, path)
    return total, best


def log_probabilities(seed, steps, classes, batch=1):
    logits = np.random.default_rng(seed).normal(size=(batch, steps, classes)) * 2
    return tf.nn.log_softmax(tf.constant(logits, tf.float32))


@given(st.integers(0, 10_000), st.integers(1, 5), st.lists(st.integers(1, 3), max_size=4))
def test_the_loss_is_the_sum_over_all_alignments(seed, steps, labels):
    log_p = log_probabilities(seed, steps, 4)
    targets = np.array([labels + [0] * (5 - len(labels))], np.int32)
    found = float(CTCLoss()(targets, log_p))
    if steps_needed(np.array(labels, int)) > steps:
        assert found == 0.0  # it cannot be said: nothing is learned from it
    else:
        assert found == pytest.approx(-math.log(every_sequence(log_p[0].numpy())[0][tuple(labels)]), abs=1e-4)


def test_padded_steps_change_neither_the_loss_nor_what_is_decoded():
    short, long = log_probabilities(3, 4, 5), tf.concat([log_probabilities(3, 4, 5), log_probabilities(4, 3, 5)], 1)
    padded = blank_at_padding(long, tf.sequence_mask([4], 7))
    targets = np.array([[2, 3, 0]], np.int32)
    assert lengths_of(padded).numpy().tolist() == [4]
    assert float(CTCLoss()(targets, padded)) == pytest.approx(float(CTCLoss()(targets, short)), abs=1e-5)
    assert best_path(padded)[:, :4].numpy().tolist() == best_path(short).numpy().tolist()
    tokens, scores = PrefixBeam(8).search(tf.nn.log_softmax(padded))
    alone, expected = PrefixBeam(8).search(short)
    assert tokens[:, 0, :4].numpy().tolist() == alone[:, 0].numpy().tolist()
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_its_gradient_is_that_of_finite_differences():
    logits = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    targets = np.array([[1, 1, 2], [3, 0, 0], [0, 0, 0]], np.int32)
    mask = tf.sequence_mask([5, 3, 4], 5)

    def loss(values):
        return tf.reduce_sum(CTCLoss(reduction="none")(targets, blank_at_padding(values, mask)))

    given_ = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given_)
        value = loss(given_)
    found = tape.gradient(value, given_).numpy()
    for place in np.ndindex(*logits.shape):
        moved = [logits.copy(), logits.copy()]
        moved[0][place] += 1e-2
        moved[1][place] -= 1e-2
        expected = float(loss(tf.constant(moved[0])) - loss(tf.constant(moved[1]))) / 2e-2
        assert found[place] == pytest.approx(expected, abs=2e-3), place


def test_a_text_that_does_not_fit_leaves_no_trace_in_the_gradient():
    logits = tf.constant(np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(CTCLoss(reduction="none")(np.array([[1, 1, 1], [2, 0, 0]], np.int32), logits))
    gradient = tape.gradient(value, logits).numpy()
    assert not gradient[0].any()
    assert gradient[1].any()
    assert np.isfinite(gradient).all()


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_a_wide_search_finds_what_enumeration_does(seed, steps):
    log_p = log_probabilities(seed, steps, 4)
    total, _ = every_sequence(log_p[0].numpy())
    tokens, scores = PrefixBeam(128, choices=3).search(log_p)
    expected = sorted(total.items(), key=lambda item: -item[1])[:3]
    for place, (_, p) in enumerate(expected):
        found = tuple(k for k in tokens[0, place].numpy().tolist() if k)
        assert total[found] == pytest.approx(p, rel=1e-3)
        assert float(scores[0, place]) == pytest.approx(math.log(p), abs=1e-3)


def test_a_search_sums_alignments_where_the_best_path_does_not():
    log_p = tf.math.log([[[0.6, 0.4], [0.6, 0.4]]])  # the best path says nothing, 0.36; "1" is said in 0.64
    assert best_path(log_p).numpy().tolist() == [[0, 0]]
    assert PrefixBeam(4).search(log_p)[0][0, 0].numpy().tolist() == [1, 0]


def test_rows_of_a_batch_are_searched_by_themselves():
    log_p = log_probabilities(5, 12, 8, batch=4)
    together, scores = PrefixBeam(6).search(log_p)
    for row in range(4):
        alone, score = PrefixBeam(6).search(log_p[row : row + 1])
        assert alone[0].numpy().tolist() == together[row].numpy().tolist()
        np.testing.assert_allclose(score[0], scores[row], rtol=1e-5)


@given(st.integers(0, 1000), st.floats(0.0, 2.0), st.floats(-1.0, 1.0))
def test_a_language_model_is_heard_with_the_sound(seed, weight, bonus):
    """Scores that depend on the class before, against enumeration."""
    log_p = log_probabilities(seed, 4, 4)
    after = np.log(np.random.default_rng(seed).dirichlet(np.ones(4), 4)).astype(np.float32)
    table = tf.constant(after)
    language = LanguageScores(
        lambda rows: (tf.tile(table[:1], [rows, 1]), tf.zeros([rows], tf.int32)),
        lambda tokens, state: (tf.gather(table, tokens), tokens),
    )
    total, _ = every_sequence(log_p[0].numpy())

    def score(sequence):
        lm = sum(after[before, k] for before, k in zip((0, *sequence), sequence, strict=False))
        return math.log(total[sequence]) + weight * lm + bonus * len(sequence)

    tokens, scores = PrefixBeam(128, weight, bonus, choices=3).search(log_p, language)
    found = tuple(k for k in tokens[0, 0].numpy().tolist() if k)
    assert float(scores[0, 0]) == pytest.approx(max(map(score, total)), abs=1e-3)
    assert score(found) == pytest.approx(float(scores[0, 0]), abs=1e-3)


@given(st.integers(0, 10_000))
def test_the_alignment_is_the_best_of_all(seed):
    log_p = log_probabilities(seed, 5, 3)
    _, best = every_sequence(log_p[0].numpy())
    for sequence in [(), (1,), (2, 1), (1, 1), (2, 2, 1)]:
        tokens = np.array([[*sequence, *[0] * (4 - len(sequence))]], np.int32)
        first, end, p = (value[0].numpy() for value in align(log_p, tf.constant(tokens)))
        score, _ = best[sequence]
        path = np.zeros(5, int)
        for k, a, b, chance in zip(sequence, first, end, p, strict=False):
            path[a:b] = k
            assert chance == pytest.approx(float(tf.exp(tf.reduce_max(log_p[0, a:b, k]))), rel=1e-4)
        assert said(path.tolist()) == sequence
        assert sum(float(log_p[0, t, k]) for t, k in enumerate(path)) == pytest.approx(score, abs=1e-4)
        assert not p[len(sequence) :].any()


def test_a_beam_of_nothing_is_refused():
    with pytest.raises(InputError, match="must be at least 1"):
        PrefixBeam(0)
