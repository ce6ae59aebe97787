"""Rows of different lengths, handled as flat values and row splits.

TensorFlow's own broadcasting between ragged tensors takes seconds to trace; these few functions take
milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf


def row_ids(rows: tf.RaggedTensor) -> tf.Tensor:
    """For each flat value, the int64 number of its row; as `value_rowids`, which takes forty times as long to trace."""
    places = tf.range(tf.size(rows.values, out_type=tf.int64))
    ends = tf.expand_dims(rows.row_splits[1:], 0)
    return tf.raw_ops.UpperBound(sorted_inputs=ends, values=tf.expand_dims(places, 0), out_type=tf.int64)[0]


def position_in_row(rows: tf.RaggedTensor) -> tf.Tensor:
    """For each flat value, its int64 place in its row."""
    return tf.range(tf.size(rows.values, out_type=tf.int64)) - tf.gather(rows.row_splits, row_ids(rows))


def keep(rows: tf.RaggedTensor, wanted: tf.Tensor) -> tf.RaggedTensor:
    """The values for which the flat boolean `wanted` is true, each in its row."""
    before = tf.concat([[0], tf.cumsum(tf.cast(wanted, tf.int64))], 0)
    splits = tf.gather(before, rows.row_splits)
    return tf.RaggedTensor.from_row_splits(tf.boolean_mask(rows.values, wanted), splits, validate=False)


def never_empty(rows: tf.RaggedTensor, filler: int | str) -> tf.RaggedTensor:
    """Each row without values is given one, the filler."""
    lengths = tf.maximum(rows.row_lengths(), 1)
    splits = tf.concat([[0], tf.cumsum(lengths)], 0)
    places = tf.gather(splits, row_ids(rows)) + position_in_row(rows)
    values = tf.fill([splits[-1]], tf.cast(filler, rows.dtype))
    values = tf.tensor_scatter_nd_update(values, tf.expand_dims(places, 1), rows.values)
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def append(rows: tf.RaggedTensor, value: int | str) -> tf.RaggedTensor:
    """Each row with one value more at its end."""
    splits = rows.row_splits + tf.range(tf.size(rows.row_splits, out_type=tf.int64))
    places = tf.range(tf.size(rows.values, out_type=tf.int64)) + row_ids(rows)
    values = tf.fill([splits[-1]], tf.constant(value, rows.dtype))
    values = tf.tensor_scatter_nd_update(values, tf.expand_dims(places, 1), rows.values)
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def truncate(rows: tf.RaggedTensor, length: int, which: str = "start") -> tf.RaggedTensor:
    """Cuts longer rows to `length` values: their "start", their "end", or half of "both"."""
    place = position_in_row(rows)
    from_end = tf.gather(rows.row_lengths(), row_ids(rows)) - place
    if which == "start":
        return keep(rows, place < length)
    if which == "end":
        return keep(rows, from_end <= length)
    head = length // 2
    return keep(rows, (place < head) | (from_end <= length - head))


def by_length(
    splits: tf.Tensor,
    flat: Mapping[str, tf.Tensor],
    function: Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor]],
    results: Mapping[str, tf.TensorSpec],
    of_steps: bool,
    most: int = 8192,
) -> dict[str, tf.Tensor]:
    """Runs a function on rows of any length, those of about the same length at a time, so that little is padding.

    Args:
        splits: int64 `[rows + 1]`, where rows begin and end; none is empty.
        flat: values of the steps of all rows, `[steps, …]`, by name.
        function: padded values `[some rows, time, …]` by name → results by name.
        results: those that are wanted; what one step, or one row, has.
        of_steps: whether results are of steps, `[some rows, time, …]`, or of rows, `[some rows, …]`.
        most: padded steps at a time, but for a row that is longer.

    Returns:
        The results of all steps or rows, in the order of the rows: `[steps, …]` or `[rows, …]`.
    """
    lengths = splits[1:] - splits[:-1]
    order = tf.argsort(lengths, stable=True)
    lengths, begins, count = tf.gather(lengths, order), tf.gather(splits, order), tf.size(order)

    def steps_of(rows: slice) -> tf.RaggedTensor:
        return tf.ragged.range(begins[rows], begins[rows] + lengths[rows])

    def some(first: tf.Tensor, *arrays: Any) -> tuple[Any, ...]:
        alike = tf.searchsorted(lengths, lengths[first, None] + tf.maximum(lengths[first] // 4, 4), "right")[0]
        rows = slice(first, tf.minimum(alike, first + tf.maximum(tf.cast(most // lengths[alike - 1], tf.int32), 1)))
        steps = steps_of(rows)
        found = function({name: steps.with_values(tf.gather(v, steps.values)).to_tensor() for name, v in flat.items()})
        parts = [tf.boolean_mask(found[n], tf.sequence_mask(lengths[rows])) if of_steps else found[n] for n in results]
        return rows.stop, *(array.write(array.size(), part) for array, part in zip(arrays, parts, strict=True))

    options = {"dynamic_size": True, "infer_shape": False}
    arrays = [tf.TensorArray(s.dtype, 0, element_shape=[None, *s.shape], **options) for s in results.values()]
    _, *arrays = tf.while_loop(lambda first, *_: first < count, some, (tf.constant(0), *arrays))
    places = tf.argsort(steps_of(slice(0, count)).values if of_steps else order)
    return {name: tf.gather(array.concat(), places) for name, array in zip(results, arrays, strict=True)}
