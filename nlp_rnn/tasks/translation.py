"""Translation: a text in another language, by a recurrent encoder and a recurrent decoder that attends to it.

What is here is the whole task; TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import tyro

from nlp_rnn.config import DataConfig, EmbeddingConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Assets, Task, refuse_settings
from nlp_rnn.tasks.translation_verbs import predict_command, score_command

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records


@dataclass(frozen=True)
class TranslationData(DataConfig):
    """Where the pairs come from: two files of lines, or one with two columns."""

    source: str = "source"
    """Column of the text to translate; for the starter corpus its language (de, en, es, fr)."""
    target: str = "target"
    """Column of its translation; for the starter corpus its language."""
    swap: tyro.conf.FlagConversionOff[bool] = False
    """Translate in the other direction."""
    max_tokens: int = 100
    """Longer texts are cut to this many tokens (and counted)."""
    max_ratio: float = 4.0
    """In training, pairs are dropped of which one text has more than 20 characters and more than so many times those of
    the other; 0 keeps all."""
    duplicates: tyro.conf.FlagConversionOff[bool] = True
    """In training, keep pairs that occur more than once."""


@dataclass(frozen=True)
class PairTokenizer(TokenizerConfig):
    """How text becomes ids."""

    joint: tyro.conf.FlagConversionOff[bool] = True
    """One vocabulary for both languages."""


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder: recurrent layers that attend to the encoder's states."""

    units: int = 256
    """State size, and that of what the output layer sees."""
    layers: int = 1
    """Depth."""
    attention: Literal["none", "additive", "concat", "dot", "general", "multi_head"] = "additive"
    """Score of the attention."""
    attention_units: int = 256
    """Size of the hidden layer of the score, or of all heads."""
    heads: int = 4
    """Heads of "multi_head"."""
    input_feeding: tyro.conf.FlagConversionOff[bool] = False
    """Feed what was attended to into the next step (slower: all steps run one by one)."""
    dropout: float = 0.0
    """Dropout before the output layer, one mask per sequence."""


@dataclass(frozen=True)
class PairHead:
    """From the states to the vocabulary."""

    tied: Literal["none", "output", "all"] = "all"
    """Whether the target embedding is the weights of the output too, and, with "all", the source embedding as well
    (which needs a joint vocabulary)."""


@dataclass(frozen=True)
class SearchConfig:
    """How translations are searched for."""

    width: int = 4
    """Width of the beam; 1 is greedy."""
    length_penalty: float = 1.0
    """0 ranks by probability; more prefers longer translations."""
    coverage_penalty: float = 0.0
    """Above 0 prefers translations that looked at all of the source."""
    min_length: int = 0
    """Tokens of a translation at least."""
    no_repeat: int = 0
    """No sequence of so many tokens occurs twice; 0 for no such rule."""
    replace_unknown: tyro.conf.FlagConversionOff[bool] = True
    """Of word vocabularies: write, instead of a word that the vocabulary lacks, the source word that was looked at most
    (Jean et al. 2015, arXiv:1412.2007); else such a word is never written."""


