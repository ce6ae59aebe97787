"""The network that tags words, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.ner.settings import Config

if TYPE_CHECKING:
    import keras

    from nlp_rnn.models import Tagger


def build(config: Config, assets: Assets) -> Tagger:
    """Embedding of words, recurrent stack, and a chain of tags."""
    from nlp_rnn.models import Tagger, TaggingHead
    from nlp_rnn.models.sections import stack_from
    from nlp_rnn.tasks.ner.readers import take_states
    from nlp_rnn.text.schemes import allowed_steps, tag_names

    head, dtype = config.head, config.train.dtype_policy
    tags = tag_names(assets.labels)
    allowed = [part.tolist() for part in allowed_steps(tags)] if head.kind == "crf" else [None, None, None]
    embedding = _embedding(config, assets)
    model = Tagger(
        embedding,
        stack_from(config.stack, dtype),
        TaggingHead(len(tags), head.kind, head.dropout, *allowed, dtype=dtype, name="head"),
        dtype=dtype,
        name="tagger",
    )
    model.build()
    if "vectors" in assets.initial:
        embedding.tokens.assign(assets.initial["vectors"])
    if embedding.states is not None:
        take_states(embedding.states, assets)
    return model


def fits(model: Tagger, assets: Assets) -> bool:
    """Whether a model has the tags and the vocabulary of the assets."""
    from nlp_rnn.text.schemes import tag_names

    sizes = len(tag_names(assets.labels)), assets.tokenizer.size
    return (model.head.tags, model.embedding.tokens.vocabulary_size) == sizes


def loss(config: Config) -> keras.losses.Loss:
    """Negative log-likelihood of a sentence's tags."""
    from nlp_rnn.layers import CRFLoss, TokenCrossEntropy

    return CRFLoss() if config.head.kind == "crf" else TokenCrossEntropy()


def _embedding(config: Config, assets: Assets) -> keras.layers.Layer:
    """What is seen of a word: its vector, its characters, how it is written, and what language models make of it."""
    from nlp_rnn.layers import CharacterEmbedding
    from nlp_rnn.layers.embedding import unit_variance
    from nlp_rnn.models import WordEmbedding
    from nlp_rnn.models.sections import embedding_from
    from nlp_rnn.tasks.ner.readers import states_from
    from nlp_rnn.text.sentences import CASES
    from nlp_rnn.text.tokenizer import SPECIAL

    section, dtype, words = config.embedding, config.train.dtype_policy, assets.tokenizer
    tokens = embedding_from(
        section,
        words.size,
        dtype,
        name="tokens",
        embeddings_initializer=unit_variance(section.size),
        dropout=0.0,  # that of the whole word comes after
        fixed=words.extra,
        rare=(SPECIAL + (words.frequent or 0), words.size - words.extra),
        replace_rare=section.replace_rare,
    )
    spelling = None
    if section.characters != "none":
        sizes = (assets.characters.size, section.character_size, section.character_units)
        spelling = CharacterEmbedding(
            *sizes, section.characters, dropout=section.dropout, dtype=dtype, name="characters"
        )
    cases = (section.case_size, 1 + len(CASES))
    states = states_from(assets, dtype)
    return WordEmbedding(tokens, spelling, *cases, section.dropout, states, dtype=dtype, name="embedding")
