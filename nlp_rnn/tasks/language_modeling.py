"""Language modelling: what comes next.

What is here is the whole task; TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import tyro

from nlp_rnn.config import DataConfig, EmbeddingConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.errors import InputError
from nlp_rnn.tasks import language_verbs as verbs
from nlp_rnn.tasks.base import Assets, Task, refuse_settings

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records


@dataclass(frozen=True)
class LanguageData(DataConfig):
    """Where the text comes from; its lines follow each other."""

    text: str = "text"
    """Column of the text."""
    lines: Literal["auto", "end", "newline"] = "auto"
    """What stands for the end of a line: the end token, or a newline; "auto" takes the end token for words."""
    carry: tyro.conf.FlagConversionOff[bool] = True
    """Read on from line to line when measuring; False measures each line by itself."""


@dataclass(frozen=True)
class LanguageHead:
    """From the states to the vocabulary."""

    kind: Literal["full", "adaptive"] = "full"
    """Softmax over all units, or one whose rare units lie in clusters: as exact, and faster with many thousands."""
    cutoffs: tuple[int, ...] = (2000, 10000)
    """First id of each cluster of rarer units ("adaptive" only)."""
    tied: tyro.conf.FlagConversionOff[bool] = True
    """Use the embedding's vectors as the weights of the output."""
    dropout: float = 0.0
    """Dropout before the output layer, one mask per lane and window."""


@dataclass(frozen=True)
class LanguageTrain(TrainConfig):
    """How the model is fitted."""

    batch_size: int = 32
    """Lanes: parts of the text that are read side by side."""
    window: int = 64
    """Steps that gradients go back; the state is carried on from window to window."""
    vary_window: tyro.conf.FlagConversionOff[bool] = True
    """Let windows begin at other places in each epoch; not under `jit` "on", which compiles for each length."""
    activation_penalty: float = 0.0
    """Weight of the mean square of the stack's outputs (AR)."""
    change_penalty: float = 0.0
    """Weight of the mean square of their change from step to step (TAR)."""


@dataclass(frozen=True)
class Config:
    """Settings of the language modelling task."""

    data: LanguageData = field(default_factory=LanguageData)
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(kind="character", size=500))
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    stack: StackConfig = field(default_factory=lambda: StackConfig(bidirectional=False))
    head: LanguageHead = field(default_factory=LanguageHead)
    train: LanguageTrain = field(default_factory=LanguageTrain)

    @property
    def newline(self) -> bool:
        """Whether a line ends with a newline, rather than with the end token."""
        if self.data.lines != "auto":
            return self.data.lines == "newline"
        return self.tokenizer.kind != "word"


@dataclass(frozen=True)
class Score:
    """How probable a text is, read by itself.

    Args:
        text: the input.
        log_probability: its natural logarithm, the end of the line included.
        perplexity: exp of the mean over its units.
        units: how many there are.
    """

    text: str
    log_probability: float
    perplexity: float
    units: int


