"""The network that translates, and how it is asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Features, Outputs
from nlp_rnn.tasks.translation.settings import Config, SearchOptions

if TYPE_CHECKING:
    from nlp_rnn.layers import AttentionDecoder, TransformerDecoder
    from nlp_rnn.models import Translator


def build(config: Config, assets: Assets) -> Translator:
    """Encoder, bridge, decoder with attention, and softmax."""
    from nlp_rnn.layers import Bridge, SoftmaxHead
    from nlp_rnn.models import Translator
    from nlp_rnn.models.sections import embedding_from, stack_from

    embedding, decoder, dtype = config.embedding, config.decoder, config.train.dtype_policy
    size, shared = assets.target.size, config.head.tied == "all"
    source = None if shared else embedding_from(embedding, assets.source.size, dtype, "source_embedding")
    stack, recurrent = stack_from(config.stack, dtype), config.stack.cell != "transformer"
    model = Translator(
        source,
        stack,
        Bridge(decoder.units, decoder.layers, stack.state_parts, dtype=dtype, name="bridge") if recurrent else None,
        embedding_from(embedding, size, dtype),
        _decoder(config),
        SoftmaxHead(size, 0 if config.head.tied == "none" else embedding.size, dtype=dtype, name="head"),
        label_smoothing=config.train.label_smoothing,
        search=search(options(config)),
        dtype=dtype,
        name="translator",
    )
    model.build()
    return model


def fits(model: Translator, assets: Assets) -> bool:
    """Whether a model has the vocabularies of the assets."""
    source = model.source_embedding or model.embedding
    return (source.vocabulary_size, model.embedding.vocabulary_size) == (assets.source.size, assets.target.size)


def loss(config: Config) -> None:
    """None: the model takes the mean -log p of the next token, with label smoothing."""


def options(config: Config) -> SearchOptions:
    """The search that the configuration asks for; unknown words are replaced only where there are words, and attention
    to find them by."""
    can = config.tokenizer.kind == "word" and config.attends
    settings = {**asdict(config.search), "replace_unknown": config.search.replace_unknown and can}
    return SearchOptions(**settings)


def search(options: SearchOptions) -> dict[str, Any]:
    """Settings of the search as a `Translator` takes them.

    Raises:
        InputError: more translations are asked for than the beam is wide.
    """
    if options.n_best > options.width:
        raise InputError(f"--n-best {options.n_best} needs --beam {options.n_best} or more.")
    settings = asdict(options)
    del settings["n_best"]
    return settings


def infer(model: Translator, features: Features, options: SearchOptions) -> Outputs:
    """The best translation of each source; with `n_best` above 1 all that the search found.

    Raises:
        InputError: several are asked for where they are measured, or more than the beam is wide.
    """
    if options.n_best > 1 and "targets" in features:
        raise InputError("evaluate measures only the best translation of each text: leave out --n-best.")
    find = model.infer if options.n_best == 1 else model.candidates
    return find(features, **search(options))


def _decoder(config: Config) -> AttentionDecoder | TransformerDecoder:
    from nlp_rnn.layers import Attention, AttentionDecoder, TransformerDecoder
    from nlp_rnn.models.sections import stack_from

    section, dtype = config.decoder, config.train.dtype_policy
    own = {"units": section.units, "layers": section.layers, "bidirectional": False}
    if config.stack.cell == "transformer":
        layers = stack_from(config.stack, dtype, "decoder_stack", **own)
        return TransformerDecoder(layers, section.dropout, dtype=dtype, name="decoder")
    attention = None
    if section.attention != "none":
        sizes = (section.attention_units, section.heads)
        attention = Attention(section.attention, *sizes, dtype=dtype, name="attention")
    return AttentionDecoder(
        stack_from(config.stack, dtype, "decoder_stack", **own),
        attention,
        section.units,
        section.input_feeding,
        section.dropout,
        dtype=dtype,
        name="decoder",
    )
