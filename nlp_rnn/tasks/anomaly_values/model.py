"""The network that forecasts the next value of a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly_values.settings import Config, Options

if TYPE_CHECKING:
    from nlp_rnn.models.forecaster import Forecaster
    from nlp_rnn.tasks.base import Features, Outputs


def build(config: Config, assets: Assets) -> Forecaster:
    """An encoder over all channels, and the quantiles of the next step; its values are scaled before it."""
    from nlp_rnn.models import EncoderDecoder
    from nlp_rnn.models.sections import forecaster_options

    model = EncoderDecoder(
        channels=len(assets.judge["targets"]),
        lookback=config.lookback,
        horizon=1,
        levels=config.model.levels,
        subtract_last=config.model.subtract_last,
        **forecaster_options(config.stack),
        dtype=config.train.dtype_policy,
        name="forecaster",
    )
    model.build()
    return model


def fits(model: Forecaster, assets: Assets) -> bool:
    """Whether a model has the channels and the look-back of the assets."""
    return (model.channels, model.lookback) == (len(assets.judge["targets"]), assets.judge["lookback"])


def loss(config: Config) -> None:
    """None: forecasters know their own."""


def infer(model: Forecaster, features: Features, options: Options) -> Outputs:
    """The quantiles of the next value, scaled: `[batch, 1, channels, levels]`."""
    return model.infer(features)
