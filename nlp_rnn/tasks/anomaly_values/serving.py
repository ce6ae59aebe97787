"""The signatures of the SavedModel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly_values.settings import Config
from nlp_rnn.tasks.base import Signatures

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.metrics.anomalies import Reference
    from nlp_rnn.models.forecaster import Forecaster


_LARGEST, _SHORT, _LEAST = 2000, 40, 1.2e-38


def example(assets: Assets) -> dict[str, Any]:
    """A signal that rises and falls, and jumps at last; long enough to be judged, where that is not much."""
    channels, count = len(assets.judge["targets"]), assets.judge["warm_up"] + 8
    count = count if count * channels <= _LARGEST else _SHORT
    steps = [[round(10 + math.sin(i / 5) + channel, 4) for channel in range(channels)] for i in range(count)]
    steps[-1] = [value + 25 for value in steps[-1]]
    return {"values": steps}


def signatures(config: Config, model: Forecaster, assets: Assets) -> Signatures:
    """`serving_default` takes signals of any length and judges each step; `windows` is the forecaster by itself."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.tasks.inputs import SignalInput

    channels, lookback = len(assets.judge["targets"]), config.lookback
    specs = [
        tf.TensorSpec([None, None, channels], tf.float32, "history"),
        tf.TensorSpec([None], tf.int32, "lengths"),
        tf.TensorSpec([None], tf.int64, "time"),
    ]

    @tf.function(input_signature=specs, autograph=False)
    def serve(history: tf.Tensor, lengths: tf.Tensor, time: tf.Tensor) -> dict[str, tf.Tensor]:
        return _judged(history, lengths, model, assets.judge)

    @tf.function(input_signature=[tf.TensorSpec([None, lookback, channels], tf.float32, "window")], autograph=False)
    def windows(window: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"quantiles": model.infer({"history": window})["quantiles"][:, 0]}

    about = (
        "Signals, padded on the right, NaN (in JSON null) where a value is missing, how many steps each has, and any "
        "number (the time of the last step, which is not read) → for each step whether it is judged, its score in "
        "nats and how often normal steps score as high; and of each value the median, the lowest and the highest "
        "quantile of the forecast, mean and spread of the steps before, and how rare, in nats, it is beside its "
        "forecast (`surprise`) and the mean of the last values is (`level`); 0 where padding is."
    )
    level = [[[math.sin(i / 5 + channel) for channel in range(channels)] for i in range(lookback)]]
    scaled = "Windows of values, scaled by mean and spread of the steps before → the quantiles of the next value."
    return {
        "serving_default": Signature(
            *(serve, about, SignalInput().serving_arguments([example(assets)])),
            everywhere=False,
            counts={"lengths": "history"},
            missing=("history",),
        ),
        "windows": Signature(windows, scaled, {"window": level}),
    }


def _judged(history: tf.Tensor, lengths: tf.Tensor, model: Forecaster, judge: Any) -> dict[str, tf.Tensor]:
    import tensorflow as tf

    from nlp_rnn.metrics.signals import FARTHEST, MOST
    from nlp_rnn.tasks.anomaly_values.scores import PARTS, references, score_reference

    lookback, steps = judge["lookback"], tf.shape(history)[1]
    observed = tf.math.is_finite(history)
    is_there = tf.sequence_mask(lengths, steps)
    values = _filled(tf.cast(history, tf.float64), observed, is_there[..., None])
    before = tf.maximum(tf.range(steps) - 1, 0)
    counts = ((tf.range(steps) >= judge["warm_up"]) & is_there)[..., None]
    counts &= observed & tf.gather(observed, before, axis=1)  # after a gap, what was read in its place was not it
    mean, spread = (
        tf.gather(part, before, axis=1) for part in _running_scale(values, judge["memory"], judge["least_spread"])
    )
    places = tf.maximum(tf.range(steps)[:, None] + tf.range(-lookback, 0), 0)
    windows = (tf.gather(values, places, axis=1) - mean[:, :, None]) / spread[:, :, None]
    windows = tf.cast(tf.clip_by_value(windows, -FARTHEST, FARTHEST), tf.float32)
    flat = tf.reshape(windows, [-1, lookback, history.shape[2]])
    found = model.infer({"history": flat})["quantiles"][:, 0]
    found = tf.cast(tf.reshape(found, [-1, steps, *found.shape[1:]]), tf.float64)
    scaled = tf.clip_by_value((values - mean) / spread, -FARTHEST, FARTHEST)
    deviations = {
        "surprise": tf.abs(_tail_deviation(found, judge["levels"], scaled)),
        "level": tf.minimum(tf.abs(_trailing_mean(values, judge["smooth"]) - mean) / spread, MOST),
    }
    rarities = {}
    for name in PARTS:
        parts = [_nats(deviations[name][..., i], one) for i, one in enumerate(references(judge, name))]
        rarities[name] = tf.where((deviations[name] > 0) & counts, tf.stack(parts, -1), 0)
    scores = tf.reduce_max(tf.add_n(list(rarities.values())), -1)
    p_values = tf.maximum(tf.exp(-_nats(scores, score_reference(judge))), _LEAST)  # of float32
    p_values = tf.where(is_there, p_values, 0)
    outputs = {"scores": scores, "p_values": p_values, **rarities}
    shown = {"usual": mean, "spread": spread}
    for name, place in (("expected", judge["levels"].index(0.5)), ("low", 0), ("high", -1)):
        shown[name] = mean + spread * found[..., place]
    outputs |= {name: tf.where(is_there[..., None], value, 0) for name, value in shown.items()}
    plain = {name: tf.cast(value, tf.float32) for name, value in outputs.items()}
    targets = tf.tile(tf.constant(judge["targets"])[None], [tf.shape(history)[0], 1])
    return {"is_judged": tf.reduce_any(counts, -1), **plain, "targets": targets}


