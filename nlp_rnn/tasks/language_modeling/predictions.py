"""From nats to the probability of texts, and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Metrics, Outputs
from nlp_rnn.tasks.language_modeling.further import nats_of
from nlp_rnn.tasks.language_modeling.settings import SearchConfig

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records


@dataclass(frozen=True)
class Score:
    """How probable a text is, read by itself.

    Args:
        text: the input.
        log_probability: its natural logarithm, the end of the line included.
        perplexity: exp of the mean over its tokens.
        units: how many tokens there are.
    """

    text: str
    log_probability: float
    perplexity: float
    units: int


def from_row(row: dict[str, Any], options: SearchConfig, asked: object = None) -> Score:
    """A row of the signature `score`."""
    return Score(row["text"], row["log_probability"], row["perplexity"], row["units"])


def decode(outputs: Outputs, records: Records, assets: Assets, options: SearchConfig) -> list[Score]:
    """Nats, by cache and dynamic evaluation where there are such, → log-probability and perplexity of each text."""
    from nlp_rnn.metrics.language import perplexity

    scores = []
    for text, nats in zip(records.column("text"), nats_of(outputs), strict=True):
        total = float(nats.sum(dtype="float64"))
        scores.append(Score(text or "", -total, perplexity(total / max(len(nats), 1)), len(nats)))
    return scores


def evaluate(records: Records, predictions: Sequence[Score], outputs: Outputs, assets: Assets) -> Metrics:
    """Perplexity of the text read as one, per token and per word, and bits per character; with a cache or dynamic
    evaluation, what they make of them too."""
    from nlp_rnn.metrics.language import language_report

    line_ends = sum(not goes_on for (goes_on,) in records.columns("continues"))
    texts = [score.text for score in predictions]
    found = language_report(outputs["nats"], texts, line_ends)
    with_cache = "dynamic_and_cache" if "adapted" in outputs else "cache"
    for output, what in (("adapted", "dynamic"), ("cached", with_cache)):
        if output in outputs:
            report = language_report(outputs[output], texts, line_ends)
            shown = ("perplexity", "bits_per_character", "perplexity_per_word")
            found |= {f"{name}_with_{what}": report[name] for name in shown}
    return found


def show(prediction: Score, record: dict[str, object] | None = None) -> str:
    """`log p -12.3  perplexity 8.1  the text`."""
    text = " ".join(prediction.text.split())
    text = text if len(text) <= 80 else text[:79] + "…"
    return f"log p {prediction.log_probability:9.2f}  perplexity {prediction.perplexity:9.2f}  {text}"
