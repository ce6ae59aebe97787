"""The verb `listen`: words as they are said, from a stream of sound, with a state of constant size; and the list of all
verbs that only this task has."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nlp_rnn.config.values import Count, Natural
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Command, refuse_other_models
from nlp_rnn.tasks.speech.explaining import ExplainOptions
from nlp_rnn.tasks.speech.explaining import results as explained
from nlp_rnn.tasks.speech.predictions import Word, words_of

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.audio.streams import Encoding
    from nlp_rnn.layers.base import Nest
    from nlp_rnn.run import AnyRun

_PAUSE = 0.6  # seconds after which a word has ended, whatever follows


@dataclass(frozen=True)
class Heard:
    """A word that was heard.

    Args:
        word: with its times, in seconds from the beginning of the stream.
    """

    word: Word

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self.word)

    def __str__(self) -> str:
        return f"{self.word.start:8.2f}  {self.word.word}  ({self.word.confidence:.0%})"


class Listener:
    """Recognises a stream piece by piece, by the best class at each step. Together the words are those of the whole
    recording, recognised at once with `beam` 1, but that a pause always ends a word.

    Args:
        run: of speech recognition, which reads in one direction, and does not normalise by recording.

    Raises:
        InputError: it reads to the end first.

    Example:

        listener = Listener(nlp_rnn.load("runs/live"))
        for samples in microphone:  # float32 [time], at listener.rate
            for word in listener.push(samples):
                print(word.word)
    """

    samples: np.ndarray
    frames: np.ndarray
    parts: list[np.ndarray]
    total: np.ndarray
    heard: int
    last: int
    step: int

    def __init__(self, run: AnyRun) -> None:
        import numpy as np
        import tensorflow as tf

        from nlp_rnn.layers.ctc import BLANK
        from nlp_rnn.text.tokenizer import SPECIAL

        refuse_other_models(run, hasattr(run.model, "pieces"), "listen", "a run of speech recognition")
        if run.config.stack.bidirectional or run.config.audio.normalization == "recording":
            raise InputError(
                "This run reads recordings to their ends before it says anything: to listen, train one with "
                "--stack.bidirectional False --audio.normalization running --audio.lookahead 15."
            )
        model, embedding = run.model, run.model.embedding
        self.mel, self.stacking = embedding.mel, embedding.stacking
        self.rate, self.pieces = run.assets.facts["rate"], run.assets.tokenizer.pieces()
        self._classes = np.array([BLANK, *range(SPECIAL, len(self.pieces))])
        self.seconds_per_step, self.lookahead = embedding.samples_per_step / self.rate, model.lookahead
        self._units, self._parts, self.prior = model.state_size, model.state_parts, embedding.prior
        self._begin()
        self.is_running = embedding.normalization == "running"
        self._said: list[tuple[int, int, int, float]] = []  # token, first step, step after the last, probability

        def spectra(samples: tf.Tensor) -> tf.Tensor:
            return self.mel(samples[None])[0]

        def advance(frames: tf.Tensor, *parts: Any) -> Nest:
            logits, after = model.advance(frames[None], model.grouped(list(parts)))
            return tf.nn.softmax(logits)[0], [tf.cast(part, tf.float32) for part in tf.nest.flatten(after)]

        states = [tf.TensorSpec([1, self._units], tf.float32)] * self._parts
        frames = tf.TensorSpec([None, self.mel.mels], tf.float32)
        self._spectra = tf.function(spectra, input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        self._advance = tf.function(advance, input_signature=[frames, *states], autograph=False)

    def anew(self) -> Listener:
        """Another at the beginning of a stream, which shares what was compiled."""
        other = copy.copy(self)
        other._said = []
        other._begin()
        return other

    @property
    def latency(self) -> float:
        """Seconds of sound after the end of a step before it can be decided: what its frames look at, and the steps
        that the model hears first."""
        frames = (self.mel.size - self.mel.step) / self.rate + self.stacking.context * self.mel.step / self.rate
        return frames + self.lookahead * self.seconds_per_step

    def push(self, samples: np.ndarray) -> list[Word]:
        """The words that further samples, float32 `[time]` from -1 to 1, have completed.

        Raises:
            InputError: they are something else.
        """
        import numpy as np

        from nlp_rnn.audio.sounds import refuse_samples

        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise InputError("push takes samples of one channel, floats `[time]` from -1 to 1.")
        refuse_samples(samples, "The stream")
        self.samples = np.concatenate([self.samples, samples.astype(np.float32)])
        count = (len(self.samples) - self.mel.size) // self.mel.step + 1
        if count < 1:
            return []
        used = (count - 1) * self.mel.step + self.mel.size
        self.frames = np.concatenate([self.frames, self._normalized(self._spectra(self.samples[:used]).numpy())])
        self.samples = self.samples[count * self.mel.step :]
        return self._read(self.frames.shape[0] - 2 * self.stacking.context)

    def _normalized(self, frames: np.ndarray) -> np.ndarray:
        """Less the mean so far, where the model is used to that."""
        import numpy as np

        if not self.is_running:
            return frames
        sums = self.total + np.cumsum(frames, 0, dtype=np.float64)
        counts = self.heard + np.arange(1, len(frames) + 1)
        self.total, self.heard = sums[-1], int(counts[-1])
        return (frames - sums / (counts + self.prior)[:, None]).astype(np.float32)

    def close(self) -> list[Word]:
        """The words that the end of the stream completes; the next sample begins anew."""
        import numpy as np

        found: list[Word] = []
        if self.lookahead:
            found = self.push(np.zeros(round(self.lookahead * self.seconds_per_step * self.rate), np.float32))
        is_new = self.step == -self.lookahead and self.frames.shape[0] == self.stacking.context
        if is_new and len(self.samples):  # less than a frame
            missing = np.zeros(self.mel.size - len(self.samples), np.float32)
            found = self.push(missing)
        left = self.frames.shape[0] - self.stacking.context
        if left > 0:
            steps = -(-left // self.stacking.factor)
            rest = np.zeros((self.stacking.context, self.mel.mels), np.float32)
            whole = np.concatenate([self.frames, rest])
            found += self._forward(whole[: left + 2 * self.stacking.context], steps)
        found += self._words(everything=True)
        self._begin()
        return found

    def _begin(self) -> None:
        import numpy as np

        self.samples = np.zeros(0, np.float32)
        self.frames = np.zeros((self.stacking.context, self.mel.mels), np.float32)
        self.parts = [np.zeros((1, self._units), np.float32) for _ in range(self._parts)]
        self.last, self.step = 0, -self.lookahead
        self.heard, self.total = 0, np.zeros(self.mel.mels)

    def _read(self, count: int) -> list[Word]:
        """Reads the steps that so many frames, with what lies around them, make in full."""
        steps = count // self.stacking.factor
        if steps < 1:
            return []
        used = steps * self.stacking.factor
        found = self._forward(self.frames[: used + 2 * self.stacking.context], steps)
        self.frames = self.frames[used:]
        return found

    def _forward(self, frames: np.ndarray, steps: int) -> list[Word]:
        p, parts = self._advance(frames, *self.parts)
        self.parts = [part.numpy() for part in parts]
        for row in p.numpy()[:steps]:
            if self.step < 0:  # what is said before the first step is none of its own
                self.step += 1
                continue
            best = int(self._classes[row[self._classes].argmax()])
            if best and best == self.last:
                token, first, _, chance = self._said[-1]
                self._said[-1] = (token, first, self.step + 1, max(chance, float(row[best])))
            elif best:
                self._said.append((best, self.step, self.step + 1, float(row[best])))
            self.last = best
            self.step += 1
        return self._words()

    def _words(self, everything: bool = False) -> list[Word]:
        """The words that are complete: another follows, or nothing does for a while."""
        import numpy as np

        if not self._said:
            return []
        tokens, first, end, chances = (np.array(part) for part in zip(*self._said, strict=True))
        begins = np.array([self.pieces[t].startswith(b" ") for t in tokens])
        silent = (self.step - end[-1]) * self.seconds_per_step > _PAUSE
        places = np.flatnonzero(begins)
        cut = len(tokens) if everything or silent else int(places[-1]) if len(places) else 0
        if not cut:
            return []
        self._said = self._said[cut:]
        seconds = self.seconds_per_step
        return words_of(tokens[:cut], first[:cut] * seconds, end[:cut] * seconds, chances[:cut], self.pieces)


@dataclass(frozen=True)
class ListenOptions:
    """Options of the verb `listen`."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[FILE or -]")] = "-"
    """A recording, or standard input: wav, or samples alone."""
    rate: Natural = 0
    """Samples in a second of standard input; 0 reads it from the header of wav."""
    sample: Literal["u8", "s16", "s24", "s32", "f32", "f64"] = "s16"
    """How a sample is written where there is no header: unsigned or signed whole numbers, or floats, low byte first."""
    channels: Count = 1
    """Channels of standard input, where there is no header; they are mixed."""


