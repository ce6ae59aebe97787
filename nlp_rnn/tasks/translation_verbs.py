"""What translators can do beside the verbs of all tasks: several candidates, attention, scores of given translations.

TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.cli.predict import PredictOptions
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import Run


@dataclass(frozen=True)
class Candidate:
    """One translation of several.

    Args:
        source: the input.
        translation: of it.
        score: by which it was ranked.
        rank: 1 for the best.
        source_tokens: what the model read.
        target_tokens: what it wrote.
        attention: a row for each target token, with weights of the source tokens: where it looked as it wrote it.
    """

    source: str
    translation: str
    score: float
    rank: int
    source_tokens: list[str]
    target_tokens: list[str]
    attention: list[list[float]]

    def __str__(self) -> str:
        from nlp_rnn.plots.attention import attention_text

        return attention_text(self.source_tokens, self.target_tokens, self.attention)

    def _repr_html_(self) -> str:
        from nlp_rnn.plots.attention import attention_html

        return attention_html(self.source_tokens, self.target_tokens, self.attention)

    def plot(self) -> Any:
        """The attention as a `matplotlib.figure.Figure`."""
        from nlp_rnn.plots.attention import plot_attention

        return plot_attention(self.source_tokens, self.target_tokens, self.attention)


@dataclass(frozen=True)
class ScoredTranslation:
    """How probable a model finds a given translation.

    Args:
        source: the input.
        target: its translation.
        log_probability: of it, in nats, its end included.
        tokens: how many there are, its end included.
        perplexity: for each of them.
    """

    source: str
    target: str
    log_probability: float
    tokens: int
    perplexity: float


def candidates(run: Run, texts: Sequence[str] | Records, count: int = 1, **search: Any) -> list[list[Candidate]]:
    """The best translations of each text, the best first.

    Args:
        run: a trained one.
        texts: to translate.
        count: how many for each; there are fewer where the search finds fewer.
        **search: settings of the search, as those of the run's configuration, instead of them.

    Raises:
        InputError: a setting makes no sense.

    Example:

        best = candidates(run, ["12 March 2024"], 3, width=8)[0]
        print(best[0])          # where it looked
    """
    from nlp_rnn.data.records import Records
    from nlp_rnn.decoding.unknown import said

    settings = {**run.model.search, **search}
    if count < 1:
        raise InputError(f"{count} translations of each text were asked for; it must be at least 1.")
    if count > settings["width"]:
        raise InputError(f"A beam {settings['width']} wide finds no {count} translations: give --beam {count} or more.")
    records = texts if isinstance(texts, Records) else Records([{"source": text} for text in texts])
    made = _with(run, lambda features: run.model.candidates(features, **settings)).infer(records)
    pieces = {name: run.assets.tokenizers[name].pieces() for name in ("source", "target")}
    found = []
    for i, text in enumerate(text or "" for text in records.column("source")):
        looked = made["looked"][i] if "looked" in made else None
        texts_said = said(run.assets.tokenizers, [text] * settings["width"], made["tokens"][i], looked)
        read = made["source"][i][made["source"][i] != 0]
        ranked = []
        for rank in range(count):
            written = made["tokens"][i][rank][made["tokens"][i][rank] != 0]
            score = float(made["score"][i][rank])
            if rank and score <= -1e8:  # the search found no more
                break
            seen = made["attention"][i][rank][: len(written), : len(read)]
            names = _readable(pieces["source"], read), _readable(pieces["target"], written)
            weights = seen.astype(float).round(4).tolist()
            ranked.append(Candidate(text, texts_said[rank], score, rank + 1, names[0], names[1], weights))
        found.append(ranked)
    return found


def score(run: Run, data: Any, **columns: Any) -> list[ScoredTranslation]:
    """How probable given translations are: forced decoding.

    Args:
        run: a trained one.
        data: two files of lines, or one with two columns, or `Records`.
        **columns: settings of `data`.
    """
    from nlp_rnn.data.records import Records

    records = data if isinstance(data, Records) else run.read(data, **columns)

    def infer(features: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        nats, _ = run.model.nats(features, features["targets"])
        return {"nats": tf.where(features["targets"] != 0, nats, 0.0)}

    from nlp_rnn.metrics.language import perplexity

    found = []
    nats = _with(run, infer).infer(records)["nats"]
    for (source, target), losses in zip(records.columns("source", "target"), nats, strict=True):
        total, count = float(losses.sum(dtype="float64")), int((losses != 0).sum())
        mean = perplexity(total / max(count, 1))
        found.append(ScoredTranslation(source or "", target or "", -total, count, mean))
    return found


@dataclass(frozen=True)
class TranslateOptions(PredictOptions):
    """Options of `predict` for translators."""

    beam: int | None = None
    """Width of the beam, 1 for greedy; by default the run's."""
    n_best: Annotated[int, tyro.conf.arg(name="n-best")] = 1
    """Translations of each text."""
    attention: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to draw what was looked at, of the best translation of one text: .png, .svg or .pdf, or "-" for text."""


def predict_command(arguments: list[str], prog: str, load: Callable[[str], Run]) -> int:
    """`predict RUN TEXT --beam 8 --n-best 3 --attention out.png`; what `--output` names is lines, if not a table."""
    from nlp_rnn.cli.predict import apply, read_options

    options = read_options(arguments, prog, "Translates texts.", TranslateOptions, lines=True)
    if options.attention and len(options.texts) != 1:
        raise InputError("--attention draws one text: give one as an argument.")
    figure = (".png", ".svg", ".pdf")
    if options.attention not in (None, "-") and Path(str(options.attention)).suffix not in figure:
        raise InputError(f'The name of --attention {options.attention} must end in {", ".join(figure)}, or be "-".')
    run = load(options.run)
    search = {} if options.beam is None else {"width": options.beam}
    if options.n_best == 1 and options.attention is None:
        run.model.search = {**run.model.search, **search}
        return apply(run, options)

    def many(texts: Any) -> Any:
        for ranked in candidates(run, texts, options.n_best, **search):
            yield from ranked

    if options.attention is not None:
        if run.config.decoder.attention == "none":
            raise InputError("This run has no attention: train one with --decoder.attention additive, say.")
        best = next(many(list(options.texts)))
        if options.attention == "-":
            print(best)
        else:
            best.plot().savefig(options.attention, dpi=150)
    task = dataclasses.replace(run.task, prediction=Candidate, show=_shown)
    return apply(SimpleNamespace(predict=_in_chunks(many), task=task, read=run.read), options)


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the verb `score`."""

    data: tuple[str, ...]
    """Two files of lines, the source first, or one with two columns."""
    json: bool = False
    """Print a JSON object a line."""


