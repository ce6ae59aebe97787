"""The verb `explain`: what each part of an input contributed to what a model says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    import tensorflow as tf
    from rich.text import Text

    from nlp_rnn.analysis.attribution import Attribution
    from nlp_rnn.layers.base import Tensor

_MISSED, _SHOWN = 0.05, 10


@dataclass(frozen=True)
class TextsToExplain:
    """Options of `explain` where inputs are texts."""

    texts: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[TEXT …]")] = ()
    """Texts; without any, the lines of standard input."""


@dataclass(frozen=True)
class Contributions:
    """What each token of a text contributed to what a model says; Jupyter and rich show it in the text, green where a
    token spoke for it and red where it spoke against.

    They are integrated gradients (Sundararajan et al. 2017), which sum to the score of the text less that of the text
    from which all tokens are gone.

    Args:
        text: the input.
        said: what is explained, such as a label.
        measure: what the score is, such as "log-odds".
        tokens: start, end (code points of the text) and contribution of each token, positive where it spoke for what
            was said.
        score: of the text.
        base: of nothing.
        missed: the part of the difference that the contributions do not sum to.
        cut: how many tokens of the text were not read, since it is too long.
    """

    text: str
    said: str
    measure: str
    tokens: list[tuple[int, int, float]]
    score: float
    base: float
    missed: float
    cut: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        text = self.text
        tokens = [{"token": text[s:e], "start": s, "end": e, "contribution": c} for s, e, c in self.tokens]
        return {
            "text": text,
            "said": self.said,
            "measure": self.measure,
            "score": self.score,
            "base": self.base,
            "missed": self.missed,
            "cut": self.cut,
            "tokens": tokens,
        }

    def __str__(self) -> str:
        lines = [f"  {value:+8.3f}  {self.text[start:end]}" for start, end, value in self.tokens]
        return "\n".join([self.heading, *lines])

    @property
    def heading(self) -> str:
        """What was said, and the sums."""
        off = f"; the sum misses {self.missed:.0%}" if self.missed > _MISSED else ""
        cut = f"; {self.cut:,} tokens of this long text are not read" if self.cut else ""
        return f"{self.said}  ({self.measure} {self.score:+.2f}; {self.base:+.2f} without the text{off}{cut})"

    def _repr_html_(self) -> str:
        from nlp_rnn.display.highlight import highlighted_html

        return highlighted_html(self.text, self.tokens, self.heading, signed=True)

    def __rich__(self) -> Text:
        from nlp_rnn.display.highlight import highlighted_text

        return highlighted_text(f"{self.heading}  ", self.text, self.tokens, signed=True)


@dataclass(frozen=True)
class HistoryContributions:
    """What each value of a history contributed to a forecast, as integrated gradients (Sundararajan et al. 2017): they
    sum to the forecast less that of a history of nothing but its own means.

    Args:
        series: its name.
        target: what is forecast; the contributions are to the mean of its medians over the horizon, in its own unit.
        times: of the history.
        inputs: names of the channels that are read.
        values: contributions, for each step one of each channel.
        given: whether each of these values was in the data; others, such as missing ones and those before a short
            series, were filled in.
        forecast: the mean of the medians.
        base: that of the means.
        missed: the part of the difference that the contributions do not sum to.
    """

    series: str
    target: str
    times: list[str]
    inputs: list[str]
    values: list[list[float]]
    given: list[list[bool]]
    forecast: float
    base: float
    missed: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        rows = [
            (value, time, f"{channel}{'' if given else '  (filled in)'}")
            for time, values, givens in zip(self.times, self.values, self.given, strict=True)
            for channel, value, given in zip(self.inputs, values, givens, strict=True)
        ]
        most = sorted(rows, key=lambda row: -abs(row[0]))[:_SHOWN]
        off = f"; the sum misses {self.missed:.0%}" if self.missed > _MISSED else ""
        shown = [f"  {value:+10.4g}  {time}  {channel}" for value, time, channel in most]
        others = sum(row[0] for row in rows) - sum(row[0] for row in most)
        if len(rows) > len(most):
            shown.append(f"  {others:+10.4g}  the other {len(rows) - len(most):,} values together")
        return "\n".join([f"{self.heading}{off}", *shown])

    @property
    def heading(self) -> str:
        """What was forecast, and the base."""
        name = f"{self.series} {self.target}".strip()
        return f"{name}: {self.forecast:.4g} on average; {self.base:.4g} without ups and downs"


def contributions(
    text: str, said: str, measure: str, spans: Sequence[tuple[int, int]], found: Attribution
) -> Contributions:
    """Those of the tokens at these places of a text; what the model read beside them, such as a begin, has none."""
    values = found.values[len(found.values) - len(spans) :] if len(spans) < len(found.values) else found.values
    tokens = [(start, end, float(value)) for (start, end), value in zip(spans, values, strict=False)]
    return Contributions(text, said, measure, tokens, found.score, found.base, found.missed)


def score_of_vectors(
    call: Callable[[dict[str, Any]], Any], features: Mapping[str, Any], score: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """The score of what a model makes of vectors in the place of those of its own embedding.

    Args:
        call: features → outputs, of a `PartsModel`.
        features: of one row.
        score: outputs → `[batch]`.
    """
    import tensorflow as tf

    def function(vectors: Tensor) -> tf.Tensor:
        count = tf.shape(vectors)[0]
        many = {name: tf.repeat(tf.constant(value), count, axis=0) for name, value in features.items()}
        return score(call({**many, "vectors": vectors}))

    return function
