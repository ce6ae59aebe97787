"""Rows of different lengths, handled as flat values and row splits.

TensorFlow's own broadcasting between ragged tensors takes seconds to trace; these few functions take
milliseconds.
"""

from __future__ import annotations

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


def never_empty(rows: tf.RaggedTensor, filler: int) -> tf.RaggedTensor:
    """Each row without values is given one, the filler."""
    lengths = tf.maximum(rows.row_lengths(), 1)
    splits = tf.concat([[0], tf.cumsum(lengths)], 0)
    places = tf.gather(splits, row_ids(rows)) + position_in_row(rows)
    values = tf.fill([splits[-1]], tf.cast(filler, rows.dtype))
    values = tf.tensor_scatter_nd_update(values, tf.expand_dims(places, 1), rows.values)
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def append(rows: tf.RaggedTensor, value: int) -> tf.RaggedTensor:
    """Each row with one value more at its end."""
    splits = rows.row_splits + tf.range(tf.size(rows.row_splits, out_type=tf.int64))
    places = tf.range(tf.size(rows.values, out_type=tf.int64)) + row_ids(rows)
    values = tf.fill([splits[-1]], tf.cast(value, rows.dtype))
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
