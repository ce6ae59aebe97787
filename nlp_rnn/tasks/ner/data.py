"""Annotated sources → records → vocabularies and labels → batches of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Asset, Assets, Facts, Labels
from nlp_rnn.config.recipes import starter_folder
from nlp_rnn.config.sections import split_seed
from nlp_rnn.config.values import refuse_settings
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.ner.settings import Config

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches, NestedRows, Rows
    from nlp_rnn.data.records import Records
    from nlp_rnn.text.lookup import WordTokenizer
    from nlp_rnn.text.sentences import WordFeatures

RESOURCES = "nlp_rnn.tasks.ner"


def read(config: Config, split: str) -> Records | None:
    """Records `{"text", "tokens", "entities", "line"}`: entities as spans of the text, tokens None where not given."""
    from nlp_rnn.data.annotations import annotated_fields, check_names, standard_records
    from nlp_rnn.data.splits import read_split

    data, annotated = config.data, split != "predict"
    columns = {name: getattr(data, name) for name in ("text", "entities", "tokens", "tags")}
    fields = annotated_fields(columns, (data.token_column, data.tag_column))
    records = read_split(data, split, fields, split_seed(config), starter_folder(RESOURCES))
    if records is None:
        return None
    if split == "train":
        check_names(records, data.labels)
    records = standard_records(records, data.scheme, data.labels, annotated)
    return _in_whole_words(config, records, split) if annotated else records


def _in_whole_words(config: Config, records: Records, split: str) -> Records:
    """Entities extended to whole words, which is said; what cannot be learned from is refused."""
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()  # which keeps it quiet
    from nlp_rnn.data.words import in_whole_words

    plain = splits_like(config)
    records, extended, lost = in_whole_words(plain, records, config.data.max_tokens)
    total = sum(len(entities or []) for (entities,) in records.columns("entities"))
    if split == "train" and extended + lost > max(total / 10, 3):
        raise InputError(
            f"Of {total:,} entities {extended:,} begin or end within a word and {lost:,} share one with another: too "
            f"few can be learned. Are their places counted in characters from 0, and does --tokenizer.split "
            f"{config.tokenizer.split} part words where entities end?"
        )
    counts = {
        "entities extended to whole words": extended,
        "entities that share a word with another or contain none, which cannot be found": lost,
    }
    return records.noting(*(f"{what}: {count:,}" for what, count in counts.items() if count))


def splits_like(config: Config) -> WordTokenizer:
    """A tokenizer without words that splits texts as the configuration says."""
    from nlp_rnn.text.lookup import WordTokenizer
    from nlp_rnn.text.normalization import Normalizer

    settings = config.tokenizer
    return WordTokenizer([], Normalizer(settings.normalization, settings.lowercase), settings.split)


def count(records: Records) -> Counter[str]:
    """How often an entity has each label."""
    return Counter(entity["label"] for _, entity in _entities(records))


def assets(config: Config, records: Records) -> Assets:
    """Learns the vocabularies of words and characters, and collects the labels and the entities."""
    from nlp_rnn.data.words import sentences_of
    from nlp_rnn.tasks.ner.readers import readers_of
    from nlp_rnn.text.lookup import CharacterTokenizer
    from nlp_rnn.text.normalization import Normalizer
    from nlp_rnn.text.tokenizers import tokenizer_of_run
    from nlp_rnn.text.vectors import extra_words, vectors_for

    refuse_settings(config.train, "train", "named entity recognition", "class_weights", "label_smoothing")
    settings, taken = config.tokenizer, tokenizer_of_run(config.tokenizer.vocabulary)
    if taken is None:
        refuse_settings(settings, "tokenizer", "named entity recognition", "vocabulary")
    if settings.kind != "word":
        raise InputError(f"Named entities need --tokenizer.kind word (it is {settings.kind}).")
    entities = Counter((text[e["start"] : e["end"]], e["label"]) for text, e in _entities(records))
    labels = sorted({label for _, label in entities})
    if not labels:
        raise InputError("The training data contain no entities: is --data.tags or --data.entities right?")
    plain = splits_like(config)
    sentences = sentences_of(plain, records, config.data.max_tokens)
    words = [word.decode("utf-8") for word in sentences.words]
    extra = extra_words(config.embedding, settings)
    tokenizer = taken or plain.from_words(words, settings.size, settings.min_count, extra)
    readers = readers_of(config.embedding)
    named: dict[str, Asset] = {
        "tokenizer": tokenizer,
        "characters": readers.characters
        if readers
        else CharacterTokenizer.train(words, 1000, Normalizer(settings.normalization)),
        "labels": Labels(labels),
        "facts": Facts(entities=sorted(entities)),
        **({"states": Facts(readers.facts)} if readers else {}),
    }
    notes, initial = [], dict(readers.initial if readers else {})
    if config.embedding.vectors:
        initial["vectors"], note = vectors_for(config.embedding, tokenizer, config.train.seed)
        notes.append(note)
    return Assets(named, notes, initial)


def word_features(config: Config, assets: Assets) -> WordFeatures:
    """What the model sees of words."""
    from nlp_rnn.text.sentences import WordFeatures

    return WordFeatures(assets.tokenizer, assets.characters, config.embedding.max_characters)


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"tokens", "characters", "case"}`, tags, -1 at padding, and weights; for prediction also the places
    of the words, "starts" and "ends"."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.labels import check_label
    from nlp_rnn.data.words import sentences_of, tag_rows, word_rows

    training = seed is not None
    sentences = sentences_of(assets.tokenizer, records, config.data.max_tokens, with_entities=training)
    features: dict[str, Rows | NestedRows] = word_rows(sentences, word_features(config, assets))
    train, cut = config.train, sentences.cut
    if not training:
        features["starts"] = Rows([(sentences.starts, sentences.lengths)])
        features["ends"] = Rows([(sentences.ends, sentences.lengths)])
        nothing = np.zeros(len(sentences.lengths), np.int32)
        size = max(train.batch_size, 128)
        return Batches(features, nothing, size, buckets=16, cut=cut, record_of=sentences.record_of)
    for record, spans in zip(sentences.record_of, sentences.spans, strict=True):
        for label in {label for _, _, label in spans} - set(assets.labels):
            check_label(label, assets.labels, records[int(record)].get("line"))
    tags = tag_rows(sentences, assets.labels)
    return Batches(features, tags, train.batch_size, None, seed, train.buckets, cut)


def _entities(records: Records) -> Iterator[tuple[str, dict[str, Any]]]:
    for text, entities in records.columns("text", "entities"):
        for entity in entities or []:
            yield text, entity
