"""What every task must do, done by a task of numbers from a package of its own."""

from __future__ import annotations

from typing import ClassVar

from nlp_rnn.testing import Subject, TaskContract

WAVES = [
    [[0.0, 3.1], [0.7, 3.8], [1.0, 3.9], [0.7, 3.8], [0.0, 3.0]],
    [[1.0, 2.0]] * 4 + [[-1.0, 4.0]] * 4,
    [[0.5, 0.5]],
]


class TestWaveforms(TaskContract):
    subjects: ClassVar = [
        Subject(
            "waveforms",
            {"stack": {"units": 8}, "train": {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}},
            lambda folder: {"train": ["starter"]},
            WAVES,
        )
    ]
