"""cuDNN's recurrent kernels: all directions of a layer, or of several layers on top of each other, in one call.

Keras calls them once per layer and direction, batch-major, which is a slower path through cuDNN. Here sequences are
turned to time-major, and each kernel is turned once rather than gate by gate.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from nlp_rnn.layers.base import Tensor


def run_cudnn(
    levels: Sequence[Sequence[keras.layers.RNN]],
    sequences: Tensor,
    states: Sequence[Sequence[Tensor]],
    lengths: Tensor,
    training: bool,
) -> tuple[Tensor, list[list[Tensor]]]:
    """Runs layers on a GPU, those of each level side by side, each level over what the one before gives.

    Args:
        levels: for each level one recurrent layer, or the forward and the backward one, whose kernel is "cudnn".
        sequences: `[batch, time, features]`.
        states: for each level the states of its layers one after the other, `[batch, units]`.
        lengths: int32 `[batch]`, none of them 0, of rows padded on the right; None where no row is.
        training: whether to drop entries of the recurrent kernels.

    Returns:
        Outputs `[batch, time, directions × units]`, 0 over padding, and the states after the last step, as given.
    """
    first = levels[0][0]
    kind, directions = ("lstm" if isinstance(first, keras.layers.LSTM) else "gru"), len(levels[0])
    parts = 2 if kind == "lstm" else 1
    dtype = sequences.dtype
    flat = [tf.cast(state, dtype) for level in states for state in level]
    options = {
        "input_h": tf.stack(flat[::parts]),
        "input_c": tf.stack(flat[1::parts]) if kind == "lstm" else tf.zeros([], dtype),
        "params": _parameters([layer for level in levels for layer in level], kind, training),
        "rnn_mode": kind,
        "direction": "bidirectional" if directions == 2 else "unidirectional",
        "is_training": True,  # whoever may want a gradient of it
    }
    inputs = tf.transpose(sequences, [1, 0, 2])
    if lengths is None:  # CudnnRNNV2, which takes none, fails with cuDNN 9
        lengths = tf.fill([tf.shape(inputs)[1]], tf.shape(inputs)[0])
    outputs, h, c, *_ = tf.raw_ops.CudnnRNNV3(input=inputs, sequence_lengths=lengths, time_major=True, **options)
    outputs = tf.transpose(outputs, [1, 0, 2])
    outputs.set_shape([*sequences.shape[:2], directions * first.units])
    after = [tf.unstack(x, len(levels) * directions) for x in ([h, c] if kind == "lstm" else [h])]
    by_layer = list(zip(*after, strict=True))
    return outputs, [
        [state for layer in by_layer[i * directions : (i + 1) * directions] for state in layer]
        for i in range(len(levels))
    ]


def _parameters(layers: Sequence[keras.layers.RNN], kind: str, training: bool) -> Tensor:
    """All weights as one vector in cuDNN's order: W and U of each layer, transposed, then the biases of each."""
    weights, biases = [], []
    for layer in layers:
        kernel, bias = tf.convert_to_tensor(layer.cell.kernel), tf.convert_to_tensor(layer.cell.bias)
        weights += [_by_gate(x, kind) for x in (kernel, layer.recurrent_weights(training))]
        # Of cuDNN's two biases an LSTM of Keras has one.
        biases += [tf.zeros_like(bias), bias] if kind == "lstm" else [_by_gate(row, kind) for row in tf.unstack(bias)]
    return tf.concat([tf.cast(x, weights[0].dtype) for x in weights + biases], 0)


def _by_gate(x: Tensor, kind: str) -> Tensor:
    """`[…, gates × units]` → flat, gate by gate. A GRU's update gate is Keras's first and cuDNN's second."""
    rows = tf.transpose(x) if x.shape.rank == 2 else x
    if kind == "gru":
        z, r, n = tf.split(rows, 3)
        rows = tf.concat([r, z, n], 0)
    return tf.reshape(rows, [-1])
