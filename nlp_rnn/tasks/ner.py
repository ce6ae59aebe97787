"""Named entity recognition: a text → the entities in it, with their places and a confidence each.

What is here is the whole task; TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nlp_rnn.config import DataConfig, EmbeddingConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Assets, Task, refuse_settings

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.words import Sentences


@dataclass(frozen=True)
class NerData(DataConfig):
    """Where the annotated sentences come from."""

    text: str = "text"
    """Field of the text, where entities are given by their places in it."""
    entities: str = "entities"
    """Field of those entities: a list of {"start", "end", "label"}, in code points."""
    max_tokens: int = 512
    """Longer sentences go on in a further row (counted); nothing is cut."""
    tokens: str = "tokens"
    """Field of the list of tokens, where each has a tag."""
    tags: str = "tags"
    """Field of the list of tags (on the hub often ner_tags)."""
    token_column: int = 0
    """Column of the tokens in CoNLL files, counted from 0."""
    tag_column: int = -1
    """Column of the tags in CoNLL files; -1 is the last."""
    scheme: Literal["auto", "iob1", "iob2", "iobes", "bilou"] = "auto"
    """Tagging scheme of the source; "auto" finds it out."""
    labels: Annotated[dict[str, str], tyro.conf.arg(metavar="VALUE NAME")] = field(default_factory=dict)
    """Names for the labels of the source: PER person LOC location."""


@dataclass(frozen=True)
class NerEmbedding(EmbeddingConfig):
    """What the model sees of a word: its vector, its characters, how it is written."""

    replace_rare: float = 0.5
    """Probability that a word seen once is read as unknown while training, so that the unknown word is learned."""
    characters: Literal["none", "cnn", "lstm"] = "cnn"
    """How the characters of a word are read."""
    character_size: int = 30
    """Dimensions of a character's vector."""
    character_units: int = 30
    """Features of a word that come from its characters."""
    max_characters: int = 24
    """Of longer words the beginning and the end are seen, half each."""
    case_size: int = 8
    """Dimensions of the vector that says how a word is written (lower, Title, UPPER, …); 0 for none."""


@dataclass(frozen=True)
class NerHead:
    """From the sequence to the tags."""

    kind: Literal["crf", "softmax"] = "crf"
    """Whether a tag depends on the one before (CRF) or not."""
    dropout: float = 0.0
    """Dropout before the output layer, one mask per sentence."""


@dataclass(frozen=True)
class Config:
    """Settings of the named entity recognition task."""

    data: NerData = field(default_factory=NerData)
    tokenizer: TokenizerConfig = field(
        default_factory=lambda: TokenizerConfig(kind="word", size=50000, lowercase=True, split="fine")
    )
    embedding: NerEmbedding = field(default_factory=NerEmbedding)
    stack: StackConfig = field(default_factory=StackConfig)
    head: NerHead = field(default_factory=NerHead)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Entity:
    """An entity found in a text.

    Args:
        text: what it says there.
        label: what it is.
        start, end: where, in code points: `document.text[start:end] == text`.
        confidence: the probability that these words and no others are an entity with this label.
    """

    text: str
    label: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Document:
    """One result; Jupyter and rich show it with the entities in place.

    Args:
        text: the input.
        entities: what was found, in order.
    """

    text: str
    entities: list[Entity]

    def _repr_html_(self) -> str:
        from nlp_rnn.plots.entities import entities_html

        return entities_html(self.text, _marks(self))

    def __rich__(self) -> Any:
        from nlp_rnn.plots.entities import entities_text

        return entities_text(self.text, _marks(self))


def read(config: Config, split: str) -> Records | None:
    """Records `{"text", "tokens", "entities", "line"}`: entities as spans of the text, tokens None where not given."""
    from nlp_rnn.data.annotations import annotated_fields, check_names, standard_records
    from nlp_rnn.data.splits import read_split

    data, annotated = config.data, split != "predict"
    columns = {name: getattr(data, name) for name in ("text", "entities", "tokens", "tags")}
    fields = annotated_fields(columns, (data.token_column, data.tag_column), annotated)
    records = read_split("ner", data, split if annotated else "test", fields, config.train.seed)
    if records is None:
        return None
    if split == "train":
        check_names(records, data.labels)
    return standard_records(records, data.scheme, data.labels, annotated)


