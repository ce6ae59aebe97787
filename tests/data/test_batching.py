"""Batches: complete, repeatable, little padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_rnn.data.batching import Batches, NestedRows, Rows, bucket_bounds


def make(lengths, batch_size=4, seed=0, buckets=3):
    """Rows whose every id is the row's number plus one."""
    rows = Rows([(np.repeat(np.arange(len(lengths)) + 1, lengths), np.array(lengths))])
    return Batches({"tokens": rows}, np.arange(len(lengths), dtype=np.int64), batch_size, seed=seed, buckets=buckets)


lists_of_lengths = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
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


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=100, deadline=None)
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
