"""Going on from prompts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from nlp_rnn.errors import InputError
from nlp_rnn.tasks.language_modeling.data import begin_of, refuse_others

if TYPE_CHECKING:
    import keras
    import numpy as np

    from nlp_rnn.decoding.sampling import Generator
    from nlp_rnn.decoding.streaming import TextStream
    from nlp_rnn.run import AnyRun
    from nlp_rnn.text.tokenizer import Tokenizer


def generate(
    run: AnyRun,
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
        length: tokens to generate, at most.
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
    run: AnyRun,
    prompts: Sequence[str],
    length: int = 200,
    seed: int = 0,
    stop: Sequence[str] = (),
    **sampling: float,
) -> list[str]:
    """Goes on from several prompts at once.

    Args:
        run: a trained one.
        prompts: what to go on from.
        length: tokens to generate for each, at most.
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
    run: AnyRun,
    prompts: Sequence[str],
    length: int,
    seed: int,
    stop: Sequence[str],
    sampling: dict[str, float],
) -> tuple[list[TextStream], Iterator[np.ndarray]]:
    """A stream of text for each prompt, and the tokens for them, `[prompts]` at each of `length` steps."""
    from nlp_rnn.decoding.sampling import Sampling
    from nlp_rnn.decoding.streaming import TextStream, prompt_tokens

    refuse_others(run, "generate")
    if length < 1:
        raise InputError(f"The length is {length}; it must be at least 1.")
    settings, tokenizer, newline = Sampling(**sampling), run.assets.tokenizer, run.config.newline
    for prompt in prompts:
        _refuse_unknown(tokenizer, prompt)
    given = prompt_tokens(tokenizer, newline, list(prompts), begin_of(run.assets)).numpy()
    texts = [TextStream(tokenizer, prompt == "" or prompt.endswith("\n"), stop) for prompt in prompts]
    return texts, itertools.islice(_generator(run.model, newline)(given, settings, seed), length)


def _refuse_unknown(tokenizer: Tokenizer, prompt: str) -> None:
    from nlp_rnn.text.tokenizer import UNKNOWN

    ids, starts, ends = (part.to_list()[0] for part in tokenizer.encode_with_offsets([prompt]))
    if prompt.strip() and UNKNOWN in ids:
        place = ids.index(UNKNOWN)
        unknown = prompt[starts[place] : ends[place]]
        raise InputError(
            f"The prompt contains {unknown!r}, which is not in the vocabulary: leave it out, or write it another way."
        )


@lru_cache(maxsize=4)
def _generator(model: keras.Model, newline: bool) -> Generator:
    """Traced once for a model, however often it writes."""
    from nlp_rnn.decoding.sampling import Generator
    from nlp_rnn.decoding.streaming import never_written

    return Generator(model, never_written(newline))
