"""The signatures of the SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.forecasting.settings import Config

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.models.forecaster import Forecaster


def example(assets: Assets) -> dict[str, Any]:
    """A history of three seasons of a sine that has the size of the training data."""
    import numpy as np

    from nlp_rnn.series.steps import Step, time_text

    facts, covariates = assets.facts, assets.covariates
    season, step = facts["season"], Step(facts["step"])
    count = min(max(3 * season, 4), 96)
    waves = np.sin(2 * np.pi * np.arange(count) / max(season, 4))[:, None]
    values = np.array(facts["mean"]) + waves * np.array(facts["spread"])
    values = np.maximum(values.round(), 0) if facts["counts"] else values
    found: dict[str, Any] = {"values": values.astype(np.float32).round(4).tolist()}
    if step.has_times:
        times = step.ahead(np.full(count, facts["example_start"]), np.arange(count))
        found["times"] = [time_text(time) for time in times]
    for kind in ("future", "past", "static"):
        for name in covariates[kind]:
            value = covariates["categories"].get(name, [0.0])[0]
            steps = count + (facts["horizon"] if kind == "future" else 0)
            found[name] = value if kind == "static" else [value] * steps
    return found


def signatures(config: Config, model: Forecaster, assets: Assets) -> Signatures:
    """`serving_default` takes histories of any length, as numbers, with the time of their last step."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.series.steps import Step

    facts, step, lookback, horizon = assets.facts, Step(assets.facts["step"]), config.lookback, config.horizon
    channels = len(facts["targets"])
    specs = {
        "history": tf.TensorSpec([None, None, channels], tf.float32, "history"),
        "lengths": tf.TensorSpec([None], tf.int32, "lengths"),
        "time": tf.TensorSpec([None], tf.int64, "time"),
    }
    if model.known:
        specs["known"] = tf.TensorSpec([None, None, model.known], tf.float32, "known")
    if model.past:
        specs["past"] = tf.TensorSpec([None, None, model.past], tf.float32, "past")

    @tf.function(input_signature=list(specs.values()), autograph=False)
    def serve(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        given = dict(zip(specs, values, strict=True))
        lengths, time = tf.clip_by_value(given.pop("lengths"), 1, tf.shape(given["history"])[1]), given["time"]
        read = {n: _last(v, lengths, lookback, horizon if n == "known" else 0) for n, v in given.items() if n != "time"}
        quantiles = model.infer({**read, "time": time})["quantiles"]
        rows, ahead = tf.shape(lengths)[0], tf.range(1, horizon + 1, dtype=tf.int64)
        return {
            "quantiles": quantiles,
            "median": quantiles[..., model.levels.index(0.5)],
            "times": step.ahead(time[:, None], ahead[None]),
            "levels": tf.tile(tf.constant(model.levels, tf.float32)[None], [rows, 1]),
            "targets": tf.tile(tf.constant(facts["targets"])[None], [rows, 1]),
        }

    about = (
        "Histories, padded on the right, how long each is, and the time of its last step in seconds since 1970 (of "
        "any use where the calendar is read) → the quantiles of the next values, and their times."
    )
    return {"serving_default": Signature(serve, about, arguments_of([example(assets)], config, assets))}


def _last(values: tf.Tensor, lengths: tf.Tensor, lookback: int, ahead: int) -> tf.Tensor:
    """The last steps that are read, and those ahead, of right-padded rows; what begins later repeats its first step."""
    import tensorflow as tf

    places = lengths[:, None] + tf.range(-lookback, ahead)[None]
    last = tf.minimum(lengths - 1 + ahead, tf.shape(values)[1] - 1)[:, None]
    return tf.gather(values, tf.clip_by_value(places, 0, last), batch_dims=1)


def arguments_of(values: list[object], config: Config, assets: Assets) -> dict[str, Any]:
    """Inputs as the arguments of `serving_default`, covariates as the numbers that training made of them."""
    import numpy as np

    from nlp_rnn.tasks.inputs import HistoryInput

    of, covariates = HistoryInput(), assets.covariates
    series = [of.parse(value) for value in values]
    found = of.serving_arguments(series)
    for name, size in zip(("known", "past"), covariates.sizes, strict=True):
        if size:
            parts = [covariates.numbers(one, name) for one in series]
            longest = max(map(len, parts))
            found[name] = [np.pad(part, [(0, longest - len(part)), (0, 0)]).round(6).tolist() for part in parts]
    if covariates.sizes[0] and not covariates["future"]:
        found["known"] = [[*rows, *[rows[-1]] * config.horizon] for rows in found["known"]]
    return found
