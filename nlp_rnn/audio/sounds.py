"""Files, bytes and arrays → samples of one channel."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64")
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
_LOUDEST, _MOST_CHANNELS = 100, 64


@dataclass(frozen=True, repr=False)
class Sound:
    """A recording, decoded when it is needed.

    Args:
        name: for results and messages; empty for samples without one.
        source: a file; the contents of one; or samples `[time]` or `[time, channels]`, floats from -1 to 1 or whole
            numbers of 8, 16 or 32 bits.
        rate: samples in a second, of an array.
        where: it is named, for messages.

    Example:

    >>> Sound("beep", np.array([[0.0, 1.0], [0.5, 0.5]], np.float32), 8000).decoded()
    (array([0.5, 0.5], dtype=float32), 8000)
    """

    name: str
    source: Any
    rate: int = 0
    where: str = ""

    def __repr__(self) -> str:
        return f"Sound({self.digest()})"  # by which records are compared, wherever they lie

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sound) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def digest(self) -> str:
        """A digest of what is heard, or of the file that holds it."""
        if isinstance(self.source, np.ndarray):
            content = self.source.tobytes() + str((self.source.dtype, self.source.shape, self.rate)).encode()
        else:
            content = self.source if isinstance(self.source, bytes) else self._read()
        return hashlib.blake2b(content, digest_size=12).hexdigest()

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        name = self.name or "The recording"
        return f"{name} ({self.where})" if self.where else name

    def decoded(self) -> tuple[np.ndarray, int]:
        """Its samples, float32 `[time]`, channels mixed, and their rate.

        Raises:
            InputError: it is no sound, holds none, or what no loudspeaker could play.
        """
        if isinstance(self.source, np.ndarray):
            samples, rate = _as_floats(self.source, self.shown), self.rate
        else:
            samples, rate = self._from_file()
        if not len(samples):
            raise InputError(f"{self.shown} holds no sound: it has no samples.")
        refuse_rate(rate, self.shown)
        mixed = samples.mean(1, dtype=np.float32) if samples.ndim == 2 else samples
        refuse_samples(mixed, self.shown)
        return mixed, int(rate)

    def _read(self) -> bytes:
        try:
            return Path(self.source).read_bytes()
        except OSError as error:
            if Path(self.source).is_dir():
                raise InputError(f"{self.shown} is a folder: give recordings, or the folder with --input.") from None
            raise InputError(f"{self.shown} cannot be read ({(error.strerror or 'error').lower()}).") from None

    def _from_file(self) -> tuple[np.ndarray, int]:
        soundfile = soundfile_library()
        content = self.source if isinstance(self.source, bytes) else self._read()
        if not content:
            raise InputError(f"{self.shown} is empty.")
        try:
            return soundfile.read(io.BytesIO(content), dtype="float32")
        except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
            reason = str(getattr(error, "error_string", error)).strip().rstrip(".").lower()
            raise InputError(
                f"{self.shown} is no sound that can be read ({reason}): give wav, flac, ogg or mp3."
            ) from None


def refuse_samples(samples: np.ndarray, shown: str) -> None:
    """Samples must be what a loudspeaker could play.

    Raises:
        InputError: they are no numbers, or far louder than 1.
    """
    largest = float(np.abs(samples).max(initial=0))
    if not np.isfinite(largest):
        raise InputError(f"{shown} holds samples that are no numbers (NaN or infinite).")
    if largest > _LOUDEST:
        raise InputError(f"{shown} has samples up to {largest:,.0f}: floats must go from -1 to 1.")


def refuse_rate(rate: int, shown: str) -> None:
    """A rate must make sense.

    Raises:
        InputError: it does not.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"{shown} says that it has {rate:,} samples in a second; {LOWEST_RATE:,} to {HIGHEST_RATE:,} make sense."
        )


