"""From tokens to translations, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Metrics, Outputs
from nlp_rnn.tasks.translation.data import SIDES, tokenizers
from nlp_rnn.tasks.translation.settings import SearchOptions

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from nlp_rnn.data.records import Records

_NEVER = -1e8
"""Scores below this are those of candidates that the search did not find."""


@dataclass(frozen=True)
class Translation:
    """A text in the other language.

    Args:
        source: the input.
        translation: the best that the search found.
        score: by which it was ranked: its log-probability, with the penalties of `Beam`.
    """

    source: str
    translation: str
    score: float


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
        from nlp_rnn.display.attention import attention_text

        return attention_text(self.source_tokens, self.target_tokens, self.attention)

    def _repr_html_(self) -> str:
        from nlp_rnn.display.attention import attention_html

        return attention_html(self.source_tokens, self.target_tokens, self.attention)

    def plot(self) -> Figure:
        """The attention as a figure."""
        from nlp_rnn.display.attention import plot_attention

        return plot_attention(self.source_tokens, self.target_tokens, self.attention)


@dataclass(frozen=True)
class Candidates:
    """The translations of a text, the best first; there are fewer than were asked for where the search found fewer."""

    ranked: list[Candidate]


def from_row(row: dict[str, Any], options: SearchOptions, asked: object = None) -> Translation:
    """A row of the signature `serving_default`."""
    return Translation(row["source"], row["translation"], row["score"])


def decode(
    outputs: Outputs, records: Records, assets: Assets, options: SearchOptions
) -> list[Translation] | list[Candidates]:
    """The tokens of each search → texts, empty for what is blank; with `n_best` above 1 `Candidates`."""
    from nlp_rnn.decoding.detokenizing import detokenize

    sources = [source or "" for source in records.column("source")]
    if options.n_best > 1:
        return ranked(outputs, sources, assets, options.n_best)
    texts = detokenize(tokenizers(assets), sources, outputs["tokens"], outputs.get("aligned_source"))
    texts = [text if source.strip() else "" for source, text in zip(sources, texts, strict=True)]
    found = zip(sources, texts, outputs["score"], strict=True)
    return [Translation(source, text, float(score)) for source, text, score in found]


def ranked(outputs: Outputs, sources: Sequence[str], assets: Assets, count: int) -> list[Candidates]:
    """The so many best of all that a search found, with the attention of each."""
    from nlp_rnn.decoding.detokenizing import detokenize

    pieces = {name: assets[name].pieces() for name in SIDES}
    found = []
    for i, text in enumerate(sources):
        tokens, scores, attention = (outputs[name][i] for name in ("tokens", "score", "attention"))
        aligned = outputs["aligned_source"][i] if "aligned_source" in outputs else None
        texts = detokenize(tokenizers(assets), [text] * len(tokens), tokens, aligned)
        read = outputs["source"][i][outputs["source"][i] != 0]
        best = []
        for rank in range(count):
            written = tokens[rank][tokens[rank] != 0]
            if rank and scores[rank] <= _NEVER:
                break
            weights = attention[rank][: len(written), : len(read)].astype(float).round(4).tolist()
            names = _readable(pieces["source"], read), _readable(pieces["target"], written)
            best.append(
                Candidate(text, texts[rank] if text.strip() else "", float(scores[rank]), rank + 1, *names, weights)
            )
        found.append(Candidates(best))
    return found


def evaluate(records: Records, predictions: Sequence[Translation], outputs: Outputs, assets: Assets) -> Metrics:
    """BLEU and chrF of the translations, and the perplexity of the references."""
    from nlp_rnn.metrics.language import perplexity
    from nlp_rnn.metrics.translation import translation_report

    report = translation_report([p.translation for p in predictions], [text or "" for text in records.column("target")])
    total = sum(float(nats.sum(dtype="float64")) for nats in outputs["nats"])
    count = sum(int((nats > 0).sum()) for nats in outputs["nats"])
    return {**report, "perplexity": perplexity(total / max(count, 1))}


def show(prediction: Translation | Candidate, record: dict[str, object] | None = None) -> str:
    """The translation; of several with its score; with a record, what was translated and what it should be."""
    if isinstance(prediction, Candidate):
        return f"{prediction.score:8.3f}  {prediction.translation}"
    if record is None:
        return prediction.translation
    right = "✓" if record["target"] == prediction.translation else f"✗ ({record['target']})"
    return f"{prediction.source} → {prediction.translation} {right}"


def _readable(pieces: Sequence[bytes], ids: np.ndarray) -> list[str]:
    names = [pieces[int(token)].decode("utf-8", "replace").strip() for token in ids]
    return [name or "·" for name in names]
