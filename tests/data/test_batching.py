"""Batches: complete, repeatable, little padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.data.batching import Batches, NestedRows, Rows, bucket_bounds
from nlp_rnn.errors import InputError


def make(lengths, batch_size=4, seed=0, buckets=3):
    """Rows whose every id is the row's number plus one."""
    rows = Rows([(np.repeat(np.arange(len(lengths)) + 1, lengths), np.array(lengths))])
    return Batches({"tokens": rows}, np.arange(len(lengths), dtype=np.int64), batch_size, seed=seed, buckets=buckets)


lists_of_lengths = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@given(lists_of_lengths, st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_each_row_counts_once_an_epoch(lengths, batch_size, buckets, epoch):
    batches = make(lengths, batch_size, 0, buckets)
    counted = np.zeros(len(lengths))
    steps = 0
    for features, targets, weights in batches.epoch(epoch):
        steps += 1
        tokens = features["tokens"]
        assert tokens.shape[0] == batch_size
        assert (tokens[:, 0] != 0).all(), "no row may be all padding"
        for row, target in zip(tokens, targets, strict=True):
            assert row.tolist() == [target + 1] * lengths[target] + [0] * (len(row) - lengths[target])
        assert weights.sum() == pytest.approx(batch_size)
        np.add.at(counted, targets, weights > 0)
    np.testing.assert_array_equal(counted, 1)
    assert steps == batches.steps_per_epoch
    assert len({f["tokens"].shape for f, _, _ in batches.epoch(epoch)}) <= buckets


@given(lists_of_lengths, st.integers(0, 10))
def test_an_epoch_can_be_entered_anywhere(lengths, start):
    batches = make(lengths)
    whole = [targets.tolist() for _, targets, _ in batches.epoch(5)]
    assert [targets.tolist() for _, targets, _ in batches.epoch(5, start)] == whole[start:]


def test_order_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(1, 30, 200)

    def order(seed, epoch):
        return [targets.tolist() for _, targets, _ in make(lengths, seed=seed).epoch(epoch)]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_dataset_passes_are_epochs():
    batches = make([3, 1, 2, 5, 4, 4, 9])
    dataset = batches.dataset()
    for epoch in range(2):
        expected = [targets.tolist() for _, targets, _ in batches.epoch(epoch)]
        assert [targets.numpy().tolist() for _, targets, _ in dataset] == expected


def test_rows_are_found_again_for_prediction():
    lengths = [3, 9, 1, 2, 2, 7, 5]
    seen = []
    for indices, features in make(lengths, seed=None).indexed():
        assert [row[row != 0].size for row in features["tokens"]] == [lengths[i] for i in indices]
        seen.extend(indices.tolist())
    assert sorted(seen) == list(range(7))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=15), st.integers(1, 4))
def test_buckets_waste_least(lengths, buckets):
    def padded(bounds):
        return int(np.array(bounds)[np.searchsorted(bounds, lengths)].sum())

    sizes = sorted(set(lengths))
    others = itertools.combinations(sizes[:-1], min(buckets, len(sizes)) - 1)
    best = min(padded([*some, sizes[-1]]) for some in others)
    bounds = bucket_bounds(lengths, buckets)
    assert len(bounds) <= buckets
    assert padded(bounds) == best


def test_padding_is_small_on_lengths_like_those_of_reviews():
    lengths = np.clip(np.random.default_rng(0).lognormal(5.2, 0.6, 25_000).astype(int), 1, 400)
    batches = make(lengths, 32, 0, 8)
    assert batches.padding < 0.1
    assert batches.padding == pytest.approx(1 - lengths.sum() / sum(f["tokens"].size for f, _, _ in batches.epoch(0)))


def test_nested_rows_and_rows_of_targets():
    words = Rows([(np.array([7, 7, 8, 9, 9, 9, 9, 9]), np.array([2, 1, 5]))])  # three words of 2, 1 and 5 characters
    nested = NestedRows(words, np.array([2, 1]))
    tokens = Rows([(np.array([4, 5, 6]), np.array([2, 1]))])
    tags = Rows([(np.array([1, 0, 2]), np.array([2, 1]))], filler=-1)
    batches = Batches({"tokens": tokens, "characters": nested}, tags, 2, buckets=1)
    features, targets, _ = next(batches.epoch(0))
    assert features["tokens"].tolist() == [[4, 5], [6, 0]]
    assert targets.tolist() == [[1, 0], [2, -1]]
    assert features["characters"].shape == (2, 2, 8), "rounded up to a multiple of four"
    assert features["characters"][0].tolist() == [[7, 7] + [0] * 6, [8] + [0] * 7]
    assert features["characters"][1].tolist() == [[9] * 5 + [0] * 3, [0] * 8]
    (from_dataset,) = batches.dataset().take(1)
    np.testing.assert_array_equal(from_dataset[0]["characters"], features["characters"])
    np.testing.assert_array_equal(from_dataset[1], targets)


FRAMES = [np.arange(6.0).reshape(3, 2), 10 + np.arange(2.0).reshape(1, 2), 20 + np.arange(4.0).reshape(2, 2)]


def frames(**options):
    """Rows of 3, 1 and 2 frames of two numbers, from two chunks."""
    parts = [(np.concatenate(FRAMES[:2]), np.array([3, 1])), (FRAMES[2], np.array([2]))]
    return Rows(parts, dtype=np.float32, shape=(2,), **options)