@dataclass(frozen=True)
class Config:
    """Settings of the translation task."""

    data: TranslationData = field(default_factory=TranslationData)
    tokenizer: PairTokenizer = field(default_factory=PairTokenizer)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    stack: StackConfig = field(default_factory=StackConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: PairHead = field(default_factory=PairHead)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Translation:
    """A text in the other language.

    Args:
        source: the input.
        translation: the best that the search found.
        score: by which it was ranked: its log-probability, with the penalties of `Beam`.
    """

    source: str
    translation: str
    score: float


def read(config: Config, split: str) -> Records | None:
    """Records `{"source", "target", "line"}`; the target is None where there is none, which only "predict" takes."""
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.splits import read_split

    data = config.data
    given = split == "predict" or (split != "train" and getattr(data, split))
    if data.train == ("starter",) and not given:
        return _starter(data, split)
    columns = {"source": data.source, "target": data.target}
    if data.swap:  # of two files the first is then the target's
        columns = {"target": data.source, "source": data.target}
    if split == "predict":
        columns = {"source": columns["source"]}
    fields = Fields(columns, parallel=True)
    records = read_split("translation", data, "test" if split == "predict" else split, fields, config.train.seed)
    if records is None or split == "predict":
        return records
    return _filtered(records, data) if split == "train" else Records(records.rows, records.dropped, records.note)


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizers: "source" and "target", which are one where the vocabulary is joint."""
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "train", "translation", "class_weights")
    refuse_settings(config.embedding, "embedding", "translation", "vectors", "extra_words")
    settings = config.tokenizer
    if config.head.tied == "all" and not settings.joint:
        raise InputError(
            "One table for both languages needs one vocabulary: give --tokenizer.joint True or --head.tied output."
        )
    files = config.data.train
    same = len(files) == 2 and files[0] == files[1]
    notes = (f"[yellow]{files[0]} is given for both sides: is that what you want?[/]",) if same else ()
    if settings.joint:
        both = (text or "" for pair in records.columns("source", "target") for text in pair)
        tokenizer = train_tokenizer(settings, both)
        return Assets({"source": tokenizer, "target": tokenizer}, notes=notes)
    sides = {
        name: train_tokenizer(settings, (text or "" for text in records.column(name))) for name in ("source", "target")
    }
    return Assets(sides, notes=notes)


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"source", "target"}`; the targets are the target's tokens and the end token."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.tokenizing import token_rows
    from nlp_rnn.text.tokenizer import BEGIN, END

    limit, train = config.data.max_tokens, config.train
    source, cut = token_rows(assets.tokenizers["source"], records.column("source"), limit)
    if len(records) and records[0].get("target") is None:
        return Batches({"source": source}, np.zeros(len(records), np.int32), train.batch_size, buckets=train.buckets)
    plain, cut_targets = token_rows(assets.tokenizers["target"], records.column("target"), limit)
    last = plain.starts[1:]
    inputs = np.insert(plain.values, plain.starts[:-1], BEGIN)
    outputs = np.insert(plain.values, last, END)
    lengths = plain.lengths + 1
    features = {"source": source, "target": Rows([(inputs, lengths)])}
    targets = Rows([(outputs, lengths)])
    if seed is None:
        features["targets"] = targets
    return Batches(features, targets, train.batch_size, None, seed, train.buckets, cut + cut_targets)


def search(config: Config, assets: Assets) -> dict[str, Any]:
    """Settings of the search; unknown words are replaced only where there are words, and attention to find them by."""
    can = config.tokenizer.kind == "word" and config.decoder.attention != "none"
    return {**asdict(config.search), "replace_unknown": config.search.replace_unknown and can}


def build(config: Config, assets: Assets) -> Any:
    """Encoder, bridge, decoder with attention, and softmax."""
    from nlp_rnn.layers import Attention, AttentionDecoder, Bridge, RecurrentStack, SoftmaxHead, TokenEmbedding
    from nlp_rnn.models import Translator

    embedding, decoder, dtype = config.embedding, config.decoder, config.train.dtype_policy

    def vectors(name: str, size: int) -> Any:
        drops = (embedding.word_dropout, embedding.dropout)
        return TokenEmbedding(size, embedding.size, *drops, trainable=embedding.trainable, dtype=dtype, name=name)

    size = assets.tokenizers["target"].size
    shared = config.head.tied == "all"
    attention = None
    if decoder.attention != "none":
        attention = Attention(decoder.attention, decoder.attention_units, decoder.heads, dtype=dtype, name="attention")
    own = {**asdict(config.stack), "units": decoder.units, "layers": decoder.layers, "bidirectional": False}
    parts = 2 if config.stack.cell == "lstm" else 1
    model = Translator(
        None if shared else vectors("source_embedding", assets.tokenizers["source"].size),
        RecurrentStack(**asdict(config.stack), dtype=dtype, name="stack"),
        Bridge(decoder.units, decoder.layers, parts, dtype=dtype, name="bridge"),
        vectors("embedding", size),
        AttentionDecoder(
            RecurrentStack(**own, dtype=dtype, name="decoder_stack"),
            attention,
            decoder.units,
            decoder.input_feeding,
            decoder.dropout,
            dtype=dtype,
            name="decoder",
        ),
        SoftmaxHead(size, 0 if config.head.tied == "none" else embedding.size, dtype=dtype, name="head"),
        label_smoothing=config.train.label_smoothing,
        search=search(config, assets),
        dtype=dtype,
        name="translator",
    )
    model.build()
    return model


def loss(config: Config) -> Any:
    """None: the model takes the mean -log p of the next token, with label smoothing."""
    return None


def decode(outputs: dict[str, Any], records: Records, assets: Assets) -> list[Translation]:
    """The best tokens of each search → texts."""
    from nlp_rnn.decoding.unknown import said

    sources = [source or "" for source in records.column("source")]
    texts = said(assets.tokenizers, sources, outputs["tokens"], outputs.get("looked"))
    found = zip(sources, texts, outputs["score"], strict=True)
    return [Translation(source, text, float(score)) for source, text, score in found]


def metrics(
    records: Records, predictions: list[Translation], outputs: dict[str, Any], assets: Assets
) -> dict[str, Any]:
    """BLEU and chrF of the translations, and the perplexity of the references."""
    from nlp_rnn.metrics.language import perplexity
    from nlp_rnn.metrics.translation import translation_report

    report = translation_report([p.translation for p in predictions], [text or "" for text in records.column("target")])
    total = sum(float(nats.sum(dtype="float64")) for nats in outputs["nats"])
    units = sum(int((nats > 0).sum()) for nats in outputs["nats"])
    return {**report, "perplexity": perplexity(total / max(units, 1))}


def signatures(config: Config, model: Any, assets: Assets) -> dict[str, Any]:
    """`serving_default` takes strings and gives translations and scores; `n_best` gives all that the beam found, with
    the tokens `[batch, places]`, `[batch, width, time]` and where each looked, `[batch, width, time, places]`."""
    import tensorflow as tf

    from nlp_rnn.decoding.unknown import said_graph
    from nlp_rnn.text.ragged import truncate

    source = assets.tokenizers["source"]
    pieces = {name: tf.constant(assets.tokenizers[name].pieces()) for name in ("source", "target")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="source")], autograph=False)
    def translate(text: Any) -> dict[str, Any]:
        tokens = truncate(source.encode_graph(text), config.data.max_tokens).to_tensor()
        found = model.infer({"source": tokens})
        translation = said_graph(assets.tokenizers, text, found["tokens"], found.get("looked"))
        return {"source": tf.identity(text), "translation": translation, "score": found["score"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="source")], autograph=False)
    def n_best(text: Any) -> dict[str, Any]:
        found = model.candidates({"source": truncate(source.encode_graph(text), config.data.max_tokens).to_tensor()})
        shape = tf.shape(found["tokens"])
        every = {name: tf.reshape(found[name], [-1, shape[2]]) for name in ("tokens", "looked") if name in found}
        texts = said_graph(assets.tokenizers, tf.repeat(text, shape[1]), every["tokens"], every.get("looked"))
        return {
            "source": tf.identity(text),
            "translations": tf.reshape(texts, shape[:2]),
            "scores": found["score"],
            "source_tokens": tf.gather(pieces["source"], found["source"]),
            "target_tokens": tf.gather(pieces["target"], found["tokens"]),
            "attention": found["attention"],
        }

    return {"serving_default": translate, "n_best": n_best}


def show(prediction: Translation, record: dict[str, Any] | None = None) -> str:
    """The translation; with a record, what was translated and what it should be."""
    if record is None:
        return prediction.translation
    right = "✓" if record["target"] == prediction.translation else f"✗ ({record['target']})"
    return f"{prediction.source} → {prediction.translation} {right}"


def _starter(data: TranslationData, split: str) -> Records:
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.starter.cldr import LANGUAGES, split_pairs

    languages = ["en" if data.source == "source" else data.source, "de" if data.target == "target" else data.target]
    for language in languages:
        if language not in LANGUAGES:
            raise InputError(f'The starter corpus has no "{language}"; it has {", ".join(LANGUAGES)}.')
    return Records(split_pairs(split, *(languages[::-1] if data.swap else languages)))


def _filtered(records: Records, data: TranslationData) -> Records:
    """Without pairs that training is better off without, counted by reason."""
    dropped: Counter[str] = Counter(records.dropped)
    kept, seen = [], set()
    for index, (source, target) in enumerate(records.columns("source", "target")):
        one, other = (source or "").strip(), (target or "").strip()
        longer, shorter = max(len(one), len(other)), min(len(one), len(other))
        if not one and not other:
            dropped["both texts empty"] += 1
        elif not one or not other:
            dropped["one of the texts empty"] += 1
        elif data.max_ratio and longer > 20 and longer > data.max_ratio * shorter:
            dropped[f"one text more than {data.max_ratio:g} times as long as the other"] += 1
        elif not data.duplicates and (one, other) in seen:
            dropped["a pair that occurred before"] += 1
        else:
            kept.append(index)
        if not data.duplicates:
            seen.add((one, other))
    if not kept:
        raise InputError("No pair of texts is left to train on: are the two sides what they should be?")
    filtered = records.select(kept)
    filtered.dropped = dict(dropped)
    return filtered


TASK = Task(
    name="translation",
    Config=Config,
    prediction=Translation,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    decode=decode,
    metrics=metrics,
    signatures=signatures,
    show=show,
    example="Two dogs play in the snow.",
    commands={"score": score_command},
    search=search,
    predict=predict_command,
)
