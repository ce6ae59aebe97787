"""Windows of signals, scaled by the mean and the spread of what came before the step that is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlp_rnn.data.windows import Gathered, Windows
from nlp_rnn.metrics.signals import FARTHEST


def scaled(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Values in spreads from the mean, as far as the model sees."""
    return np.clip((values - mean) / spread, -FARTHEST, FARTHEST)


class Scaled:
    """Steps around the origins of windows, scaled by the steps before the origin; float32.

    Args:
        windows: whose origins count.
        span: the steps from the origin on: (-lookback, 0) is what is read, (0, 1) what came.
        scales: mean and spread of each signal, as `running_scale` has them.
    """

    def __init__(
        self, windows: Windows, span: tuple[int, int], scales: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        values = [one.values if span[0] < 0 else one.known for one in windows.series]
        self._values = Gathered(values, windows, span, repeats=True, dtype=np.float64)
        self._mean, self._spread = (
            Gathered([scale[i] for scale in scales], windows, (-1, 0), repeats=True, dtype=np.float64) for i in (0, 1)
        )
        self.lengths, self.dtype = self._values.lengths, np.dtype(np.float32)
        self.shape, self.padded_shape = self._values.shape, self._values.padded_shape

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return scaled(self._values[indices], self._mean[indices], self._spread[indices]).astype(np.float32)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """As a batch takes it."""
        return self[indices]