def soundfile_library() -> ModuleType:
    """`soundfile`, which reads the formats.

    Raises:
        InputError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError):
        raise InputError('Sound needs further packages: install them with `pip install "nlp-rnn[speech]"`.') from None
    return soundfile


def _as_floats(values: np.ndarray, name: str) -> np.ndarray:
    """Samples from -1 to 1, `[time]` or `[time, channels]`."""
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu":
        raise InputError(f"{name} must be a list of samples, or of samples of each channel.")
    if values.ndim == 2 and min(values.shape) > _MOST_CHANNELS:
        raise InputError(f"{name} has {min(values.shape):,} channels: give samples `[time]` or `[time, channels]`.")
    if values.ndim == 2 and values.shape[1] > _MOST_CHANNELS:  # channels first
        values = values.T
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    return (values / 2.0 ** (8 * values.dtype.itemsize - 1)).astype(np.float32)


def pieces_of(samples: np.ndarray, longest: int, window: int) -> list[tuple[int, int]]:
    """Where a long recording is cut so that no piece is longer than so many samples: in the middle of the quietest
    window of the last third of each piece.

    Args:
        samples: `[time]`.
        longest: samples of a piece.
        window: samples over which loudness is measured.

    Returns:
        (first, end) of each piece.

    Example:

    >>> quiet = np.ones(100); quiet[70:80] = 0
    >>> pieces_of(quiet, 90, 10)
    [(0, 75), (75, 100)]
    """
    found, start = [], 0
    while len(samples) - start > longest:
        first = start + 2 * longest // 3
        part = np.concatenate([[0.0], np.cumsum(np.square(samples[first : start + longest], dtype=np.float64))])
        energy = part[window:] - part[:-window]
        end = first + int(energy.argmin()) + window // 2 if len(energy) else start + longest
        found.append((start, end))
        start = end
    return [*found, (start, len(samples))]


def sound_of(value: object, where: str) -> Sound:
    """A sound from what may stand for one: a path; the contents of a file; `{"array", "sampling_rate"}` or `{"bytes",
    "path"}`, as `datasets` has them; (samples, rate); and the first and the third as JSON.

    Raises:
        InputError: it is none of these.

    Example:

    >>> sound_of({"array": [0, 0.5], "sampling_rate": 8000}, "The sound").decoded()
    (array([0. , 0.5], dtype=float32), 8000)
    """
    if isinstance(value, Sound):
        return value
    if isinstance(value, (bytes, bytearray)):
        return Sound("", bytes(value))
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, (str, Path)) and str(value):
        return Sound(str(value), Path(value))
    if isinstance(value, Mapping):
        array, rate = (next((value[n] for n in names if value.get(n) is not None), None) for names in _NAMES)
        if array is not None and rate is not None:
            return _of_array(array, rate, where)
        if value.get("bytes"):
            return Sound(str(value.get("path") or ""), value["bytes"])
        if value.get("path"):
            return Sound(str(value["path"]), Path(value["path"]))
    elif isinstance(value, (tuple, list)) and len(value) == 2 and np.ndim(value[1]) == 0 and np.ndim(value[0]):
        return _of_array(value[0], value[1], where)
    raise InputError(
        f'{where} is no sound: give a file, or samples with their rate, {{"array": [0.0, 0.1, …], "sampling_rate": '
        f"16000}}."
    )


_NAMES = (("array", "audio", "samples"), ("sampling_rate", "sample_rate", "rate"))


def _of_array(array: Any, rate: Any, where: str) -> Sound:
    try:
        samples, hertz = np.asarray(array), int(rate)
    except (TypeError, ValueError):
        samples, hertz = np.zeros(0, object), 0
    if samples.dtype.kind not in "fiu" or samples.ndim not in (1, 2):
        raise InputError(
            f'{where} needs a list of samples, "array", and how many of them a second has, "sampling_rate".'
        )
    if samples.dtype.itemsize > 4:  # as lists become: whole numbers are of 16 bits where they can be
        largest = np.abs(samples).max(initial=0)
        whole = samples.dtype.kind in "iu" and largest > 1
        samples = samples.astype((np.int16 if largest < 2**15 else np.int32) if whole else np.float32)
    return Sound("", np.ascontiguousarray(samples), hertz)
