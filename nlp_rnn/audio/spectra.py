"""The matrices behind spectra: a windowed Fourier transform, and a bank of mel filters."""

from __future__ import annotations

import numpy as np


def fourier_filters(window: int) -> np.ndarray:
    """A Hann window and the discrete Fourier transform in one, as the filters of a convolution.

    Args:
        window: samples of a frame.

    Returns:
        float32 `[window, 2 · bins]`, cosines, then sines; `bins` is `window // 2 + 1`.

    Example:

    >>> wave = np.sin(2 * np.pi * np.arange(64) / 8)
    >>> real, imaginary = np.split(wave @ fourier_filters(64), 2)
    >>> int((real**2 + imaginary**2).argmax())
    8
    """
    bins, places = window // 2 + 1, np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (places + 0.5) / window)
    angles = 2 * np.pi * places[:, None] * np.arange(bins) / window
    return np.concatenate([hann[:, None] * np.cos(angles), hann[:, None] * -np.sin(angles)], 1).astype(np.float32)


def mel_filters(window: int, rate: int, mels: int, lowest: float, highest: float) -> np.ndarray:
    """Triangular filters at equal distances on the mel scale (Stevens, Volkmann and Newman 1937, in the form of HTK:
    m = 2595 log10(1 + f / 700)).

    Args:
        window: samples of a frame.
        rate: samples in a second.
        mels: number of filters.
        lowest, highest: hertz, where the first begins and the last ends.

    Returns:
        float32 `[bins, mels]`; a filter narrower than a bin takes the nearest one.

    Example:

    >>> mel_filters(200, 8000, 40, 60, 4000).shape
    (101, 40)
    """
    bins = np.arange(window // 2 + 1) * rate / window
    edges = _hertz(np.linspace(_mel(lowest), _mel(highest), mels + 2))
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins[:, None] - left) / (middle - left), (right - bins[:, None]) / (right - middle)
    filters = np.maximum(np.minimum(rising, falling), 0)
    for place in np.flatnonzero(filters.sum(0) == 0):
        filters[np.abs(bins - middle[place]).argmin(), place] = 1
    return filters.astype(np.float32)


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