def _filled(values: tf.Tensor, observed: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """As `data.series.filled`, of `[rows, steps, channels]`: what is missing is the value before, or where none is,
    the mean of the channel."""
    import tensorflow as tf

    steps = tf.shape(values)[1]
    last = tf.where(observed, tf.range(steps)[None, :, None], -1)

    def double(shift: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        earlier = tf.pad(last, [[0, 0], [shift, 0], [0, 0]], constant_values=-1)[:, :steps]
        return 2 * shift, tf.maximum(last, tf.ensure_shape(earlier, last.shape))

    _, last = tf.while_loop(lambda shift, _: shift < steps, double, (1, last))
    by_channel = tf.transpose(values, [0, 2, 1])
    found = tf.gather(by_channel, tf.transpose(tf.maximum(last, 0), [0, 2, 1]), batch_dims=2)
    found, is_known = tf.transpose(found, [0, 2, 1]), last >= 0
    total = tf.reduce_sum(tf.where(is_known & counted, found, 0), 1, keepdims=True)
    count = tf.reduce_sum(tf.cast(is_known & counted, values.dtype), 1, keepdims=True)
    return tf.where(is_known, found, tf.math.divide_no_nan(total, count))


def _running_scale(values: tf.Tensor, memory: int, least: float) -> tuple[tf.Tensor, tf.Tensor]:
    """As `metrics.signals.running_scale`, of `[rows, steps, channels]`."""
    import tensorflow as tf

    from nlp_rnn.metrics.signals import OUTLIER

    mean, spread = (part[:, :-1] for part in _plain_scale(values, memory, least))
    near = tf.clip_by_value(values[:, 1:], mean - OUTLIER * spread, mean + OUTLIER * spread)
    return _plain_scale(tf.concat([values[:, :1], near], 1), memory, least)


def _plain_scale(values: tf.Tensor, memory: int, least: float) -> tuple[tf.Tensor, tf.Tensor]:
    import tensorflow as tf

    from nlp_rnn.metrics.signals import LEAST_SPREAD, TINY

    first = values[:, :1]
    mean, squares = (_trailing_mean(part, memory) for part in (values - first, (values - first) ** 2))
    spread = tf.sqrt(tf.maximum(squares - mean**2, 0))
    mean += first
    return mean, tf.maximum(spread, tf.maximum(max(LEAST_SPREAD, least) * tf.abs(mean), TINY))


def _trailing_mean(values: tf.Tensor, count: int) -> tf.Tensor:
    """As `metrics.signals.trailing_mean`."""
    import tensorflow as tf

    rows, steps, channels = tf.shape(values)[0], tf.shape(values)[1], values.shape[2]
    there = tf.cast(tf.minimum(tf.range(1, steps + 1), count), values.dtype)[:, None]
    blocks = tf.pad(values, [[0, 0], [0, (count - steps % count) % count], [0, 0]])
    blocks = tf.reshape(blocks, [rows, tf.shape(blocks)[1] // count, count, channels])
    ends = tf.cumsum(blocks, 2, reverse=True)
    ends = tf.pad(ends[:, :-1, 1:], [[0, 0], [1, 0], [0, 1], [0, 0]])
    return tf.reshape(tf.cumsum(blocks, 2) + ends, [rows, -1, channels])[:, :steps] / there


def _tail_deviation(quantiles: tf.Tensor, levels: list[float], values: tf.Tensor) -> tf.Tensor:
    """As `metrics.signals.tail_deviation`."""
    from statistics import NormalDist

    import numpy as np
    import tensorflow as tf

    from nlp_rnn.metrics.signals import MOST

    deviates = np.array([NormalDist().inv_cdf(float(level)) for level in levels])
    widths = tf.maximum(quantiles[..., 1:] - quantiles[..., :-1], 1e-6)
    place = tf.reduce_sum(tf.cast(values[..., None] >= quantiles, tf.int32), -1) - 1
    of_place = tf.one_hot(tf.clip_by_value(place, 0, len(deviates) - 2), len(deviates) - 1, dtype=quantiles.dtype)
    slope = tf.reduce_sum(of_place * (np.diff(deviates) / widths), -1)
    start, low = (tf.reduce_sum(of_place * part, -1) for part in (deviates[:-1], quantiles[..., :-1]))
    return tf.clip_by_value(start + slope * (values - low), -MOST, MOST)


def _nats(scores: tf.Tensor, reference: Reference) -> tf.Tensor:
    """As `Reference.nats_of`."""
    import tensorflow as tf

    known = tf.constant(reference.known)
    flat = tf.reshape(scores, [-1])
    above = len(reference.known) - tf.searchsorted(known, flat)
    part = tf.cast(tf.reshape(above, tf.shape(scores)) + 1, tf.float64) / (len(reference.known) + 1)
    usual = -tf.math.log(tf.maximum(part, reference.tail))
    beyond = (scores - reference.high) / reference.excess - math.log(reference.tail)
    return tf.where(scores > reference.edge, beyond, usual)
