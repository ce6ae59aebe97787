"""Concurrent requests: computed together, answered each for itself, refused where too many wait."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.serving.batching import Batcher, Batching, trimmed
from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.serving.inputs import Limits, RequestError
from tests.conftest import all_tasks
from tests.subjects import SUBJECTS

ABOUT = {
    "inputs": {"text": {"dtype": "string", "shape": [None]}},
    "outputs": {"text": {"dtype": "string", "shape": [None]}, "size": {"dtype": "int64", "shape": [None]}},
}


class Slow(Endpoint):
    """Says how long texts are, once it is let go; notes what it computed together."""

    def __init__(self, limits=None):
        super().__init__("slow", {}, {"signatures": {"serving_default": ABOUT, "other": ABOUT}}, limits or Limits())
        self.go, self.batches = threading.Event(), []

    def compute(self, arrays, signature="serving_default", stop=None):
        self.batches.append(arrays["text"].tolist())
        assert self.go.wait(30)
        if "bad" in arrays["text"]:
            raise RequestError("bad is bad")
        sizes = np.array([len(text) for text in arrays["text"]])
        return {"text": np.array([text.encode() for text in arrays["text"]], object), "size": sizes}


def gathered(batcher, requests, before=None):
    async def ask():
        tasks = [asyncio.create_task(batcher.answer({"text": texts}, *more)) for texts, *more in requests]
        await asyncio.sleep(0.05)
        if before is not None:
            before()
        batcher.endpoint.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(ask())


def test_what_comes_while_all_are_busy_is_computed_together():
    batcher = Batcher(Slow(), Batching(size=4, threads=1))
    found = gathered(batcher, [(["a"],), (["b"],), (["c", "dd"],), (["eee"],), (["f"],), (["g" * 300],), (["h"],)])
    assert [one["size"].tolist() for one in found] == [[1], [1], [1, 2], [3], [1], [300], [1]]
    assert batcher.endpoint.batches == [["a"], ["b", "c", "dd", "eee"], ["f", "h"], ["g" * 300]]


def test_signatures_and_models_are_not_mixed():
    batcher = Batcher(Slow(), Batching(threads=1))
    first, second = batcher.endpoint, Slow()
    second.go.set()

    async def ask():
        tasks = [
            asyncio.create_task(batcher.answer({"text": ["a"]})),
            asyncio.create_task(batcher.answer({"text": ["b"]})),
        ]
        tasks += [asyncio.create_task(batcher.answer({"text": ["c"]}, "other"))]
        await asyncio.sleep(0.05)
        batcher.endpoint = second
        tasks.append(asyncio.create_task(batcher.answer({"text": ["d"]})))
        await asyncio.sleep(0.05)
        first.go.set()
        return await asyncio.gather(*tasks)

    assert [one["text"].tolist() for one in asyncio.run(ask())] == [[b"a"], [b"b"], [b"c"], [b"d"]]
    assert (first.batches, second.batches) == ([["a"], ["b"], ["c"]], [["d"]])


def test_what_nobody_waits_for_is_computed_no_further():
    """Requests that go on for ever leave their workers when their time is over."""
    about = {"inputs": {"steps": {"dtype": "int32", "shape": [None]}}, "outputs": {}}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "steps")], autograph=False)
    def count(steps):
        def longer(place, total):
            return place + 1, total + tf.cast(place, tf.float32) ** 0.5

        _, total = tf.while_loop(lambda place, _: place < steps[0], longer, (0, 0.0))
        return {"total": total[None]}

    functions = {"serving_default": count.get_concrete_function()}
    endpoint = Endpoint("count", functions, {"signatures": {"serving_default": about}}, Limits(seconds=0.5))
    batcher = Batcher(endpoint, Batching(threads=1))

    async def ask():
        endless = [batcher.answer({"steps": [2**31 - 1]}) for _ in range(2)]
        found = await asyncio.gather(*endless, return_exceptions=True)
        return found, await batcher.answer({"steps": [2]})

    found, answer = asyncio.run(ask())
    assert [one.status for one in found] == [504, 504]
    assert answer["total"].tolist() == [1.0]


def test_a_bad_request_spoils_no_other():
    found = gathered(Batcher(Slow(), Batching(threads=1)), [(["a"],), (["b"],), (["bad"],), (["c"],)])
    assert [one["size"].tolist() for one in (found[0], found[1], found[3])] == [[1], [1], [1]]
    assert isinstance(found[2], RequestError)


def test_too_many_and_too_slow_are_refused():
    found = gathered(Batcher(Slow(), Batching(size=1, threads=1, waiting=2)), [([str(n)],) for n in range(5)])
    assert [getattr(one, "status", 200) for one in found] == [200, 200, 200, 429, 429]
    batcher = Batcher(Slow(Limits(seconds=0.1)), Batching(threads=1))

    async def ask():
        found = await asyncio.gather(*(batcher.answer({"text": [t]}) for t in "ab"), return_exceptions=True)
        batcher.endpoint.go.set()
        return found, await batcher.answer({"text": ["c"]})

    late, later = asyncio.run(ask())
    assert [(one.status, str(one)) for one in late] == [(504, "This took longer than 0.1 seconds.")] * 2
    assert later["size"].tolist() == [1]
    assert ["b"] not in batcher.endpoint.batches  # nobody waited for it any more


@pytest.mark.parametrize("task", all_tasks("sentiment", "language-modeling"))
def test_answers_do_not_depend_on_neighbours(task):
    subject = SUBJECTS[task]
    texts = [text for text in subject.inputs if isinstance(text, str) and len(text) < 1000] * 4
    if not texts:
        pytest.skip("only texts are put together, and its inputs are none")
    endpoint = Endpoint.of_export("model", subject.exported)
    name = endpoint.about["input"]
    for signature in endpoint.signatures:
        if not endpoint.takes_only_texts(signature):
            continue
        inputs = next(iter(endpoint.signatures[signature]["inputs"]))
        alone = {text: endpoint.answer({inputs: [text]}, signature) for text in set(texts)}
        batcher = Batcher(endpoint, Batching(size=16, threads=1))

        async def ask(signature=signature, inputs=inputs, batcher=batcher):
            return await asyncio.gather(*(batcher.answer({inputs: [text]}, signature) for text in texts))

        for text, found in zip(texts, asyncio.run(ask()), strict=True):
            shapes = {n: about["shape"] for n, about in endpoint.signatures[signature]["outputs"].items()}
            for output, value in trimmed(alone[text], shapes).items():
                assert found[output].shape == value.shape, (signature, output)
                if value.dtype.kind == "f":
                    np.testing.assert_allclose(found[output], value, rtol=1e-3, atol=1e-4)
                else:
                    assert found[output].tolist() == value.tolist(), (signature, output)
    assert name in endpoint.signatures["serving_default"]["inputs"]
