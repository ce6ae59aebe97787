"""Classifiers of frames: padding is told by lengths, never by what a frame holds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import FrameProjection, RecurrentStack
from nlp_rnn.models import ClassifierHead, SequenceClassifier


@pytest.fixture(scope="module")
def model():
    stack = RecurrentStack("gru", 6)
    return SequenceClassifier(FrameProjection(2, 4, mean=1.0), stack, ClassifierHead(3), reads="values")


@pytest.fixture
def frames():
    """Two rows of three frames, some of them of zeros alone."""
    values = np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)
    values[0, 1], values[1, 2] = 0.0, 0.0
    return values


def test_frames_of_zeros_count(model, frames):
    logits = model({"values": frames})
    given = model({"values": frames, "lengths": tf.constant([3, 3])})
    np.testing.assert_allclose(logits, given, atol=1e-6)
    other = frames.copy()
    other[0, 1] = 0.01
    assert np.abs(model({"values": other})[0] - logits[0]).max() > 1e-6, "a frame of zeros is a frame like others"


def test_what_comes_after_the_length_of_a_row_does_not_count(model, frames):
    expected = model({"values": frames[:1, :2]})
    padded = model({"values": frames, "lengths": tf.constant([2, 3])})
    np.testing.assert_allclose(padded[:1], expected, atol=1e-6)
    frames[0, 2] = 9.0
    np.testing.assert_allclose(model({"values": frames, "lengths": tf.constant([2, 3])}), padded, atol=1e-6)
