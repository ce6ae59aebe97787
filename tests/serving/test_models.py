"""What is served under a name, and how it is exchanged."""

from __future__ import annotations

import asyncio
import logging
import shutil

import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.serving.batching import Batching
from nlp_rnn.serving.inputs import Limits
from nlp_rnn.serving.models import Model, Place
from tests.subjects import SUBJECTS


@pytest.mark.slow  # exports and threads
def test_the_newest_version_is_served_and_exchanged_without_losing_a_request(tmp_path):
    exported, folder = SUBJECTS["sentiment"].exported, tmp_path / "reviews"
    shutil.copytree(exported, folder / "2")
    place = Place.parse(str(folder))
    assert (place.name, place.version) == ("reviews", "2")
    model = Model(place, Limits(), Batching())

    async def ask():
        ended = asyncio.Event()

        async def client():
            count = 0
            while not ended.is_set():
                found = await model.answer({"text": ["Loved it."]})
                count += len(found["label"])
            return count

        clients = [asyncio.create_task(client()) for _ in range(8)]
        assert await model.refresh() is False
        shutil.copytree(exported, folder / ".10.tmp")
        (folder / ".10.tmp").rename(folder / "10")
        before = model.endpoint
        assert await model.refresh() is True
        assert model.endpoint is not before
        await asyncio.sleep(0.2)
        ended.set()
        return await asyncio.gather(*clients)

    assert min(asyncio.run(ask())) > 0
    assert model.version == "10"


def test_what_cannot_be_loaded_is_left(tmp_path, caplog):
    shutil.copytree(SUBJECTS["sentiment"].exported, tmp_path / "reviews")
    model = Model(Place.parse(str(tmp_path / "reviews")), Limits(), Batching())
    before = model.endpoint
    shutil.rmtree(tmp_path / "reviews")
    logging.getLogger("kserve").addHandler(caplog.handler)  # KServe's own go nowhere else
    assert asyncio.run(model.refresh()) is False
    assert "reviews is gone" in caplog.text
    shutil.copytree(SUBJECTS["sentiment"].exported, tmp_path / "reviews")
    (tmp_path / "reviews" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "reviews" / "assets.extra" / "signature.json").touch()
    assert asyncio.run(model.refresh()) is False
    (tmp_path / "reviews" / "assets.extra" / "signature.json").write_text('{"format": 1}')  # fails in another way
    assert asyncio.run(model.refresh()) is False
    assert "reviews cannot be exchanged: 'libraries'" in caplog.text
    logging.getLogger("kserve").removeHandler(caplog.handler)
    assert "reviews cannot be exchanged" in caplog.text
    assert model.endpoint is before


@pytest.mark.slow  # loads runs
def test_a_run_is_served_and_exchanged_when_it_is_trained_anew(tmp_path):
    shutil.copytree(SUBJECTS["sentiment"].path, tmp_path / "run")
    model = Model(Place.parse(f"reviews={tmp_path / 'run'}"), Limits(), Batching())
    found = asyncio.run(model.answer({"text": ["Loved it."]}))
    assert found["label"].tolist() == [SUBJECTS["sentiment"].run("Loved it.").label.encode()]
    report = tmp_path / "run" / "report.json"
    report.write_bytes(report.read_bytes() + b" ")
    before = model.endpoint
    assert asyncio.run(model.refresh()) is True
    assert model.endpoint is not before


def test_what_is_none(tmp_path):
    with pytest.raises(InputError, match="does not exist; give the directory"):
        Model(Place.parse(str(tmp_path / "nothing")), Limits(), Batching())
