"""The verb `explain`: which tokens of the source made each word of a translation likely, and which unlikely."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nlp_rnn.config.options import texts_or_lines
from nlp_rnn.display.console import visible
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Command
from nlp_rnn.tasks.explaining import Contributions, TextsToExplain, contributions
from nlp_rnn.tasks.translation.commands import refuse_others

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.layers.base import Tensor
    from nlp_rnn.run import AnyRun


def explain(run: AnyRun, text: str, target: str = "") -> list[Contributions]:
    """For each word of a translation, what each token of the source contributed to log p of the word, given the words
    before it.

    Args:
        run: of a translator.
        text: the source.
        target: the translation that is explained; by default that of the run.

    Raises:
        InputError: there is no text, or the run is of another task.
    """
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients
    from nlp_rnn.data.records import Records
    from nlp_rnn.text.tokenizer import BEGIN

    refuse_others(run, "explain")
    if not text.strip():
        raise InputError("There is no text to explain: give one.")
    target = target or run(text).translation
    batches = run.batches_of(Records([{"source": text, "target": None}]))
    (_, features), *_ = batches.indexed()
    source = tf.constant(features["source"][:1])
    _, starts, ends = (part.to_list()[0] for part in run.assets.source.encode_with_offsets([text]))
    spans = list(zip(starts, ends, strict=True))
    ids, first, _ = (part.to_list()[0] for part in run.assets.target.encode_with_offsets([target]))
    read = tf.constant([[BEGIN, *ids[:-1]]])
    model = run.model
    vectors = tf.cast((model.source_embedding or model.embedding)(source)[0], tf.float32)
    found = []
    before = 0
    for word in re.finditer(r"\S+", target):
        places = [
            place for place, start in enumerate(first) if before <= start < word.end()
        ]  # blanks go with what follows
        before = word.end()

        def score(vectors: Tensor, places: list[int] = places) -> tf.Tensor:
            count = tf.shape(vectors)[0]
            memory = model.encode(tf.repeat(source, count, axis=0), vectors=vectors)
            nats, _ = model.forced(memory, *(tf.repeat(one, count, axis=0) for one in (read, tf.constant([ids]))))
            return -tf.reduce_sum(tf.gather(nats, places, axis=1), 1)

        if places:
            one = contributions(text, word[0], "log p", spans[: source.shape[1]], integrated_gradients(score, vectors))
            found.append(replace(one, cut=len(spans) - int(source.shape[1])))
    return found


@dataclass(frozen=True)
class ExplainOptions(TextsToExplain):
    """Options of the verb `explain`."""

    target: str = ""
    """Explain this translation of the text, rather than that of the run."""


def _results(run: AnyRun, options: ExplainOptions) -> Iterator[Contributions]:
    for text in texts_or_lines(options.texts):
        found = explain(run, text, options.target)
        if not found:
            print(visible(f"The translation is empty: {text[:80]}"), file=sys.stderr)
        yield from found


EXPLAIN = Command("explain", "Shows which tokens of the source made each word likely.", ExplainOptions, _results)
