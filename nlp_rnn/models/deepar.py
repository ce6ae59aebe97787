"""DeepAR: a recurrent network that gives the distribution of each next value, and goes on from values drawn of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.layers.distributions import Distribution
from nlp_rnn.models.forecaster import Forecaster

_PATHS = 200


class Memory(NamedTuple):
    """What DeepAR keeps of a series: all that a forecast needs.

    Attributes:
        shift, spread: float32 `[batch, channels]`, of the history it began with, for good.
        last: the last value, scaled, float32 `[batch, channels]`; the stack has not read it yet.
        state: of the stack, after the value before; its rows are those of the batch, channel by channel.
    """

    shift: Tensor
    spread: Tensor
    last: Tensor
    state: Nest


@keras.saving.register_keras_serializable("nlp_rnn")
class DeepAR(Forecaster):
    """DeepAR (Salinas et al. 2017, arXiv:1704.04110), for each channel by itself.

        h_t = RNN([z_{t-1}, x_t, e_channel], h_{t-1}),   z_t ~ p(· | W·h_t + b)

    In training it reads the values that came; the loss is the mean -log p of those to forecast. Forecasts are the
    quantiles of paths that are drawn with the same random numbers each time, so that an input has one forecast.

    Args:
        distribution: as `Distribution` has it; with "negative-binomial" the values are counts.
        **options: those of `Forecaster`; of "levels" the quantiles are taken from the paths.

    Call arguments:
        features: as those of `Forecaster`, with "following", float32 `[batch, horizon, channels]`: the values that
            came.

    Returns:
        float32 `[batch, horizon, channels, parameters]`, of the distributions of the scaled values.

    Example:

    >>> model = DeepAR(channels=1, lookback=12, horizon=4, units=8)
    >>> model.infer({"history": keras.ops.ones((3, 12, 1))})["quantiles"].shape
    TensorShape([3, 4, 1, 7])
    """

    OPTIONS = (*Forecaster.OPTIONS, "distribution")

    def __init__(self, *sizes: Any, distribution: str = "student-t", **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.distribution, self._family = distribution, Distribution(distribution)
        self.stack = self._stack()
        self.drop = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy, name="drop")
        self.head = keras.layers.Dense(self._family.parameters, dtype="float32", name="head")

    def _build_parts(self) -> None:
        if self.past:
            raise ValueError("DeepAR reads what is known of the future too, and no covariates of the past alone.")
        self._kind_size = min(self.channels, 8)
        normal = keras.initializers.RandomNormal(stddev=1.0)
        shape = (self.channels, self._kind_size)
        self.kinds = self.add_weight(shape, normal, "float32", name="kinds", autocast=False)
        self.stack.build((None, None, 1 + self.covariates + self._kind_size))
        self.head.build((None, self.units))

    def scale_of(self, history: Tensor) -> tuple[Tensor, Tensor]:
        if not self._family.of_counts:
            return super().scale_of(history)
        size = 1.0 + tf.reduce_mean(tf.abs(history), 1, keepdims=True)
        return tf.zeros_like(size), size

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> Tensor:
        history = features["history"]
        following = features.get("following")
        following = tf.zeros([tf.shape(history)[0], self.horizon, self.channels]) if following is None else following
        shift, spread = self.scale_of(history)
        values = (tf.concat([history, following], 1) - shift) / spread
        inputs = self._inputs(values[:, :-1], self.covariates_of(features), 1)
        sequence, _ = self.stack(inputs, training=training)
        sequence = self.drop(sequence[:, self.lookback - 1 :], training=training)
        raw = tf.reshape(self.head(sequence), [-1, self.channels, self.horizon, self._family.parameters])
        return tf.transpose(raw, [0, 2, 1, 3])

    def _inputs(self, values: Tensor, covariates: Tensor | None, first: Tensor) -> Tensor:
        """What the stack reads, `[batch · channels, steps, features]`: scaled values `[batch, steps, channels]`, each
        with what is known of the step after it; the first of these is the step `first`."""
        batch, steps = tf.shape(values)[0], tf.shape(values)[1]
        rows = tf.reshape(tf.transpose(values, [0, 2, 1]), [batch * self.channels, steps, 1])
        kinds = tf.tile(self.kinds[:, None], [batch, steps, 1])
        parts = [rows, kinds]
        if covariates is not None:
            parts.append(tf.repeat(covariates[:, first : first + steps], self.channels, axis=0))
        return ops.cast(tf.concat(parts, -1), self.compute_dtype)

    def _errors_of(self, y: Tensor, found: Tensor, shift: Tensor, spread: Tensor) -> Tensor:
        """-log p of values, up to what does not depend on the network; where there is none, of any."""
        values, parameters = tf.where(tf.math.is_finite(y), y, shift), self._family.of(found)
        if self._family.of_counts:
            return self._family.nats(values, [parameters[0] * spread, parameters[1]])
        return self._family.nats((values - shift) / spread, parameters)

    def infer(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.forecast(features, self.horizon, _PATHS)

    def forecast(self, features: Mapping[str, Tensor], horizon: int, samples: int) -> dict[str, Tensor]:
        """The "quantiles" of drawn paths, float32 `[batch, horizon, channels, levels]`.

        Args:
            features: as a call takes them, without "following".
            horizon: steps to forecast; where covariates are known, at most those of the model.
            samples: paths to draw.
        """
        if not self.built:
            self.build()
        if self.known:
            horizon = min(horizon, self.horizon)
        known = self.covariates_of(features, horizon)
        known = None if known is None else known[:, self.lookback :]
        return {"quantiles": self.quantiles_after(self.remember(features), known, horizon, samples)}

    def remember(self, features: Mapping[str, Tensor]) -> Memory:
        """What is kept of a history: of features as a call takes them, without "following"."""
        shift, spread = self.scale_of(features["history"])
        scaled, batch = (features["history"] - shift) / spread, tf.shape(features["history"])[0]
        if self.lookback > 1:
            _, state = self.stack(self._inputs(scaled[:, :-1], self.covariates_of(features), 1))
        else:
            state = self.stack.zero_state(batch * self.channels)
        shift, spread = (tf.broadcast_to(part[:, 0], [batch, self.channels]) for part in (shift, spread))
        return Memory(shift, spread, scaled[:, -1], state)

    def observe(self, values: Tensor, known: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        """Goes on by a step.

        Args:
            values: what came, float32 `[batch, channels]`; for what is no number, the expected value is read.
            known: what is known of the step, scaled, `[batch, covariates]`, if the model reads any.
            memory: of the steps before.

        Returns:
            -log p of the values `[batch, channels]`, 0 for those that are no numbers; and what is kept now.
        """
        batch = tf.shape(values)[0]
        shift, spread, last, given = (tf.reshape(part, [-1]) for part in (*memory[:3], values))
        parameters, state = self._next(batch, last, known, memory.state, (shift, spread))
        is_given = tf.math.is_finite(given)
        given = tf.where(is_given, given, parameters[0])
        nats = tf.where(is_given, self._family.nats(given, parameters), 0)
        whole = [batch, self.channels]
        after = memory._replace(last=tf.reshape((given - shift) / spread, whole), state=state)
        return tf.reshape(nats, whole), after

    def quantiles_after(self, memory: Memory, known: Tensor | None, horizon: int, samples: int = _PATHS) -> Tensor:
        """The quantiles of the next values, float32 `[batch, horizon, channels, levels]`.

        Args:
            memory: of the steps so far.
            known: what is known of the steps to come, scaled, `[batch, horizon, covariates]`, if the model reads any.
            horizon: how many there are.
            samples: paths to draw.
        """
        ordered = tf.sort(self._paths(memory, known, horizon, samples), axis=-1)
        found = [ordered[..., min(int(level * samples), samples - 1)] for level in self.levels]
        return self.above_floor(tf.stack(found, -1))

    def _paths(self, memory: Memory, covariates: Tensor | None, horizon: int, samples: int) -> Tensor:
        """Values that are drawn one after the other, `[batch, horizon, channels, samples]`."""
        batch = tf.shape(memory.last)[0]
        shift, spread, last = (tf.repeat(tf.reshape(part, [-1]), samples) for part in memory[:3])
        state = tf.nest.map_structure(lambda part: tf.repeat(part, samples, axis=0), memory.state)
        drawn, uniform = tf.TensorArray(tf.float32, horizon), tf.constant(uniform_numbers(horizon, samples))

        def go_on(step: Tensor, last: Tensor, state: Nest, drawn: Tensor) -> tuple[Tensor, Tensor, Nest, Any]:
            known = None if covariates is None else covariates[:, step]
            parameters, state = self._next(batch, last, known, state, (shift, spread))
            u, v = (tf.tile(part, [batch * self.channels]) for part in tf.unstack(uniform[step]))
            value = self._family.draw(parameters, u, v)
            return step + 1, (value - shift) / spread, state, drawn.write(step, value)

        _, _, _, drawn = tf.while_loop(
            lambda step, *_: step < horizon, go_on, (0, last, state, drawn), maximum_iterations=horizon
        )
        return tf.transpose(tf.reshape(drawn.stack(), [horizon, batch, self.channels, samples]), [1, 0, 2, 3])

    def _next(
        self, batch: Tensor, last: Tensor, known: Tensor | None, state: Nest, scales: tuple[Tensor, Tensor]
    ) -> tuple[list[Tensor], Nest]:
        """The parameters of the next values, and the state after the last ones, `[batch · channels · paths]`."""
        paths = tf.shape(last)[0] // (batch * self.channels)
        parts = [last[:, None], tf.repeat(tf.tile(self.kinds, [batch, 1]), paths, axis=0)]
        if known is not None:
            parts.append(tf.repeat(known, self.channels * paths, axis=0))
        sequence, state = self.stack(ops.cast(tf.concat(parts, -1), self.compute_dtype)[:, None], initial_state=state)
        found, (shift, spread) = self._family.of(self.head(sequence[:, 0])), scales
        if self._family.of_counts:
            return [found[0] * spread, found[1]], state
        return [shift + spread * found[0], spread * found[1], *found[2:]], state


def uniform_numbers(steps: int, samples: int) -> np.ndarray:
    """Numbers from (0, 1) to draw paths with, float32 `[steps, 2, samples]`: the same each time and for all rows, so
    that a forecast does not depend on its neighbours; each is in another one of as many equal parts, so that few paths
    stand for many."""
    generator = np.random.default_rng(0)
    places = generator.permuted(np.tile(np.arange(samples), (steps, 2, 1)), axis=-1)
    return ((places + generator.random(places.shape)) / samples).clip(1e-6, 1 - 1e-6).astype(np.float32)
