"""Scans, compiled and of TensorFlow's operations, against the formulas in NumPy."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.layers import linear_scan
from nlp_rnn.layers.native import library
from nlp_rnn.layers.scan import KINDS, scan
from nlp_rnn.machine import cores
from tests.conftest import slow
from tests.layers.reference import scan_by_formula

needs_native = pytest.mark.skipif(library().operations is None, reason=f"no compiled kernels: {library().reason}")
KERNELS = [pytest.param(True, id="native", marks=needs_native), pytest.param(False, id="tensorflow")]


def arguments_for(kind, batch, time, units, masking, seed):
    """What a scan reads, drawn at random, and its mask."""
    generator = np.random.default_rng(seed)
    traits = KINDS[kind]
    read = {
        "projected": generator.normal(size=(batch, time, traits.gates * units)),
        "state": generator.normal(size=(batch, units)),
    }
    if kind == "linear":
        read["projected"][..., :units] = np.tanh(read["projected"][..., :units])
    if traits.parameters:
        read["parameters"] = generator.normal(size=traits.parameters * units)
    if kind == "rglru":
        read["parameters"][-units:] = 0.1 + generator.random(units)  # away from the kink of √ at 0
    if traits.has_skip:
        read["skip"] = generator.normal(size=(batch, time, units))
    mask = generator.random((batch, time)) < 0.6 if masking == "any" else None
    if masking == "right":
        mask = np.arange(time) < generator.integers(0, time + 1, batch)[:, None]
    return read, mask


def results_and_gradients(kind, read, mask, backwards, upstream, training, use_native):
    variables = {name: tf.constant(value) for name, value in read.items()}
    with tf.GradientTape() as tape:
        tape.watch(list(variables.values()))
        results = scan(
            kind,
            **variables,
            mask=None if mask is None else tf.constant(mask),
            backwards=backwards,
            training=training,
            use_native=use_native,
        )
        value = sum(tf.reduce_sum(x * u) for x, u in zip(results, upstream, strict=True))
    return results, tape.gradient(value, list(variables.values()), unconnected_gradients="zero")


def compare_with_formula(kind, batch, time, units, masking, backwards, seed):
    read, mask = arguments_for(kind, batch, time, units, masking, seed)
    expected = scan_by_formula(kind, **read, mask=mask, backwards=backwards)
    generator = np.random.default_rng(seed + 1)
    upstream = [generator.normal(size=x.shape) for x in expected]
    moves = {name: generator.normal(size=x.shape) for name, x in read.items()}

    def value_at(distance):
        moved = {name: x + distance * moves[name] for name, x in read.items()}
        results = scan_by_formula(kind, **moved, mask=mask, backwards=backwards)
        return sum((x * u).sum() for x, u in zip(results, upstream, strict=True))

    difference = (value_at(1e-5) - value_at(-1e-5)) / 2e-5
    for use_native in (True, False):
        results, gradients = results_and_gradients(kind, read, mask, backwards, upstream, bool(seed % 2), use_native)
        for found, wanted in zip(results, expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-10)
        along = sum(float(tf.reduce_sum(g * u)) for g, u in zip(gradients, moves.values(), strict=True))
        assert along == pytest.approx(difference, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.integers(1, 4),
    st.one_of(st.integers(1, 5), st.integers(15, 40)),
    st.integers(1, 37),
    st.sampled_from(["none", "right", "any"]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_results_and_gradients_are_those_of_the_formulas(kind, batch, time, units, masking, backwards, seed):
    """By the compiled operation, where there is one, and by TensorFlow's."""
    compare_with_formula(kind, batch, time, units, masking, backwards, seed)


@pytest.fixture
def many_threads():
    """Threads enough that time itself is cut into stretches."""
    maps = Path("/proc/self/maps")
    if library().operations is None or not maps.exists():
        pytest.skip("there is no compiled operation, or no way to find it")
    path = re.search(r"\S+/recurrent-\S+\.so", maps.read_text()).group()
    set_threads = ctypes.CDLL(path).nlp_rnn_set_threads
    set_threads(64)
    yield
    set_threads(cores())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [slow(False), True])
def test_stretches_of_time_give_what_the_whole_gives(kind, backwards, many_threads):
    for masking, units in (("none", 5), ("any", 33)):
        compare_with_formula(kind, 1, 700, units, masking, backwards, seed=3)