def read(config: Config, split: str) -> Records | None:
    """Records `{"text", "line"}`; those to train or evaluate on follow each other ("follows"), and a line that was
    too long "continues" in the next record."""
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.splits import read_split

    data = config.data
    given = split == "predict" or (split != "train" and getattr(data, split))
    if data.train == ("starter",) and not given:
        from nlp_rnn.data.starter.python_documentation import split_documents

        return Records([{"text": line, "follows": True} for line in split_documents(split)])
    fields = Fields({"text": data.text}, optional=("text",), running=None if split == "predict" else "text")
    records = read_split("language-modeling", data, "test" if split == "predict" else split, fields, config.train.seed)
    if records is None or split == "predict":
        return records
    lines = records.columns("text", "continues")
    follows = [{"text": text or "", "continues": bool(goes_on), "follows": True} for text, goes_on in lines]
    return Records(follows, records.dropped, records.note)


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizer."""
    from nlp_rnn.text.tokenizer import SPECIAL
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "train", "language modelling", "class_weights", "label_smoothing")
    if config.stack.bidirectional:
        raise InputError("A language model reads in one direction: give --stack.bidirectional False.")
    if "," in config.train.devices:
        raise InputError("A language model carries its state on one device: give --train.devices one number, or none.")
    ending = "\n" if config.newline else ""
    lines = records.columns("text", "continues")
    tokenizer = train_tokenizer(config.tokenizer, (text + ("" if goes_on else ending) for text, goes_on in lines))
    if tokenizer.size <= SPECIAL + 1:
        raise InputError(
            f"The vocabulary has {tokenizer.size - SPECIAL} units: there is nothing to predict; give more text."
        )
    head = config.head
    if head.kind == "adaptive" and not (head.cutoffs and sorted({*head.cutoffs}) == [*head.cutoffs]):
        raise InputError(f"head.cutoffs must rise, such as 2000 10000; they are {head.cutoffs}.")
    if head.kind == "adaptive" and not SPECIAL < head.cutoffs[0] <= head.cutoffs[-1] < tokenizer.size:
        raise InputError(
            f"head.cutoffs must lie within the vocabulary of {tokenizer.size:,} units: give others, or take "
            f"--head.kind full."
        )
    if head.kind == "adaptive" and config.train.jit == "on":
        raise InputError("XLA cannot compile an adaptive softmax: leave --train.jit out.")
    return Assets({"tokenizer": tokenizer})


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Any:
    """Lanes of windows for training; one lane for texts that follow each other; rows for texts by themselves."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.lanes import Lanes
    from nlp_rnn.text.tokenizer import END

    ids, lengths = encoded(config, assets, records)
    train = config.train
    follows = bool(len(records)) and records[0].get("follows", False)
    if seed is None and not (follows and config.data.carry):
        starts = np.cumsum(lengths) - lengths
        before = np.concatenate([[END], ids[:-1]])
        before[starts] = END
        rows = {"tokens": Rows([(before, lengths)]), "targets": Rows([(ids, lengths)])}
        return Batches(rows, np.zeros(len(lengths), np.int32), 64, record_of=np.arange(len(lengths)), buckets=16)
    if seed is None:
        return Lanes(ids, 1, 2000, lengths=lengths)
    if len(ids) < train.batch_size * 2:
        raise InputError(
            f"The text has {len(ids):,} units, too few for {train.batch_size} lanes of at least 2: give more text, or "
            f"fewer lanes with --train.batch_size."
        )
    varies = train.vary_window and train.jit != "on"
    return Lanes(ids, train.batch_size, train.window, seed if varies else None, lengths)


def build(config: Config, assets: Assets) -> Any:
    """Embedding, recurrent stack and softmax."""
    from nlp_rnn.layers import AdaptiveSoftmaxHead, RecurrentStack, SoftmaxHead, TokenEmbedding
    from nlp_rnn.models import LanguageModel

    embedding, head, dtype = config.embedding, config.head, config.train.dtype_policy
    size = assets.tokenizer.size
    tied = embedding.size if head.tied else 0
    softmax = (
        SoftmaxHead(size, tied, head.dropout, dtype=dtype, name="head")
        if head.kind == "full"
        else AdaptiveSoftmaxHead(size, tied, head.dropout, head.cutoffs, dtype=dtype, name="head")
    )
    model = LanguageModel(
        TokenEmbedding(
            size,
            embedding.size,
            word_dropout=embedding.word_dropout,
            dropout=embedding.dropout,
            trainable=embedding.trainable,
            dtype=dtype,
            name="embedding",
        ),
        RecurrentStack(**asdict(config.stack), dtype=dtype, name="stack"),
        softmax,
        activation_penalty=config.train.activation_penalty,
        change_penalty=config.train.change_penalty,
        dtype=dtype,
        name="language_model",
    )
    model.build()
    return model


def loss(config: Config) -> Any:
    """None: the model takes the mean -log p of the next token, in nats."""
    return None


def decode(outputs: dict[str, Any], records: Records, assets: Assets) -> list[Score]:
    """Nats → log-probability and perplexity of each text."""
    from nlp_rnn.metrics.language import perplexity

    scores = []
    for text, nats in zip(records.column("text"), outputs["nats"], strict=True):
        total = float(nats.sum(dtype="float64"))
        scores.append(Score(text or "", -total, perplexity(total / max(len(nats), 1)), len(nats)))
    return scores


def metrics(records: Records, predictions: list[Score], outputs: dict[str, Any], assets: Assets) -> dict[str, Any]:
    """Perplexity of the text read as one, per unit and per word, and bits per character."""
    from nlp_rnn.metrics.language import language_report

    line_ends = sum(not goes_on for (goes_on,) in records.columns("continues"))
    return language_report(outputs["nats"], [score.text for score in predictions], line_ends)


