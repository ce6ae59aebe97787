"""The signatures of the SavedModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    values = np.where(facts["never_negative"], np.maximum(values, 0), values)
    found: dict[str, Any] = {"values": values.round(4).tolist()}
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
    """`serving_default` takes histories of any length, as numbers, with the time of their last step; with DeepAR,
    `begin` gives the state after them too, from which `step` goes on."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.tasks.forecasting.streams import can_stream, stream_signatures

    specs = _specs(model)

    @tf.function(input_signature=list(specs.values()), autograph=False)
    def serve(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        features = features_of(dict(zip(specs, values, strict=True)), model)
        return served(model.infer(features)["quantiles"], features["time"], model, assets)

    about = (
        "Histories, padded on the right, how long each is, and the time of its last step in seconds since 1970 (of "
        "any use where the calendar is read) → the quantiles of the next values, and their times."
    )
    arguments = arguments_of([example(assets)], config, assets)
    default = Signature(
        *(serve, about, arguments),
        ranges={"time": TIMES},
        counts={"lengths": "history"},
        ahead={"known": ("history", config.horizon)} if model.known else {},
    )
    return {"serving_default": default, **(stream_signatures(default, model, assets) if can_stream(model) else {})}


TIMES = (-62_135_596_800, 253_402_300_799)
"""Of the years 1 to 9999, in seconds since 1970."""


def _specs(model: Forecaster) -> dict[str, tf.TensorSpec]:
    import tensorflow as tf

    found = {
        "history": tf.TensorSpec([None, None, model.channels], tf.float32, "history"),
        "lengths": tf.TensorSpec([None], tf.int32, "lengths"),
        "time": tf.TensorSpec([None], tf.int64, "time"),
    }
    for name, size in (("known", model.known), ("past", model.past)):
        if size:
            found[name] = tf.TensorSpec([None, None, size], tf.float32, name)
    return found


def features_of(given: dict[str, tf.Tensor], model: Forecaster) -> dict[str, tf.Tensor]:
    """The inputs of `serving_default` as the features of the model: the steps that it reads."""
    import tensorflow as tf

    lengths, ahead = tf.clip_by_value(given["lengths"], 1, tf.shape(given["history"])[1]), {"known": model.horizon}
    series = {name: value for name, value in given.items() if name not in ("lengths", "time")}
    found = {name: _last(value, lengths, model.lookback, ahead.get(name, 0)) for name, value in series.items()}
    return {**found, "time": given["time"]}


def served(quantiles: tf.Tensor, time: tf.Tensor, model: Forecaster, assets: Assets) -> dict[str, tf.Tensor]:
    """What is served of quantiles `[rows, horizon, channels, levels]` after a time `[rows]`."""
    import tensorflow as tf

    from nlp_rnn.series.steps import Step

    rows, ahead = tf.shape(time)[0], tf.range(1, model.horizon + 1, dtype=tf.int64)
    return {
        "quantiles": quantiles,
        "median": quantiles[..., model.levels.index(0.5)],
        "times": Step(assets.facts["step"]).ahead(time[:, None], ahead[None]),
        "levels": tf.tile(tf.constant(model.levels, tf.float32)[None], [rows, 1]),
        "targets": tf.tile(tf.constant(assets.facts["targets"])[None], [rows, 1]),
    }


def _last(values: tf.Tensor, lengths: tf.Tensor, lookback: int, ahead: int) -> tf.Tensor:
    """The last steps that are read, and those ahead, of right-padded rows; what begins later repeats its first step."""
    import tensorflow as tf

    places = lengths[:, None] + tf.range(-lookback, ahead)[None]
    last = tf.minimum(lengths - 1 + ahead, tf.shape(values)[1] - 1)[:, None]
    return tf.gather(values, tf.clip_by_value(places, 0, last), batch_dims=1)


def asked_arguments(values: Sequence[Any], about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Inputs as the arguments of `serving_default`, by what a served model says of itself: what a run would read of
    them, which is refused as a run would; None if it does not say enough."""
    import numpy as np

    from nlp_rnn.assets import Facts
    from nlp_rnn.config.values import override
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.forecasting.covariates import Covariates
    from nlp_rnn.tasks.forecasting.features import features_of, last_times, windows_of
    from nlp_rnn.tasks.inputs import HistoryInput

    known = about.get("assets", {})
    if not {"facts", "covariates"} <= set(known):
        return None
    assets, config = Assets({"facts": Facts(known["facts"]), "covariates": Covariates(known["covariates"])}), Config()
    config = override(config, about["settings"])
    windows = windows_of(Records([{"history": HistoryInput().parse(value)} for value in values]), config.horizon)
    features, _ = features_of(config, assets, windows)
    every = np.arange(len(windows))
    arguments: dict[str, Any] = {n: features[n][every].tolist() for n in ("history", "known", "past") if n in features}
    return {**arguments, "lengths": [config.lookback] * len(windows), "time": last_times(windows).tolist()}


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
