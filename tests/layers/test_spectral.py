"""Spectra against NumPy's transform, masks that hide what they should, steps that do not depend on padding."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.audio.spectra import mel_filters
from nlp_rnn.layers import FrameStacking, LogMel, RecurrentStack, SpecAugment
from nlp_rnn.models import SoundEmbedding, SpeechRecognizer
from tests.conftest import slow

RATE = 8000


def recognizer(filters=0, bidirectional=True, normalization="none"):
    keras.utils.set_random_seed(0)
    embedding = SoundEmbedding(
        LogMel(RATE, 20), SpecAugment(), FrameStacking(3, 20, filters), normalization=normalization
    )
    stack = RecurrentStack("gru", 8, bidirectional=bidirectional)
    model = SpeechRecognizer(embedding, stack, keras.layers.Dense(6), pieces=list("_abcde"))
    model.build()
    return model


def test_spectra_are_those_of_the_formula():
    samples = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32) * 0.1
    mel = LogMel(RATE, 20)
    found = mel.spectra(tf.constant(samples)).numpy()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(200) + 0.5) / 200)
    frames = np.stack([samples[:, start : start + 200] for start in range(0, 801, 80)], 1)
    energy = np.abs(np.fft.rfft(frames * hann)) ** 2
    np.testing.assert_allclose(found, np.log(energy @ mel_filters(200, RATE, 20, 60, 4000) / 200 + 1e-7), atol=1e-3)
    assert found.shape[1] == mel.frames_of(np.array([1000]))[0] == int(mel.frames_of(tf.constant(1000)))


def test_what_is_shorter_than_a_frame_has_one():
    assert LogMel(RATE, 20)(np.zeros((1, 3), np.float32)).shape == (1, 1, 20)
    assert LogMel(RATE, 20).frames_of(np.array([1, 199, 200, 279, 280])).tolist() == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("filters", [0, 4])
@pytest.mark.parametrize("normalization", ["none", "recording", "running"])
def test_a_row_does_not_depend_on_its_padding(filters, normalization):
    """Whatever part of the last step the last frames fill."""
    model = recognizer(filters, normalization=normalization)
    for convolution in model.embedding.stacking.convolutions:
        convolution.bias.assign(np.linspace(-1, 1, filters))
    for count in (4001, 4081, 4161):
        samples = np.random.default_rng(1).standard_normal((1, count)).astype(np.float32) * 0.1
        alone = model({"samples": samples, "lengths": np.array([count], np.int32)})
        padded = np.concatenate([np.pad(samples, [(0, 0), (0, 5000 - count)]), np.ones((1, 5000), np.float32)])
        together = model({"samples": padded, "lengths": np.array([count, 5000], np.int32)})
        steps = alone.shape[1]
        np.testing.assert_allclose(alone[0], together[0, :steps], atol=1e-4)
        assert (together[0, steps:].numpy().argmax(-1) == 0).all()


def test_normalisation_is_that_of_the_formula():
    frames = np.random.default_rng(2).standard_normal((2, 30, 20)).astype(np.float32)
    lengths = np.array([30, 12], np.int32)
    for kind in ("recording", "running"):
        found = recognizer(normalization=kind).embedding.normalized(tf.constant(frames), tf.constant(lengths)).numpy()
        for row, length in enumerate(lengths):
            for t in range(length):
                known = length if kind == "recording" else t + 1
                mean = frames[row, :known].sum(0) / (known + 50)
                np.testing.assert_allclose(found[row, t], frames[row, t] - mean, atol=1e-5)


def test_masks_hide_bands_and_stretches_in_training_alone():
    frames, lengths = tf.ones([64, 50, 40]), tf.constant([50, 30] * 32)
    layer = SpecAugment(bands=1, width=8, stretches=1, longest=10)
    assert (layer(frames, lengths).numpy() == 1).all()
    found = layer(frames, lengths, training=True).numpy()
    hidden = found == 0
    bands, stretches = hidden.all(1).sum(1), hidden.all(2)
    assert bands.max() <= 8
    assert 2 < bands.mean() < 6
    assert stretches[::2].sum(1).max() <= 10
    assert stretches[1::2].sum(1).max() <= 6  # a fifth of 30
    assert not stretches[1::2, 30:].any()
    assert stretches.sum() > 0


def test_warps_move_frequencies_and_tilts_add_a_smooth_curve():
    frames = np.zeros((200, 4, 40), np.float32)
    frames[:, :, 20] = 1
    found = SpecAugment(0, 0, 0, 0, warp=0.2)(frames, np.full(200, 4), training=True).numpy()
    peaks = found[:, 0].argmax(-1)
    assert {peaks.min(), peaks.max()} <= {*range(16, 26)}
    assert peaks.min() < 18 < 22 < peaks.max()
    curves = SpecAugment(0, 0, 0, 0, tilt=0.5)(frames * 0, np.full(200, 4), training=True).numpy()
    assert (curves == curves[:, :1]).all()
    assert 0.4 < curves[:, 0, 0].std() < 1.6
    assert np.abs(np.diff(curves[:, 0], axis=-1)).max() < 0.7


def test_pieces_of_a_stream_give_what_the_whole_gives():
    model = recognizer(4, bidirectional=False)
    samples = np.random.default_rng(3).standard_normal((1, 8000)).astype(np.float32) * 0.1
    whole = model({"samples": samples, "lengths": np.array([8000], np.int32)})
    frames = np.pad(model.embedding.mel(samples).numpy(), [(0, 0), (2, 2), (0, 0)])
    state, found = None, []
    for start in range(0, 96, 6):
        logits, state = model.advance(frames[:, start : start + 10], state)
        found.append(logits)
    np.testing.assert_allclose(tf.concat(found, 1), whole[:, :32], atol=1e-4)


@pytest.mark.slow  # trains and exports
@pytest.mark.parametrize("filters", [slow(0), 4])
def test_it_is_saved_and_loaded_and_fits(filters, tmp_path):
    model = recognizer(filters)
    samples = np.random.default_rng(4).standard_normal((8, 2000)).astype(np.float32)
    features = {"samples": samples, "lengths": np.full(8, 2000, np.int32)}
    model.compile("adam", keras.saving.deserialize_keras_object({"class_name": "nlp_rnn>CTCLoss", "config": {}}))
    targets = np.tile(np.array([[1, 2]], np.int32), (8, 1))
    history = model.fit(features, targets, batch_size=4, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(features), model(features), atol=1e-5)
    assert again.pieces == list("_abcde")
