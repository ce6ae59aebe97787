"""What language models can do beside the verbs of all tasks: generate, score, surprise, gradients.

TensorFlow is imported inside functions, so that `--help` need not load it.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.run import Run


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
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition_penalty": repetition_penalty}
    (text,), drawn = _begin(run, [prompt], length, seed, stop, sampling)
    for token in drawn:
        if piece := text.push(int(token[0])):
            yield piece
        if text.ended:
            return
    yield text.finish()


def complete(
    run: Run, prompts: Sequence[str], length: int = 200, seed: int = 0, stop: Sequence[str] = (), **sampling: Any
) -> list[str]:
    """Goes on from several prompts at once.

    Args:
        run: a trained one.
        prompts: what to go on from.
        length: units to generate for each, at most.
        seed: the same one gives the same texts.
        stop: a text ends before the first of these.
        **sampling: as those of `nlp_rnn.decoding.sampling.Sampling`.

    Returns:
        What follows each prompt.

    Raises:
        InputError: a setting makes no sense.
    """
    texts, drawn = _begin(run, prompts, length, seed, stop, sampling)
    said = ["" for _ in prompts]
    for tokens in drawn:
        said = [before + text.push(int(token)) for before, text, token in zip(said, texts, tokens, strict=True)]
        if all(text.ended for text in texts):
            break
    return [before + text.finish() for before, text in zip(said, texts, strict=True)]


def _begin(
    run: Run, prompts: Sequence[str], length: int, seed: int, stop: Sequence[str], sampling: dict[str, Any]
) -> tuple[list[Any], Iterator[Any]]:
    """A stream of text for each prompt, and the tokens for them, `[prompts]` at each of `length` steps."""
    from nlp_rnn.decoding.sampling import Sampling
    from nlp_rnn.decoding.streaming import TextStream, prompt_tokens

    if length < 1:
        raise InputError(f"The length is {length}; it must be at least 1.")
    settings, tokenizer, newline = Sampling(**sampling), run.assets.tokenizer, run.config.newline
    for prompt in prompts:
        _refuse_unknown(tokenizer, prompt)
    given = prompt_tokens(tokenizer, newline, list(prompts)).numpy()
    texts = [TextStream(tokenizer, prompt == "" or prompt.endswith("\n"), stop) for prompt in prompts]
    return texts, itertools.islice(_generator(run.model, newline)(given, settings, seed), length)


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
    from nlp_rnn.cli.options import parse

    options = parse(GenerateOptions, arguments, f"{prog} RUN", "Goes on from a prompt.")
    settings = asdict(options)
    as_json = settings.pop("json")
    pieces = generate(run, **settings)
    if as_json:
        print(json.dumps({"prompt": options.prompt, "text": "".join(pieces)}, ensure_ascii=False))
        return 0
    first = next(pieces)  # mistakes are found here, before anything is said
    sys.stdout.write(options.prompt)
    for piece in itertools.chain([first], pieces):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
    return 0


def score_command(run: Run, arguments: list[str], prog: str) -> int:
    """`score RUN TEXT …`: log-probability and perplexity of each text; what `predict` does, by the name users know."""
    from nlp_rnn.cli.predict import PredictOptions, apply, read_options

    place = [str(run.path)] if run is not None else []
    description = "Log-probability and perplexity of each text."
    return apply(run, read_options([*place, *arguments], prog, description, PredictOptions))


@dataclass(frozen=True)
class Surprise:
    """How much each unit of a text surprised the model.

    Args:
        text: the text.
        units: start, end (code points), and -log p in nats, for each; the end of the last line is left out.
    """

    text: str
    units: list[tuple[int, int, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        units = [{"text": self.text[s:e], "start": s, "end": e, "nats": nats} for s, e, nats in self.units]
        return {"text": self.text, "units": units}

    def _repr_html_(self) -> str:
        from nlp_rnn.plots.highlight import highlighted_html

        return highlighted_html(self.text, self.units)

    def __rich__(self) -> Any:
        from nlp_rnn.plots.highlight import highlighted_text

        return highlighted_text("", self.text, self.units)


def surprise(run: Run, text: str) -> Surprise:
    """-log p of each unit of a text, which is read from its begin; its lines follow each other.

    Args:
        run: a trained one.
        text: one line or more.
    """
    from nlp_rnn.data.records import Records

    lines, newline = text.split("\n"), run.config.newline
    nats = run.infer(Records([{"text": line, "follows": True} for line in lines]))["nats"]
    _, starts, ends = run.assets.tokenizer.encode_with_offsets([line + "\n" for line in lines] if newline else lines)
    units, place = [], 0
    for line, begin, finish, losses in zip(lines, starts.to_list(), ends.to_list(), nats, strict=True):
        spans = list(zip(begin, finish, strict=True))
        if not newline:  # an empty line is its end alone
            spans = [*spans[: len(losses) - 1], (len(line), len(line) + 1)]
        units += [(place + s, place + e, float(loss)) for (s, e), loss in zip(spans, losses, strict=True)]
        place += len(line) + 1
    return Surprise(text, [(s, min(e, len(text)), loss) for s, e, loss in units if s < len(text)])


@dataclass(frozen=True)
class SurpriseOptions:
    """Options of the verb `surprise`."""

    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TEXT]")] = None
    """The text; by default standard input."""
    json: bool = False
    """Print a JSON object."""


def surprise_command(run: Run, arguments: list[str], prog: str) -> int:
    """`surprise RUN TEXT`: a text with how unlikely each unit was, coloured on a terminal, else as numbers."""
    from rich.console import Console

    from nlp_rnn.cli.options import parse

    options = parse(SurpriseOptions, arguments, f"{prog} RUN", "Shows how much each unit of a text surprises.")
    text = sys.stdin.read().removesuffix("\n") if options.text is None else options.text
    if not text:
        raise InputError("There is no text: give one, or send it to standard input.")
    found = surprise(run, text)
    console = Console(highlight=False)
    if options.json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
    elif console.is_terminal:
        console.print(found)
    else:
        for unit in found.as_dict()["units"]:
            print(f"{unit['nats']:7.3f}  {json.dumps(unit['text'], ensure_ascii=False)}")
    return 0


def windows(run: Run, steps: int, count: int = 256, seed: int = 0) -> Any:
    """Parts of the run's validation text, drawn at random, for `nlp_rnn.plots.gradients`.

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

    from nlp_rnn.tasks.language_modeling import encoded

    records = run.task.read(run.config, "validation")
    ids = encoded(run.config, run.assets, records)[0] if records is not None else []
    if len(ids) <= steps:
        raise InputError(f"The validation text has {len(ids):,} units, fewer than {steps + 1:,}: give fewer --steps.")
    begins = np.random.default_rng(seed).integers(0, len(ids) - steps, count)
    return np.stack([ids[begin : begin + steps + 1] for begin in begins])


