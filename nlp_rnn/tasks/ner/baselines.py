"""What a linear model makes of the same sentences, for comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlp_rnn.tasks.ner.settings import Config

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.words import Sentences

_EPOCHS = 5


class Perceptron:
    """A tagger that goes from word to word with an averaged perceptron (Collins 2002) over the words around, their
    ends and shapes, and the tags before.

    Args:
        tags: how many there are.

    Example:

    >>> tagger = Perceptron(2)
    >>> for _ in range(3):
    ...     tagger.learn(["in", "Rome"], [0, 1])
    >>> tagger.average()
    >>> tagger.tag(["in", "Rome"])
    [0, 1]
    """

    def __init__(self, tags: int) -> None:
        self.tags = tags
        # For each feature its weights, their sum over all steps so far, and the step up to which that was added.
        self._weights: dict[str, np.ndarray] = {}
        self._sums: dict[str, np.ndarray] = {}
        self._since: dict[str, int] = {}
        self._step = 0

    def learn(self, words: Sequence[str], tags: Sequence[int]) -> None:
        """Goes through a sentence with the tags that it has; where another one is guessed, weights change."""
        cores = [_features_of(word) for word in words]
        before = earlier = -1
        for place, tag in enumerate(tags):
            features = list(_around(cores, place, before, earlier))
            guess = int(np.argmax(self._scores(features)))
            self._step += 1
            if guess != tag:
                for name in features:
                    self._change(name, tag, guess)
            before, earlier = guess, before

    def tag(self, words: Sequence[str]) -> list[int]:
        """The tags of a sentence."""
        cores = [_features_of(word) for word in words]
        found = [-1, -1]
        for place in range(len(words)):
            found.append(int(np.argmax(self._scores(list(_around(cores, place, found[-1], found[-2]))))))
        return found[2:]

    def average(self) -> None:
        """Takes for each weight the mean of all steps, which ends training."""
        for name, weights in self._weights.items():
            summed = self._sums[name] + weights * (self._step - self._since[name])
            self._weights[name] = summed / max(self._step, 1)

    def _scores(self, features: Sequence[str]) -> np.ndarray:
        scores = np.zeros(self.tags)
        for name in features:
            weights = self._weights.get(name)
            if weights is not None:
                scores += weights
        return scores

    def _change(self, name: str, right: int, wrong: int) -> None:
        if name not in self._weights:
            self._weights[name], self._sums[name], self._since[name] = np.zeros(self.tags), np.zeros(self.tags), 0
        weights = self._weights[name]
        self._sums[name] += weights * (self._step - self._since[name])
        self._since[name] = self._step
        weights[right] += 1
        weights[wrong] -= 1


def _features_of(word: str) -> tuple[str, ...]:
    """The word itself, in small letters, its ends, and its shape."""
    shape = "".join("A" if c.isupper() else "a" if c.islower() else "9" if c.isdigit() else c for c in word)
    short = "".join(c for c, after in zip(shape, f"{shape[1:]} ", strict=True) if c != after)
    return word.lower(), word[:3], word[-3:], word[-2:], short


def _around(cores: Sequence[tuple[str, ...]], place: int, before: int, earlier: int) -> Iterator[str]:
    yield "bias"
    yield f"tag {before}"
    yield f"tags {earlier} {before}"
    for name, value in zip(("word", "first 3", "last 3", "last 2", "shape"), cores[place], strict=True):
        yield f"{name} {value}"
    yield f"word and tag {cores[place][0]} {before}"
    for distance in (-2, -1, 1, 2):
        there = place + distance
        inside = 0 <= there < len(cores)
        yield f"{distance} {cores[there][0] if inside else '-'}"
        if inside and abs(distance) == 1:
            yield f"{distance} shape {cores[there][4]}"
            yield f"{distance} shapes {cores[there][4]} {cores[place][4]}"


def baselines(config: Config, train: Records, test: Records) -> dict[str, float]:
    """The F1 of exact entities of an averaged perceptron.

    Args:
        config: of the task.
        train: records with entities.
        test: likewise.
    """
    from nlp_rnn.data.words import sentences_of
    from nlp_rnn.metrics.entities import precision_recall_f1
    from nlp_rnn.tasks.ner.data import splits_like
    from nlp_rnn.text.schemes import spans_of, tag_names, tags_of

    plain = splits_like(config)
    read, asked = (
        sentences_of(plain, records, config.data.max_tokens, with_entities=True) for records in (train, test)
    )
    names = tag_names(sorted({label for spans in read.spans for _, _, label in spans}))
    place = {name: number for number, name in enumerate(names)}
    rows = [
        (words, [place[tag] for tag in tags_of(len(words), spans)])
        for words, spans in zip(_rows(read), read.spans, strict=True)
        if words
    ]
    tagger, draw = Perceptron(len(names)), np.random.default_rng(config.train.seed)
    for _ in range(_EPOCHS):
        for number in draw.permutation(len(rows)):
            tagger.learn(*rows[number])
    tagger.average()
    correct = predicted = expected = 0
    for words, spans in zip(_rows(asked), asked.spans, strict=True):
        found = set(spans_of([names[tag] for tag in tagger.tag(words)]))
        correct, predicted, expected = correct + len(found & set(spans)), predicted + len(found), expected + len(spans)
    return {"averaged perceptron": precision_recall_f1(correct, predicted, expected)[2]}


def _rows(sentences: Sentences) -> list[list[str]]:
    ends = np.cumsum(sentences.lengths)
    words = [word.decode("utf-8") for word in sentences.words]
    return [words[end - length : end] for end, length in zip(ends, sentences.lengths, strict=True)]
