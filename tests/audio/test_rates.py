"""Resampling against the wave that it should be; streams of samples, whatever their pieces."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from nlp_rnn.audio.resampling import resampled, resampled_rows
from nlp_rnn.audio.spectra import fourier_filters, mel_filters
from nlp_rnn.audio.streams import Encoding, Resampler, samples_in
from nlp_rnn.errors import InputError
from tests.conftest import slow


def wave(rate, seconds=0.5, hertz=440.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "to"), [(44100, 16000), (48000, 16000), (8000, 16000), (11025, 8000), (22050, 16000), (16000, 16000)]
)
def test_a_wave_is_the_same_wave_at_another_rate(rate, to):
    found = resampled(tf.constant(wave(rate)), rate, to).numpy()
    expected = wave(to, seconds=len(found) / to)
    assert len(found) == -(-len(wave(rate)) * to // rate)
    edge = to // 50
    np.testing.assert_allclose(found[edge:-edge], expected[edge:-edge], atol=1e-4)


def test_what_a_lower_rate_cannot_hold_is_left_out():
    high = resampled(tf.constant(wave(16000, hertz=7000)), 16000, 8000).numpy()
    assert np.abs(high[200:-200]).max() < 0.01


def test_rows_of_different_rates_are_what_each_is_by_itself():
    parts = [wave(8000), wave(44100), wave(16000, 0.25)]
    rows = np.stack([np.pad(part, (0, 22050 - len(part))) for part in parts])
    found, lengths = resampled_rows(
        tf.constant(rows), tf.constant([len(part) for part in parts]), tf.constant([8000, 44100, 16000]), 16000
    )
    assert lengths.numpy().tolist() == [8000, 8000, 4000]
    for row, part, rate, length in zip(found.numpy(), parts, (8000, 44100, 16000), lengths.numpy(), strict=True):
        np.testing.assert_allclose(row[:length], resampled(tf.constant(part), rate, 16000), atol=1e-6)
        assert not row[length:].any()


def test_the_transform_is_that_of_fourier():
    frame, size = np.random.default_rng(0).standard_normal(200), 200
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
    real, imaginary = np.split(frame @ fourier_filters(size), 2)
    np.testing.assert_allclose(real + 1j * imaginary, np.fft.rfft(frame * hann), atol=1e-4)


def test_filters_overlap_and_leave_nothing_out():
    bank = mel_filters(400, 16000, 40, 60, 8000)
    assert (bank.sum(0) > 0).all()
    middle = bank[4:198].sum(1)  # between the first peak and the last, two filters share each bin
    np.testing.assert_allclose(middle[4:-12], 1, atol=1e-5)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("size", [7, 4096])
def test_a_wav_that_is_still_being_written(subtype, size):
    sink = io.BytesIO()
    both = np.stack([wave(8000), wave(8000)], 1)
    soundfile.write(sink, both, 8000, format="WAV", subtype=subtype)
    content = bytearray(sink.getvalue())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", 0x7FFFFFFF)
    parts = list(samples_in(io.BytesIO(bytes(content)).read, None, size))
    assert {rate for _, rate in parts} == {8000}
    found = np.concatenate([samples for samples, _ in parts])
    np.testing.assert_allclose(found, wave(8000), atol=0.02 if subtype == "PCM_U8" else 1e-4)


def test_samples_without_a_header_need_a_rate():
    content = (wave(8000) * 32767).astype("<i2").tobytes()
    found = np.concatenate([s for s, _ in samples_in(io.BytesIO(content).read, Encoding(8000), 33)])
    np.testing.assert_allclose(found, wave(8000), atol=1e-4)
    with pytest.raises(InputError, match="say how many samples a second has"):
        list(samples_in(io.BytesIO(content).read, None))
    for given, message in [
        (b"RIFF\0\0\0\0WAVE", "begins as wav does, and has no sound"),
        (b"", "Standard input is empty"),
        (b"fLaC" + bytes(100), "is flac, which is no stream"),
    ]:
        with pytest.raises(InputError, match=message):
            list(samples_in(io.BytesIO(given).read, None))
    with pytest.raises(InputError, match="says that it has 1 samples in a second"):
        list(samples_in(io.BytesIO(content).read, Encoding(1)))
    with pytest.raises(InputError, match="no numbers"):
        list(samples_in(io.BytesIO(np.full(9, np.nan, "<f4").tobytes()).read, Encoding(8000, "f32")))


@pytest.mark.parametrize(("rate", "to"), [(16000, 8000), (44100, 16000), (8000, 16000)])
@pytest.mark.parametrize("size", [100, slow(1777)])
def test_pieces_are_converted_as_the_whole_is(rate, to, size):
    def convert(samples, own):
        return resampled(tf.constant(samples), own, to).numpy()

    whole, resampler = np.random.default_rng(1).standard_normal(9000).astype(np.float32), Resampler(convert, rate, to)
    parts = [resampler.push(whole[i : i + size]) for i in range(0, len(whole), size)]
    assert len(resampler.held) <= 3 * resampler.margin + size
    found = np.concatenate([*parts, resampler.push(whole[:0], last=True)])
    np.testing.assert_allclose(found, convert(whole, rate), atol=1e-4)
