"""Words of a stream of sound as server-sent events: while it still comes, and where it is none."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import asdict

import numpy as np
import pytest
import soundfile

from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.serving.inputs import Limits, RequestError
from nlp_rnn.serving.listening import Listening, encoding_of
from nlp_rnn.tasks.speech.commands import Listener
from tests.subjects import LIVE, SUBJECTS, TONES, tones

RATE = 4000


@pytest.fixture(scope="module")
def live():
    return LIVE.run


def endpoint(run, seconds=5.0):
    found = Endpoint("live", {}, {"signatures": {}}, Limits(seconds=seconds))
    found.run = run
    return found


def wav(samples):
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    return content.getvalue()


def events_of(sent):
    body = b"".join(message["body"] for message in sent if message["type"] == "http.response.body").decode()
    return [json.loads(part.removeprefix("data: ")) for part in body.split("\n\n") if part]


def answered(model, parts, encoding=None, end="end", wait_for=None):
    """What is sent for the parts of a body. Before the part `wait_for`, the client waits until it has heard something.

    Args:
        end: "end" of the body, "gone", the client goes, or "silent", nothing comes any more.
    """
    sent, given = [], list(enumerate(parts))

    async def receive():
        if not given:
            if end == "end" and not receive.ended:
                receive.ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if end == "gone":
                return {"type": "http.disconnect"}
            await asyncio.sleep(60)
        place, part = given.pop(0)
        while place == wait_for and len(sent) < 2:
            await asyncio.sleep(0.01)
        return {"type": "http.request", "body": part, "more_body": True}

    async def send(message):
        sent.append(message)

    async def ask():
        await asyncio.wait_for(Listening().answer(model, encoding, receive, send), 60)

    receive.ended = False
    asyncio.run(ask())
    return sent


def test_words_come_while_the_sound_does_and_are_those_of_listening(live):
    samples = tones(*(TONES[word] for word in ["low", "high", "mid", "low", "high"]))
    listener = Listener(live)
    rounded = np.round(samples * 2**15).clip(-(2**15), 2**15 - 1) / 2**15
    expected = [*listener.push(rounded.astype(np.float32)), *listener.close()]
    assert len(expected) > 1
    content = wav(samples)
    parts = [content[i : i + 1500] for i in range(0, len(content), 1500)]
    sent = answered(endpoint(live), parts, wait_for=len(parts) - 1)
    assert sent[0]["status"] == 200
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    *words, last = events_of(sent)
    assert [word.pop("model_name") for word in words] == ["live"] * len(words)
    for one, other in zip(words, map(asdict, expected), strict=True):
        assert one == {**other, "confidence": pytest.approx(other["confidence"], abs=1e-4)}
    assert last == {"model_name": "live", "done": True, "seconds": round(len(samples) / RATE, 3)}
    raw = answered(endpoint(live), [content[44:]], encoding_of({"rate": str(RATE)}))
    assert [word["word"] for word in events_of(raw)[:-1]] == [word.word for word in expected]


def test_streams_do_not_hear_each_other(live):
    model, samples = endpoint(live), [tones(300, 1200, 300), tones(1200, 700)]
    alone = [events_of(answered(model, [wav(one)])) for one in samples]

    async def both():
        listening, sent = Listening(), [[], []]

        def client(place):
            parts = [wav(samples[place])[i : i + 500] for i in range(0, len(wav(samples[place])), 500)]

            async def receive():
                await asyncio.sleep(0.005)
                return {"type": "http.request", "body": parts.pop(0) if parts else b"", "more_body": bool(parts)}

            async def send(message):
                sent[place].append(message)

            return listening.answer(model, None, receive, send)

        await asyncio.gather(client(0), client(1))
        return [events_of(one) for one in sent]

    for found, expected in zip(asyncio.run(both()), alone, strict=True):
        assert [word.get("word") for word in found] == [word.get("word") for word in expected]


def test_a_stream_ends_when_nothing_comes_and_when_the_client_goes(live):
    model = endpoint(live, seconds=0.3)
    begin = wav(tones(300, 1200, 700))
    events = events_of(answered(model, [begin], end="silent"))
    assert events[-1] == {"error": "No sound came for 0.3 seconds."}
    sent = answered(endpoint(live), [begin], end="gone")
    assert not any("done" in event for event in events_of(sent))


def test_what_is_no_stream_is_refused(live):
    for parts, message in [
        ([b"hello world"], r"does not begin with the header of wav: say how many samples a second has, \?rate=16000"),
        ([], "The stream is empty"),
        ([b"fLaC...."], "The stream is flac, which is no stream"),
    ]:
        with pytest.raises(RequestError, match=message):
            answered(endpoint(live), parts)
    with pytest.raises(RequestError, match="is an export: streams are heard by runs"):
        answered(endpoint(None), [])
    with pytest.raises(RequestError, match=r"--stack\.bidirectional False"):
        answered(endpoint(SUBJECTS["speech"].run), [])
    with pytest.raises(RequestError, match="listen needs a run of speech recognition"):
        answered(endpoint(SUBJECTS["sentiment"].run), [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rates": "8000"}, 'no setting "rates" of a stream; there are: rate, sample, channels'),
        ({"rate": "8e3"}, '"rate" must be a whole number'),
        ({"rate": "5"}, "The stream"),
        ({"sample": "s12"}, '"sample" is s12; it must be one of u8, s16'),
        ({"rate": "8000", "channels": "0"}, '"channels" is 0; it must be from 1 to 64'),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(RequestError, match=message):
        encoding_of(settings)


def test_settings_of_a_stream():
    assert encoding_of({}) is None
    found = encoding_of({"rate": "8000", "sample": "f32", "channels": "2"})
    assert (found.rate, found.sample, found.channels) == (8000, "f32", 2)
