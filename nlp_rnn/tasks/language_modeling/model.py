"""The network of language modelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.language_modeling.settings import Config

if TYPE_CHECKING:
    from nlp_rnn.models import LanguageModel


def build(config: Config, assets: Assets) -> LanguageModel:
    """Embedding, recurrent stack and softmax."""
    from nlp_rnn.layers import AdaptiveSoftmaxHead, SoftmaxHead
    from nlp_rnn.models import LanguageModel
    from nlp_rnn.models.sections import embedding_from, stack_from

    head, dtype, size = config.head, config.train.dtype_policy, assets.tokenizer.size
    tied = config.embedding.size if head.tied else 0
    softmax = (
        SoftmaxHead(size, tied, head.dropout, dtype=dtype, name="head")
        if head.kind == "full"
        else AdaptiveSoftmaxHead(size, tied, head.dropout, head.cutoffs, dtype=dtype, name="head")
    )
    model = LanguageModel(
        embedding_from(config.embedding, size, dtype),
        stack_from(config.stack, dtype),
        softmax,
        activation_penalty=config.train.activation_penalty,
        change_penalty=config.train.change_penalty,
        adapts=config.search.dynamic > 0,
        dtype=dtype,
        name="language_model",
    )
    model.build()
    return model


def fits(model: LanguageModel, assets: Assets) -> bool:
    """Whether a model has the vocabulary of the assets."""
    return model.embedding.vocabulary_size == assets.tokenizer.size and hasattr(model, "carried")


def loss(config: Config) -> None:
    """None: the model takes the mean -log p of the next token, in nats."""
