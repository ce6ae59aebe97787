"""Which loop serves a recurrent layer on this machine, and why no faster one."""

from __future__ import annotations

import keras

from nlp_rnn.layers import native
from nlp_rnn.layers.normalized import LayerNormLSTMCell
from nlp_rnn.layers.recurrence import Kind
from nlp_rnn.layers.scan_layer import ScanLayer
from nlp_rnn.layers.transformer import SelfAttention
from nlp_rnn.machine import has_gpu


def kernel_of(layer: keras.layers.Layer) -> tuple[str, str]:
    """Which kernel serves a recurrent layer on this machine, and why no faster one.

    Returns:
        The kernel and the reason in words. The kernels: "cudnn" on a GPU; "native", the compiled operations, on a CPU;
        "loop", TensorFlow's operations in a fused loop; "scan", TensorFlow's operations, all steps in parallel, for
        layers that need no loop; "attention", products of TensorFlow, for transformers; "keras", Keras's own loop, for
        what no other can do.

    Example:

    >>> from nlp_rnn.layers import LSTM
    >>> kernel_of(LSTM(4, activation="relu"))
    ('keras', 'its activation is not tanh')
    """
    if isinstance(layer, SelfAttention):
        return "attention", "it is no recurrent layer"
    if isinstance(layer, ScanLayer):
        return layer.kernel_and_reason
    own = next((reason for reason, applies in _reasons_for_keras(layer) if applies), None)
    no_cudnn = own or next((reason for reason, applies in _reasons_against_cudnn(layer) if applies), None)
    if no_cudnn is None:
        return "cudnn", "all its conditions hold"
    if own is not None:
        return "keras", own
    if not layer.use_native:
        no_native = "use_native is False"
    elif kind_of(layer) == "gru_reset_before":
        no_native = "reset_after is False"
    elif kind_of(layer) == "layernorm_lstm":
        no_native = "its gates are normalised"
    elif has_gpu():
        no_native = "a GPU is visible"
    else:
        no_native = native.unavailable()
    if no_native:
        return "loop", no_cudnn if no_native == no_cudnn else f"{no_cudnn}; {no_native}"
    return "native", no_cudnn


def describe_kernel(layer: keras.layers.Layer) -> str:
    """The kernel of `kernel_of` and the reason in one line."""
    kernel, reason = kernel_of(layer)
    fastest = "native" if isinstance(layer, ScanLayer) else "cudnn"
    return kernel if kernel in (fastest, "attention") else f"{kernel} (no faster kernel: {reason})"


def _reasons_for_keras(layer: keras.layers.Layer) -> list[tuple[str, bool]]:
    simple = not isinstance(layer, (keras.layers.LSTM, keras.layers.GRU))
    activations = [keras.activations.tanh, keras.activations.relu] if simple else [keras.activations.tanh]
    return [
        ("it is not a layer of nlp_rnn.layers", not hasattr(layer, "recurrent_weights")),
        ("its activation is not tanh" + " or relu" * simple, layer.activation not in activations),
        (
            "its recurrent activation is not sigmoid",
            not simple and layer.recurrent_activation is not keras.activations.sigmoid,
        ),
        ("it is unrolled", layer.unroll),
        ("it has recurrent dropout (use weight_drop instead)", layer.recurrent_dropout > 0),
    ]


def _reasons_against_cudnn(layer: keras.layers.Layer) -> list[tuple[str, bool]]:
    foreign = native.foreign_graph()
    if not isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)):
        return [("cuDNN is used for LSTM and GRU only", True)]
    return [
        ("it has no bias", not layer.use_bias),
        ("reset_after is False", not getattr(layer, "reset_after", True)),
        ("its gates are normalised", kind_of(layer) == "layernorm_lstm"),
        ("use_cudnn is False", layer.use_cudnn is False),
        (foreign, bool(foreign)),
        ("no GPU is visible", not has_gpu()),
    ]


def kind_of(layer: keras.layers.Layer) -> Kind:
    """The kind of recurrence that a layer computes."""
    if isinstance(layer.cell, LayerNormLSTMCell):
        return "layernorm_lstm"
    if isinstance(layer, keras.layers.LSTM):
        return "lstm"
    if isinstance(layer, keras.layers.GRU):
        return "gru" if layer.reset_after else "gru_reset_before"
    return "relu" if layer.activation is keras.activations.relu else "tanh"
