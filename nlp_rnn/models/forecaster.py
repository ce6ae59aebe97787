"""Forecasters: the values of a series so far, and what is known of its future → quantiles of the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.base import Configured, Shape, Tensor
from nlp_rnn.layers.quantiles import OrderedQuantiles, pinball
from nlp_rnn.layers.stack import RecurrentStack, stack_of
from nlp_rnn.layers.transformer import TransformerStack
from nlp_rnn.models.parts import Lesson
from nlp_rnn.series.calendar import phase_count, phases
from nlp_rnn.series.steps import Step

if TYPE_CHECKING:
    from nlp_rnn.layers.base import Nest

_NO_FLOOR, _HIDDEN = -3e38, 32
LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


class Forecaster(Configured, keras.Model):
    """What forecasters share: values are scaled on the way in and back on the way out, the calendar is computed from
    the time, and the loss is the pinball loss of the scaled values, where there are any.

    Args:
        channels: values in a step, which are forecast together.
        lookback, horizon: steps that are read, and that are forecast.
        levels: of the quantiles, an odd number of them with 0.5 in the middle.
        scaling: "standard" by the mean and the spread of each channel in training; "window" by those of the history
            that is read, for series of different sizes.
        subtract_last: whether the last value is subtracted on the way in and added on the way out (Zeng et al. 2023,
            arXiv:2205.13504).
        step: the step between times, as `Step` has it.
        cycles: of the calendar, such as "day", "week"; the feature "time" is needed then.
        known, past: numbers that are known of each step, also of those to come, and of those of the history alone.
        cell, units, layers, weight_drop, residual, normalization, feedforward, chrono, heads: of the stack; a
            transformer sees all that is read.
        dropout: between its layers and before the quantiles.

    Call arguments:
        features: `{"history": float32 [batch, lookback, channels]}`; with "known", `[batch, lookback + horizon,
            known]`, "past", `[batch, lookback, past]`, and "time", int64 `[batch]`, the seconds since 1970 of the last
            step that is read, where these are used.
        training: whether to drop.

    Returns:
        float32 quantiles of the scaled values `[batch, horizon, channels, levels]`.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = (
        *("channels", "lookback", "horizon", "levels", "scaling", "subtract_last", "step", "cycles", "known", "past"),
        *("cell", "units", "layers", "dropout", "weight_drop", "residual", "normalization", "feedforward"),
        *("chrono", "heads"),
    )

    def __init__(
        self,
        channels: int,
        lookback: int,
        horizon: int,
        levels: Sequence[float] = LEVELS,
        scaling: str = "standard",
        subtract_last: bool = True,
        step: str = "1",
        cycles: Sequence[str] = (),
        known: int = 0,
        past: int = 0,
        cell: str = "gru",
        units: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        residual: bool = False,
        normalization: str = "none",
        feedforward: int = 0,
        chrono: int = 0,
        heads: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.channels, self.lookback, self.horizon, self.levels = channels, lookback, horizon, list(levels)
        self.scaling, self.subtract_last, self.step, self.cycles = scaling, subtract_last, step, list(cycles)
        self.known, self.past = known, past
        self.cell, self.units, self.layers_, self.dropout, self.weight_drop = cell, units, layers, dropout, weight_drop
        self.residual, self.normalization, self.feedforward, self.chrono = residual, normalization, feedforward, chrono
        self.heads = heads
        self._step = Step(step)

    def _stack(self, name: str = "stack") -> RecurrentStack | TransformerStack:
        return stack_of(
            self.cell,
            units=self.units,
            layers=self.layers_,
            bidirectional=False,
            dropout=self.dropout if self.layers_ > 1 else 0.0,
            weight_drop=self.weight_drop,
            residual=self.residual,
            normalization=self.normalization,
            feedforward=self.feedforward,
            chrono=self.chrono,
            heads=self.heads,
            context=self.lookback + self.horizon,
            dtype=self.dtype_policy,
            name=name,
        )

    @property
    def covariates(self) -> int:
        """Numbers that are known of each step, the phases of the calendar among them."""
        return self.known + phase_count(self.cycles)

    def build(self, features_shape: Shape | None = None) -> None:
        sizes = {"values": self.channels, "known": self.known, "past": self.past}
        self.scales = {}
        for name, size in sizes.items():
            parts = {"mean": 0.0, "spread": 1.0, **({"floor": _NO_FLOOR} if name == "values" else {})}
            for part, initial in parts.items():
                self.scales[f"{name}_{part}"] = self.add_weight(
                    name=f"{name}_{part}",
                    shape=(size,),
                    initializer=keras.initializers.Constant(initial),
                    trainable=False,
                    dtype="float32",
                    autocast=False,
                )
        self._build_parts()
        self.built = True

    def _build_parts(self) -> None:
        raise NotImplementedError

    def set_scales(self, scales: Mapping[str, object]) -> None:
        """Sets the means and spreads of training: "values_mean" `[channels]`, "values_spread", "known_mean" `[known]`,
        "known_spread", "past_mean" `[past]`, "past_spread"; and "values_floor", below which no forecast goes."""
        for name, values in scales.items():
            self.scales[name].assign(values)

    def scale_of(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """What is subtracted from values, and what they are divided by after that, each `[batch, 1, channels]`."""
        mean, spread = self.scales["values_mean"][None, None], self.scales["values_spread"][None, None]
        if self.scaling == "window":
            mean = tf.reduce_mean(history, 1, keepdims=True)
            deviation = tf.math.reduce_std(history, 1, keepdims=True)
            # A window in which nothing happens is measured by its size, and one of zeros by the training data.
            floor = tf.maximum(0.1 * tf.abs(mean), 1e-3 * spread)
            spread = tf.maximum(deviation, floor)
        shift = history[:, -1:] if self.subtract_last else mean
        return shift, spread

    def covariates_of(
        self, features: Mapping[str, Tensor], horizon: int = 0, first: int | None = None
    ) -> Tensor | None:
        """What is known of each step, scaled: `[batch, lookback + horizon, covariates]`; None if nothing is. The
        horizon is that of the model, or where the calendar alone is known another one. Steps count from that of the
        time, and begin with the `first`, by default of the lookback."""
        found = []
        if self.known:
            found.append((features["known"] - self.scales["known_mean"]) / self.scales["known_spread"])
        if self.cycles:
            first = 1 - self.lookback if first is None else first
            steps = tf.range(first, (horizon or self.horizon) + 1, dtype=tf.int64)
            found.append(phases(self._step.ahead(features["time"][:, None], steps[None]), self.cycles))
        return tf.concat(found, -1) if found else None

    def past_of(self, features: Mapping[str, Tensor]) -> Tensor | None:
        """What is known of the history alone, scaled: `[batch, lookback, past]`."""
        if not self.past:
            return None
        return (features["past"] - self.scales["past_mean"]) / self.scales["past_spread"]

    def compute_loss(
        self,
        x: Nest = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        if self.loss is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        shift, spread = self.scale_of(x["history"])
        return tf.add_n([mean_of_observed(self._errors_of(y, y_pred, shift, spread), y, sample_weight), *self.losses])

    def _errors_of(self, y: Tensor, found: Tensor, shift: Tensor, spread: Tensor) -> Tensor:
        """The loss of each value, `[batch, horizon, channels]`, of what a call found."""
        return pinball((y - shift) / spread, found, self.levels)

    def imitation(self, lesson: Lesson) -> Tensor:
        """Half the mean distance of scaled quantiles from those of a teacher, which is of the size of the pinball loss.
        The temperature has no meaning here."""
        distance = tf.reduce_mean(tf.abs(lesson.found - lesson.taught), -1)
        return 0.5 * mean_of_observed(distance, lesson.targets, lesson.sample_weight)

    def infer(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The "quantiles" of the values themselves, float32 `[batch, horizon, channels, levels]`."""
        if not self.built:
            self.build()
        shift, spread = self.scale_of(features["history"])
        return {"quantiles": self.above_floor(shift[..., None] + spread[..., None] * self(features, training=False))}

    def above_floor(self, values: Tensor) -> Tensor:
        """`[batch, horizon, channels, …]`, not below what each channel can be."""
        return tf.maximum(values, self.scales["values_floor"][:, None])

    def forecast(self, features: Mapping[str, Tensor], horizon: int, samples: int) -> dict[str, Tensor]:
        """As `infer`, of as many steps as the model forecasts; those that draw paths take a number of steps and of
        paths too."""
        return self.infer(features)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Forecaster:
        model = cls(**config)
        model.build()
        return model

    def get_config(self) -> dict[str, Any]:
        config = keras.Model.get_config(self)
        return {**config, **{n: getattr(self, n) for n in self.OPTIONS if n != "layers"}, "layers": self.layers_}


def mean_of_observed(losses: Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """The mean of `[batch, horizon, channels]` where the targets are numbers, weighted by `[batch]`."""
    observed = tf.math.is_finite(targets)
    counts = tf.cast(observed, tf.float32)
    if sample_weight is not None:
        counts *= tf.cast(sample_weight, tf.float32)[:, None, None]
    return tf.math.divide_no_nan(tf.reduce_sum(tf.where(observed, losses, 0) * counts), tf.reduce_sum(counts))


@keras.saving.register_keras_serializable("nlp_rnn")
class SegmentForecaster(Forecaster):
    """SegRNN (Lin et al. 2023, arXiv:2308.11200): a recurrent network over segments of a series instead of its steps,
    for each channel by itself; all segments to come are forecast side by side, each from the last state and a vector of
    its position and its channel.

        h_n = GRU(relu(W·x_segment), h_{n-1}),   y_segment(i) = V·GRU([p_i; e_channel], h_n)

    Covariates of a segment, and of the segments to come, are projected and added where the segment or its position is
    read. What is known of a step to come is also read by itself, with the state, and added to the quantiles of that
    step:

        relu(A·x_t + B·h_segment + b) → quantiles

    Args:
        segment: steps of a segment; of the history as many whole ones are read as fit.
        **options: those of `Forecaster`.

    Example:

    >>> model = SegmentForecaster(channels=2, lookback=48, horizon=24, segment=12, units=16)
    >>> model({"history": keras.ops.ones((3, 48, 2))}).shape
    TensorShape([3, 24, 2, 7])
    """

    OPTIONS = (*Forecaster.OPTIONS, "segment")

    def __init__(self, channels: int, lookback: int, horizon: int, *, segment: int = 12, **options: Any) -> None:
        super().__init__(channels, lookback, horizon, **options)
        if segment > lookback:
            raise ValueError(f"segment is {segment}; it must be at most lookback, {lookback}.")
        self.segment = segment
        self.read, self.ahead = lookback // segment, -(-horizon // segment)
        policy = self.dtype_policy
        self.embedding = keras.layers.Dense(self.units, dtype=policy, name="embedding")
        self.stack = self._stack()
        self.head = OrderedQuantiles(len(self.levels), segment, self.dropout, dtype=policy, name="head")
        self.projections = {
            name: keras.layers.Dense(self.units, use_bias=False, dtype=policy, name=f"{name}_projection")
            for name, size in (("read", self.covariates), ("past", self.past), ("ahead", self.covariates))
            if size
        }
        if self.covariates:
            self.step_projection = keras.layers.Dense(_HIDDEN, use_bias=False, dtype=policy, name="step_projection")
            self.state_projection = keras.layers.Dense(_HIDDEN, dtype=policy, name="state_projection")
            self.step_head = keras.layers.Dense(len(self.levels), use_bias=False, dtype=policy, name="step_head")

    def _build_parts(self) -> None:
        half = self.units // 2
        options: dict[str, Any] = {
            "initializer": keras.initializers.RandomNormal(stddev=1.0),
            "dtype": "float32",
            "autocast": False,
        }
        self.positions = self.add_weight(name="positions", shape=(self.ahead, half), **options)
        self.kinds = self.add_weight(name="kinds", shape=(self.channels, self.units - half), **options)
        self.embedding.build((None, None, self.segment))
        self.stack.build((None, None, self.units))
        self.head.build((None, self.units))
        for name, projection in self.projections.items():
            projection.build((None, None, self.segment * (self.past if name == "past" else self.covariates)))
        if self.covariates:
            self.step_projection.build((None, None, self.covariates))
            self.state_projection.build((None, None, self.units))
            self.step_head.build((None, None, _HIDDEN))

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> Tensor:
        history = features["history"]
        shift, spread = self.scale_of(history)
        batch, channels = tf.shape(history)[0], self.channels
        covariates, past = self.covariates_of(features), self.past_of(features)
        values = tf.transpose(self._last((history - shift) / spread), [0, 2, 1])
        vectors = self.embedding(tf.reshape(values, [batch * channels, self.read, self.segment]))
        read = None if covariates is None else covariates[:, : self.lookback]
        vectors += self._of_segments("read", read, batch)
        vectors += self._of_segments("past", past, batch)
        _, state = self.stack(tf.nn.relu(vectors), training=training)
        found = self._decode(state, covariates, batch, training)
        found = tf.reshape(found, [batch, channels, self.ahead * self.segment, len(self.levels)])
        return tf.transpose(found[:, :, : self.horizon], [0, 2, 1, 3])

    def _decode(self, state: Nest, covariates: Tensor | None, batch: Tensor, training: bool) -> Tensor:
        """The quantiles of all segments to come, `[batch · channels · segments, segment, levels]`."""
        channels, ahead, units = self.channels, self.ahead, self.units
        parts = [tf.tile(self.positions[None], [channels, 1, 1]), tf.tile(self.kinds[:, None], [1, ahead, 1])]
        place = tf.tile(ops.cast(tf.concat(parts, -1), self.compute_dtype), [batch, 1, 1])
        if covariates is not None:
            missing = ahead * self.segment - self.horizon
            following = tf.pad(covariates[:, self.lookback :], [[0, 0], [0, missing], [0, 0]])
            place += self._of_segments("ahead", following, batch)
        repeated = tf.nest.map_structure(lambda part: tf.repeat(part, ahead, axis=0), state)
        sequence, _ = self.stack(tf.reshape(place, [batch * channels * ahead, 1, units]), initial_state=repeated)
        extra = None
        if covariates is not None:
            by_step = self.step_projection(tf.reshape(following, [batch, ahead, self.segment, self.covariates]))
            by_step = tf.reshape(
                tf.repeat(by_step, channels, axis=0), [batch * channels * ahead, self.segment, _HIDDEN]
            )
            extra = self.step_head(tf.nn.relu(by_step + self.state_projection(sequence)))
        return self.head(sequence[:, 0], extra, training=training)

    def _last(self, values: Tensor) -> Tensor:
        """The last whole segments of `[batch, lookback, …]`."""
        return values[:, self.lookback - self.read * self.segment :]

    def _of_segments(self, name: str, values: Tensor | None, batch: Tensor) -> Tensor:
        """Numbers of each step, `[batch, steps, size]`, as a vector of each segment and channel, or 0."""
        if values is None:
            return 0
        values = values if name == "ahead" else self._last(values)
        segments = self.ahead if name == "ahead" else self.read
        flat = tf.reshape(values, [batch, segments, self.segment * values.shape[-1]])
        return tf.repeat(self.projections[name](flat), self.channels, axis=0)