def assets(config: Config, records: Records) -> Assets:
    """Learns the vocabularies of words and characters, and collects the labels and the entities."""
    from nlp_rnn.data.words import sentences_of
    from nlp_rnn.text.lookup import CharacterTokenizer, WordTokenizer
    from nlp_rnn.text.normalization import Normalizer
    from nlp_rnn.text.vectors import extra_words, vectors_for

    refuse_settings(config.train, "train", "named entity recognition", "class_weights", "label_smoothing")
    refuse_settings(config.tokenizer, "tokenizer", "named entity recognition", "vocabulary")
    settings = config.tokenizer
    if settings.kind != "word":
        raise InputError(f"Entities are made of words: give --tokenizer.kind word (it is {settings.kind}).")
    entities = Counter((text[e["start"] : e["end"]], e["label"]) for text, e in _entities(records))
    labels = sorted({label for _, label in entities})
    if not labels:
        raise InputError("The training data hold no entity: is --data.tags or --data.entities right?")
    plain = WordTokenizer([], Normalizer(settings.normalization, settings.lowercase), settings.split)
    sentences = sentences_of(plain, records, config.data.max_tokens)
    words = [word.decode("utf-8") for word in sentences.words]
    extra = extra_words(config.embedding, settings)
    tokenizer = plain.from_words(words, settings.size, settings.min_count, extra)
    characters = CharacterTokenizer.train(words, 1000, Normalizer(settings.normalization))
    tokenizers = {"tokenizer": tokenizer, "characters": characters}
    facts = {"entities": sorted(entities)}
    if not config.embedding.vectors:
        return Assets(tokenizers, tuple(labels), facts=facts)
    vectors, note = vectors_for(config.embedding, tokenizer, config.train.seed)
    return Assets(tokenizers, tuple(labels), vectors, (note,), facts)


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"tokens", "characters", "case"}`, tags, -1 at padding, and weights; for prediction also the places
    of the words, "starts" and "ends"."""
    import numpy as np

    from nlp_rnn.data.annotations import check_label
    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.words import sentences_of, tag_rows, word_rows
    from nlp_rnn.text.sentences import WordFeatures

    training = seed is not None
    sentences = sentences_of(assets.tokenizer, records, config.data.max_tokens, with_entities=training)
    _note_spans(records, sentences)
    see = WordFeatures(assets.tokenizer, assets.tokenizers["characters"], config.embedding.max_characters)
    features: dict[str, Any] = word_rows(sentences, see)
    train = config.train
    if not training:
        features["starts"] = Rows([(sentences.starts, sentences.lengths)])
        features["ends"] = Rows([(sentences.ends, sentences.lengths)])
        nothing = np.zeros(len(sentences.lengths), np.int32)
        size = max(train.batch_size, 128)
        return Batches(features, nothing, size, buckets=16, cut=sentences.cut, record_of=sentences.record_of)
    for record, spans in zip(sentences.record_of, sentences.spans, strict=True):
        for label in {label for _, _, label in spans} - set(assets.labels):
            check_label(label, assets.labels, records[int(record)].get("line"))
    tags = tag_rows(sentences, assets.labels)
    return Batches(features, tags, train.batch_size, None, seed, train.buckets, sentences.cut)


def build(config: Config, assets: Assets) -> Any:
    """Embedding of words, recurrent stack, and a chain of tags."""
    from nlp_rnn.layers import CharacterEmbedding, RecurrentStack, TokenEmbedding
    from nlp_rnn.layers.embedding import unit_variance
    from nlp_rnn.models import Tagger, TaggingHead, WordEmbedding
    from nlp_rnn.text.schemes import allowed_steps, tag_names
    from nlp_rnn.text.sentences import CASES
    from nlp_rnn.text.tokenizer import SPECIAL

    embedding, head, dtype = config.embedding, config.head, config.train.dtype_policy
    words, characters = assets.tokenizer, assets.tokenizers["characters"]
    rare = (SPECIAL + (words.frequent or 0), words.size - words.extra)
    tokens = TokenEmbedding(
        words.size,
        embedding.size,
        embeddings_initializer=unit_variance(embedding.size),
        word_dropout=embedding.word_dropout,
        fixed=words.extra,
        rare=rare,
        replace_rare=embedding.replace_rare,
        trainable=embedding.trainable,
        dtype=dtype,
        name="tokens",
    )
    spelling = CharacterEmbedding(
        characters.size,
        embedding.character_size,
        embedding.character_units,
        embedding.characters if embedding.characters != "none" else "cnn",
        dropout=embedding.dropout,
        dtype=dtype,
        name="characters",
    )
    tags = tag_names(assets.labels)
    allowed = [part.tolist() for part in allowed_steps(tags)] if head.kind == "crf" else [None, None, None]
    model = Tagger(
        WordEmbedding(
            tokens,
            spelling if embedding.characters != "none" else None,
            embedding.case_size,
            1 + len(CASES),
            embedding.dropout,
            dtype=dtype,
            name="embedding",
        ),
        RecurrentStack(**asdict(config.stack), dtype=dtype, name="stack"),
        TaggingHead(len(tags), head.kind, head.dropout, *allowed, dtype=dtype, name="head"),
        dtype=dtype,
        name="tagger",
    )
    model.build()
    if assets.vectors is not None:
        tokens.assign(assets.vectors)
    return model


def loss(config: Config) -> Any:
    """Negative log-likelihood of a sentence's tags."""
    from nlp_rnn.layers import CRFLoss, TokenCrossEntropy

    return CRFLoss() if config.head.kind == "crf" else TokenCrossEntropy()


def decode(outputs: dict[str, Any], records: Records, assets: Assets) -> list[Document]:
    """Tags → entities in their places."""
    from nlp_rnn.text.schemes import spans_of, tag_names

    names = tag_names(assets.labels)
    documents = []
    columns = (outputs[name] for name in ("tags", "confidence", "starts", "ends"))
    for text, tags, confidence, starts, ends in zip(_texts(records), *columns, strict=True):
        entities = []
        for first, last, label in spans_of([names[tag] for tag in tags]):
            start, end = int(starts[first]), int(ends[last - 1])
            entities.append(Entity(text[start:end], label, start, end, float(confidence[first])))
        documents.append(Document(text, entities))
    return documents


def metrics(records: Records, predictions: list[Document], outputs: dict[str, Any], assets: Assets) -> dict[str, Any]:
    """F1 of exact entities, by label, for entities that training has and has not seen, and calibration."""
    from nlp_rnn.data.annotations import check_label
    from nlp_rnn.metrics.entities import entity_report

    labels = assets.labels
    expected = _expected(records)
    for line, spans in zip(_lines(records), expected, strict=True):
        for _, _, label in spans:
            check_label(label, labels, line)
    known = frozenset((text, label) for text, label in assets.facts.get("entities", []))
    confidences = [[entity.confidence for entity in document.entities] for document in predictions]
    texts = [document.text for document in predictions]
    return entity_report(expected, _predicted(predictions), confidences, texts, labels, known)


def signatures(config: Config, model: Any, assets: Assets) -> dict[str, Any]:
    """`serving_default` takes strings, `tokens` takes ids."""
    import tensorflow as tf

    from nlp_rnn.text.schemes import tag_names
    from nlp_rnn.text.sentences import WordFeatures, row_starts
    from nlp_rnn.text.tokenizer import UNKNOWN

    names = tf.constant(tag_names(assets.labels))
    see = WordFeatures(assets.tokenizer, assets.tokenizers["characters"], config.embedding.max_characters)
    ids = tf.TensorSpec([None, None], tf.int32)
    inputs = {
        "tokens": tf.TensorSpec(ids.shape, tf.int32, "tokens"),
        "characters": tf.TensorSpec([None, None, None], tf.int32, "characters"),
        "case": tf.TensorSpec(ids.shape, tf.int32, "case"),
    }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def from_text(text: Any) -> dict[str, Any]:
        words = assets.tokenizer.words(text)
        # One more row of one unknown word: there may be no word at all.
        begins = tf.concat([row_starts(words, config.data.max_tokens), [True]], 0)
        splits = tf.concat([tf.where(begins)[:, 0], [tf.size(begins, tf.int64)]], 0)
        tokens, characters, case = see(tf.concat([words.words.values, [""]], 0))
        characters = characters.with_values(tf.maximum(characters.values, UNKNOWN))

        def rows(values: Any) -> Any:
            return tf.RaggedTensor.from_row_splits(values, splits, validate=False).to_tensor()

        features = {"tokens": rows(tokens), "characters": rows(characters), "case": rows(case)}
        outputs = model.infer(features)
        is_word = features["tokens"] != 0

        def by_text(values: Any) -> Any:
            return words.words.with_values(tf.boolean_mask(values, is_word)[:-1]).to_tensor()

        return {
            "text": tf.identity(text),
            "tokens": words.words.to_tensor(),
            "starts": words.starts.to_tensor(),
            "ends": words.ends.to_tensor(),
            "tags": by_text(tf.gather(names, outputs["tags"])),
            "confidences": by_text(outputs["confidence"]),
        }

    @tf.function(input_signature=list(inputs.values()), autograph=False)
    def from_tokens(tokens: Any, characters: Any, case: Any) -> dict[str, Any]:
        outputs = model.infer({"tokens": tokens, "characters": characters, "case": case})
        is_word = tokens != 0
        return {
            "tags": tf.where(is_word, tf.gather(names, outputs["tags"]), ""),
            "confidences": tf.where(is_word, outputs["confidence"], 0.0),
        }

    return {"serving_default": from_text, "tokens": from_tokens}


def show(prediction: Document, record: dict[str, Any] | None = None) -> str:
    """The text with its entities in brackets; with a record also what was missed."""
    parts, place = [], 0
    right = set() if record is None else {(e["start"], e["end"], e["label"]) for e in record["entities"]}
    for entity in prediction.entities:
        mark = "" if record is None else " ✓" if (entity.start, entity.end, entity.label) in right else " ✗"
        parts += [
            prediction.text[place : entity.start],
            f"[{entity.text}|{entity.label} {entity.confidence:.0%}{mark}]",
        ]
        place = entity.end
    found = {(entity.start, entity.end, entity.label) for entity in prediction.entities}
    missed = [f"{prediction.text[start:end]} ({label})" for start, end, label in sorted(right - found)]
    line = " ".join("".join([*parts, prediction.text[place:]]).split())
    return line + (f"  ✗ missed: {', '.join(missed)}" if missed else "")


def errors(records: Records, predictions: list[Document], count: int) -> list[str]:
    """The most frequent mistakes in context."""
    from nlp_rnn.metrics.entities import frequent_errors

    texts = [document.text for document in predictions]
    return [str(error) for error in frequent_errors(_expected(records), _predicted(predictions), texts, count)]


def _entities(records: Records) -> Iterator[tuple[str, dict[str, Any]]]:
    for text, entities in records.columns("text", "entities"):
        for entity in entities or []:
            yield text, entity


def _texts(records: Records) -> Iterator[str]:
    for text, tokens in records.columns("text", "tokens"):
        yield " ".join(tokens) if tokens else text or ""


def _lines(records: Records) -> list[int | None]:
    return [line for (line,) in records.columns("line")]


def _expected(records: Records) -> list[list[tuple[int, int, str]]]:
    return [[(e["start"], e["end"], e["label"]) for e in entities or []] for (entities,) in records.columns("entities")]


def _predicted(predictions: Sequence[Document]) -> list[list[tuple[int, int, str]]]:
    return [[(e.start, e.end, e.label) for e in document.entities] for document in predictions]


def _marks(document: Document) -> list[tuple[int, int, str, float]]:
    return [(e.start, e.end, e.label, e.confidence) for e in document.entities]


def _note_spans(records: Records, sentences: Sentences) -> None:
    counts = {
        "entities widened to whole words": sentences.widened,
        "entities lost, which share a word with another or have none": sentences.lost,
    }
    notes = [f"{count:,} {what}" for what, count in counts.items() if count]
    records.note = "; ".join([*([records.note] if records.note else []), *notes])


TASK = Task(
    name="ner",
    Config=Config,
    prediction=Document,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    decode=decode,
    metrics=metrics,
    signatures=signatures,
    show=show,
    errors=errors,
    example="Ada Lovelace met Charles Babbage in London.",
)
