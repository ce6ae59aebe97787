"""The network of anomaly detection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly.settings import Config, Options

if TYPE_CHECKING:
    from nlp_rnn.models import EventModel
    from nlp_rnn.tasks.base import Features, Outputs


def build(config: Config, assets: Assets) -> EventModel:
    """Embedding, recurrent stack and softmax over the kinds of events."""
    from nlp_rnn.layers import SoftmaxHead
    from nlp_rnn.models import EventModel
    from nlp_rnn.models.sections import embedding_from, stack_from

    dtype, size = config.train.dtype_policy, assets.tokenizer.size
    model = EventModel(
        embedding_from(config.embedding, size, dtype),
        stack_from(config.stack, dtype),
        SoftmaxHead(size, config.embedding.size, dtype=dtype, name="head"),
        dtype=dtype,
        name="event_model",
    )
    model.build()
    return model


def fits(model: EventModel, assets: Assets) -> bool:
    """Whether a model has the events of the assets."""
    return model.embedding.vocabulary_size == assets.tokenizer.size and hasattr(model, "go_on")


def loss(config: Config) -> None:
    """None: the model takes the mean -log p of the next event, in nats."""


def infer(model: EventModel, features: Features, options: Options) -> Outputs:
    """Surprises, ranks, and what was expected."""
    return model.infer(features)
