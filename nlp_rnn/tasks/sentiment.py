"""Sentiment: a text → one of any number of classes, with a calibrated probability.

What is here is the whole task; TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nlp_rnn.config import DataConfig, EmbeddingConfig, HeadConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.errors import InputError, did_you_mean
from nlp_rnn.tasks.base import Assets, Task

if TYPE_CHECKING:
    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import Run


@dataclass(frozen=True)
class SentimentData(DataConfig):
    """Where the reviews come from."""

    text: str = "text"
    """Column of the text."""
    label: str = "label"
    """Column of the label."""
    labels: Annotated[dict[str, str], tyro.conf.arg(metavar="VALUE NAME")] = field(default_factory=dict)
    """Names for the values of the label column, in the order of the classes: 0 negative 1 positive."""
    max_tokens: int = 512
    """Longer texts are cut to this many tokens (and counted)."""
    keep: Literal["start", "end", "both"] = "start"
    """Which part of a text that is too long is kept; "both" keeps the first and the last half."""


@dataclass(frozen=True)
class Config:
    """Settings of the sentiment task."""

    data: SentimentData = field(default_factory=SentimentData)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    stack: StackConfig = field(default_factory=StackConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Sentiment:
    """One result.

    Args:
        text: the input.
        label: the most probable class.
        probability: of that class, calibrated.
        probabilities: of every class, by name.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """A prediction with the weights of its tokens; Jupyter and rich show it as highlighted text.

    Args:
        prediction: what was predicted.
        weights: (start, end, weight) of each token, in code points of the text; weights sum to 1.
    """

    prediction: Sentiment
    weights: list[tuple[int, int, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        text = self.prediction.text
        tokens = [{"token": text[s:e], "start": s, "end": e, "weight": w} for s, e, w in self.weights]
        return {**asdict(self.prediction), "tokens": tokens}

    def _repr_html_(self) -> str:
        from nlp_rnn.plots.highlight import highlighted_html

        return f"<b>{self._heading()}</b> " + highlighted_html(self.prediction.text, self.weights)

    def __rich__(self) -> Any:
        from nlp_rnn.plots.highlight import highlighted_text

        return highlighted_text(f"{self._heading()}  ", self.prediction.text, self.weights)

    def _heading(self) -> str:
        return f"{self.prediction.label} {self.prediction.probability:.0%}"


def read(config: Config, split: str) -> Records | None:
    """Records `{"text", "label", "line"}`; the label is None where there is none, which only "predict" takes."""
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.splits import read_split

    data = config.data
    fields = Fields(
        {"text": data.text, "label": data.label},
        optional=("label",) if split == "predict" else (),
        names=data.labels,
        label="label",
    )
    place = "test" if split == "predict" else split
    return read_split("sentiment", data, place, fields, config.train.seed)


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizer and collects the labels."""
    from nlp_rnn.text.tokenizers import train_tokenizer
    from nlp_rnn.text.vectors import extra_words, vectors_for

    labels = _labels(config, records)
    extra = extra_words(config.embedding, config.tokenizer)
    tokenizer = train_tokenizer(config.tokenizer, records.column("text"), extra)
    if not config.embedding.vectors:
        return Assets({"tokenizer": tokenizer}, labels)
    vectors, note = vectors_for(config.embedding, tokenizer, config.train.seed)
    return Assets({"tokenizer": tokenizer}, labels, vectors, (note,))


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Batches of `{"tokens"}`, one-hot targets and weights."""
    import numpy as np

    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.tokenizing import token_rows

    classes = np.array([_class_of(row, assets.labels) for row in records.columns("label", "line")], np.int64)
    targets = np.zeros((len(classes), len(assets.labels)), np.float32)
    known = classes >= 0
    targets[known, classes[known]] = 1.0
    weights = None
    if config.train.class_weights == "balanced" and seed is not None:
        counts = np.maximum(targets.sum(0), 1)
        weights = (len(classes) / len(counts) / counts)[classes]
    data = config.data
    rows, cut = token_rows(assets.tokenizer, records.column("text"), data.max_tokens, data.keep)
    train = config.train
    # Prediction keeps no gradients: larger batches are faster.
    size = train.batch_size if seed is not None else max(train.batch_size, 128)
    return Batches({"tokens": rows}, targets, size, weights, seed, train.buckets, cut)


def build(config: Config, assets: Assets) -> Any:
    """Embedding, recurrent stack and head."""
    from nlp_rnn.layers import RecurrentStack, TokenEmbedding
    from nlp_rnn.models import ClassifierHead, TextClassifier

    embedding, head, dtype = config.embedding, config.head, config.train.dtype_policy
    model = TextClassifier(
        TokenEmbedding(
            assets.tokenizer.size,
            embedding.size,
            word_dropout=embedding.word_dropout,
            dropout=embedding.dropout,
            fixed=getattr(assets.tokenizer, "extra", 0),
            trainable=embedding.trainable,
            dtype=dtype,
            name="embedding",
        ),
        RecurrentStack(**asdict(config.stack), dtype=dtype, name="stack"),
        ClassifierHead(len(assets.labels), head.pooling, head.attention_units, head.dropout, dtype=dtype, name="head"),
        dtype=dtype,
        name="classifier",
    )
    model.build()
    if assets.vectors is not None:
        model.embedding.assign(assets.vectors)
    return model


def loss(config: Config) -> Any:
    """Cross-entropy, with label smoothing."""
    import keras

    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.train.label_smoothing)


def decode(outputs: dict[str, Any], records: Records, assets: Assets) -> list[Sentiment]:
    """Logits → labels and probabilities."""
    import numpy as np

    from nlp_rnn.metrics.classification import softmax

    probabilities = softmax(np.asarray(outputs["logits"]))
    best = probabilities.argmax(-1)
    return [
        Sentiment(text or "", assets.labels[k], float(p[k]), dict(zip(assets.labels, p.tolist(), strict=True)))
        for text, k, p in zip(records.column("text"), best, probabilities, strict=True)
    ]


def metrics(records: Records, predictions: list[Sentiment], outputs: dict[str, Any], assets: Assets) -> dict[str, Any]:
    """Accuracy, macro-F1, per class, calibration."""
    import numpy as np

    from nlp_rnn.metrics.classification import classification_report

    labels = tuple(predictions[0].probabilities)
    place = {label: i for i, label in enumerate(labels)}
    targets = np.array([place[label] for label in records.column("label")])
    return classification_report(np.asarray(outputs["logits"]), targets, labels)


def signatures(config: Config, model: Any, assets: Assets) -> dict[str, Any]:
    """`serving_default` takes strings, `tokens` takes ids."""
    import keras
    import tensorflow as tf

    from nlp_rnn.text.ragged import truncate

    labels = tf.constant(list(assets.labels))

    def classify(tokens: Any) -> dict[str, Any]:
        probabilities = keras.ops.softmax(model({"tokens": tokens}, training=False))
        best = tf.argmax(probabilities, -1)
        return {
            "label": tf.gather(labels, best),
            "probability": tf.reduce_max(probabilities, -1),
            "probabilities": probabilities,
            "labels": tf.tile(labels[None], [tf.shape(tokens)[0], 1]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def from_text(text: Any) -> dict[str, Any]:
        ids = truncate(assets.tokenizer.encode_graph(text), config.data.max_tokens, config.data.keep)
        return {"text": tf.identity(text), **classify(ids.to_tensor())}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="tokens")], autograph=False)
    def from_tokens(tokens: Any) -> dict[str, Any]:
        return classify(tokens)

    return {"serving_default": from_text, "tokens": from_tokens}


