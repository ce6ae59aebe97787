"""The verb `explain`: which parts of a recording spoke for each word that was heard in it, and which against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlp_rnn.config.values import AtLeast
from nlp_rnn.errors import InputError
from nlp_rnn.paths import check_place
from nlp_rnn.tasks.base import refuse_other_models
from nlp_rnn.tasks.explaining import score_of_vectors
from nlp_rnn.tasks.speech.predictions import Word, name_of, words_of

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from matplotlib.figure import Figure

    from nlp_rnn.analysis.attribution import Attribution
    from nlp_rnn.run import AnyRun

_TOLERANCE = 0.05
_LEAST = 0.1  # of the greatest contribution, what less than it counts against a stretch


@dataclass(frozen=True)
class Evidence:
    """What each step of a recording contributed to log p of a word at the steps where it was said: integrated gradients
    (Sundararajan et al. 2017), which sum to it less that of vectors of zeros.

    Args:
        word: as it was recognised.
        start, end: seconds of the sound that it was recognised by: of all stretches that whose contributions, each less
            a tenth of the greatest, have the greatest sum; None where no sound spoke for it.
        values: of the steps, positive where they spoke for the word.
        score: log p of its tokens together.
        base: that of vectors of zeros.
        missed: the part of the difference that the values do not sum to.
    """

    word: Word
    start: float | None
    end: float | None
    values: list[float]
    score: float
    base: float
    missed: float

    def __str__(self) -> str:
        off = f"; the sum misses {self.missed:.0%}" if self.missed > _TOLERANCE else ""
        place = "no sound" if self.start is None else f"{self.start:8.2f} – {self.end:.2f}"
        return (
            f"{place:>15}  {self.word.word}  ({self.word.confidence:.0%}; log p "
            f"{self.score:+.2f}, {self.base:+.2f} without the sound{off})"
        )


@dataclass(frozen=True)
class HeardFrom:
    """A recording, and where in it lies what its words were recognised by.

    Args:
        audio: its name.
        step: seconds from step to step.
        words: each with its evidence.
        spectra: of its frames, `[frames, filters]`.
        hop: seconds from frame to frame.
    """

    audio: str
    step: float
    words: list[Evidence]
    spectra: np.ndarray
    hop: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        words = [asdict(one) for one in self.words]
        return {"audio": self.audio, "text": self.text, "step": self.step, "words": words}

    def __str__(self) -> str:
        return "\n".join([self._title, *map(str, self.words)])

    @property
    def text(self) -> str:
        """What was recognised."""
        return " ".join(one.word.word for one in self.words)

    @property
    def _title(self) -> str:
        return f"{self.audio.rpartition('/')[2]}: {self.text or '(nothing)'}".removeprefix(": ")

    def plot(self) -> Figure:
        """The spectrogram, and below it what spoke for each word."""
        from nlp_rnn.display.spectrograms import plot_evidence

        limits = [(one.word.word, one.start, one.end) for one in self.words]
        return plot_evidence(self._title, self.spectra, self.hop, limits, [one.values for one in self.words], self.step)


def explain(run: AnyRun, recording: Any, **options: Any) -> HeardFrom:
    """Where in a recording lies what its words were recognised by.

    Args:
        run: of speech recognition.
        recording: a file, or samples with their rate, as `run(…)` takes them; as long as training allows.
        **options: of the search, such as `beam`.

    Raises:
        InputError: the recording is too long, or the run is of another task.

    Example:

        for word in explain(run, "7_jackson_32.wav").words:
            print(word.word.word, word.start, word.end)
    """
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.tasks.inputs import records_of
    from nlp_rnn.tasks.speech.data import samples_of
    from nlp_rnn.tasks.speech.model import recognized

    refuse_other_models(run, run.task.name == "speech", "explain", "a recogniser of speech")
    (record,) = records_of(run.task.input, [recording])
    rate, longest, model = run.assets.facts["rate"], run.config.data.longest, run.model
    samples = samples_of(record, rate)[0]
    if len(samples) > longest * rate:
        raise InputError(
            f"{name_of(record) or 'The recording'} lasts {len(samples) / rate:.1f} s, and explain takes at most "
            f"{longest:g} s (data.longest of the run): cut it."
        )
    features = {"samples": tf.constant(samples[None]), "lengths": tf.constant([len(samples)], tf.int32)}
    log_p = tf.nn.log_softmax(model(features, training=False))
    tokens, first, end, p = (part[0].numpy() for part in recognized(log_p, model.pieces, run.options(**options)))
    count, step = int((tokens > 0).sum()), model.embedding.samples_per_step / rate
    log_p = log_p[0].numpy()
    steps = [int(f + log_p[f:e, k].argmax()) for k, f, e in zip(tokens[:count], first, end, strict=False)]
    places = np.arange(count)  # as times, so that each word says which tokens it has
    found = []
    for word in words_of(tokens[:count], places, places + 1, p[:count], run.assets.tokenizer.pieces()):
        own = slice(int(word.start), int(word.end))
        times = {"start": round(first[own][0] * step, 3), "end": round(end[own][-1] * step, 3)}
        one = _attributed(run, features, steps[own], tokens[own].tolist())
        found.append(_evidence(replace(word, **times), one, step))
    spectra = model.embedding.mel.spectra(features["samples"])[0].numpy()
    return HeardFrom(name_of(record), step, found, spectra, model.embedding.mel.step / rate)


def _attributed(run: AnyRun, features: dict[str, Any], steps: list[int], tokens: list[int]) -> Attribution:
    """Of log p of the tokens, each at its step, what the vectors of all steps contributed."""
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients

    def score(logits: tf.Tensor) -> tf.Tensor:
        own = tf.gather(tf.nn.log_softmax(logits), steps, axis=1)
        return tf.reduce_sum(own * tf.one_hot(tokens, own.shape[-1]), [1, 2])

    vectors = tf.cast(run.model.embed(run.model.followed(features), False)[0], tf.float32)
    return integrated_gradients(score_of_vectors(run.model, features, score), vectors, tolerance=_TOLERANCE)


def _evidence(word: Word, found: Attribution, step: float) -> Evidence:
    most, start, end = float(found.values.max()), None, None
    if most > 0 and found.score - found.base > _TOLERANCE:
        start, end = (round(place * step, 3) for place in most_together(found.values - _LEAST * most))
    values = found.values.astype(float).tolist()
    return Evidence(word, start, end, values, found.score, found.base, found.missed)


def most_together(values: np.ndarray) -> tuple[int, int]:
    """The stretch whose values have the greatest sum: its first place, and the one behind its last.

    >>> import numpy as np
    >>> most_together(np.array([1.0, -2.0, 3.0, -1.0, 2.0, -4.0, 1.0]))
    (2, 5)
    """
    import numpy as np

    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    before = np.minimum.accumulate(sums)[:-1]
    end = int(np.argmax(sums[1:] - before)) + 1
    return int(np.argmin(sums[:end])), end


@dataclass(frozen=True)
class ExplainOptions:
    """Options of the verb `explain`."""

    recordings: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILE …")] = ()
    """Recordings."""
    beam: Annotated[int | None, AtLeast(1)] = None
    """Width of the search for the text; by default as the run has it, like what follows."""
    language_model: str | None = None
    """Run of a language model that is heard too."""
    language_weight: float | None = None
    """How much it counts."""
    bonus: float | None = None
    """What is added for each token."""
    plot: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to draw it, of one recording: a .png, .svg or .pdf file."""


def results(run: AnyRun, options: ExplainOptions) -> Iterator[HeardFrom]:
    """What the command shows."""
    from nlp_rnn.display.figures import figure_path, save_figure

    if not options.recordings:
        raise InputError("There is no recording to explain: give one.")
    if options.plot is not None:
        if len(options.recordings) > 1:
            raise InputError("--plot draws exactly one recording: give one.")
        check_place(figure_path(options.plot, "--plot"), "--plot")
    given = {name: getattr(options, name) for name in ("beam", "language_model", "language_weight", "bonus")}
    settings = {name: value for name, value in given.items() if value is not None}
    run.options(**settings)  # mistakes are seen at once
    for recording in options.recordings:
        found = explain(run, recording, **settings)
        if options.plot is not None:
            save_figure(found.plot(), options.plot)
        yield found
