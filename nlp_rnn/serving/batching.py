"""Concurrent requests → batches → their own answers.

A request that finds a worker free is computed at once. Those that come while all are busy wait, and are computed
together: the busier it is, the larger the batches, and nobody waits for a clock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from nlp_rnn.serving.endpoints import DEFAULT, Endpoint, Stop
from nlp_rnn.serving.inputs import RequestError

Arrays: TypeAlias = dict[str, np.ndarray]
# Texts of similar length are computed together, by characters of the longest of a request.
_BOUNDS = (64, 256, 1024, 4096)


@dataclass(frozen=True)
class Batching:
    """How concurrent requests are put together.

    Args:
        size: rows of a batch at most; 1 answers each request by itself.
        threads: batches that are computed at once, and as many requests that cannot be put together.
        waiting: requests that may wait; those beyond are turned away with 429.
    """

    size: int = 64
    threads: int = 2
    waiting: int = 1000


@dataclass
class _Request:
    """A request that waits; those with the same `alike` can be computed together."""

    arrays: Arrays
    signature: str
    alike: tuple[str, int] | None
    answer: asyncio.Future[Arrays]

    @property
    def rows(self) -> int:
        return len(next(iter(self.arrays.values())))


class Batcher:
    """An endpoint that answers many at once, on one event loop.

    Args:
        endpoint: computes; it may be exchanged at any time, requests that were begun end with the one before.
        batching: how.
    """

    def __init__(self, endpoint: Endpoint, batching: Batching = Batching()) -> None:
        self.endpoint, self.batching = endpoint, batching
        self._together = _Lane(batching, ThreadPoolExecutor(batching.threads))
        self._alone = _Lane(batching, ThreadPoolExecutor(batching.threads))

    @property
    def is_computing(self) -> bool:
        """Whether a worker is at work."""
        return self._together.free + self._alone.free < 2 * self.batching.threads

    async def answer(self, inputs: Mapping[str, Any], signature: str = DEFAULT) -> Arrays:
        """As `Endpoint.answer`.

        Raises:
            RequestError: it is not what the signature takes, is too much, takes too long (504), or comes when too many
                wait (429).
        """
        endpoint = self.endpoint
        arrays = endpoint.check(inputs, signature)
        alike = None
        if self.batching.size > 1 and endpoint.takes_only_texts(signature):
            (texts,) = arrays.values()
            longest = max(map(len, texts), default=0)
            if 0 < len(texts) <= self.batching.size:
                alike = (signature, sum(longest > bound for bound in _BOUNDS))
        lane = self._alone if alike is None else self._together
        request = _Request(arrays, signature, alike, asyncio.get_running_loop().create_future())
        lane.add(endpoint, request)
        try:
            return await asyncio.wait_for(request.answer, endpoint.limits.seconds)
        except TimeoutError:
            raise RequestError(f"This took longer than {endpoint.limits.seconds:g} seconds.", 504) from None


class _Lane:
    """Requests in the order in which they came, and some workers that take them."""

    def __init__(self, batching: Batching, pool: Executor) -> None:
        self.batching, self.pool, self.free = batching, pool, batching.threads
        self.waiting: deque[tuple[Endpoint, _Request]] = deque()

    def add(self, endpoint: Endpoint, request: _Request) -> None:
        if len(self.waiting) >= self.batching.waiting:
            raise RequestError("Too many requests wait; try again later.", 429)
        self.waiting.append((endpoint, request))
        self._begin()

    def _begin(self) -> None:
        while self.free:
            endpoint, batch = self._next()
            if endpoint is None:
                return
            self.free -= 1
            stop = Stop()
            done = asyncio.get_running_loop().run_in_executor(self.pool, _computed, endpoint, batch, stop)
            done.add_done_callback(partial(self._end, batch))
            for request in batch:
                request.answer.add_done_callback(partial(_stop_if_unwanted, batch, stop))

    def _next(self) -> tuple[Endpoint | None, list[_Request]]:
        """The request that has waited longest, and those that can be computed with it."""
        batch: list[_Request] = []
        chosen, rows, others = None, 0, deque[tuple[Endpoint, _Request]]()
        while self.waiting and rows < self.batching.size:
            endpoint, request = self.waiting.popleft()
            if request.answer.done():  # nobody waits for it any more
                continue
            if not batch:
                chosen = endpoint
            elif endpoint is not chosen or request.alike is None or request.alike != batch[0].alike:
                others.append((endpoint, request))
                continue
            elif rows + request.rows > self.batching.size:
                others.append((endpoint, request))
                break
            batch.append(request)
            rows += request.rows
            if request.alike is None:
                break
        self.waiting.extendleft(reversed(others))
        return chosen, batch

    def _end(self, batch: list[_Request], done: asyncio.Future[list[Arrays | Exception]]) -> None:
        self.free += 1
        self._begin()
        answers = [done.exception()] * len(batch) if done.exception() else done.result()
        for request, answer in zip(batch, answers, strict=True):
            if request.answer.done():
                continue
            if isinstance(answer, BaseException):
                request.answer.set_exception(answer)
            elif answer is not None:
                request.answer.set_result(answer)


def _stop_if_unwanted(batch: list[_Request], stop: Stop, _: object) -> None:
    """Nobody waits for the answers any more: what computes them is needed for others."""
    if all(one.answer.cancelled() for one in batch):
        stop()


def _computed(endpoint: Endpoint, batch: list[_Request], stop: Stop) -> list[Arrays | Exception]:
    """The answers of requests; if their batch cannot be computed, each is tried by itself."""
    signature = batch[0].signature
    try:
        if len(batch) == 1:
            return [endpoint.compute(batch[0].arrays, signature, stop)]
        together = {name: np.concatenate([one.arrays[name] for one in batch]) for name in batch[0].arrays}
        found = endpoint.compute(together, signature, stop)
    except RequestError as error:
        return [error] if len(batch) == 1 else [_computed(endpoint, [one], stop)[0] for one in batch]
    shapes = {name: about["shape"] for name, about in endpoint.signatures[signature]["outputs"].items()}
    answers: list[Arrays | Exception] = []
    first = 0
    for one in batch:
        rows = slice(first, first + one.rows)
        answers.append(trimmed({name: value[rows] for name, value in found.items()}, shapes))
        first = rows.stop
    return answers


def trimmed(outputs: Arrays, shapes: Mapping[str, list[int | None]]) -> Arrays:
    """Outputs without the padding that only longer rows of the same batch needed.

    Axes of the same size are cut to the last place at which any output has something.

    Args:
        outputs: by name.
        shapes: of each, None for what may have any size.

    Example:

    >>> outputs = {"ids": np.array([[3, 4, 0]]), "starts": np.array([[0, 2, 0]])}
    >>> {n: v.tolist() for n, v in trimmed(outputs, dict.fromkeys(outputs, [None, None])).items()}
    {'ids': [[3, 4]], 'starts': [[0, 2]]}
    """
    axes = {name: [axis for axis, size in enumerate(shapes[name]) if axis and size is None] for name in outputs}
    needed: dict[int, int] = {}
    for name, value in outputs.items():
        is_something = value != (b"" if value.dtype == object else 0)
        for axis in axes[name]:
            places = np.flatnonzero(is_something.any(axis=tuple(a for a in range(value.ndim) if a != axis)))
            needed[value.shape[axis]] = max(needed.get(value.shape[axis], 0), int(places[-1]) + 1 if places.size else 0)
    cuts = {
        name: tuple(slice(needed[size]) if axis in axes[name] else slice(None) for axis, size in enumerate(value.shape))
        for name, value in outputs.items()
    }
    return {name: value[cuts[name]] for name, value in outputs.items()}