def show(prediction: Sentiment, record: dict[str, Any] | None = None) -> str:
    """`positive 97 %  the text`, with a mark where a record says otherwise."""
    text = " ".join(prediction.text.split())
    text = text if len(text) <= 100 else text[:99] + "…"
    right = "" if record is None else ("✓ " if record["label"] == prediction.label else f"✗ ({record['label']}) ")
    return f"{prediction.label} {prediction.probability:4.0%}  {right}{text}"


def errors(records: Records, predictions: list[Sentiment], count: int) -> list[str]:
    """The mistakes that the model was surest of."""
    wrong = [
        (prediction, record)
        for prediction, record in zip(predictions, records, strict=True)
        if prediction.label != record["label"]
    ]
    wrong.sort(key=lambda pair: -pair[0].probability)
    return [show(prediction, record) for prediction, record in wrong[:count]]


def explain(run: Run, texts: Sequence[str]) -> list[Explanation]:
    """How much each token weighed when a text was pooled.

    Raises:
        InputError: the run does not pool by attention.
    """
    pooling = run.config.head.pooling
    if pooling != "attention":
        raise InputError(f"This run pools by {pooling}; to see weights, train with --head.pooling attention.")
    from nlp_rnn.data.records import Records
    from nlp_rnn.text.ragged import truncate

    records = Records([{"text": text, "label": None} for text in texts])
    outputs = run.infer(records)
    predictions = decode(outputs, records, run.assets)
    data = run.config.data
    _, starts, ends = run.assets.tokenizer.encode_with_offsets(list(texts))
    starts, ends = (truncate(part, data.max_tokens, data.keep).to_list() for part in (starts, ends))
    return [
        Explanation(prediction, list(zip(begin, end, map(float, weights), strict=False)))  # weights are padded
        for prediction, begin, end, weights in zip(predictions, starts, ends, outputs["weights"], strict=True)
    ]


