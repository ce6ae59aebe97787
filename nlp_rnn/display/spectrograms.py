"""What was heard, drawn: the spectrogram with the words where they were said, and what the model took each step for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlp_rnn.display.console import visible

_MOST, _LEAST = 8, 0.05
_SHOWN_BLANK = "␣"


@dataclass(frozen=True)
class HeardSound:
    """A recording and what was recognised in it.

    Args:
        title: what it is.
        spectra: energy in decibels or logarithms, `[frames, filters]`.
        hop: seconds from frame to frame.
        words: (word, start, end) in seconds.
        posteriors: probabilities `[steps, classes]`, class 0 the blank.
        step: seconds from step to step.
        pieces: what each class is written as.
    """

    title: str
    spectra: np.ndarray
    hop: float
    words: Sequence[tuple[str, float, float]]
    posteriors: np.ndarray
    step: float
    pieces: Sequence[str]

    def plot(self) -> Figure:
        """The spectrogram above, the posteriors below."""
        seconds = max(len(self.spectra) * self.hop, self.step)
        figure, below = _above(self.title, self.spectra, seconds, self.words)
        times = np.arange(len(self.posteriors)) * self.step
        below.plot(times, self.posteriors[:, 0], color="lightgrey", label="blank")
        for k in self.shown():
            name = visible(self.pieces[k].strip() or _SHOWN_BLANK)
            below.plot(times, self.posteriors[:, k], label=name if not name.startswith("_") else f" {name}")
        below.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.05), xlim=(0, seconds))
        below.legend(frameon=False, fontsize=8, ncols=5, loc="upper right")
        below.grid(alpha=0.3)
        return figure

    def shown(self) -> list[int]:
        """The classes that were most probable at some step, at most eight."""
        best = self.posteriors[:, 1:].max(0) if len(self.posteriors) else np.zeros(0)
        order = np.argsort(-best, kind="stable")[:_MOST]
        return sorted(int(k) + 1 for k in order if best[k] > _LEAST)

    def __str__(self) -> str:
        lines = [f"{start:7.2f} – {end:.2f}  {word}" for word, start, end in self.words]
        return "\n".join([self.title, *(lines or ["(nothing)"])])


def plot_evidence(
    title: str,
    spectra: np.ndarray,
    hop: float,
    words: Sequence[tuple[str, float | None, float | None]],
    values: Sequence[Sequence[float]],
    step: float,
) -> Figure:
    """The spectrogram above, and below it what each step contributed to each word.

    Args:
        title, spectra, hop, step: as `HeardSound` has them.
        words: each with where the sound that spoke for it begins and ends, in seconds, or None.
        values: of the steps, for each word.
    """
    seconds = max(len(spectra) * hop, step)
    figure, below = _above(title, spectra, seconds, ())
    above = figure.axes[0]
    for place, ((word, start, end), steps) in enumerate(zip(words, values, strict=True)):
        color, name = f"C{place % 10}", visible(word)
        times = (np.arange(len(steps)) + 0.5) * step
        below.plot(times, steps, color=color, label=name if not name.startswith("_") else f" {name}")
        if start is None or end is None:
            continue
        below.axvspan(start, end, color=color, alpha=0.1)
        above.axvspan(start, end, fill=False, edgecolor="white", linewidth=0.8)
        height, middle = spectra.shape[1] * (0.95 - 0.08 * (place % 2)), (start + end) / 2
        above.text(middle, height, name, color="white", fontsize=9, va="top", ha="center", parse_math=False)
    below.axhline(0, color="grey", linewidth=0.8)
    below.set(xlabel="seconds", ylabel="contribution to log p", xlim=(0, seconds))
    if words:
        below.legend(frameon=False, fontsize=8, ncols=5, loc="upper right")
    below.grid(alpha=0.3)
    return figure


def _above(
    title: str, spectra: np.ndarray, seconds: float, words: Sequence[tuple[str, float, float]]
) -> tuple[Figure, Axes]:
    """A figure with a spectrogram and where words begin in it, and the empty axes below."""
    figure = Figure(figsize=(max(6.0, min(2 + 3 * seconds, 16)), 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    extent = (0, seconds, 0, spectra.shape[1])
    above.imshow(spectra.T, origin="lower", aspect="auto", cmap="magma", extent=extent)
    for place, (word, start, _) in enumerate(words):
        above.axvline(start, color="white", linewidth=0.8, alpha=0.8)
        height = spectra.shape[1] * (0.95 - 0.08 * (place % 2))
        above.text(start, height, f" {visible(word)}", color="white", fontsize=9, va="top", parse_math=False)
    above.set(ylabel="mel filter", title="")
    above.set_title(visible(title), fontsize=10, parse_math=False)
    return figure, below
