"""Words as they are said: sound that is still coming → server-sent events."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nlp_rnn.errors import InputError
from nlp_rnn.serving.inputs import RequestError

if TYPE_CHECKING:
    from nlp_rnn.audio.streams import Encoding
    from nlp_rnn.serving.endpoints import Endpoint
    from nlp_rnn.tasks.speech.commands import Listener

_STREAMS = 16  # at the same time
_WAITING = 64  # pieces of sound that may wait for a stream
_MOST_CHANNELS = 64
_START = {"type": "http.response.start", "status": 200}
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


class _Gone(Exception):
    """The client hears no more."""


def encoding_of(settings: Mapping[str, str]) -> Encoding | None:
    """How samples are written, by "rate", "sample" and "channels"; None where a header of wav is to say it.

    Raises:
        RequestError: they make no sense.
    """
    from nlp_rnn.audio.sounds import refuse_rate
    from nlp_rnn.audio.streams import FORMATS, Encoding

    known = ("rate", "sample", "channels")
    if unknown := [name for name in settings if name not in known]:
        raise RequestError(f'There is no setting "{unknown[0]}" of a stream; there are: {", ".join(known)}.')
    rate, channels = (
        _number(name, settings.get(name, default)) for name, default in (("rate", "0"), ("channels", "1"))
    )
    sample = settings.get("sample", "s16")
    if sample not in FORMATS:
        raise RequestError(f'"sample" is {sample}; it must be one of {", ".join(FORMATS)}.')
    if not 1 <= channels <= _MOST_CHANNELS:
        raise RequestError(f'"channels" is {channels}; it must be from 1 to {_MOST_CHANNELS}.')
    if not rate:
        return None
    try:
        refuse_rate(rate, "The stream")
    except InputError as error:
        raise RequestError(str(error)) from None
    return Encoding(rate, sample, channels)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise RequestError(f'"{name}" must be a whole number.')
    return int(value)


class Listening:
    """Streams of sound that models of a server recognise, each in a thread of its own, with a state of its own."""

    def __init__(self) -> None:
        self.pool, self.count = ThreadPoolExecutor(_STREAMS), 0

    async def answer(self, endpoint: Endpoint, encoding: Encoding | None, receive: Any, send: Any) -> None:
        """Reads the body of a request as it comes, and sends each word once it is complete.

        The stream ends with the body, when no sound comes for as long as a request may take, or when the client goes.

        Raises:
            RequestError: the model cannot listen, there are too many streams, or what comes first is no sound.
        """
        if self.count >= _STREAMS:
            raise RequestError("Too many streams are heard; try again later.", 429)
        self.count += 1
        try:
            await self._answer(endpoint, encoding, receive, send)
        finally:
            self.count -= 1

    async def _answer(self, endpoint: Endpoint, encoding: Encoding | None, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        listener = await loop.run_in_executor(self.pool, endpoint.listener)
        sound: queue.Queue[bytes | None] = queue.Queue()
        said: asyncio.Queue[Any] = asyncio.Queue()

        def read(_: int) -> bytes:
            try:
                block = sound.get(timeout=endpoint.limits.seconds)
            except queue.Empty:
                raise InputError(f"No sound came for {endpoint.limits.seconds:g} seconds.") from None
            if block is None:
                raise _Gone
            return block

        def say(what: object) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(said.put_nowait, what)

        working = loop.run_in_executor(self.pool, _recognise, listener, read, encoding, say)
        feeding = asyncio.create_task(_feed(receive, sound))
        try:
            await _tell(endpoint.name, said.get, send)
        finally:
            feeding.cancel()
            sound.put(None)
            await working


async def _feed(receive: Callable[[], Awaitable[Any]], sound: queue.Queue[bytes | None]) -> None:
    """Hands on what the client sends, no faster than it is read."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            sound.put(None)
            return
        if message.get("body"):
            sound.put(message["body"])
        if not message.get("more_body"):
            sound.put(b"")
        while sound.qsize() > _WAITING:
            await asyncio.sleep(0.01)


def _recognise(
    listener: Listener, read: Callable[[int], bytes], encoding: Encoding | None, say: Callable[[object], None]
) -> None:
    """Says the words of a stream, then its seconds; None first, once it is known to be sound."""
    from nlp_rnn.tasks.speech.commands import samples_at

    heard = 0
    try:
        for samples in samples_at(listener.rate, read, encoding, shown="The stream", how="?rate=16000"):
            if not heard:
                say(None)
            heard += len(samples)
            for word in listener.push(samples):
                say(asdict(word))
        for word in listener.close():
            say(asdict(word))
        say({"done": True, "seconds": round(heard / listener.rate, 3)})
    except Exception as error:  # of whatever kind: the answer must end
        say(error)


async def _tell(name: str, said: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Sends what is said as server-sent events, until it is the end.

    Raises:
        RequestError: it ends before there is anything to send.
    """
    began = False
    while True:
        what = await said()
        if isinstance(what, _Gone):
            return
        failed = isinstance(what, Exception)
        if failed and not began:
            raise RequestError(str(what)) if isinstance(what, InputError) else what
        if not began:
            await send({**_START, "headers": _HEADERS})
            began = True
        if what is None:
            continue
        content = {"error": _sentence(what)} if failed else {"model_name": name, **what}
        ends = failed or "done" in content
        event = f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": not ends})
        if ends:
            return


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else "The stream cannot be recognised."
