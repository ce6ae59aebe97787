"""Records → sentences of words, which know their places in the record's text, with entities as spans of words.

Records are those of `annotations.py`; only "text" or "tokens" need be there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_rnn.data.annotations import token_offsets
from nlp_rnn.data.batching import NestedRows, Rows
from nlp_rnn.data.records import Record, Records
from nlp_rnn.text.lookup import WordTokenizer
from nlp_rnn.text.schemes import Span, tag_names, tags_of
from nlp_rnn.text.sentences import WordFeatures, row_starts
from nlp_rnn.text.tokenizer import CHARACTERS, as_tensor, in_chunks, pieces_of

_CHUNK = 2000


@dataclass
class Sentences:
    """Sentences of records, and parts of those that are too long; a record has at least one.

    Args:
        words: normalised, UTF-8, of all rows behind each other.
        starts, ends: code points in the text of the record.
        lengths: words in each row.
        record_of: the record of each row.
        spans: the entities of each row, first and last word counted within it.
        cut: rows that go on in the next one because they were too long.
    """

    words: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray
    record_of: np.ndarray
    spans: list[list[Span]] = field(default_factory=list)
    cut: int = 0


class _Splitter:
    """Texts or tokens → flat words, traced once."""

    def __init__(self, tokenizer: WordTokenizer, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        strings = [tf.TensorSpec([None], tf.string)]
        self.split_texts = tf.function(self._split_texts, input_signature=strings, autograph=False)
        self.normalize = tf.function(tokenizer.cased, input_signature=strings, autograph=False)

    def _split_texts(self, texts: Any) -> tuple[Any, ...]:
        words = self.tokenizer.words(texts)
        return (
            words.words.values,
            words.starts.values,
            words.ends.values,
            words.words.row_lengths(),
            row_starts(words, self.max_tokens),
        )


_splitters: dict[tuple[Any, ...], _Splitter] = {}


def _splitter(tokenizer: WordTokenizer, max_tokens: int) -> _Splitter:
    """How a text is split depends on no vocabulary: tokenizers that split alike share a graph."""
    normalizer = tokenizer.normalizer
    key = (normalizer.form, normalizer.lowercase, tokenizer.split, max_tokens)
    return _splitters.setdefault(key, _Splitter(tokenizer, max_tokens))


def sentences_of(tokenizer: WordTokenizer, records: Records, max_tokens: int, with_entities: bool = False) -> Sentences:
    """The sentences of records.

    Args:
        tokenizer: how texts become words.
        max_tokens: longer sentences go on in a further row.
        with_entities: find the rows' entities too; no sentence then ends inside one.
    """
    splitter = _splitter(tokenizer, max_tokens)
    parts: list[tuple[np.ndarray, ...]] = []
    nothing = np.zeros(0, np.int64)
    result = Sentences(nothing, nothing, nothing, nothing, nothing)
    first = 0
    for chunk in records.chunks(_CHUNK):
        rows = list(chunk.columns("text", "tokens", "entities"))
        for number, (words, starts, ends, begins) in enumerate(_split(splitter, rows, max_tokens), first):
            if with_entities:
                _keep_whole(rows[number - first][2] or [], starts, begins)
            bounds = [*np.flatnonzero(begins).tolist(), len(words)]
            lengths = np.diff(bounds)
            result.cut += int((lengths[:-1] == max_tokens).sum())
            if with_entities:
                result.spans += _row_spans(rows[number - first][2] or [], starts, ends, bounds)
            parts.append((words, starts, ends, lengths, np.full(len(lengths), number)))
        first += len(rows)
    if parts:
        result.words, result.starts, result.ends, result.lengths, result.record_of = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
    return result


def in_whole_words(tokenizer: WordTokenizer, records: Records, max_tokens: int) -> tuple[Records, int, int]:
    """Entities that begin or end within a word are extended to it: a tagger can find no others.

    Args:
        tokenizer: how texts become words.
        records: with "text", "tokens" and "entities".
        max_tokens: as in `sentences_of`.

    Returns:
        The records, how many entities were extended, and how many have no word of their own, which stay as they are.
    """
    splitter = _splitter(tokenizer, max_tokens)
    everything: list[list[Record]] = []
    extended = lost = 0
    for chunk in records.chunks(_CHUNK):
        rows = list(chunk.columns("text", "tokens", "entities"))
        to_split = [row for row in rows if row[1] is None and row[2]]
        words = _split(splitter, to_split, max_tokens) if to_split else iter(())
        for _, tokens, entities in rows:
            if tokens is not None or not entities:
                everything.append(entities or [])
                continue
            _, starts, ends, _ = next(words)
            placed: list[Record] = []
            for entity, (first, last) in _placed(entities, starts, ends):
                whole = {**entity, "start": int(starts[first]), "end": int(ends[last - 1])} if first < last else entity
                lost += first == last
                extended += whole != entity
                placed.append(whole)
            everything.append(placed)
    if extended:
        kind = records.rows.features["entities"]
        changed = records.rows.remove_columns("entities").add_column("entities", everything, feature=kind)
        records = Records(changed, records.dropped, records.notes)
    return records, extended, lost


def word_rows(sentences: Sentences, featurize: WordFeatures) -> dict[str, Rows | NestedRows]:
    """Rows of what a model sees of words: "tokens", "characters" and "case"."""
    # Most words occur often: each different one is looked at once.
    number: dict[bytes, int] = {}
    place = np.array([number.setdefault(word, len(number)) for word in sentences.words], np.int64)
    ids, characters, cases = _traced(featurize)(tf.constant(list(number), tf.string, shape=[len(number)]))
    by_word = Rows([(characters.values.numpy(), characters.row_lengths().numpy())])
    lengths = by_word.lengths[place]
    spelled = Rows([(by_word.values[_ranges(by_word.starts[place], lengths)], lengths)])
    return {
        "tokens": Rows([(ids.numpy()[place], sentences.lengths)]),
        "characters": NestedRows(spelled, sentences.lengths),
        "case": Rows([(cases.numpy()[place], sentences.lengths)]),
    }


def tag_rows(sentences: Sentences, labels: Sequence[str]) -> Rows:
    """Rows of the ids of IOBES tags, to be padded with -1."""
    place = {tag: i for i, tag in enumerate(tag_names(labels))}
    rows = zip(sentences.lengths, sentences.spans, strict=True)
    ids = [place[tag] for length, spans in rows for tag in tags_of(int(length), spans)]
    return Rows([(np.array(ids, np.int32), sentences.lengths)], filler=-1)


@functools.lru_cache(maxsize=4)
def _traced(featurize: WordFeatures) -> Any:
    return tf.function(featurize.__call__, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The places start, start + 1, … of rows, behind each other."""
    first = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(first, lengths) + np.repeat(starts, lengths)