@dataclass(frozen=True)
class ExplainOptions:
    """Options of the verb `explain`."""

    texts: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[TEXT …]")] = ()
    """Texts; without any, the lines of standard input."""
    json: bool = False
    """Print a JSON object a line."""


def explain_command(run: Run, arguments: list[str], prog: str) -> int:
    """`explain RUN TEXT …`: texts with the weight of each token, coloured on a terminal, else as numbers."""
    from rich.console import Console

    from nlp_rnn.cli.options import parse

    options = parse(ExplainOptions, arguments, f"{prog} RUN", "Shows how much each token weighed.")
    texts = options.texts or tuple(line.rstrip("\r\n") for line in sys.stdin)
    console = Console(highlight=False)
    for explanation in explain(run, texts):
        if options.json:
            print(json.dumps(explanation.as_dict(), ensure_ascii=False))
        elif console.is_terminal:
            console.print(explanation)
        else:
            print(show(explanation.prediction))
            for token in explanation.as_dict()["tokens"]:
                print(f"  {token['weight']:6.1%}  {token['token']}")
    return 0


def _labels(config: Config, records: Records) -> tuple[str, ...]:
    counts = Counter(records.column("label"))
    if len(counts) == 1:
        raise InputError(
            f'All {len(records)} training records have the label "{next(iter(counts))}"; '
            f"at least two labels are needed: is --data.label right?"
        )
    if len(counts) > 50 and len(counts) > len(records) / 2:
        raise InputError(
            f'The column "{config.data.label}" has {len(counts)} different values in {len(records)} rows: '
            f"it does not hold labels; name the column that does with --data.label."
        )
    named = list(dict.fromkeys(config.data.labels.values()))
    others = sorted((label for label in counts if label not in named), key=_as_number_or_text)
    return tuple([label for label in named if label in counts] + others)


def _as_number_or_text(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


def _class_of(row: tuple[Any, ...], labels: tuple[str, ...]) -> int:
    label, line = row
    if label is None:
        return -1
    if label not in labels:
        where = f" (line {line})" if line else ""
        raise InputError(
            f'The label "{label}"{where} does not occur in the training data.{did_you_mean(label, labels)} '
            f"Rename values with --data.labels VALUE NAME."
        )
    return labels.index(label)


TASK = Task(
    name="sentiment",
    Config=Config,
    prediction=Sentiment,
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
    commands={"explain": explain_command},
)
