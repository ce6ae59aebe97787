"""The verb `explain`: which words speak for an entity, and which against it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.options import texts_or_lines
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.explaining import Contributions, TextsToExplain, contributions, score_of_vectors

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.run import AnyRun

_INPUTS = ("tokens", "characters", "case")
_NEVER = -1e9


def explain(run: AnyRun, texts: str | Sequence[str]) -> list[Contributions]:
    """For each entity that is found in texts, what each word of its sentence contributed to log p, p being the
    probability that these words and no others are an entity with this label.

    Raises:
        InputError: the run is of another task.
    """
    from nlp_rnn.data.records import Records

    refuse_other_models(run, run.task.name == "ner", "explain", "a run of named entity recognition")
    found: list[Contributions] = []
    for text in [texts] if isinstance(texts, str) else texts:
        records = Records([{"text": text, "tokens": None, "entities": None}])
        batches = run.batches_of(records)
        sentences = {
            int(index): {name: value[place : place + 1] for name, value in features.items()}
            for indices, features in batches.indexed()
            for place, index in enumerate(indices)
        }
        for _, sentence in sorted(sentences.items()):
            found += _of_sentence(run, text, sentence)
    return found


def _of_sentence(run: AnyRun, text: str, features: Mapping[str, np.ndarray]) -> Iterator[Contributions]:
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients
    from nlp_rnn.text.schemes import spans_of, tag_names

    length = int((features["tokens"][0] != 0).sum())
    features = {name: value[:, :length] for name, value in features.items()}
    inputs = {name: value for name, value in features.items() if name in _INPUTS}
    starts, ends = features["starts"][0].tolist(), features["ends"][0].tolist()
    tags = run.model.infer({name: tf.constant(value) for name, value in features.items()})["tags"][0].numpy()
    names = tag_names(run.assets.labels)
    vectors = run.model.embed(inputs, training=False)[0]
    for first, last, label in spans_of([names[tag] for tag in tags]):

        def score(scores: Any, first: int = first, last: int = last) -> tf.Tensor:
            return log_probability(scores, tags[first:last], first)

        found = integrated_gradients(score_of_vectors(run.model, inputs, score), vectors)
        said = f"{text[starts[first] : ends[last - 1]]} ({label})"
        yield contributions(text, said, "log p", list(zip(starts, ends, strict=True)), found)


def log_probability(scores: Any, tags: Sequence[int], first: int) -> tf.Tensor:
    """Log p `[batch]` of these tags from the place `first` on, whatever the others are.

    Args:
        scores: what a `TaggingHead` gives: chain scores `[batch, time, tags, tags]`, by log Z of the chains that have
            these tags less log Z of all; or logits `[batch, time, tags]`.
    """
    import tensorflow as tf

    from nlp_rnn.layers.crf import log_partition

    count = scores.shape[-1]
    if len(scores.shape) == 3:
        logs = tf.nn.log_softmax(scores)[:, first : first + len(tags)]
        return tf.add_n([logs[:, place, tag] for place, tag in enumerate(tags)])
    time = tf.shape(scores)[1]
    wanted = tf.one_hot(tf.constant([*tags]), count)
    free = tf.pad(wanted, [[first, time - first - len(tags)], [0, 0]], constant_values=1.0)
    return log_partition(scores + (1.0 - free)[None, :, None] * _NEVER) - log_partition(scores)


def _results(run: AnyRun, options: TextsToExplain) -> Iterator[Contributions]:
    from nlp_rnn.display.console import visible

    for text in texts_or_lines(options.texts):
        found = explain(run, text)
        yield from found
        if not found:
            print(visible(f"No entity is found in: {text[:80]}"), file=sys.stderr)


COMMANDS = (
    Command("explain", "Shows which words speak for an entity, and which against it.", TextsToExplain, _results),
)
