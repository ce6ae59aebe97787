"""One long text as parallel lanes of windows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.data.lanes import Lanes


@given(
    st.integers(2, 200),
    st.integers(1, 6),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(0, 5)),
    st.integers(0, 3),
)
def test_lanes_are_parts_of_the_text_in_their_order(size, lanes, window, seed, epoch):
    if size < lanes:
        return
    ids = np.arange(4, 4 + size, dtype=np.int32)
    made = Lanes(ids, lanes, window, seed)
    batches = list(made.epoch(epoch))
    assert len(batches) == made.steps_per_epoch
    tokens = np.concatenate([features["tokens"] for features, _, _ in batches], 1)
    targets = np.concatenate([target for _, target, _ in batches], 1)
    assert all(target.shape[1] > 0 for _, target, _ in batches)
    np.testing.assert_array_equal(targets.reshape(-1), ids[: lanes * (size // lanes)])
    np.testing.assert_array_equal(tokens.reshape(-1)[1:], targets.reshape(-1)[:-1])
    assert tokens[0, 0] == 3
    assert [int(features["reset"][0, 0]) for features, _, _ in batches] == [1] + [0] * (len(batches) - 1)
    later = list(made.epoch(epoch, start=len(batches) // 2))
    for (a, b, _), (c, d, _) in zip(batches[len(batches) // 2 :], later, strict=True):
        np.testing.assert_array_equal(a["tokens"], c["tokens"])
        np.testing.assert_array_equal(b, d)


def test_windows_differ_from_epoch_to_epoch():
    made = Lanes(np.arange(4, 1000, dtype=np.int32), 2, 32, seed=0)
    bounds = [made.bounds(epoch).tolist() for epoch in (0, 0, 1)]
    assert bounds[0] == bounds[1] != bounds[2]
    assert max(np.diff(bounds[0])) > 32
