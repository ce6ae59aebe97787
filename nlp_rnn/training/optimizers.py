"""Keras's optimizers for one device, in few passes over memory, and for several devices."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf


class _Courses:
    """Variables of which some learn more slowly, or later.

    `courses` has, by the path of a variable, the factor of its learning rate and the step from which on it learns.
    """

    courses: Mapping[str, tuple[float, int]] = MappingProxyType({})

    def rate_of(self, variable: keras.Variable, learning_rate: tf.Tensor) -> tf.Tensor:
        """The learning rate of one variable."""
        if not self.courses:
            return learning_rate
        optimizer: Any = self
        place = optimizer._trainable_variables[optimizer._get_variable_index(variable)].path
        factor, begin = self.courses.get(place, (1.0, 0))
        if begin:
            factor = tf.where(optimizer.iterations.value >= begin, factor, 0.0)
        return tf.cast(learning_rate, tf.float32) * factor


class _FewPasses(_Courses):
    """For one device: what Keras computes operation by operation, each with a result as large as the variable.

    An update waits for its gradient, by when nobody holds the variable's value: else it would be copied.
    """

    def _clip_gradients(self, gradients: list[tf.Tensor]) -> list[Any]:
        norm = self.global_clipnorm  # type: ignore[attr-defined]
        if not norm or self.clipnorm:  # type: ignore[attr-defined]
            return super()._clip_gradients(gradients)  # type: ignore[misc]
        return tf.clip_by_global_norm(gradients, norm)[0]

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        """Does nothing: `update_step` does it."""

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        optimizer: Any = self
        rate = tf.cast(self.rate_of(variable, learning_rate), variable.dtype)
        if optimizer.weight_decay and optimizer._use_weight_decay(variable):
            with tf.control_dependencies([getattr(gradient, "values", gradient)]):
                variable.assign_sub(variable * (rate * optimizer.weight_decay))
        self.step(gradient, variable, rate)

    def step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable, rate: tf.Tensor) -> None:
        """The update itself, after the decay."""
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _update_model_variables_moving_average(self, trainable_variables: list[keras.Variable]) -> None:
        optimizer: Any = self
        if not optimizer.use_ema:
            return
        rate = tf.where(optimizer.iterations.value == 0, 1.0, 1.0 - optimizer.ema_momentum)
        for variable, average in zip(trainable_variables, optimizer._model_variables_moving_average, strict=True):
            away = average.value - variable.value
            _descend(average.value, tf.cast(rate, variable.dtype), away)


@keras.saving.register_keras_serializable("nlp_rnn")
class AdamW(_FewPasses, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` in few passes, for one device.

    Example:

    >>> weight = keras.Variable([1.0])
    >>> AdamW(0.1, weight_decay=0.0).apply([keras.ops.ones(1)], [weight])
    >>> round(float(weight[0]), 4)
    0.9
    """

    def step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable, rate: tf.Tensor) -> None:
        if self.global_clipnorm:  # without it Keras squares each occurrence of a row by itself
            gradient = tf.convert_to_tensor(gradient)
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().step(gradient, variable, rate)
            return
        dtype, index = variable.dtype, self._get_variable_index(variable)
        steps = tf.cast(self.iterations.value + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(beta_1, steps),
            beta2_power=tf.pow(beta_2, steps),
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


@keras.saving.register_keras_serializable("nlp_rnn")
class SGD(_FewPasses, keras.optimizers.SGD):
    """`keras.optimizers.SGD` in few passes, for one device."""

    def step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable, rate: tf.Tensor) -> None:
        if self.momentum or isinstance(gradient, tf.IndexedSlices):
            super().step(gradient, variable, rate)
        else:
            _descend(variable, rate, tf.cast(gradient, variable.dtype))


def _descend(variable: tf.Variable, rate: tf.Tensor, gradient: tf.Tensor | tf.IndexedSlices) -> None:
    tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)


class _ClipsTheSum(_Courses):
    """Clips the sum of all devices' gradients: Keras clips each device's own, which are smaller."""

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        super().update_step(gradient, variable, self.rate_of(variable, learning_rate))  # type: ignore[misc]

    def _clip_gradients(self, gradients: list[tf.Tensor]) -> list[Any]:
        return gradients

    def _all_reduce_sum_gradients(self, pairs: object) -> list[Any]:
        summed = super()._all_reduce_sum_gradients(pairs)  # type: ignore[misc]
        clipped = super()._clip_gradients([gradient for gradient, _ in summed])  # type: ignore[misc]
        return [(gradient, variable) for gradient, (_, variable) in zip(clipped, summed, strict=True)]


@keras.saving.register_keras_serializable("nlp_rnn")
class SharedAdamW(_ClipsTheSum, keras.optimizers.AdamW):
    """AdamW for several devices."""


@keras.saving.register_keras_serializable("nlp_rnn")
class SharedSGD(_ClipsTheSum, keras.optimizers.SGD):
    """SGD for several devices."""
