"""The verb `explain`: how much each token weighed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.options import texts_or_lines
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.sentiment.predictions import Sentiment, decode, show

if TYPE_CHECKING:
    from rich.text import Text

    from nlp_rnn.run import AnyRun


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

    def __str__(self) -> str:
        weights = [f"  {token['weight']:6.1%}  {token['token']}" for token in self.as_dict()["tokens"]]
        return "\n".join([show(self.prediction), *weights])

    def _repr_html_(self) -> str:
        from nlp_rnn.display.highlight import highlighted_html

        return highlighted_html(self.prediction.text, self.weights, self._heading())

    def __rich__(self) -> Text:
        from nlp_rnn.display.highlight import highlighted_text

        return highlighted_text(f"{self._heading()}  ", self.prediction.text, self.weights)

    def _heading(self) -> str:
        return f"{self.prediction.label} {self.prediction.probability:.0%}"


def explain(run: AnyRun, texts: Sequence[str]) -> list[Explanation]:
    """How much each token weighed when a text was pooled.

    Raises:
        InputError: the run does not pool by attention.
    """
    pooling = getattr(getattr(run.config, "head", None), "pooling", None)
    refuse_other_models(run, pooling is not None, "explain", "a model that pools its sequence by attention")
    if pooling != "attention":
        raise InputError(f"This run pools by {pooling}; to see weights, train with --head.pooling attention.")
    from nlp_rnn.data.records import Records
    from nlp_rnn.text.ragged import truncate

    records = Records([{"text": text, "label": None} for text in texts])
    if not len(records):
        return []
    outputs = run.infer(records)
    refuse_other_models(run, "weights" in outputs, "explain", "a task that infers the weights of tokens")
    predictions = decode(outputs, records, run.assets)
    data = run.config.data
    _, starts, ends = run.assets.tokenizer.encode_with_offsets(list(texts))
    starts, ends = (truncate(part, data.longest, data.kept_part).to_list() for part in (starts, ends))
    return [
        Explanation(prediction, list(zip(begin, end, map(float, weights), strict=False)))  # weights are padded
        for prediction, begin, end, weights in zip(predictions, starts, ends, outputs["weights"], strict=True)
    ]


@dataclass(frozen=True)
class ExplainOptions:
    """Options of the verb `explain`."""

    texts: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[TEXT …]")] = ()
    """Texts; without any, the lines of standard input."""


def _results(run: AnyRun, options: ExplainOptions) -> Iterator[Explanation]:
    yield from explain(run, texts_or_lines(options.texts))


COMMANDS = (Command("explain", "Shows how much each token weighed.", ExplainOptions, _results),)
