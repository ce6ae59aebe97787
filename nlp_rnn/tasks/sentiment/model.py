"""The network of the sentiment task, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.sentiment.settings import Config

if TYPE_CHECKING:
    import keras

    from nlp_rnn.models import SequenceClassifier


def build(config: Config, assets: Assets) -> SequenceClassifier:
    """Embedding, recurrent stack and head."""
    from nlp_rnn.layers import NgramLogits
    from nlp_rnn.models import ClassifierHead, SequenceClassifier
    from nlp_rnn.models.sections import embedding_from, stack_from

    head, dtype, tokenizer = config.head, config.train.dtype_policy, assets.tokenizer
    classes = len(assets.labels)
    ngrams = NgramLogits(classes, head.ngrams, head.ngram_buckets, name="ngrams") if head.ngrams else None
    model = SequenceClassifier(
        embedding_from(config.embedding, tokenizer.size, dtype, fixed=getattr(tokenizer, "extra", 0)),
        stack_from(config.stack, dtype),
        ClassifierHead(classes, head.pooling, head.attention_units, head.dropout, dtype=dtype, name="head"),
        ngrams=ngrams,
        dtype=dtype,
        name="classifier",
    )
    model.build()
    if "vectors" in assets.initial:
        model.embedding.assign(assets.initial["vectors"])
    return model


def prepare(config: Config, model: SequenceClassifier, batches: Any) -> str:
    """Fits the n-grams to the training data."""
    import numpy as np

    from nlp_rnn.training.ngrams import fit_ngrams

    ngrams = getattr(model, "ngrams", None)  # a model of your own has none
    if ngrams is None:
        return ""
    table, bias = fit_ngrams(batches.features["tokens"], batches.targets, ngrams.order, ngrams.buckets)
    ngrams.assign(table, bias)
    used = int(np.any(table != 0, 1).sum())
    full = " Many share a value: more --head.ngram_buckets may help." if used > ngrams.buckets / 2 else ""
    return f"N-grams of up to {ngrams.order} tokens: {used:,} values fitted to the training data.{full}"


def fits(model: SequenceClassifier, assets: Assets) -> bool:
    """Whether a model has the classes and the vocabulary of the assets."""
    return (model.head.classes, model.embedding.vocabulary_size) == (len(assets.labels), assets.tokenizer.size)


def loss(config: Config) -> keras.losses.Loss:
    """Cross-entropy, with label smoothing."""
    import keras

    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.train.label_smoothing)