def score_command(run: Run, arguments: list[str], prog: str) -> int:
    """`score RUN --data in.en in.de`: log p and perplexity of each given translation."""
    from nlp_rnn.cli.options import parse

    options = parse(ScoreOptions, arguments, f"{prog} RUN", "Scores given translations.")
    for found in score(run, options.data):
        if options.json:
            print(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        else:
            print(f"{found.log_probability:9.3f}  {found.perplexity:9.2f}  {found.source} → {found.target}")
    return 0


def _shown(found: Candidate) -> str:
    return f"{found.score:8.3f}  {found.translation}"


def _in_chunks(many: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of records, a few thousand in memory at a time."""

    def predict(texts: Any) -> Any:
        for chunk in texts.chunks(4000) if hasattr(texts, "chunks") else [texts]:
            yield from many(chunk)

    return predict


def _with(run: Run, infer: Callable[[dict[str, Any]], dict[str, Any]]) -> Run:
    """The run with something else to infer."""
    from nlp_rnn.run import Run

    return Run(run.task, run.config, run.assets, SimpleNamespace(infer=infer))


def _readable(pieces: Sequence[bytes], ids: Any) -> list[str]:
    names = [pieces[int(token)].decode("utf-8", "replace").strip() for token in ids]
    return [name or "·" for name in names]
