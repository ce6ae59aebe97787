"""Sounds from files, bytes, arrays and JSON; what is none is refused in one sentence."""

from __future__ import annotations

import io
import itertools
import json
import struct

import numpy as np
import pytest
import soundfile

from nlp_rnn.audio.sounds import Sound, pieces_of, sound_of
from nlp_rnn.errors import InputError

WAVE = (0.5 * np.sin(2 * np.pi * 50 * np.arange(800) / 8000)).astype(np.float32)


def written(samples, rate=8000, **how):
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, **{"format": "WAV", **how})
    return sink.getvalue()


@pytest.mark.parametrize(
    ("how", "exact"),
    [
        ({"subtype": "PCM_U8"}, 1 / 127),
        ({"subtype": "PCM_16"}, 1e-4),
        ({"subtype": "PCM_24"}, 1e-6),
        ({"subtype": "PCM_32"}, 1e-6),
        ({"subtype": "FLOAT"}, 0),
        ({"format": "FLAC", "subtype": "PCM_16"}, 1e-4),
        ({"format": "OGG"}, 0.1),
    ],
)
def test_every_way_to_write_samples(how, exact, tmp_path):
    content = written(WAVE, **how)
    (tmp_path / "sound").write_bytes(content)
    for source in (content, tmp_path / "sound", str(tmp_path / "sound")):
        samples, rate = sound_of(source, "It").decoded()
        assert rate == 8000
        assert samples.dtype == np.float32
        np.testing.assert_allclose(samples, WAVE, atol=exact)


def test_channels_are_mixed():
    both = np.stack([WAVE, np.zeros_like(WAVE)], 1)
    many = np.stack([WAVE, *[np.zeros_like(WAVE)] * 9])
    np.testing.assert_allclose(Sound("a", many, 8000).decoded()[0], WAVE / 10, atol=1e-6)
    for sound in (Sound("a", written(both)), Sound("a", both, 8000), Sound("a", both.T, 8000)):
        np.testing.assert_allclose(sound.decoded()[0], WAVE / 2, atol=1e-4)


def test_arrays_lists_and_json_are_the_same_sound():
    given = {"array": WAVE.tolist(), "sampling_rate": 8000}
    whole = {"array": (WAVE * 32767).astype(int).tolist(), "sampling_rate": 8000}
    for value in (
        given,
        json.dumps(given),
        {"array": WAVE, "sampling_rate": 8000},
        (WAVE, 8000),
        (WAVE.tolist(), np.int64(8000)),
        [WAVE.tolist(), 8000.0],
        whole,
    ):
        samples, rate = sound_of(value, "It").decoded()
        np.testing.assert_allclose(samples, WAVE, atol=1e-4)
        assert rate == 8000
    assert sound_of(given, "It") == sound_of((WAVE, 8000), "Another")
    assert sound_of(given, "It") != sound_of((WAVE, 16000), "It")


HEADER = written(WAVE)[:44]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "is empty"),
        (b"no sound at all " * 10, "is no sound that can be read"),
        (HEADER, "holds no sound: it has no samples"),
        (written(np.array([0.0, np.nan], np.float32), subtype="FLOAT"), "no numbers"),
        (written(WAVE, rate=10), "says that it has 10 samples in a second"),
        (np.zeros(0, np.float32), "has no samples"),
        (written(np.array([0.0, 20000.0], np.float32), subtype="FLOAT"), "floats must go from -1 to 1"),
        (np.zeros((2, 2, 2)), "must be a list of samples"),
        (np.zeros((70, 70), np.float32), "has 70 channels"),
    ],
    ids=["empty", "text", "header", "nan", "rate", "nothing", "loud", "deep", "wide"],
)
def test_what_is_no_sound_is_refused(source, message):
    with pytest.raises(InputError, match=message) as found:
        Sound("a.wav", source, 8000).decoded()
    assert str(found.value).startswith("a.wav")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("value", [5, None, "", {"array": [0.1]}, {"array": ["x"], "sampling_rate": 8000}, [0.1, 0.2]])
def test_what_stands_for_no_sound_is_refused(value):
    with pytest.raises(InputError, match="The recording"):
        sound_of(value, "The recording")


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.wav cannot be read \(no such file or directory\)"):
        sound_of("nowhere.wav", "It").decoded()


def test_a_header_that_lies_about_the_length_gives_what_is_there():
    content = bytearray(written(WAVE))
    content[40:44] = struct.pack("<I", 10**9)
    np.testing.assert_allclose(Sound("a", bytes(content)).decoded()[0], WAVE, atol=1e-4)


def test_a_long_recording_is_cut_where_it_is_quiet():
    loud = np.ones(10_000, np.float32)
    loud[4000:4100] = loud[7500:7600] = 0
    cuts = pieces_of(loud, 5000, 50)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == len(loud)
    assert all(end == first for (_, end), (first, _) in itertools.pairwise(cuts))
    assert max(end - first for first, end in cuts) <= 5000
    assert 4000 < cuts[0][1] < 4100
    assert 7500 < cuts[1][1] < 7600
    assert pieces_of(loud, 20_000, 50) == [(0, 10_000)]
