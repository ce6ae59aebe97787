"""Sound that is still going on: bytes of a pipe → samples as they come, at another rate where that is wanted."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nlp_rnn.audio.sounds import refuse_rate, refuse_samples
from nlp_rnn.errors import InputError

FORMATS = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}
_OTHERS = {b"fLaC": "flac", b"OggS": "ogg", b"ID3\x03": "mp3", b"ID3\x04": "mp3", b"FORM": "aiff"}
_BY_WIDTH = {1: "u8", 2: "s16", 3: "s24", 4: "s32"}
_LONGEST_HEADER = 1 << 16
_TAPS = 40  # more than a filter of the converter has on either side, by the larger of both rates


@dataclass(frozen=True)
class Encoding:
    """How samples are written, the low byte first.

    Args:
        rate: samples in a second.
        sample: "u8", "s16", "s24", "s32", "f32" or "f64".
        channels: how many, one after the other.
    """

    rate: int
    sample: str = "s16"
    channels: int = 1

    def decoded(self, content: bytes) -> np.ndarray:
        """Whole samples as float32 from -1 to 1, `[time]`, channels mixed.

        >>> Encoding(8000).decoded(np.array([0, 16384], "<i2").tobytes())
        array([0. , 0.5], dtype=float32)
        """
        found: np.ndarray
        if self.sample == "s24":
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
            found = wide.reshape(-1).view("<i4") / 2.0**31
        elif self.sample in ("f32", "f64"):
            found = np.frombuffer(content, "<f4" if self.sample == "f32" else "<f8")
        elif self.sample == "u8":
            found = (np.frombuffer(content, np.uint8) - 128.0) / 128.0
        else:
            width = FORMATS[self.sample]
            found = np.frombuffer(content, f"<i{width}") / 2.0 ** (8 * width - 1)
        return found.astype(np.float32).reshape(-1, self.channels).mean(1, dtype=np.float32)

    @property
    def bytes(self) -> int:
        """Of one moment, all channels."""
        return FORMATS[self.sample] * self.channels


def samples_in(
    read: Callable[[int], bytes],
    encoding: Encoding | None,
    size: int = 1 << 12,
    shown: str = "Standard input",
    how: str = "--rate 16000",
) -> Iterator[tuple[np.ndarray, int]]:
    """Samples and their rate, as they come.

    Args:
        read: (bytes at most) → bytes, as many as are there, none at the end.
        encoding: how samples are written; where the stream begins with a header of wav, that says it instead.
        size: bytes that are read at once.
        shown, how: for messages, what is read and how its rate is said.

    Raises:
        InputError: there is no header, and no encoding was given; or it is of a kind that is not known.
    """
    rest = b""
    while len(rest) < 4 and (block := read(size)):
        rest += block
    if not rest:
        raise InputError(f"{shown} is empty: there is nothing to hear.")
    if rest[:4] in _OTHERS:
        raise InputError(f"{shown} is {_OTHERS[rest[:4]]}, which is no stream: give the file itself, or wav.")
    if rest[:4] == b"RIFF":
        encoding, rest = _header(rest, read, size, shown)
    elif encoding is None:
        raise InputError(f"{shown} does not begin with the header of wav: say how many samples a second has, {how}.")
    refuse_rate(encoding.rate, shown)
    while True:
        whole = len(rest) // encoding.bytes * encoding.bytes
        if whole:
            samples = encoding.decoded(rest[:whole])
            refuse_samples(samples, shown)
            yield samples, encoding.rate
        rest = rest[whole:]
        block = read(size)
        if not block:
            return
        rest += block


def _header(rest: bytes, read: Callable[[int], bytes], size: int, shown: str) -> tuple[Encoding, bytes]:
    """What the header of a wav says, whose lengths do not count in a stream, and what comes after it."""
    place, found = 12, None
    while True:
        while len(rest) < place + 8 and (block := read(size)):
            rest += block
        if len(rest) < place + 8 or place > _LONGEST_HEADER:
            raise InputError(f"{shown} begins as wav does, and has no sound.")
        name, length = rest[place : place + 4], struct.unpack("<I", rest[place + 4 : place + 8])[0]
        if name == b"data":
            break
        while len(rest) < place + 8 + length and length <= _LONGEST_HEADER and (block := read(size)):
            rest += block
        if name == b"fmt " and length >= 16:
            kind, channels, rate = struct.unpack("<HHI", rest[place + 8 : place + 16])
            bits = struct.unpack("<H", rest[place + 22 : place + 24])[0]
            kind = struct.unpack("<H", rest[place + 32 : place + 34])[0] if kind == 0xFFFE and length >= 26 else kind
            sample = {32: "f32", 64: "f64"}.get(bits) if kind == 3 else _BY_WIDTH.get(bits // 8) if kind == 1 else None
            if sample is None or not channels or not rate:
                raise InputError(f"{shown} is wav of a kind that cannot be read: give samples of 8 to 32 bits.")
            found = Encoding(rate, sample, channels)
        place += 8 + length + length % 2
    if found is None:
        raise InputError(f"{shown} begins as wav does, and does not say of which kind.")
    return found, rest[place + 8 :]


class Resampler:
    """Samples at another rate, piece by piece: together the pieces are what a conversion of the whole gives.

    Args:
        convert: (samples, their rate) → samples at the rate wanted.
        rate, to: both rates.

    Example:

    >>> Resampler(lambda samples, rate: samples[::2], 16000, 8000).push(np.zeros(16000, np.float32)).shape
    (7960,)
    """

    def __init__(self, convert: Callable[[np.ndarray, int], np.ndarray], rate: int, to: int) -> None:
        self.convert, self.rate, self.to = convert, rate, to
        divisor = math.gcd(rate, to)
        self.step, self.phases = rate // divisor, to // divisor
        needed = _TAPS * max(rate / to, 1.0)
        self.margin = math.ceil(needed / self.step) * self.step
        self.held = np.zeros(0, np.float32)
        self.before = 0

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """What can be said of the samples so far, and was not yet; with `last`, all of it."""
        if self.rate == self.to:
            return samples
        self.held = np.concatenate([self.held, samples])
        ready = len(self.held) - self.before - (0 if last else self.margin)
        ready = ready if last else ready // self.step * self.step
        if ready <= 0:
            return np.zeros(0, np.float32)
        found = np.asarray(self.convert(self.held, self.rate))
        first = self.before // self.step * self.phases
        end = len(found) if last else first + ready // self.step * self.phases
        done = self.before + ready
        keep = max(done - self.margin, 0) // self.step * self.step
        self.held, self.before = self.held[keep:], done - keep
        return found[first:end]
