"""The CRF against enumeration of every path and finite differences, by the compiled operation and by loops."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.layers import CRF, CRFLoss, log_partition, marginals, native, viterbi
from nlp_rnn.layers.crf import path_score
from nlp_rnn.models import TaggingHead
from nlp_rnn.models.tagger import entity_confidence
from nlp_rnn.text.schemes import allowed_steps, is_well_formed, spans_of, tag_names

BOTH = pytest.mark.parametrize(
    "use_native",
    [False, pytest.param(True, marks=pytest.mark.skipif(native.library().operations is None, reason="no compiler"))],
)


def enumerate_paths(crf, emissions, length):
    """Every path of one sequence with its score, from the formula."""
    transitions, start, end = (weight.numpy().astype(np.float64) for weight in (crf.transitions, crf.start, crf.end))
    scores = {}
    for path in itertools.product(range(crf.tags), repeat=length):
        steps = list(itertools.pairwise(path))
        blocked = crf.allowed is not None and not all(crf.allowed[i][j] for i, j in steps)
        blocked = blocked or (crf.allowed_start is not None and not crf.allowed_start[path[0]])
        blocked = blocked or (crf.allowed_end is not None and not crf.allowed_end[path[-1]])
        if not blocked:
            score = start[path[0]] + sum(transitions[i, j] for i, j in steps) + end[path[-1]]
            scores[path] = score + sum(emissions[t, tag] for t, tag in enumerate(path))
    return scores


def make(tags, seed=0, constrained=False):
    generator = np.random.default_rng(seed)
    allowed: list = [None, None, None]
    if constrained:
        allowed = [generator.random(shape) < 0.6 for shape in ((tags, tags), tags, tags)]
        allowed[0][0, :] = allowed[0][:, 0] = allowed[1][0] = allowed[2][0] = True  # some path is left
    crf = CRF(tags, *allowed)
    crf.build((None, None, tags))
    for weight in crf.weights:
        weight.assign(generator.normal(size=weight.shape))
    return crf


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 99),
    st.booleans(),
)
def test_equals_enumeration(tags, lengths, constrained, seed, double):
    crf = make(tags, seed, constrained)
    dtype, tolerance = ("float64", 1e-6) if double else ("float32", 2e-5)  # the weights are float32
    emissions = np.random.default_rng(seed).normal(0, 3, (len(lengths), max(lengths), tags)).astype(dtype)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    scores = crf(emissions, mask=mask)
    kernels = [False] if native.library().operations is None else [False, True]
    totals = [log_partition(scores, use_native).numpy() for use_native in kernels]
    pairs = [marginals(scores, use_native).numpy() for use_native in kernels]
    best = viterbi(scores).numpy()
    for row, length in enumerate(lengths):
        paths = enumerate_paths(crf, emissions[row], length)
        expected = np.logaddexp.reduce(list(paths.values()))
        found = tuple(best[row, :length].tolist())
        assert paths[found] == pytest.approx(max(paths.values()), abs=1e-4)
        assert (best[row, length:] == found[-1]).all()
        single = np.zeros((length, tags))
        joint = np.zeros((length, tags, tags))
        for path, score in paths.items():
            probability = np.exp(score - expected)
            single[range(length), path] += probability
            for t in range(1, length):
                joint[t, path[t - 1], path[t]] += probability
        for total, pair in zip(totals, pairs, strict=True):
            np.testing.assert_allclose(total[row], expected, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(pair[row, :length].sum(1), single, atol=1e-5)
            np.testing.assert_allclose(pair[row, 1:length], joint[1:], atol=1e-5)
        tagged = np.full((1, max(lengths)), -1)
        tagged[0, :length] = found
        np.testing.assert_allclose(path_score(scores[row : row + 1], tagged), paths[found], rtol=1e-5, atol=1e-4)


@BOTH
def test_gradients_equal_finite_differences(use_native):
    generator = np.random.default_rng(1)
    crf = make(3, constrained=True)
    scores = tf.constant(crf(generator.normal(size=(2, 4, 3)), mask=np.array([[1, 1, 1, 1], [1, 1, 0, 0]]) == 1))
    tags = np.array([[0, 0, 0, 0], [0, 0, -1, -1]])

    def loss(values):
        return tf.reduce_sum((log_partition(values, use_native) - path_score(values, tags)) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(scores)
    gradient = tape.gradient(value, scores).numpy()
    direction = generator.normal(size=scores.shape)
    step = 1e-5
    difference = (loss(scores + step * direction) - loss(scores - step * direction)) / (2 * step)
    assert (gradient * direction).sum() == pytest.approx(float(difference), rel=1e-6)


@BOTH
def test_second_derivatives_equal_finite_differences(use_native):
    generator = np.random.default_rng(2)
    scores = tf.constant(make(3)(generator.normal(size=(2, 4, 3))))
    direction = tf.constant(generator.normal(size=scores.shape))

    def slope(values):
        with tf.GradientTape() as inner:
            inner.watch(values)
            total = tf.reduce_sum(log_partition(values, use_native))
        return tf.reduce_sum(inner.gradient(total, values) * direction)

    with tf.GradientTape() as outer:
        outer.watch(scores)
        value = slope(scores)
    second = tf.reduce_sum(outer.gradient(value, scores) * direction)
    step = 1e-5
    difference = (slope(scores + step * direction) - slope(scores - step * direction)) / (2 * step)
    assert float(second) == pytest.approx(float(difference), rel=1e-5)


@pytest.mark.skipif(native.library().operations is None, reason="no compiler")
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 40, 17), (9, 3, 33), (2, 200, 64)])
def test_compiled_operation_equals_the_loop_on_larger_chains(shape):
    generator = np.random.default_rng(0)
    emissions = generator.normal(0, 20, shape).astype("float32")  # far apart, as in a model that is sure
    mask = np.arange(shape[1]) < generator.integers(1, shape[1] + 1, (shape[0], 1))
    scores = make(shape[2], constrained=True)(emissions, mask=mask)
    np.testing.assert_allclose(log_partition(scores, True), log_partition(scores, False), rtol=1e-5)
    np.testing.assert_allclose(marginals(scores, True), marginals(scores, False), atol=2e-3 if shape[1] > 100 else 3e-4)


@BOTH
def test_probabilities_stay_finite_where_scores_are_huge(use_native):
    crf = make(4, constrained=True)
    emissions = np.random.default_rng(0).normal(0, 1000, (3, 20, 4)).astype("float32")
    pairs = marginals(crf(emissions), use_native).numpy()
    assert np.isfinite(pairs).all()
    np.testing.assert_allclose(pairs.sum((2, 3)), 1, atol=1e-2)


@pytest.mark.slow  # XLA compiles
def test_xla_gives_the_same():
    crf = make(5)
    emissions = np.random.default_rng(0).normal(size=(3, 7, 5)).astype("float32")
    tags = np.random.default_rng(1).integers(0, 5, (3, 7))
    loss = CRFLoss()
    loss.use_native = False

    def run():
        scores = crf(emissions)
        return loss(tags, scores), viterbi(scores), marginals(scores, use_native=False)

    for one, other in zip(run(), tf.function(run, jit_compile=True)(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_low_precision_reaches_only_what_comes_before():
    emissions = np.random.default_rng(0).normal(0, 30, (2, 6, 4)).astype("float32")
    plain, mixed = CRF(4), CRF(4, dtype="mixed_bfloat16")
    assert mixed(emissions).dtype == tf.float32
    np.testing.assert_array_equal(plain(emissions), mixed(emissions))
    assert {weight.dtype for weight in mixed.weights} == {"float32"}


def test_rows_without_a_token_count_for_nothing():
    scores = make(3)(np.ones((2, 4, 3), "float32"), mask=np.array([[1, 1, 0, 0], [0, 0, 0, 0]]) == 1)
    losses = CRFLoss(reduction=None)(np.array([[0, 2, -1, -1], [-1, -1, -1, -1]]), scores).numpy()
    assert losses[0] > 0
    assert losses[1] == 0


def test_mistakes_in_use_are_named():
    with pytest.raises(ValueError, match=r"4 scores a token; the CRF has 3 tags"):
        CRF(3)(np.ones((1, 2, 4), "float32"))
    with pytest.raises(ValueError, match=r"allowed has the shape \(2, 3\); it must be \(3, 3\)"):
        CRF(3, allowed=np.ones((2, 3), bool))


def test_in_a_plain_keras_model_transitions_are_learned():
    """The first token says the first tag; each tag is followed by the next, which the other tokens do not say."""
    start, places = np.arange(256) % 4, np.arange(9)
    tokens = np.where(places == 0, start[:, None] + 1, 5)
    tokens[::2, 7:] = 0
    tags = np.where(tokens == 0, -1, (start[:, None] + places) % 4)
    entry = keras.Input((None,), dtype="int32")
    mask = entry != 0
    scores = CRF(4)(keras.layers.Embedding(6, 4)(entry), mask=mask)
    model = keras.Model(entry, scores)
    model.compile(keras.optimizers.Adam(0.2), loss=CRFLoss())
    history = model.fit(tokens, tags, epochs=4, batch_size=16, verbose=0, sample_weight=np.ones(256))
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
    found = viterbi(model(tokens)).numpy()
    np.testing.assert_array_equal(found[tags >= 0], tags[tags >= 0])


def test_constraints_of_a_scheme_leave_only_well_formed_sequences():
    tags = tag_names(["A", "B"])
    crf = CRF(len(tags), *allowed_steps(tags))
    emissions = np.random.default_rng(0).normal(0, 5, (50, 7, len(tags))).astype("float32")
    for row in viterbi(crf(emissions)).numpy():
        assert is_well_formed([tags[tag] for tag in row], "iobes")


def test_confidence_of_an_entity_is_the_probability_of_its_tags():
    tags = tag_names(["A"])
    head = TaggingHead(len(tags), "crf", 0.0, *(part.tolist() for part in allowed_steps(tags)))
    head.build((None, None, 4))
    generator = np.random.default_rng(5)
    head.crf.transitions.assign(generator.normal(size=(5, 5)))
    for seed in range(8):
        emissions = np.random.default_rng(seed).normal(0, 1.5, (1, 6, 5)).astype("float32")
        length = 6 - seed % 3
        mask = np.arange(6)[None] < length
        best, single, joint = head.best(head.crf(emissions, mask=mask))
        confidence = entity_confidence(best, single, joint, mask).numpy()[0]
        paths = enumerate_paths(head.crf, emissions[0], length)
        total = np.logaddexp.reduce(list(paths.values()))
        names = [tags[tag] for tag in best.numpy()[0][:length]]
        for start, end, _ in spans_of(names):
            wanted = tuple(best.numpy()[0][start:end])
            probability = sum(np.exp(s - total) for path, s in paths.items() if path[start:end] == wanted)
            np.testing.assert_allclose(confidence[start:end], probability, rtol=1e-4)
