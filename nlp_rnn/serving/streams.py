"""Text as it is written: server-sent events, as the generate extension of Triton and KServe has them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

from nlp_rnn.serving.batching import Batcher
from nlp_rnn.serving.inputs import RequestError

_TOKENS = 8  # of a step; a client that goes is noticed between steps
_UNKNOWN = 1
_MOST = 100_000
_KINDS = {"temperature": float, "top_k": int, "top_p": float, "repetition_penalty": float, "seed": int}
_SEEDS = (-(2**31), 2**31 - 1)


def settings_of(payload: Any) -> tuple[str, int, list[str], dict[str, float]]:
    """The prompt, the number of tokens, the texts to stop at and the other settings of a request.

    A request is `{"text_input": "The ", "parameters": {"max_tokens": 100, "stop": ["."], "temperature": 0.8, …}}`.

    Raises:
        RequestError: it makes no sense.
    """
    if not isinstance(payload, Mapping) or not isinstance(payload.get("text_input"), str):
        raise RequestError('A JSON object with "text_input", a text, is needed.')
    if others := set(payload) - {"text_input", "parameters", "id"}:
        raise RequestError(f'"{min(others)}" is not known here; settings stand in "parameters".')
    given = payload.get("parameters", {})
    if not isinstance(given, Mapping):
        raise RequestError('"parameters" must be an object.')
    from nlp_rnn.decoding.sampling import RANGES

    known = {"max_tokens", "stop", *_KINDS}
    if unknown := [name for name in given if name not in known]:
        raise RequestError(f'There is no parameter "{unknown[0]}"; there are: {", ".join(sorted(known))}.')
    stop = given.get("stop", [])
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        raise RequestError('"stop" must be a text or a list of texts.')
    count = _number("max_tokens", given.get("max_tokens", 200), int, 1, _MOST)
    ranges = {**RANGES, "seed": _SEEDS}
    found = {name: _number(name, given[name], kind, *ranges[name]) for name, kind in _KINDS.items() if name in given}
    return payload["text_input"], int(count), stop, found


def _number(name: str, value: Any, kind: type, least: float, most: float) -> float:
    is_number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        what = "a number" if kind is float else "a whole number"
        raise RequestError(f'"{name}" must be {what} from {least:g} to {most:g}.')
    return value


async def pieces(model: Batcher, payload: Any) -> AsyncIterator[str]:
    """What a language model writes, piece by piece, never half a character.

    Raises:
        RequestError: the request makes no sense, or the model writes no text.
    """
    from nlp_rnn.decoding.streaming import PieceStream

    prompt, count, stop, settings = settings_of(payload)
    endpoint = model.endpoint
    if not {"begin", "write"} <= set(endpoint.signatures):
        raise RequestError(f"{endpoint.name} writes no texts: it is a model of {endpoint.about['task']}.")
    reached = await model.answer({"prompt": [prompt]}, "begin")
    if _UNKNOWN in reached.pop("tokens")[0]:
        raise RequestError("The prompt has something that is not in the vocabulary: leave it out.")
    kind = endpoint.about["settings"]["tokenizer"]["kind"]
    text = PieceStream(kind, prompt == "" or prompt.endswith("\n"), stop)
    written = 0
    while written < count and not text.ended:
        inputs: dict[str, Any] = {**reached, **settings, "number": written, "count": _TOKENS}
        found = await model.answer(inputs, "write")
        reached = {name: found[name] for name in reached}
        new: np.ndarray = found["pieces"][0][: count - written]
        said = "".join(text.add(bytes(piece)) for piece in new)
        written += len(new)
        if said:
            yield said
    if said := text.finish():
        yield said


def event(name: str, text: str, more: Mapping[str, object] | None = None) -> str:
    """A server-sent event with a piece of text."""
    return f"data: {json.dumps({'model_name': name, 'text_output': text, **(more or {})}, ensure_ascii=False)}\n\n"