def signatures(config: Config, model: Any, assets: Assets) -> dict[str, Any]:
    """`serving_default` and `score` take strings and give their log-probabilities; `generate` goes on from prompts;
    `step` goes on from a state."""
    import tensorflow as tf

    from nlp_rnn.decoding.sampling import Generator, Sampling
    from nlp_rnn.decoding.streaming import joined, never_written, prompt_tokens
    from nlp_rnn.text.ragged import append
    from nlp_rnn.text.tokenizer import END

    newline = config.newline

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def score(text: Any) -> dict[str, Any]:
        ids = assets.tokenizer.encode_graph(text + "\n" if newline else text)
        targets = (ids if newline else append(ids, END)).to_tensor()
        tokens = tf.concat([tf.fill([tf.shape(targets)[0], 1], END), targets[:, :-1]], 1)
        real = tf.cast(targets != 0, tf.float32)
        nats = model.infer({"tokens": tokens, "targets": targets})["nats"] * real
        units = tf.reduce_sum(real, 1)
        total = tf.reduce_sum(nats, 1)
        return {
            "text": tf.identity(text),
            "log_probability": -total,
            "perplexity": tf.exp(total / units),
            "units": tf.cast(units, tf.int32),
        }

    state_shape = [None, model.state_parts, config.stack.units]
    inputs = [tf.TensorSpec([None, None], tf.int32, "tokens"), tf.TensorSpec(state_shape, tf.float32, "state")]

    @tf.function(input_signature=inputs, autograph=False)
    def step(tokens: Any, state: Any) -> dict[str, Any]:
        logits, after = model.advance(tokens, model.grouped(tf.unstack(state, axis=1)))
        return {"logits": logits, "state": tf.stack([tf.cast(s, tf.float32) for s in tf.nest.flatten(after)], 1)}

    kinds = {"length": tf.int32, "temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32}
    kinds |= {"repetition_penalty": tf.float32, "seed": tf.int32}
    texts = [tf.TensorSpec([None], tf.string, name) for name in ("prompt", "stop")]
    generator = Generator(model, never_written(newline))

    @tf.function(
        input_signature=texts + [tf.TensorSpec([], kind, name) for name, kind in kinds.items()], autograph=False
    )
    def generate(prompt: Any, stop: Any, length: Any, temperature: Any, top_k: Any, top_p: Any, *rest: Any) -> Any:
        repetition_penalty, seed = rest
        sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
        reached = generator.read(prompt_tokens(assets.tokenizer, newline, prompt))
        tokens, _ = generator.write(reached, sampling, seed, tf.constant(0), length)
        return {"prompt": tf.identity(prompt), "text": joined(assets.tokenizer, tf.transpose(tokens), prompt, stop)}

    return {"serving_default": score, "score": score, "generate": generate, "step": step}


def show(prediction: Score, record: dict[str, Any] | None = None) -> str:
    """`log p -12.3  perplexity 8.1  the text`."""
    text = " ".join(prediction.text.split())
    text = text if len(text) <= 80 else text[:79] + "…"
    return f"log p {prediction.log_probability:9.2f}  perplexity {prediction.perplexity:9.2f}  {text}"


def encoded(config: Config, assets: Assets, records: Records) -> tuple[Any, Any]:
    """The ids of all texts behind each other, each with its line end, and how many each has."""
    import numpy as np

    from nlp_rnn.text.ragged import append
    from nlp_rnn.text.tokenizer import END, in_chunks

    newline = config.newline
    values, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for chunk in in_chunks(records.columns("text", "continues"), 5000, lambda line: len(line[0] or ""), 2_000_000):
        texts = [text or "" for text, _ in chunk]
        ends = np.array([not goes_on for _, goes_on in chunk])
        ids = assets.tokenizer.encode([t + "\n" if newline and end else t for t, end in zip(texts, ends, strict=True)])
        counts, kept = ids.row_lengths().numpy(), np.ones(len(ids.values), bool)
        if not newline:  # an empty line is its end alone, not an unknown word
            ids = append(ids, END)
            kept = np.ones(len(ids.values), bool)
            starts = np.cumsum(counts + 1) - (counts + 1)
            empty = np.array([not text.strip() for text in texts])
            kept[starts[empty]], kept[(starts + counts)[~ends]] = False, False
            counts = counts + ends - empty
        values.append(ids.values.numpy()[kept])
        lengths.append(counts)
    return np.concatenate(values), np.concatenate(lengths)


TASK = Task(
    name="language-modeling",
    Config=Config,
    prediction=Score,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    decode=decode,
    metrics=metrics,
    signatures=signatures,
    show=show,
    lower_is_better=True,
    example="The quick brown fox",
    commands={
        "generate": verbs.generate_command,
        "score": verbs.score_command,
        "surprise": verbs.surprise_command,
        "gradients": verbs.gradients_command,
    },
)
