"""The built-in tasks with data so small that each trains in seconds; every test shares these runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from nlp_rnn.testing import Subject

SENTENCES = [
    (["Ada", "met", "Bob", "."], [(0, 1, "PER"), (2, 3, "PER")]),
    (["In", "New", "York", "Bob", "slept"], [(1, 3, "LOC"), (3, 4, "PER")]),
]
ENGLISH = ["one cat", "two dogs", "a red house", "one dog", "two cats"]
GERMAN = ["eine Katze", "zwei Hunde", "ein rotes Haus", "ein Hund", "zwei Katzen"]
LINES = ["the cat sat on the mat", "the dog sat on the cat", "", "a mat is not a dog 🐈", "  the end"]


def text_and_entities(tokens: list[str], spans: list[tuple[int, int, str]]) -> dict[str, Any]:
    """A sentence as a text with places."""
    starts = [sum(len(token) + 1 for token in tokens[:i]) for i in range(len(tokens) + 1)]
    entities = [{"start": starts[a], "end": starts[b] - 1, "label": label} for a, b, label in spans]
    return {"text": " ".join(tokens), "entities": entities}


def write_reviews(folder: Path) -> dict[str, Any]:
    rows = [f"a {'fine' if i % 2 else 'joyless'} film {i % 7},{'positive' if i % 2 else 'negative'}" for i in range(80)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return {"train": [str(folder / "reviews.csv")], "validation_fraction": 0.2, "test_fraction": 0.2}


def write_entities(folder: Path) -> dict[str, Any]:
    rows = [json.dumps(text_and_entities(*row)) for row in SENTENCES * 40]
    (folder / "entities.jsonl").write_text("\n".join(rows) + "\n")
    return {"train": [str(folder / "entities.jsonl")], "validation_fraction": 0.2}


def write_pairs(folder: Path) -> dict[str, Any]:
    for split, times in (("train", 20), ("validation", 1)):
        for language, lines in (("en", ENGLISH), ("de", GERMAN)):
            (folder / f"{split}.{language}").write_text("\n".join(lines * times) + "\n")
    return {s: [str(folder / f"{s}.{language}") for language in ("en", "de")] for s in ("train", "validation")}


def write_text(folder: Path) -> dict[str, Any]:
    (folder / "text.txt").write_text("\n".join(LINES * 40) + "\n")
    return {"train": [str(folder / "text.txt")]}


def write_series(folder: Path) -> dict[str, Any]:
    rows = ["ds,store,y,other,holiday"]
    for store in "ab":
        for day in range(120):
            wave = 5 + 3 * (day % 7 == 6) + (store == "b") * 20
            rows.append(f"{np.datetime64('2025-01-01') + day},{store},{wave},{day % 5},{int(day % 30 == 0)}")
    (folder / "sales.csv").write_text("\n".join(rows) + "\n")
    return {"train": [str(folder / "sales.csv")], "target": ["y"], "series": "store", "validation_fraction": 0.2}


def write_sessions(folder: Path) -> dict[str, Any]:
    rows = ["session,events,label"]
    for i in range(120):
        body = "read " * (1 + i % 3) + "write " * (i % 2)
        odd = i >= 100
        rows.append(
            f"s{i},open {body}{'crash ' if odd and i % 2 else ''}{'' if odd else 'close'},{'bad' if odd else 'normal'}"
        )
    (folder / "sessions.csv").write_text("\n".join(rows) + "\n")
    return {"train": [str(folder / "sessions.csv")], "validation_fraction": 0.2, "test_fraction": 0.2}


def write_signals(folder: Path) -> dict[str, Any]:
    """Two channels by hour, the second of which follows the first; with a stretch where it does not."""
    rows = ["time,load,heat,label"]
    for i in range(400):
        load, odd = 5 + 3 * np.sin(i / 4), 340 <= i < 350
        heat = 20 + load + (9 if odd else 0) + 0.1 * (i % 3)
        rows.append(f"{np.datetime64('2026-01-01T00') + i},{load:.3f},{heat:.3f},{int(odd)}")
    (folder / "signals.csv").write_text("\n".join(rows) + "\n")
    return {"train": [str(folder / "signals.csv")], "target": ["load", "heat"], "label": "label"}


def tones(*hertz: float, rate: int = 4000, seconds: float = 0.2) -> np.ndarray:
    """A tone after the other, with a pause after each."""
    places = np.arange(int(rate * seconds)) / rate
    pause = np.zeros(rate // 20)
    parts = [part for one in hertz for part in (0.3 * np.sin(2 * np.pi * one * places), pause)]
    return np.concatenate([pause, *parts]).astype(np.float32)


TONES = {"low": 300.0, "high": 1200.0, "mid": 700.0}


def write_tones(folder: Path) -> dict[str, Any]:
    """Recordings of words that are tones, and a table of them."""
    import soundfile

    rng, rows = np.random.default_rng(0), ["audio,text,speaker"]
    for i in range(120):
        words = [sorted(TONES)[k] for k in rng.integers(0, 3, 1 + i % 3)]
        noise = 0.01 * rng.standard_normal(1)[0]
        samples = tones(*(TONES[word] * (1 + noise) for word in words))
        soundfile.write(folder / f"{i}.wav", samples, 4000)
        rows.append(f"{i}.wav,{' '.join(words)},{'ab'[i % 2]}")
    (folder / "recordings.csv").write_text("\n".join(rows) + "\n")
    return {"train": [str(folder / "recordings.csv")], "validation_fraction": 0.2, "test_fraction": 0.1}


def as_sound(samples: np.ndarray, rate: int = 4000) -> dict[str, Any]:
    return {"array": samples.round(4).tolist(), "sampling_rate": rate}


class Streaming(Subject):
    """A run of speech recognition that can listen."""

    def __str__(self) -> str:
        return f"{self.task}-streaming"


SUBJECTS = {
    "anomaly": Subject(
        "anomaly",
        {
            "data": {"window": 16},
            "embedding": {"size": 8},
            "stack": {"units": 8},
            "train": {"epochs": 6, "batch_size": 8, "learning_rate": 0.02},
        },
        write_sessions,
        ["open read close", "open close read", "", "never seen 🐈 events", "read " * 100],
    ),
    "anomaly-values": Subject(
        "anomaly-values",
        {
            "lookback": 12,
            "score": {"memory": 60, "rest": 20.0},
            "stack": {"units": 8},
            "train": {"epochs": 6, "batch_size": 16, "learning_rate": 0.02},
        },
        write_signals,
        [
            {"values": [[5 + 3 * np.sin(i / 4), 25 + 3 * np.sin(i / 4) + 9 * (i == 40)] for i in range(50)]},
            {"values": [[5.0, None], [6.0, 1e9]], "name": "café"},
            [[7, 7]],
        ],
    ),
    "sentiment": Subject(
        "sentiment",
        {
            "tokenizer": {"kind": "word", "min_count": 1},
            "embedding": {"size": 8, "word_dropout": 0.1, "dropout": 0.1},
            "stack": {"units": 6, "dropout": 0.2, "weight_drop": 0.2},
            "train": {
                "epochs": 6,
                "batch_size": 8,
                "learning_rate": 0.02,
                "average": 0.9,
                "average_epochs": 2,
                "checkpoint_seconds": 0.0,
            },
        },
        write_reviews,
        ["a fine film", "a joyless film", "", "   ", "日本 👩‍👩‍👧 e\u0301", "word " * 600],
    ),
    "ner": Subject(
        "ner",
        {
            "embedding": {"size": 16, "character_size": 8, "character_units": 8},
            "stack": {"units": 16},
            "train": {"epochs": 6, "batch_size": 8, "learning_rate": 0.02},
        },
        write_entities,
        ["Ada met Bob .", "In New York Bob slept", "", "  \n ", "Ａｄａ met 🐈‍⬛ in New York!\nBob slept.", "x" * 3000],
    ),
    "speech": Subject(
        "speech",
        {
            "audio": {"mels": 16, "frames": 2, "filters": 4},
            "augment": {"speed": 0.05, "warp": 0.0, "tilt": 0.1, "bands": 1, "width": 2, "stretches": 0},
            "tokenizer": {"kind": "word"},
            "stack": {"units": 16, "layers": 1},
            "train": {"epochs": 20, "batch_size": 4, "learning_rate": 0.02},
        },
        write_tones,
        [
            as_sound(tones(300, 1200)),
            as_sound(tones(700, rate=8000), 8000),
            as_sound(np.zeros(800, np.float32)),
            as_sound(np.array([0.5, -0.5, 0.25], np.float32)),
        ],
    ),
    "translation": Subject(
        "translation",
        {
            "tokenizer": {"kind": "character"},
            "embedding": {"size": 32},
            "stack": {"units": 32},
            "decoder": {"units": 48, "attention_units": 32},
            "train": {"epochs": 24, "batch_size": 8, "learning_rate": 0.01},
        },
        write_pairs,
        [*ENGLISH, "", "one 🐈", "one cat " * 100],
    ),
    "forecasting": Subject(
        "forecasting",
        {
            "horizon": 5,
            "lookback": 14,
            "model": {"segment": 7, "calendar": "none"},
            "stack": {"units": 8},
            "train": {"epochs": 6, "batch_size": 16, "learning_rate": 0.02},
        },
        write_series,
        [
            {"values": [5, 5, 5, 5, 5, 8, 5] * 3},
            {"values": [20.0, None, 21.0]},
            {"values": [[7]], "name": "café"},
            {"values": list(range(40)), "name": "b"},
        ],
    ),
    "language-modeling": Subject(
        "language-modeling",
        {
            "stack": {"units": 48, "bidirectional": False},
            "train": {"epochs": 12, "batch_size": 4, "bptt": 16, "learning_rate": 0.01, "activation_penalty": 0.1},
        },
        write_text,
        [*LINES, "the   cat\t🐈", "the cat " * 300],
    ),
}
LIVE = Streaming(
    "speech",
    {
        **SUBJECTS["speech"].settings,
        "audio": {**SUBJECTS["speech"].settings["audio"], "normalization": "running", "lookahead": 3},
        "stack": {"units": 16, "layers": 1, "bidirectional": False},
    },
    write_tones,
    SUBJECTS["speech"].inputs,
)
"""Beside them, shared as they are."""
