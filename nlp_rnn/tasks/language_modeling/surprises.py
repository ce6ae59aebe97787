"""How much each token of a text surprises a model, and parts of texts to look at gradients with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.errors import InputError
from nlp_rnn.tasks.language_modeling.data import encoded, refuse_others, refuse_others_than_language
from nlp_rnn.tasks.language_modeling.further import nats_of

if TYPE_CHECKING:
    import numpy as np
    from rich.text import Text

    from nlp_rnn.run import AnyRun


@dataclass(frozen=True)
class Surprise:
    """How much each token of a text surprised the model.

    Args:
        text: the text.
        units: start, end (code points), and -log p in nats, for each token; the end of the last line is left out.
    """

    text: str
    units: list[tuple[int, int, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        units = [{"text": self.text[s:e], "start": s, "end": e, "nats": nats} for s, e, nats in self.units]
        return {"text": self.text, "units": units}

    def __str__(self) -> str:
        import json

        units = self.as_dict()["units"]
        return "\n".join(f"{unit['nats']:7.3f}  {json.dumps(unit['text'], ensure_ascii=False)}" for unit in units)

    def _repr_html_(self) -> str:
        from nlp_rnn.display.highlight import highlighted_html

        return highlighted_html(self.text, self.units)

    def __rich__(self) -> Text:
        from nlp_rnn.display.highlight import highlighted_text

        return highlighted_text("", self.text, self.units)


def surprise(run: AnyRun, text: str) -> Surprise:
    """-log p of each token of a text, which is read from its begin; its lines follow each other.

    Args:
        run: a trained one.
        text: one line or more.
    """
    from nlp_rnn.data.records import Records

    refuse_others(run, "surprise")
    lines, newline = text.split("\n"), run.config.newline
    nats = nats_of(run.infer(Records([{"text": line, "follows": True} for line in lines])))
    _, starts, ends = run.assets.tokenizer.encode_with_offsets([line + "\n" for line in lines] if newline else lines)
    units, place = [], 0
    for line, begin, finish, losses in zip(lines, starts.to_list(), ends.to_list(), nats, strict=True):
        spans = list(zip(begin, finish, strict=True))
        if not newline:  # an empty line is its end alone
            spans = [*spans[: len(losses) - 1], (len(line), len(line) + 1)]
        units += [(place + s, place + e, float(loss)) for (s, e), loss in zip(spans, losses, strict=True)]
        place += len(line) + 1
    return Surprise(text, [(s, min(e, len(text)), loss) for s, e, loss in units if s < len(text)])


def windows(run: AnyRun, steps: int, count: int = 256, seed: int = 0) -> np.ndarray:
    """Parts of the run's validation text, drawn at random, for `nlp_rnn.analysis.gradients`.

    Args:
        run: a trained one.
        steps: their length, without the last target.
        count: how many.
        seed: of the draw.

    Returns:
        int32 `[count, steps + 1]`.

    Raises:
        InputError: the text is shorter than a window.
    """
    import numpy as np

    refuse_others_than_language(run, "windows")
    records = run.task.read(run.config, "validation")
    ids = np.zeros(0, np.int32) if records is None else encoded(run.config, run.assets, records)[0]
    if len(ids) <= steps:
        raise InputError(f"The validation text has {len(ids):,} tokens, fewer than {steps + 1:,}: give fewer --steps.")
    begins = np.random.default_rng(seed).integers(0, len(ids) - steps, count)
    return np.stack([ids[begin : begin + steps + 1] for begin in begins])
