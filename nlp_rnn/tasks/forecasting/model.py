"""The network of the forecasting task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.forecasting.settings import Config, Options

if TYPE_CHECKING:
    from nlp_rnn.models.forecaster import Forecaster
    from nlp_rnn.tasks.base import Features, Outputs


def build(config: Config, assets: Assets) -> Forecaster:
    """The forecaster that the settings name, with the scales of the training data."""
    from nlp_rnn.models import DeepAR, EncoderDecoder, SegmentForecaster
    from nlp_rnn.models.sections import forecaster_options

    facts, settings = assets.facts, config.model
    known, past = assets.covariates.sizes
    options: dict[str, Any] = {
        "channels": len(facts["targets"]),
        "lookback": config.lookback,
        "horizon": config.horizon,
        "levels": settings.levels,
        "scaling": settings.scaling,
        "subtract_last": settings.subtract_last,
        "step": facts["step"],
        "cycles": facts["cycles"],
        "known": known,
        "past": past,
        **forecaster_options(config.stack),
        "dtype": config.train.dtype_policy,
        "name": "forecaster",
    }
    if settings.kind == "segments":
        model: Forecaster = SegmentForecaster(**options, segment=settings.segment)
    elif settings.kind == "deepar":
        model = DeepAR(**options, distribution=settings.distribution)
    else:
        model = EncoderDecoder(**options)
    model.build()
    scales = {"values": [facts["mean"], facts["spread"]], **assets.covariates["scales"]}
    model.set_scales({f"{n}_{part}": v[i] for n, v in scales.items() for i, part in enumerate(("mean", "spread"))})
    if any(is_positive := facts["never_negative"]) and settings.floor == "auto":
        model.set_scales({"values_floor": [0.0 if positive else -3e38 for positive in is_positive]})
    return model


def fits(model: Forecaster, assets: Assets) -> bool:
    """Whether a model has the channels and the covariates of the assets."""
    return (model.channels, model.known, model.past) == (len(assets.facts["targets"]), *assets.covariates.sizes)


def loss(config: Config) -> None:
    """None: forecasters know their own."""
    return


def infer(model: Forecaster, features: Features, options: Options) -> Outputs:
    """The quantiles of the values."""
    return model.forecast(features, options.horizon or model.horizon, options.samples)