@dataclass(frozen=True)
class GradientsOptions:
    """Options of the verb `gradients`."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[RUN …]")] = ()
    """More runs, to compare with."""
    steps: int = 100
    """How far to look back."""
    out: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Where to draw the gradients: a .png, .svg or .pdf file."""
    json: bool = False
    """Print the numbers as a JSON object."""


def gradients_command(run: Run, arguments: list[str], prog: str) -> int:
    """`gradients RUN [RUN …]`: how far back gradients reach in trained models."""
    from nlp_rnn.cli.options import parse

    options = parse(GradientsOptions, arguments, f"{prog} RUN", "Measures how far back gradients reach in runs.")
    if options.steps < 2:
        raise InputError(f"--steps is {options.steps}; it must be at least 2.")
    if options.out and not options.out.endswith((".png", ".svg", ".pdf")):
        raise InputError(f"The name of --out {options.out} must end in .png, .svg or .pdf.")
    from nlp_rnn.plots.gradients import gradient_reach, plot_gradient_reach
    from nlp_rnn.run import load

    runs = [run, *(load(path, run.task.name) for path in options.runs)]
    names = [f"{one.config.stack.cell} {one.path}" for one in runs]
    reaches = {n: gradient_reach(r.model, windows(r, options.steps)) for n, r in zip(names, runs, strict=True)}
    if options.out:
        plot_gradient_reach(reaches).savefig(options.out, dpi=120)
    if options.json:
        print(json.dumps({name: [float(norm) for norm in reach] for name, reach in reaches.items()}))
        return 0
    for name, reach in reaches.items():
        gone = next((k for k, norm in enumerate(reach) if norm < 0.01 * reach[0]), None)
        verdict = f"below 1 % after {gone} steps" if gone else f"{reach[-1] / reach[0]:.1%} after {options.steps} steps"
        print(f"{name}: {verdict}")
    return 0


def _refuse_unknown(tokenizer: Any, prompt: str) -> None:
    from nlp_rnn.text.tokenizer import UNKNOWN

    ids, starts, ends = (part.to_list()[0] for part in tokenizer.encode_with_offsets([prompt]))
    if prompt.strip() and UNKNOWN in ids:
        place = ids.index(UNKNOWN)
        unknown = prompt[starts[place] : ends[place]]
        raise InputError(
            f"The prompt has {unknown!r}, which training never saw: leave it out, or write it another way."
        )


@lru_cache(maxsize=4)
def _generator(model: Any, newline: bool) -> Any:
    """Traced once for a model, however often it writes."""
    from nlp_rnn.decoding.sampling import Generator
    from nlp_rnn.decoding.streaming import never_written

    return Generator(model, never_written(newline))
