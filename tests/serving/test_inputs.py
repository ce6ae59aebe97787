"""What clients send becomes arrays without loss, or is refused in a sentence that says what is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_rnn.serving.inputs import Limits, RequestError, arrays_of

HISTORY = {
    "history": {"dtype": "float32", "shape": [None, None, 2]},
    "lengths": {"dtype": "int32", "shape": [None], "counts": "history"},
    "time": {"dtype": "int64", "shape": [None], "minimum": 0, "maximum": 100},
}
GIVEN = {"history": [[[1, 2], [3, 4.5]]], "lengths": [2], "time": [5]}
GAPS = {**HISTORY, "history": {**HISTORY["history"], "missing": True}}
SETTINGS = {
    "prompt": {"dtype": "string", "shape": [None]},
    "stop": {"dtype": "string", "shape": [None], "default": []},
    "length": {"dtype": "int32", "shape": [], "default": 40, "minimum": 0, "maximum": 1000},
    "top_p": {"dtype": "float32", "shape": [], "default": 1.0, "minimum": 0.01, "maximum": 1.0},
}
PROMPTS = {"prompt": ["a"], "stop": ["b", "c"], "length": 5, "top_p": 0.5}
FILES = {"wav": {"dtype": "string", "shape": [None], "binary": True}}


@pytest.mark.parametrize(
    ("wanted", "given", "message"),
    [
        (
            HISTORY,
            {"history": [[[1.0]]]},
            r'"history" must be numbers in lists of the shape \[rows, any, 2\], not \[1, 1, 1\]',
        ),
        (HISTORY, {"history": [[[1, 2], [3]]]}, r"in lists of the shape \[rows, any, 2\]\."),
        (HISTORY, {"history": "text"}, "must be numbers in lists"),
        (HISTORY, {"history": [[[1, None], [3, 4]]]}, "must be numbers in lists"),
        (HISTORY, {"history": [[[1, float("nan")], [3, 4]]]}, "a value that is no number"),
        (HISTORY, {"history": [[[1, 1e39], [3, 4]]]}, "infinite, or too large"),
        (HISTORY, {"lengths": [3]}, '"lengths" has 3, and a row of "history" has 1 to 2 steps here'),
        (HISTORY, {"lengths": [0]}, '"lengths" has 0'),
        (HISTORY, {"lengths": [2, 2]}, "different numbers of rows: history 1, lengths 2, time 1"),
        (HISTORY, {"time": [101]}, '"time" must be from 0 to 100'),
        (HISTORY, {"time": 5}, '"time" must be a list of whole numbers, not a single one'),
        (GAPS, {"history": [[[1, float("inf")], [3, 4]]]}, "infinite"),
        (GAPS, {"history": [[[1, "2"], [3, 4]]]}, "must be numbers"),
        (SETTINGS, {"length": 1001}, '"length" must be from 0 to 1,000'),
        (SETTINGS, {"length": -1}, '"length" must be from 0 to 1,000'),
        (HISTORY, {"history": [[[1, None], [3, 4]]]}, "and has null"),
        (SETTINGS, {"length": []}, '"length" must be one of whole numbers'),
        (SETTINGS, {"length": 5.5}, '"length" must be one of whole numbers'),
        (SETTINGS, {"length": [5]}, 'for all rows together: give it by "inputs", not in "instances"'),
        (SETTINGS, {"top_p": 7}, '"top_p" must be from'),
        (SETTINGS, {"prompt": [None]}, '"prompt" must hold texts'),
        (FILES, {"wav": ["text"]}, r'"wav" must hold bytes: \{"b64"'),
        (FILES, {"wav": [b""]}, '"wav" must hold bytes'),
        (FILES, {"wav": [5]}, '"wav" must hold bytes'),
    ],
)
def test_what_makes_no_sense_is_refused(wanted, given, message):
    usual = {id(HISTORY): GIVEN, id(GAPS): GIVEN, id(SETTINGS): PROMPTS, id(FILES): {}}[id(wanted)]
    with pytest.raises(RequestError, match=message) as error:
        arrays_of({**usual, **given}, wanted, Limits())
    assert error.value.status == 400


def test_nothing_is_lost():
    found = arrays_of({**GIVEN, "history": [[[1, None], [3, 4.5]]]}, GAPS, Limits())
    np.testing.assert_array_equal(found["history"], np.array([[[1, np.nan], [3, 4.5]]], np.float32))
    found = arrays_of(PROMPTS, SETTINGS, Limits())
    assert {name: value.tolist() for name, value in found.items()} == PROMPTS
    content = bytes(range(256))
    assert arrays_of({"wav": [content]}, FILES, Limits(characters=5))["wav"].tolist() == [content]
    texts = arrays_of({**PROMPTS, "prompt": [b"caf\xc3\xa9", b"\xff"]}, SETTINGS, Limits())["prompt"]
    assert texts.tolist() == ["café", "\ufffd"]
    assert arrays_of({"wav": []}, FILES, Limits())["wav"].shape == (0,)
    assert arrays_of({"history": [], "lengths": [], "time": []}, HISTORY, Limits())["history"].shape == (0, 0, 2)
