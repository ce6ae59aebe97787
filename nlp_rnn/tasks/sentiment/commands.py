"""The verb `explain`: which tokens speak for a label, and which against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.options import texts_or_lines
from nlp_rnn.errors import InputError, did_you_mean
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.explaining import Contributions, TextsToExplain, contributions, score_of_vectors
from nlp_rnn.tasks.sentiment.predictions import Sentiment, decode, show

if TYPE_CHECKING:
    import tensorflow as tf
    from rich.text import Text

    from nlp_rnn.layers.base import Nest
    from nlp_rnn.run import AnyRun


@dataclass(frozen=True)
class Explanation:
    """A prediction and what each token contributed to it; Jupyter and rich show it as highlighted text.

    Args:
        prediction: what was predicted.
        contributions: of the tokens, to the log-odds of the label that is explained.
        weights: (start, end, weight) of each token in attention pooling, in code points of the text; they sum to 1.
            Without attention pooling none.
    """

    prediction: Sentiment
    contributions: Contributions
    weights: list[tuple[int, int, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = self.contributions.as_dict()
        if self.weights:
            for token, (_, _, weight) in zip(found["tokens"], self.weights, strict=True):
                token["weight"] = weight
        found["explained"] = found.pop("said")
        return {**asdict(self.prediction), **found}

    def __str__(self) -> str:
        return f"{show(self.prediction)}\n{self.contributions}"

    def _repr_html_(self) -> str:
        import html

        return f"<b>{html.escape(self._heading())}</b> {self.contributions._repr_html_()}"

    def __rich__(self) -> Text:
        from rich.text import Text

        from nlp_rnn.display.console import visible

        return Text(visible(f"{self._heading()}  "), style="bold") + self.contributions.__rich__()

    def _heading(self) -> str:
        return f"{self.prediction.label} {self.prediction.probability:.0%}"


def explain(run: AnyRun, texts: str | Sequence[str], label: str = "") -> list[Explanation]:
    """What each token contributed to a label, in its log-odds.

    Args:
        run: of this task.
        texts: to explain, one or several.
        label: by default the one that is predicted of each text.

    Raises:
        InputError: the run is of another task, or has no such label.
    """
    texts = [texts] if isinstance(texts, str) else texts
    labels = run.assets.get("labels")
    fits = run.task.name == "sentiment" and labels is not None
    refuse_other_models(run, fits, "explain", "a classifier of texts")
    assert labels is not None
    if label and label not in labels:
        raise InputError(f'There is no label "{label}".{did_you_mean(label, labels)}')
    from nlp_rnn.data.records import Records
    from nlp_rnn.text.ragged import truncate

    records = Records([{"text": text, "label": None} for text in texts])
    if not len(records):
        return []
    outputs = run.infer(records)
    predictions = decode(outputs, records, run.assets)
    data = run.config.data
    _, starts, ends = run.assets.tokenizer.encode_with_offsets(list(texts))
    whole = starts.row_lengths().numpy()
    starts, ends = (truncate(part, data.longest, data.kept_part).to_list() for part in (starts, ends))
    spans = [list(zip(begin, end, strict=True)) for begin, end in zip(starts, ends, strict=True)]
    attends = run.config.head.pooling == "attention"
    found = []
    for place, prediction in enumerate(predictions):
        said = label or prediction.label
        tokens = _contributions(run, records.select([place]), labels.index(said), spans[place], said)
        weights = [(s, e, float(w)) for (s, e), w in zip(spans[place], outputs["weights"][place], strict=False)]
        tokens = replace(tokens, cut=int(whole[place]) - len(spans[place]))
        found.append(Explanation(prediction, tokens, weights if attends else []))
    return found


def _contributions(run: AnyRun, record: Any, label: int, spans: list[tuple[int, int]], said: str) -> Contributions:
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients

    _, features = next(iter(run.batches_of(record).indexed()))
    features = {"tokens": features["tokens"][:1, : max(len(spans), 1)]}

    def log_odds(logits: tf.Tensor) -> tf.Tensor:
        others = tf.concat([logits[:, :label], logits[:, label + 1 :]], 1)
        return logits[:, label] - tf.reduce_logsumexp(others, 1)

    vectors = tf.cast(run.model.embed(features, training=False), tf.float32)[0]
    size, ngrams = vectors.shape[-1], run.model.ngrams
    if ngrams is not None:  # what they say of each token stands behind its vector
        vectors = tf.concat([vectors, ngrams.shares(features["tokens"])[0]], -1)

    def call(given: dict[str, Any]) -> Nest:
        both = given["vectors"]
        return run.model({**given, "vectors": both[..., :size], "shares": both[..., size:]})

    function = score_of_vectors(call, features, log_odds)
    return contributions(record[0]["text"], said, "log-odds", spans, integrated_gradients(function, vectors))


@dataclass(frozen=True)
class ExplainOptions(TextsToExplain):
    """Options of the verb `explain`."""

    label: str = ""
    """Explain this label rather than the one that is predicted."""


def _results(run: AnyRun, options: ExplainOptions) -> Iterator[Explanation]:
    yield from explain(run, texts_or_lines(options.texts), options.label)


COMMANDS = (
    Command("explain", "Shows which tokens speak for a label, and which against it.", ExplainOptions, _results),
)
