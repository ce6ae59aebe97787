"""Exports that answer requests: what they give is what runs predict, alone and together; what is wrong is refused."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.serving import protocols
from nlp_rnn.serving.batching import Batcher
from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.serving.inputs import Limits, RequestError
from tests.conftest import all_tasks
from tests.subjects import SUBJECTS


def answer_v1(endpoint, payload):
    return asyncio.run(protocols.answer_v1(Batcher(endpoint), payload))


@pytest.fixture(scope="module", params=all_tasks("sentiment"))
def subject(request):
    return SUBJECTS[request.param]


@pytest.fixture(scope="module")
def endpoint():
    return Endpoint.of_export("reviews", SUBJECTS["sentiment"].exported, Limits(inputs=100, characters=5000))


@pytest.mark.parametrize("kind", ["export", "run"])
def test_rows_are_what_the_run_predicts(subject, kind):
    found = {"export": lambda: Endpoint.of_export("model", subject.exported)}
    endpoint = found.get(kind, lambda: Endpoint.of_run("model", subject.run))()
    endpoint.warm_up()
    by_name = subject.run.task.input.serving_arguments(subject.inputs)
    instances = [dict(zip(by_name, row, strict=True)) for row in zip(*by_name.values(), strict=True)]
    is_alone = list(by_name) == [endpoint.about["input"]]
    rows = answer_v1(endpoint, {"instances": list(subject.inputs) if is_alone else instances})["predictions"]
    for row, expected in zip(rows, subject.predictions, strict=True):
        for name in set(row) & set(expected):
            if isinstance(expected[name], float):
                assert row[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-3)
            elif isinstance(expected[name], str):
                assert row[name] == expected[name]
    json.dumps(rows)
    columns = answer_v1(endpoint, {"inputs": by_name})["outputs"]
    assert {name: len(values) for name, values in columns.items()} == dict.fromkeys(rows[0], len(rows))
    assert answer_v1(endpoint, {"instances": []}) == {"predictions": []}


@pytest.mark.parametrize(
    ("payload", "message", "status"),
    [
        ([], 'A JSON object with "instances" or "inputs" is needed', 400),
        ({}, 'Give either "instances"', 400),
        ({"instances": ["a"], "inputs": {"text": ["a"]}}, 'Give either "instances"', 400),
        ({"instances": "a"}, '"instances" must be a list', 400),
        ({"instances": [5]}, '"text" must hold texts', 400),
        ({"instances": [None]}, '"text" must hold texts', 400),
        ({"instances": [["a"], ["b", "c"]]}, '"text" must be a list of texts', 400),
        ({"instances": ["a"], "budget": 0.1}, '"budget" is not known here', 400),
        ({"inputs": {"text": "a"}}, '"text" must be a list of texts', 400),
        ({"instances": [{"b64": "é"}]}, '"b64" must hold bytes in base 64', 400),
        ({"instances": [[-1]], "signature_name": "tokens"}, '"tokens" has ids below 0', 400),
        ({"instances": [[1.5]], "signature_name": "tokens"}, "must be whole numbers in lists of the shape", 400),
        ({"instances": [[True]], "signature_name": "tokens"}, "must be whole numbers in lists of the shape", 400),
        ({"instances": [[10**6]], "signature_name": "tokens"}, "there is no id 1000000, ids go from 0 to", 400),
        ({"instances": [{"txt": "a"}]}, 'takes no "txt"; it takes: text', 400),
        ({"instances": [{}]}, 'needs "text"', 400),
        ({"instances": ["a", {"text": "b"}]}, "All instances must have the same names", 400),
        ({"instances": ["a"], "signature_name": "x"}, 'has no signature "x"; it has: serving_default, tokens', 400),
        ({"instances": ["a"], "signature_name": 5}, '"signature_name" must be a text', 400),
        (
            {"instances": [[1, "a"]], "signature_name": "tokens"},
            r'"tokens" must be whole numbers in lists of the shape \[rows, any\]',
            400,
        ),
        (
            {"inputs": {"tokens": [[1], [2, 3]]}, "signature_name": "tokens"},
            r'"tokens" must be whole numbers in lists of the shape \[rows, any\]',
            400,
        ),
        (
            {"inputs": {"tokens": [[2**40]]}, "signature_name": "tokens"},
            r'"tokens" must be whole numbers in lists of the shape \[rows, any\]',
            400,
        ),
        ({"instances": ["a"] * 101}, "101 inputs are more than 100: send fewer at once", 413),
        ({"instances": ["a" * 5001]}, "A text of 5,001 characters is longer than 5,000", 413),
    ],
)
def test_what_makes_no_sense_is_refused(endpoint, payload, message, status):
    with pytest.raises(RequestError, match=message) as error:
        answer_v1(endpoint, payload)
    assert error.value.status == status
    assert answer_v1(endpoint, {"instances": ["a fine film"]})["predictions"][0]["label"] == "positive"


def test_rows_of_padding_are_texts_without_words(endpoint):
    for name, empty in (("sentiment", ""), ("ner", None)):
        model = endpoint if name == "sentiment" else Endpoint.of_export("entities", SUBJECTS[name].exported)
        inputs = model.signatures["tokens"]["inputs"]
        for shape in ((1, 0), (1, 3)):
            zeros = {n: np.zeros((*shape, 2)[: len(about["shape"])], np.int32) for n, about in inputs.items()}
            found = model.answer(zeros, "tokens")
            assert not any(np.isnan(value).any() for value in found.values() if value.dtype.kind == "f")
            if empty is not None:
                expected = model.answer({"text": [empty]})["probabilities"]
                np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
            else:
                assert found["ids"].shape == shape
                assert (found["ids"] == -1).all()


def test_bytes_in_base_64_are_text(endpoint):
    given = {"instances": [{"b64": "TG92ZWQgaXQu"}, "Loved it."]}
    one, other = answer_v1(endpoint, given)["predictions"]
    assert (one["text"], one["label"]) == (other["text"], other["label"])
    assert answer_v1(endpoint, {"inputs": {"text": given["instances"]}})["outputs"]["text"] == ["Loved it."] * 2


def test_half_a_character_is_answered(endpoint):
    assert len(answer_v1(endpoint, {"instances": ["fine \ud83d"]})["predictions"]) == 1


def test_settings_of_a_signature_have_defaults():
    endpoint = Endpoint.of_export("text", SUBJECTS["language-modeling"].exported)
    short = endpoint.answer({"prompt": ["the cat s"], "length": 5, "temperature": 0.0}, "generate")
    assert (
        short["text"].tolist() == endpoint.answer({"prompt": ["the cat s"], "length": 5}, "complete")["text"].tolist()
    )
    assert len(endpoint.answer({"prompt": ["the cat s"]}, "generate")["text"][0].decode()) > 5
    assert endpoint.answer({"prompt": ["the cat s"], "length": 0}, "generate")["text"].tolist() == [b""]


def test_what_is_no_export(tmp_path):
    with pytest.raises(InputError, match="does not exist; give the directory"):
        Endpoint.of_export("x", tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no run and no export"):
        Endpoint.of_export("x", tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(InputError, match="does not describe its signatures: export the run again"):
        Endpoint.of_export("x", tmp_path)
    (tmp_path / "assets.extra").mkdir()
    about = tmp_path / "assets.extra" / "signature.json"
    (tmp_path / "onnx" / "assets.extra").mkdir(parents=True)
    (tmp_path / "onnx" / "assets.extra" / "signature.json").write_text("{}")
    with pytest.raises(InputError, match="is an export for another runtime"):
        Endpoint.of_export("x", tmp_path / "onnx")
    about.write_text('{"format": 2}')
    with pytest.raises(InputError, match="was written by a newer version"):
        Endpoint.of_export("x", tmp_path)
    about.write_text('{"format": 1, "signatures": {}, "libraries": ["no_such_library"]}')
    with pytest.raises(InputError, match="needs no_such_library: install it"):
        Endpoint.of_export("x", tmp_path)
    about.write_text('{"format": 1, "signatures": {}, "libraries": []}')
    with pytest.raises(InputError, match="cannot be loaded"):
        Endpoint.of_export("x", tmp_path)
