"""x·W + b of all steps of a sequence, in mixed precision too."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras.src.backend.common.variables import AutocastScope  # Keras has no public name for it

from nlp_rnn.layers.base import Nest, Tensor


def read_weight(variable: keras.Variable) -> Tensor:
    """A weight as the layer computes with it. Under float16 its values are rounded, but it stays float32, so that its
    gradient, a sum over all steps, does too: a float16 would overflow, and Keras adds up its steps in float32."""
    value = tf.convert_to_tensor(variable)
    if value.dtype != tf.float16:
        return value
    with AutocastScope(None):
        exact = tf.convert_to_tensor(variable)
    return value if exact.dtype == value.dtype else _rounded_to_half(exact)


def seed_of_drops(weight_drop: float, seed: int | None = None) -> keras.random.SeedGenerator | None:
    """Where the masks of `dropped_entries` are drawn from; None where nothing is dropped.

    Raises:
        ValueError: if `weight_drop` is no probability, or 1.
    """
    if not 0.0 <= weight_drop < 1.0:
        raise ValueError(f"weight_drop must be at least 0 and below 1; it is {weight_drop}.")
    return keras.random.SeedGenerator(seed) if weight_drop else None


def dropped_entries(kernel: Tensor, probability: float, seed: keras.random.SeedGenerator | None) -> Tensor:
    """A kernel of which each entry is dropped with a probability, and the others grow for it (DropConnect)."""
    return kernel if seed is None or not probability else keras.random.dropout(kernel, probability, seed=seed)


@tf.custom_gradient
def _rounded_to_half(value: Tensor) -> tuple[Tensor, Nest]:
    return tf.cast(tf.cast(value, tf.float16), value.dtype), lambda gradient: gradient


def projected(inputs: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·W + b of all steps, as one product.

    Args:
        inputs: `[batch, time, features]`.
        kernel: W, `[features, columns]`, as `read_weight` gives it.
        bias: b, `[columns]`; None for none.

    Returns:
        `[batch, time, columns]`, in the type of the inputs.
    """
    flat = tf.reshape(inputs, [-1, kernel.shape[0]])
    product = tf.matmul(flat, kernel) if flat.dtype == kernel.dtype else _mixed_product(flat, kernel)
    if bias is not None:
        product = tf.nn.bias_add(product, bias) if product.dtype == bias.dtype else _mixed_sum(product, bias)
    batch, time = inputs.shape[:2]
    shape = tf.shape(inputs)
    result = tf.reshape(product, [shape[0], shape[1], kernel.shape[1]])
    result.set_shape([batch, time, kernel.shape[1]])
    return result


@tf.custom_gradient
def _mixed_product(x: Tensor, kernel: Tensor) -> tuple[Tensor, Nest]:
    """x·W in the type of x, `[rows, features]`, with the gradient of W in its own."""

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        d_kernel = tf.matmul(tf.cast(x, kernel.dtype), tf.cast(upstream, kernel.dtype), transpose_a=True)
        return tf.matmul(upstream, tf.cast(kernel, x.dtype), transpose_b=True), d_kernel

    return tf.matmul(x, tf.cast(kernel, x.dtype)), gradient


@tf.custom_gradient
def _mixed_sum(x: Tensor, bias: Tensor) -> tuple[Tensor, Nest]:
    """X + b in the type of x, `[rows, features]`, with the gradient of b in its own."""

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        return upstream, tf.reduce_sum(tf.cast(upstream, bias.dtype), 0)

    return x + tf.cast(bias, x.dtype), gradient