def _results(run: AnyRun, options: ListenOptions) -> Iterator[Heard]:
    listener = Listener(run)
    seconds = 0.0
    latency = 1000 * (listener.latency + listener.seconds_per_step)
    print(
        f"listening at {listener.rate:,} Hz; sound is read {latency:.0f} ms after it came, at most; a word ends with "
        f"the next one, or {_PAUSE:g} s later",
        file=sys.stderr,
    )
    for samples in _samples(options, listener.rate):
        seconds += len(samples) / listener.rate
        yield from map(Heard, listener.push(samples))
    yield from map(Heard, listener.close())
    print(f"{seconds:,.1f} seconds heard", file=sys.stderr)


def _samples(options: ListenOptions, to: int) -> Iterator[np.ndarray]:
    """Samples of the source at the rate of the model, as they come."""
    import numpy as np

    from nlp_rnn.audio.sounds import sound_of
    from nlp_rnn.audio.streams import Encoding
    from nlp_rnn.tasks.speech.model import converter

    convert = converter(to)
    if options.source != "-":
        samples, rate = sound_of(Path(options.source), options.source).decoded()
        whole = np.asarray(convert(samples, rate))
        yield from (whole[start : start + to // 4] for start in range(0, len(whole), to // 4))
        return
    encoding = Encoding(options.rate, options.sample, options.channels) if options.rate else None
    yield from samples_at(to, lambda size: os.read(sys.stdin.fileno(), size), encoding)


def samples_at(
    to: int,
    read: Callable[[int], bytes],
    encoding: Encoding | None,
    shown: str = "Standard input",
    how: str = "--rate 16000",
) -> Iterator[np.ndarray]:
    """Samples of a stream at the rate of a model, as they come.

    Args:
        to: samples in a second.
        read: (bytes at most) → bytes, none at the end.
        encoding: how samples are written, where no header of wav says it.
        shown, how: for messages, what is read and how its rate is said.
    """
    import numpy as np

    from nlp_rnn.audio.streams import Resampler, samples_in
    from nlp_rnn.tasks.speech.model import converter

    convert, resampler = converter(to), None
    for samples, rate in samples_in(read, encoding, shown=shown, how=how):
        resampler = resampler or Resampler(lambda part, own: np.asarray(convert(part, own)), rate, to)
        yield resampler.push(samples)
    if resampler is not None and resampler.rate != to:
        yield resampler.push(np.zeros(0, np.float32), last=True)


COMMANDS = (
    Command("listen", "Recognises a stream of sound, word by word, as it comes.", ListenOptions, _results),
    Command("explain", "Shows by which parts of a recording its words were recognised.", ExplainOptions, explained),
)
