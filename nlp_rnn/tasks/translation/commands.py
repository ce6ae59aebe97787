"""What translators can do beside the verbs of all tasks: candidates, attention, scores of given translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.values import check_ranges
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.inputs import records_of
from nlp_rnn.tasks.translation.model import search
from nlp_rnn.tasks.translation.predictions import Candidate, ranked
from nlp_rnn.tasks.translation.settings import SearchOptions

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun


def candidates(run: AnyRun, texts: Sequence[str] | Records, count: int = 1, **changes: Any) -> list[list[Candidate]]:
    """The best translations of each text, the best first, with the attention of each.

    Args:
        run: a trained one.
        texts: to translate.
        count: how many for each; there are fewer where the search finds fewer.
        **changes: settings of the search, as those of the run's configuration, instead of them.

    Raises:
        InputError: a setting makes no sense.

    Example:

        best = candidates(run, ["12 March 2024"], 3, width=8)[0]
        print(best[0])          # where it looked
    """
    from nlp_rnn.data.records import Records

    refuse_others(run, "candidates")
    options = replace(run.options(**changes), n_best=count)
    check_ranges(options)
    settings = search(options)
    records = texts if isinstance(texts, Records) else records_of(run.task.input, texts)
    outputs = run.compute(records, lambda features: run.model.candidates(features, **settings))
    sources = [text or "" for text in records.column("source")]
    return [found.ranked for found in ranked(outputs, sources, run.assets, count)]


def refuse_others(run: AnyRun, verb: str) -> None:
    """Only translators have these verbs.

    Raises:
        InputError: the run is of another task.
    """
    refuse_other_models(run, hasattr(run.model, "candidates"), verb, "a translator")


def picture(run: AnyRun, text: str, options: SearchOptions) -> Candidate:
    """The best translation of a text, which can draw where it looked.

    Raises:
        InputError: the run has no attention.
    """
    if not run.config.attends:
        raise InputError("This run has no attention: train one with --decoder.attention additive, say.")
    return candidates(run, [text], 1, **search(options))[0][0]


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

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.log_probability:9.3f}  {self.perplexity:9.2f}  {self.source} → {self.target}"


def score(run: AnyRun, data: Any, **columns: Any) -> list[ScoredTranslation]:
    """How probable given translations are: forced decoding.

    Args:
        run: a trained one.
        data: two files of lines, or one with two columns, or `Records`.
        **columns: settings of `data`.
    """
    from nlp_rnn.data.records import Records
    from nlp_rnn.metrics.language import perplexity

    refuse_others(run, "score")
    records = data if isinstance(data, Records) else run.read(data, **columns)

    def forced(features: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        nats, _ = run.model.nats(features, features["targets"])
        return {"nats": tf.where(features["targets"] != 0, nats, 0.0)}

    found = []
    nats = run.compute(records, forced)["nats"]
    for (source, target), losses in zip(records.columns("source", "target"), nats, strict=True):
        total, count = float(losses.sum(dtype="float64")), int((losses != 0).sum())
        mean = perplexity(total / max(count, 1))
        found.append(ScoredTranslation(source or "", target or "", -total, count, mean))
    return found


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the verb `score`."""

    data: tuple[str, ...]
    """Two files of lines, the source first, or one with two columns."""


def _scores(run: AnyRun, options: ScoreOptions) -> Iterator[ScoredTranslation]:
    yield from score(run, options.data)


COMMANDS = (Command("score", "Log-probability and perplexity of given translations.", ScoreOptions, _scores),)