@pytest.mark.parametrize("use_native", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind, use_native):
    read, mask = arguments_for(kind, 2, 20, 3, "any", 5)
    direction = {name: np.random.default_rng(7).normal(size=x.shape) for name, x in read.items()}

    def slope(distance):
        moved = {name: tf.constant(x + distance * direction[name]) for name, x in read.items()}
        with tf.GradientTape() as tape:
            tape.watch(moved)
            results = scan(kind, **moved, mask=tf.constant(mask), use_native=use_native)
            value = sum(tf.reduce_sum(tf.sin(x)) for x in results)
        gradients = tape.gradient(value, moved)
        return sum(float(tf.reduce_sum(gradients[name] * direction[name])) for name in read)

    variables = {name: tf.constant(x) for name, x in read.items()}
    with tf.GradientTape() as outer:
        outer.watch(variables)
        with tf.GradientTape() as inner:
            inner.watch(variables)
            results = scan(kind, **variables, mask=tf.constant(mask), use_native=use_native)
            value = sum(tf.reduce_sum(tf.sin(x)) for x in results)
        gradients = inner.gradient(value, variables)
        along = sum(tf.reduce_sum(gradients[name] * direction[name]) for name in read)
    second = outer.gradient(along, variables)
    found = sum(float(tf.reduce_sum(second[name] * direction[name])) for name in read)
    assert found == pytest.approx((slope(1e-5) - slope(-1e-5)) / 2e-5, rel=1e-6)


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_stays_close_and_keeps_its_state_in_float32(kind):
    read, mask = arguments_for(kind, 3, 50, 20, "right", 1)
    low = {n: tf.constant(x, tf.float32 if n in ("state", "parameters") else tf.bfloat16) for n, x in read.items()}
    exact = {name: tf.cast(value, tf.float64) for name, value in low.items()}
    expected = scan(kind, **exact, mask=tf.constant(mask))
    for use_native in (True, False):
        found = scan(kind, **low, mask=tf.constant(mask), use_native=use_native)
        assert (found.output.dtype, found.last_state.dtype) == (tf.bfloat16, tf.float32)
        np.testing.assert_allclose(tf.cast(found.output, tf.float64), expected.output, atol=0.02, rtol=0.01)
        np.testing.assert_allclose(found.last_state, expected.last_state, atol=1e-5, rtol=1e-4)


def test_slow_decays_keep_their_precision():
    """Where a is nearly 1, 1 - a² is not lost in rounding."""
    units = 4
    decay = np.array([1e-4, 1e-5, 1e-6, 1e-7])
    parameters = np.concatenate([np.full(units, 0.0), np.full(units, 30.0), decay])
    read = {"projected": np.zeros((1, 1, 2 * units)), "state": np.zeros((1, units)), "skip": np.ones((1, 1, units))}
    expected = np.sqrt(-np.expm1(-decay))
    for use_native in (True, False):
        single = {name: tf.constant(x, tf.float32) for name, x in {**read, "parameters": parameters}.items()}
        found = scan("rglru", **single, use_native=use_native).output
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-3)


@pytest.mark.parametrize("use_native", KERNELS)
def test_a_graph_of_any_length_gives_the_same(use_native):
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, None, 3])])
    def run(factors, sums):
        return linear_scan(factors, sums, use_native=use_native)

    generator = np.random.default_rng(0)
    for time in (1, 2, 16, 17, 300):
        a, b = (generator.random((2, time, 3)).astype("float32") for _ in range(2))
        expected = scan_by_formula("linear", np.concatenate([a, b], -1), np.zeros((2, 3)))[0]
        np.testing.assert_allclose(run(a, b), expected, rtol=1e-5)


@pytest.mark.slow  # XLA compiles
def test_xla_gives_the_same():
    generator = np.random.default_rng(0)
    a, b = (generator.random((2, 40, 3)).astype("float32") for _ in range(2))
    compiled = tf.function(linear_scan, jit_compile=True)
    np.testing.assert_allclose(compiled(a, b), linear_scan(a, b), rtol=1e-5)


@needs_native
def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="do not fit"):
        scan("mingru", tf.zeros([1, 2, 7]), tf.zeros([1, 3]), tf.zeros([6]))


@pytest.mark.parametrize(
    ("shapes", "wrong"),
    [
        (((2, 5, 3), (2, 5, 4), None, None), "factors must be"),
        (((2, 5, 4), (2, 5, 4), (2, 3), None), "initial_state must be"),
        (((2, 5, 4), (2, 5, 4), (2, 4), (2, 4)), "mask must be"),
        (((5, 4), (5, 4), None, None), r"sums must be .* are \[5, 4\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, wrong):
    factors, sums, state, mask = (None if shape is None else np.ones(shape, "float32") for shape in shapes)
    with pytest.raises(ValueError, match=wrong):
        linear_scan(factors, sums, state, None if mask is None else mask > 0)
