"""The starter corpus: digits that eSpeak NG speaks in forty voices, made on first use and kept on this machine.

The sound is made here rather than brought along: eSpeak NG is free software under the GPL, and comes with the extra
"speech" (`espeakng-loader`).
"""

from __future__ import annotations

import csv
import ctypes
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.errors import InputError
from nlp_rnn.paths import cache_folder

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Record

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_VERSION, _HERTZ = 2, 8000
_ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en")
_TIMBRES = ("m1", "m2", "m3", "m4", "m5", "m7", "f1", "f2", "f3", "f4", "Andrea", "Mike", "Alicia", "Lee")
_SPEAKERS = {"train": 30, "validation": 5, "test": 5}
_STRINGS = {"train": 30, "validation": 20, "test": 20}
_RATE, _PITCH, _SYNCHRONOUS, _UTF8 = 1, 3, 2, 1  # of eSpeak NG's interface


@dataclass(frozen=True)
class Voice:
    """Who speaks.

    Args:
        name: accent and timbre, as eSpeak NG has them.
        speed: words in a minute.
        pitch: 0 to 99.
    """

    name: str
    speed: int
    pitch: int


def spoken_digits(split: str) -> list[Record] | None:
    """Records of strings of one to five digits; the voices of the parts are different ones."""
    from nlp_rnn.data.recordings import Naming, read_recordings

    found = read_recordings([str(starter_recordings())], split, Naming())
    return None if found is None else found[0]


def starter_recordings() -> Path:
    """The folder with the recordings: `train/`, `validation/` and `test/`, each with `metadata.csv`.

    Raises:
        InputError: the extra is not installed.
    """
    folder = cache_folder() / f"spoken-digits-{_VERSION}"
    if folder.is_dir():
        return folder
    from nlp_rnn.display.console import console

    speak = _speaker()
    from nlp_rnn.startup import import_tensorflow

    import_tensorflow()  # which converts the rate
    console.print(f"eSpeak NG speaks digits, once: {folder}")
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    voices = iter(_voices(sum(_SPEAKERS.values())))
    for split, count in _SPEAKERS.items():
        _write(temporary / split, list(itertools.islice(voices, count)), _STRINGS[split], speak)
    try:
        temporary.rename(folder)
    except OSError:  # another process was first
        if not folder.is_dir():
            raise
    return folder


def _voices(count: int) -> list[Voice]:
    """Different ones, the same every time."""
    import numpy as np

    rng = np.random.default_rng(_VERSION)
    pairs = [f"{accent}+{timbre}" for accent, timbre in itertools.product(_ACCENTS, _TIMBRES)]
    return [
        Voice(str(name), int(rng.integers(120, 190)), int(rng.integers(25, 75)))
        for name in rng.permutation(pairs)[:count]
    ]


def _write(folder: Path, voices: list[Voice], strings: int, speak: Any) -> None:
    import numpy as np

    from nlp_rnn.audio.sounds import soundfile_library
    from nlp_rnn.tasks.speech.model import converter

    soundfile, convert = soundfile_library(), converter(_HERTZ)
    folder.mkdir(parents=True)
    with open(folder / "metadata.csv", "w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink)
        table.writerow(["file_name", "text", "speaker"])
        for number, voice in enumerate(voices):
            rng = np.random.default_rng((_VERSION, len(folder.name), number))
            for place, text in enumerate(_texts(rng, strings)):
                name = f"{folder.name}-{number:02}-{place:02}.flac"
                samples, rate = speak(text, voice)
                soundfile.write(folder / name, np.asarray(convert(samples.astype(np.float32) / 2**15, rate)), _HERTZ)
                table.writerow([name, text, voice.name])


def _texts(rng: np.random.Generator, count: int) -> Iterator[str]:
    for _ in range(count):
        yield " ".join(WORDS[digit] for digit in rng.integers(0, len(WORDS), int(rng.integers(1, 6))))


@cache
def _speaker() -> Any:
    """(text, voice) → samples, int16, and their rate."""
    import numpy as np

    try:
        import espeakng_loader

        library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
    except (ImportError, OSError):
        raise InputError(
            'The starter is spoken by eSpeak NG: install it with `pip install "nlp-rnn[speech]"`, or name recordings '
            "with --data."
        ) from None
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    parts: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(receive)

    def speak(text: str, voice: Voice, keep: object = receive) -> tuple[np.ndarray, int]:
        parts.clear()
        if library.espeak_SetVoiceByName(voice.name.encode()):
            raise InputError(f"eSpeak NG has no voice {voice.name}: install espeakng-loader 0.2.4.")
        library.espeak_SetParameter(_RATE, voice.speed, 0)
        library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        content = text.encode() + b"\0"
        library.espeak_Synth(content, len(content), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        return np.concatenate(parts), rate

    return speak
