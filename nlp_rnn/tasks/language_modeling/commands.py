"""What language models can do beside the verbs of all tasks: generate, surprise, explain, gradients."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.values import AtLeast, check_ranges
from nlp_rnn.errors import InputError
from nlp_rnn.paths import check_place
from nlp_rnn.tasks.base import Command
from nlp_rnn.tasks.explaining import Contributions
from nlp_rnn.tasks.language_modeling.explaining import explain
from nlp_rnn.tasks.language_modeling.generating import generate
from nlp_rnn.tasks.language_modeling.surprises import Surprise, surprise, windows

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.run import AnyRun


@dataclass(frozen=True)
class GenerateOptions:
    """Options of the verb `generate`."""

    prompt: str = ""
    """Text to continue."""
    length: int = 500
    """Tokens (characters, words, …) to generate."""
    temperature: float = 0.8
    """Below 1 is more careful, above 1 bolder; 0 takes the most probable token each time."""
    top_k: Annotated[int, tyro.conf.arg(name="top-k")] = 0
    """Sample from this many of the most probable tokens; 0 for all."""
    top_p: Annotated[float, tyro.conf.arg(name="top-p")] = 1.0
    """Sample from the smallest set of tokens with this total probability."""
    repetition_penalty: Annotated[float, tyro.conf.arg(name="repetition-penalty")] = 1.0
    """Above 1, tokens that occurred become less probable."""
    seed: int = 0
    """The same one gives the same text."""
    stop: tuple[str, ...] = ()
    """Stop before any of these texts."""


@dataclass(frozen=True)
class Generated:
    """A prompt and what follows it, written as it comes.

    Args:
        prompt: what was gone on from.
        pieces: of the text; they can be taken once.
    """

    prompt: str
    pieces: Iterator[str]

    def as_dict(self) -> dict[str, Any]:
        """The whole text."""
        return {"prompt": self.prompt, "text": "".join(self.pieces)}

    def stream(self) -> Iterator[str]:
        """The prompt and the pieces, as they come."""
        yield self.prompt
        yield from self.pieces


def _generated(run: AnyRun, options: GenerateOptions) -> Iterator[Generated]:
    pieces = generate(run, **asdict(options))
    first = next(pieces)  # mistakes are found here, before anything is said
    yield Generated(options.prompt, itertools.chain([first], pieces))


@dataclass(frozen=True)
class SurpriseOptions:
    """Options of the verb `surprise`."""

    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TEXT]")] = None
    """The text; by default standard input."""


def _text_of(options: SurpriseOptions) -> str:
    text = sys.stdin.read().removesuffix("\n") if options.text is None else options.text
    if not text:
        raise InputError("There is no text: give one, or send it to standard input.")
    return text


def _surprises(run: AnyRun, options: SurpriseOptions) -> Iterator[Surprise]:
    yield surprise(run, _text_of(options))


@dataclass(frozen=True)
class ExplainOptions(SurpriseOptions):
    """Options of the verb `explain`."""

    next: str = ""
    """Explain the first token of this text, which follows, rather than the likeliest."""


def _explained(run: AnyRun, options: ExplainOptions) -> Iterator[Contributions]:
    yield explain(run, _text_of(options), options.next)


@dataclass(frozen=True)
class GradientsOptions:
    """Options of the verb `gradients`."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[RUN …]")] = ()
    """More runs, to compare with."""
    steps: Annotated[int, AtLeast(2)] = 100
    """Number of steps to look back."""
    out: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Where to draw the gradients: a .png, .svg or .pdf file."""


@dataclass(frozen=True)
class Reach:
    """How far back gradients reach in models.

    Args:
        norms: by the name of the model, the norm at each distance, `[steps]`.
    """

    norms: dict[str, np.ndarray]

    def as_dict(self) -> dict[str, list[float]]:
        """Plain values, as `--json` prints them."""
        return {name: [float(norm) for norm in reach] for name, reach in self.norms.items()}

    def __str__(self) -> str:
        lines = []
        for name, reach in self.norms.items():
            gone = next((k for k, norm in enumerate(reach) if norm < 0.01 * reach[0]), None)
            left = f"{reach[-1] / reach[0]:.1%} after {len(reach)} steps"
            lines.append(f"{name}: {f'below 1 % after {gone} steps' if gone else left}")
        return "\n".join(lines)


def _reach(run: AnyRun, options: GradientsOptions) -> Iterator[Reach]:
    from nlp_rnn.analysis.gradients import gradient_reach
    from nlp_rnn.display.figures import figure_path, save_figure
    from nlp_rnn.display.gradients import plot_gradient_reach
    from nlp_rnn.run import load

    check_ranges(options)
    out = figure_path(options.out, "--out") if options.out else None
    if out is not None:
        check_place(out, "--out")
    runs = [run, *(load(path, run.task.name) for path in options.runs)]
    names = [f"{one.config.stack.cell} {one.path}" for one in runs]
    reach = {n: gradient_reach(r.model, windows(r, options.steps)) for n, r in zip(names, runs, strict=True)}
    if out is not None:
        save_figure(plot_gradient_reach(reach), out)
    yield Reach(reach)


COMMANDS = (
    Command("generate", "Continues a prompt.", GenerateOptions, _generated),
    Command("surprise", "Shows how much each token of a text surprises.", SurpriseOptions, _surprises),
    Command("explain", "Shows which tokens made the next one likely.", ExplainOptions, _explained),
    Command("gradients", "Measures how far back gradients reach in runs.", GradientsOptions, _reach),
)
SYNONYMS = {"score": "Log-probability and perplexity of each text."}