@pytest.mark.parametrize("filler", [0, -1.5])
def test_rows_of_frames_are_padded_step_by_step(filler):
    rows = frames(filler=filler)
    assert (len(rows), rows.values.dtype, rows.padded_shape) == (3, np.float32, (None, 2))
    padded = rows.padded(np.array([2, 0, 1]), 4)
    assert (padded.dtype, padded.shape) == (np.float32, (3, 4, 2))
    for row, index in zip(padded, (2, 0, 1), strict=True):
        length = len(FRAMES[index])
        np.testing.assert_array_equal(row[:length], FRAMES[index])
        assert (row[length:] == filler).all()


def test_rows_with_other_numbers_in_a_step_are_refused():
    with pytest.raises(InputError, match=r"Series 2 has 1 number in a step; it must have 2\."):
        Rows.of([[[1, 2]], [[3]]], np.float32)
    with pytest.raises(InputError, match=r"Series 1 has 1 number in a step; it must have 2\."):
        Rows.of([[[3]]], np.float32, (2,))
    assert len(Rows.of([], np.float32, (2,))) == 0


@given(
    st.lists(st.lists(st.floats(-9, 9, width=32), max_size=5), min_size=1, max_size=9), st.sampled_from(["<f4", "<f8"])
)
def test_rows_give_back_what_they_were_made_of(lists, dtype):
    rows = Rows([(np.array(values), np.array([len(values)])) for values in lists], dtype=dtype)
    longest = max(len(values) for values in lists)
    padded = rows.padded(np.arange(len(lists)), longest)
    assert padded.dtype == dtype
    assert padded.tolist() == [values + [0.0] * (longest - len(values)) for values in lists]


def test_rows_without_a_step():
    rows = Rows([(np.zeros((0, 3)), np.array([0, 0]))], dtype=np.float32, shape=(3,))
    assert (len(rows), rows.values.shape, rows.values.dtype) == (2, (0, 3), np.float32)
    assert rows.padded(np.array([0, 1]), 0).shape == (2, 0, 3)


def test_lengths_tell_the_padding_of_frames():
    batches = Batches({"frames": frames()}, np.arange(3), batch_size=2, buckets=1, seed=None)
    batch, last = list(batches.epoch(0))
    assert batch[0]["lengths"].tolist() == [3, 1]
    assert last[0]["lengths"].tolist() == [2, 2], "the row that fills the batch has its length too"
    assert last[2].tolist() == [2.0, 0.0]
    assert batch[0]["lengths"].dtype == np.int32
    np.testing.assert_array_equal(batch[0]["frames"][1], np.concatenate([FRAMES[1], np.zeros((2, 2))]))
    assert [features["lengths"].tolist() for _, features in batches.indexed()] == [[3, 1], [2]]
    assert batches.elements_per_epoch == 6
    assert batches.padding == pytest.approx(1 - 6 / 12)


@pytest.mark.parametrize(
    ("rows", "gives"),
    [
        (lambda: Rows([(np.arange(3), np.array([1, 2]))]), False),
        (lambda: Rows([(np.arange(3), np.array([1, 2]))], dtype=np.float32), True),
        (lambda: Rows([(np.ones((3, 2)), np.array([1, 2]))], shape=(2,)), True),
        (lambda: NestedRows(Rows([(np.arange(3), np.array([1, 1, 1]))]), np.array([1, 2])), False),
    ],
    ids=["ids", "numbers", "several ids a step", "ids of characters"],
)
def test_lengths_are_a_feature_where_the_first_is_not_of_ids(rows, gives):
    others = {
        "tokens": Rows([(np.arange(3), np.array([1, 2]))]),
        "scores": Rows([(np.ones(3), np.array([1, 2]))], dtype="f4"),
    }
    batches = Batches({"first": rows(), **others}, np.arange(2), batch_size=2)
    features, _, _ = next(batches.epoch(0))
    assert ("lengths" in features) == ("lengths" in batches.element_spec[0]) == gives


def specified(array):
    return tf.TensorSpec(array.shape, array.dtype)


@pytest.mark.parametrize("targets", ["classes", "vectors", "tags"])
def test_what_tensorflow_is_told_is_what_it_gets(targets):
    first = frames()
    tokens = Rows([(np.arange(1, 7), np.array([3, 1, 2]))])
    nested = NestedRows(Rows([(np.arange(1, 13), np.full(6, 2))]), np.array([3, 1, 2]))
    wanted = {
        "classes": np.arange(3, dtype=np.int64),
        "vectors": np.eye(3, dtype=np.float32),
        "tags": Rows([(np.arange(6), np.array([3, 1, 2]))], filler=-1),
    }[targets]
    batches = Batches({"frames": first, "tokens": tokens, "characters": nested}, wanted, batch_size=2, seed=0)
    spec = batches.element_spec
    assert spec[0]["frames"] == tf.TensorSpec([2, None, 2], tf.float32)
    assert spec[0]["tokens"] == tf.TensorSpec([2, None], tf.int32)
    assert spec[0]["characters"] == tf.TensorSpec([2, None, None], tf.int32)
    assert spec[0]["lengths"] == tf.TensorSpec([2], tf.int32)
    assert (
        spec[1]
        == {
            "classes": tf.TensorSpec([2], tf.int64),
            "vectors": tf.TensorSpec([2, 3], tf.float32),
            "tags": tf.TensorSpec([2, None], tf.int32),
        }[targets]
    )
    assert spec[2] == tf.TensorSpec([2], tf.float32)
    dataset = batches.dataset()
    assert dataset.element_spec == spec
    for given_batch, batch in zip(dataset, batches.epoch(0), strict=True):
        for told, given_part, part in zip(*(tf.nest.flatten(x) for x in (spec, given_batch, batch)), strict=True):
            assert told.is_compatible_with(specified(part))
            np.testing.assert_array_equal(given_part, part)
