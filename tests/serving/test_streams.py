"""Text as it is written."""

from __future__ import annotations

import asyncio

import pytest

from nlp_rnn.serving.batching import Batcher
from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.serving.inputs import RequestError
from nlp_rnn.serving.streams import pieces
from nlp_rnn.tasks.language_modeling import generate
from tests.subjects import SUBJECTS


@pytest.fixture(scope="module")
def writer():
    return Batcher(Endpoint.of_export("writer", SUBJECTS["language-modeling"].exported))


def written(model, payload):
    async def ask():
        return [piece async for piece in pieces(model, payload)]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_tokens": 40, "temperature": 0.0},
        {"max_tokens": 33, "temperature": 0.9, "seed": 5},
        {"max_tokens": 60, "top_k": 5, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 3},
        {"max_tokens": 60, "temperature": 0.0, "stop": ["t", "the"]},
        {"max_tokens": 1},
    ],
)
def test_it_is_what_the_run_writes(writer, parameters):
    run = SUBJECTS["language-modeling"].run
    found = written(writer, {"text_input": "the cat", "parameters": parameters})
    settings = {"length" if name == "max_tokens" else name: value for name, value in parameters.items()}
    assert "".join(found) == "".join(generate(run, "the cat", **settings))
    assert len(found) > 1 or parameters["max_tokens"] < 20 or "stop" in parameters


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([], 'with "text_input", a text, is needed'),
        ({"text_input": 5}, 'with "text_input", a text, is needed'),
        ({"text_input": "a", "max_tokens": 5}, '"max_tokens" is not known here; settings stand in "parameters"'),
        ({"text_input": "a", "parameters": []}, '"parameters" must be an object'),
        ({"text_input": "a", "parameters": {"x": 1}}, 'There is no parameter "x"; there are: max_tokens'),
        ({"text_input": "a", "parameters": {"max_tokens": 0}}, '"max_tokens" must be a whole number from 1'),
        ({"text_input": "a", "parameters": {"max_tokens": True}}, '"max_tokens" must be a whole number from 1'),
        ({"text_input": "a", "parameters": {"top_p": 0}}, '"top_p" must be a number from 1e-09 to 1'),
        ({"text_input": "a", "parameters": {"temperature": "hot"}}, '"temperature" must be a number'),
        ({"text_input": "a", "parameters": {"temperature": float("nan")}}, '"temperature" must be a number'),
        ({"text_input": "a", "parameters": {"stop": [1]}}, '"stop" must be a text or a list'),
        ({"text_input": "theЖ"}, "not in the vocabulary"),
    ],
)
def test_what_makes_no_sense_is_refused(writer, payload, message):
    with pytest.raises(RequestError, match=message) as error:
        written(writer, payload)
    assert error.value.status == 400


def test_other_models_write_nothing():
    model = Batcher(Endpoint.of_export("reviews", SUBJECTS["sentiment"].exported))
    with pytest.raises(RequestError, match="reviews writes no texts: it is a model of sentiment"):
        written(model, {"text_input": "a"})
