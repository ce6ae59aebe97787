"""From tokens and their times to words, what they are worth, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Asked, Metrics, Outputs
from nlp_rnn.tasks.speech.settings import Options

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Records


@dataclass(frozen=True)
class Word:
    """A word that was said.

    Args:
        word: the word.
        start, end: seconds from the beginning of the recording.
        confidence: the product of the probabilities of its tokens.
    """

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """One result.

    Args:
        audio: the name of the recording.
        text: what is said in it.
        confidence: the geometric mean of the probabilities of its tokens; 0 where there are none.
        seconds: how long it is.
        words: with their times.
    """

    audio: str
    text: str
    confidence: float
    seconds: float
    words: list[Word]


def decode(outputs: Outputs, records: Records, assets: Assets, options: Options) -> list[Transcript]:
    """Tokens → words."""
    import numpy as np

    rate, pieces = assets.facts["rate"], assets.tokenizer.pieces()
    found = []
    for place, record in enumerate(records):
        tokens, first, end, p, lengths = (
            np.asarray(outputs[name][place]) for name in ("tokens", "first", "end", "probability", "lengths")
        )
        said = tokens > 0
        words = words_of(tokens[said], first[said] / rate, end[said] / rate, p[said], pieces)
        confidence = float(np.exp(np.log(np.maximum(p[said], 1e-30)).mean())) if said.any() else 0.0
        text = " ".join(word.word for word in words)
        found.append(Transcript(name_of(record), text, confidence, float(lengths.sum()) / rate, words))
    return found


def name_of(record: dict[str, Any]) -> str:
    """What a recording is called; of a string, its parts."""
    audio = record["audio"]
    return " + ".join(sound.name for sound in audio) if isinstance(audio, (tuple, list)) else audio.name


def words_of(
    tokens: np.ndarray, starts: np.ndarray, ends: np.ndarray, p: np.ndarray, pieces: Sequence[bytes]
) -> list[Word]:
    """Tokens put together to words, which a blank begins.

    >>> import numpy as np
    >>> pieces = [b"", b"?", b"", b"", b"a", b" ", b"b"]
    >>> times = np.array([0.1, 0.2, 0.3])
    >>> words_of(np.array([4, 5, 6]), times, times + 0.05, np.ones(3), pieces)[1]
    Word(word='b', start=0.3, end=0.35, confidence=1.0)
    """
    groups: list[tuple[bytes, float, float, float]] = []
    begins = True
    for token, start, end, chance in zip(tokens.tolist(), starts.tolist(), ends.tolist(), p.tolist(), strict=True):
        piece = pieces[token]
        begins = begins or piece.startswith(b" ")
        if not piece.strip():
            continue
        if begins or not groups:
            groups.append((piece.strip(), start, end, chance))
        else:
            text, first, _, before = groups[-1]
            groups[-1] = (text + piece, first, end, before * chance)
        begins = piece.endswith(b" ")
    return [
        Word(text.decode("utf-8", "replace"), round(start, 3), round(end, 3), chance)
        for text, start, end, chance in groups
    ]


def from_row(row: dict[str, Any], options: Options, asked: Asked | None = None) -> Transcript:
    """A row of the signature `serving_default`."""
    from nlp_rnn.tasks.inputs import SoundInput

    name = SoundInput().parse(asked.record["audio"]).name if asked else ""
    words = [
        Word(word, round(start, 3), round(end, 3), p)
        for word, start, end, p in zip(row["words"], row["starts"], row["ends"], row["confidences"], strict=True)
        if word
    ]
    return Transcript(name, row["text"], row["confidence"], row["seconds"], words)


def evaluate(records: Records, predictions: Sequence[Transcript], outputs: Outputs, assets: Assets) -> Metrics:
    """Word and character error rates."""
    from nlp_rnn.metrics.speech import speech_report

    singles = [not isinstance(record["audio"], (tuple, list)) for record in records]
    texts, said = [record["text"] for record in records], [one.text for one in predictions]
    metrics = speech_report(texts, said, [record.get("speaker") or "" for record in records], singles)
    return {**metrics, "seconds": round(sum(one.seconds for one in predictions), 1)}


def show(prediction: Transcript, record: dict[str, object] | None = None) -> str:
    """`7_lucas_3.wav  seven  (97 %)`; with a record, what was said."""
    text = prediction.text or "(nothing)"
    name = prediction.audio.rpartition("/")[2]
    line = f"{name}  {text}  ({prediction.confidence:.0%})" if name else f"{text}  ({prediction.confidence:.0%})"
    if record is None or record.get("text") is None:
        return line
    return f"✓ {line}" if record["text"] == prediction.text else f"✗ {line}, said: {record['text']}"


def errors(records: Records, predictions: Sequence[Transcript], count: int) -> list[str]:
    """The words that were taken for others most often, then the recordings with the most errors."""
    from nlp_rnn.metrics.speech import confusions, count_errors

    texts = [record["text"] for record in records]
    found = confusions(texts, [one.text for one in predictions]).most_common(count)
    lines = [f"{times:4}×  {right or '(nothing)'} → {said or '(nothing)'}" for (right, said), times in found]

    def mistakes(place: int) -> int:
        counts = count_errors(texts[place].split(), predictions[place].text.split())
        return counts.total() - counts["of"]

    worst = sorted((i for i in range(len(texts)) if mistakes(i)), key=lambda i: -mistakes(i))[:count]
    return [*lines, *(show(predictions[i], records[i]) for i in worst)]
