"""Language modelling: what comes next; generation that streams, and scores.

What is here is the whole task; TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nlp_rnn.config import DataConfig, EmbeddingConfig, StackConfig, TokenizerConfig, TrainConfig
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Assets, Task, refuse_settings

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import Run


@dataclass(frozen=True)
class LanguageData(DataConfig):
    """Where the text comes from; its lines follow each other."""

    text: str = "text"
    """Column of the text."""
    lines: Literal["auto", "end", "newline"] = "auto"
    """What stands for the end of a line: the end token, or a newline; "auto" takes the end token for words."""


@dataclass(frozen=True)
class LanguageHead:
    """From the states to the vocabulary."""

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
    """Let windows begin at other places in each epoch."""
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
    """Records `{"text", "line"}`; those to train or evaluate on follow each other ("follows")."""
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.sources import read_split

    data = config.data
    given = split == "predict" or (split != "train" and getattr(data, split))
    if data.train == ("starter",) and not given:
        from nlp_rnn.data.starter.python_documentation import split_documents

        return Records([{"text": line, "follows": True} for line in split_documents(split)])
    fields = Fields({"text": data.text}, optional=("text",), running="text")
    records = read_split("language-modeling", data, "test" if split == "predict" else split, fields, config.train.seed)
    if records is None or split == "predict":
        return records
    follows = [{"text": text or "", "follows": True} for text in records.column("text")]
    return Records(follows, records.dropped, records.note)


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizer."""
    from nlp_rnn.text.tokenizer import SPECIAL
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "language modelling", "class_weights", "label_smoothing")
    if config.stack.bidirectional:
        raise InputError("A language model reads in one direction: give --stack.bidirectional False.")
    if "," in config.train.devices:
        raise InputError("A language model carries its state on one device: give --train.devices one number, or none.")
    ending = "\n" if _line_end(config) == "newline" else ""
    tokenizer = train_tokenizer(config.tokenizer, (text + ending for text in records.column("text")))
    if tokenizer.size <= SPECIAL + 1:
        raise InputError(
            f"The vocabulary has {tokenizer.size - SPECIAL} units: there is nothing to predict; give more text."
        )
    return Assets({"tokenizer": tokenizer})


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Any:
    """Lanes of windows for training; one lane for texts that follow each other; rows for texts by themselves."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.lanes import Lanes
    from nlp_rnn.text.tokenizer import END

    ids, lengths = _encoded(config, assets, records)
    train = config.train
    follows = bool(len(records)) and records[0].get("follows", False)
    if seed is None and not follows:
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
    return Lanes(ids, train.batch_size, train.window, seed if train.vary_window else None, lengths)


def build(config: Config, assets: Assets) -> Any:
    """Embedding, recurrent stack and softmax."""
    from nlp_rnn.layers import RecurrentStack, SoftmaxHead, TokenEmbedding
    from nlp_rnn.models import LanguageModel

    embedding, head, dtype = config.embedding, config.head, config.train.precision
    size = assets.tokenizer.size
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
        SoftmaxHead(size, embedding.size if head.tied else 0, head.dropout, dtype=dtype, name="head"),
        activation_penalty=config.train.activation_penalty,
        change_penalty=config.train.change_penalty,
        dtype=dtype,
        name="language_model",
    )
    model.build()
    return model


def loss(config: Config) -> Any:
    """Cross-entropy of the next token, in nats."""
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


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

    return language_report(outputs["nats"], [score.text for score in predictions])


def signatures(config: Config, model: Any, assets: Assets) -> dict[str, Any]:
    """`serving_default` takes strings and gives their log-probabilities; `step` goes on from a state."""
    import tensorflow as tf

    from nlp_rnn.text.ragged import append
    from nlp_rnn.text.tokenizer import END

    newline = _line_end(config) == "newline"

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

    state_shape = [None, sum(len(layer) for layer in model.advance(tf.ones((1, 1), tf.int32))[1]), config.stack.units]
    inputs = [tf.TensorSpec([None, None], tf.int32, "tokens"), tf.TensorSpec(state_shape, tf.float32, "state")]

    @tf.function(input_signature=inputs, autograph=False)
    def step(tokens: Any, state: Any) -> dict[str, Any]:
        parts = tf.unstack(state, axis=1)
        size = len(parts) // config.stack.layers
        layers = [parts[i : i + size] for i in range(0, len(parts), size)]
        logits, after = model.advance(tokens, layers)
        return {"logits": logits, "state": tf.stack([tf.cast(s, tf.float32) for s in tf.nest.flatten(after)], 1)}

    return {"serving_default": score, "step": step}


def show(prediction: Score, record: dict[str, Any] | None = None) -> str:
    """`log p -12.3  perplexity 8.1  the text`."""
    text = " ".join(prediction.text.split())
    text = text if len(text) <= 80 else text[:79] + "…"
    return f"log p {prediction.log_probability:9.2f}  perplexity {prediction.perplexity:9.2f}  {text}"


def generate(
    run: Run,
    prompt: str = "",
    length: int = 200,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """Goes on from a prompt; yields the text piece by piece, never half a character.

    Args:
        run: a trained one.
        prompt: what to go on from.
        length: units to generate, at most.
        temperature, top_k, top_p, repetition_penalty: as those of `nlp_rnn.decoding.sampling.Sampling`.
        seed: the same one gives the same text.
        stop: the text ends before the first of these.

    Raises:
        InputError: a setting makes no sense.
    """
    import numpy as np

    from nlp_rnn.decoding.sampling import Generator, Sampling
    from nlp_rnn.text.tokenizer import BEGIN, END, PAD, UNKNOWN

    if length < 1:
        raise InputError(f"The length is {length}; it must be at least 1.")
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    tokenizer, newline = run.assets.tokenizer, _line_end(run.config) == "newline"
    banned = (PAD, UNKNOWN, BEGIN) + ((END,) if newline else ())
    given = _prompt_ids(tokenizer, prompt) if prompt else []
    stream = Generator(run.model, sampling, banned)(np.array([[END, *given]], np.int32), seed)
    ids: list[int] = []
    said = ""
    for _, tokens in zip(range(length), stream, strict=False):
        ids.append(int(tokens[0]))
        text = _text(run, ids)
        if found := [place for word in stop if word and (place := text.find(word)) >= 0]:
            yield text[len(said) : min(found)]
            return
        # What may still become a stop word or a whole character is held back.
        held = max((len(word) - 1 for word in stop), default=0)
        ready = text[: len(text) - held] if held else text
        ready = ready.rstrip("\ufffd")
        if len(ready) > len(said):
            yield ready[len(said) :]
            said = ready
    yield _text(run, ids)[len(said) :]


@dataclass(frozen=True)
class GenerateOptions:
    """Options of the verb `generate`."""

    prompt: str = ""
    """What to go on from."""
    length: int = 500
    """Units (characters, words, …) to generate."""
    temperature: float = 0.8
    """Below 1 is more careful, above 1 bolder; 0 takes the most probable unit each time."""
    top_k: Annotated[int, tyro.conf.arg(name="top-k")] = 0
    """Draw from so many of the most probable units only; 0 for all."""
    top_p: Annotated[float, tyro.conf.arg(name="top-p")] = 1.0
    """Draw from the fewest units that together have this probability."""
    repetition_penalty: Annotated[float, tyro.conf.arg(name="repetition-penalty")] = 1.0
    """Above 1, units that occurred become less probable."""
    seed: int = 0
    """The same one gives the same text."""
    stop: tuple[str, ...] = ()
    """Texts before which to end."""
    json: bool = False
    """Print a JSON object at the end instead of streaming."""


def generate_command(run: Run, arguments: list[str], prog: str) -> int:
    """`generate RUN --prompt …`: the text as it comes."""
    import json

    from nlp_rnn.cli.options import parse

    options = parse(GenerateOptions, arguments, f"{prog} RUN", "Goes on from a prompt.")
    settings = asdict(options)
    as_json = settings.pop("json")
    pieces = generate(run, **settings)
    if as_json:
        print(json.dumps({"prompt": options.prompt, "text": "".join(pieces)}, ensure_ascii=False))
        return 0
    sys.stdout.write(options.prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
    return 0


def _prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    from nlp_rnn.text.tokenizer import UNKNOWN

    ids, starts, ends = (part.to_list()[0] for part in tokenizer.encode_with_offsets([prompt]))
    if UNKNOWN in ids:
        place = ids.index(UNKNOWN)
        unknown = prompt[starts[place] : ends[place]]
        raise InputError(
            f"The prompt has {unknown!r}, which training never saw: leave it out, or write it another way."
        )
    return ids


def _line_end(config: Config) -> str:
    if config.data.lines != "auto":
        return config.data.lines
    return "end" if config.tokenizer.kind == "word" else "newline"


def _encoded(config: Config, assets: Assets, records: Records) -> tuple[Any, Any]:
    """The ids of all texts behind each other, each with its line end, and how many each has."""
    import numpy as np

    from nlp_rnn.text.ragged import append
    from nlp_rnn.text.tokenizer import END, in_chunks

    newline = _line_end(config) == "newline"
    values, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for chunk in in_chunks((text or "" for text in records.column("text")), 5000):
        ids = assets.tokenizer.encode([text + "\n" for text in chunk] if newline else chunk)
        ids = ids if newline else append(ids, END)
        counts = ids.row_lengths().numpy()
        kept = np.ones(len(ids.values), bool)
        if not newline:  # an empty line is its end alone, not an unknown word
            empty = np.array([not text.strip() for text in chunk])
            kept[(np.cumsum(counts) - counts)[empty]] = False
            counts = counts - empty
        values.append(ids.values.numpy()[kept])
        lengths.append(counts)
    return np.concatenate(values), np.concatenate(lengths)


def _text(run: Run, ids: list[int]) -> str:
    """Ids → text; words have blanks between them, and the end token is a line end."""
    from nlp_rnn.text.tokenizer import END

    tokenizer = run.assets.tokenizer
    if tokenizer.kind != "word":
        return tokenizer.decode([ids])[0]
    words = ["\n" if i == END else tokenizer.vocabulary[i - 4] for i in ids]
    return " " + " ".join(words).replace(" \n ", "\n").replace(" \n", "\n")


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
    commands={"generate": generate_command},
)