def _split(splitter: _Splitter, rows: list[tuple[Any, ...]], max_tokens: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(words, starts, ends, which of them begin a row) of each record."""
    given = [token for _, tokens, _ in rows if tokens for token in tokens]
    texts = _split_texts(splitter, [text or "" for text, tokens, _ in rows if not tokens])
    normalized = splitter.normalize(as_tensor(given)).numpy()
    token = 0
    for _, tokens, _ in rows:
        if not tokens:
            yield next(texts)
            continue
        starts, ends = token_offsets(tokens)
        yield normalized[token : token + len(tokens)], starts, ends, np.arange(len(tokens)) % max_tokens == 0
        token += len(tokens)


def _split_texts(splitter: _Splitter, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """The same of each text; a long one is split in pieces, each of which begins a row."""
    pieces = [(number, start, piece) for number, text in enumerate(texts) for start, piece in pieces_of(text)]
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in texts]
    for group in in_chunks(pieces, len(pieces), lambda piece: len(piece[2]), CHARACTERS):
        words, starts, ends, counts, begins = (
            part.numpy() for part in splitter.split_texts(as_tensor([piece for *_, piece in group]))
        )
        bounds = np.concatenate([[0], np.cumsum(counts)])
        for (number, offset, _), first, last in zip(group, bounds, bounds[1:], strict=False):
            if first < last:
                span = slice(first, last)
                parts[number].append((words[span], starts[span] + offset, ends[span] + offset, begins[span]))
    nowhere = np.zeros(1, np.int64)
    for found in parts:
        if found:
            yield tuple(np.concatenate(columns) for columns in zip(*found, strict=True))
        else:  # no row is empty
            yield np.array([b""], object), nowhere, nowhere, np.ones(1, bool)


def _keep_whole(entities: list[Record], starts: np.ndarray, begins: np.ndarray) -> None:
    """Lets no row begin inside an entity."""
    for entity in entities:
        begins[(starts > entity["start"]) & (starts < entity["end"])] = False


def _row_spans(entities: list[Record], starts: np.ndarray, ends: np.ndarray, bounds: list[int]) -> list[list[Span]]:
    """The entities of each row of a record, as spans of its words."""
    spans: list[list[Span]] = [[] for _ in bounds[1:]]
    for entity, (first, last) in _placed(entities, starts, ends):
        if first < last:
            row = int(np.searchsorted(bounds, first, "right")) - 1
            spans[row].append((first - bounds[row], min(last, bounds[row + 1]) - bounds[row], entity["label"]))
    return spans


def _placed(entities: list[Record], starts: np.ndarray, ends: np.ndarray) -> Iterator[tuple[Record, tuple[int, int]]]:
    """Each entity, in order, with its first word and the one after its last; these are equal if no word is left."""
    taken = 0
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        first = max(int(np.searchsorted(ends, entity["start"], "right")), taken)
        last = int(np.searchsorted(starts, entity["end"], "left"))
        taken = max(taken, last)
        yield entity, (first, max(first, last))
