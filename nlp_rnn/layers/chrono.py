"""Chrono initialisation: biases of gates by how long a layer should remember."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nlp_rnn.layers.base import Shape, Tensor

# For each gate, in the order of the layer's bias, how log(T - 1) counts in it. T: steps that a unit remembers.
_SIGNS = {
    "lstm": (-1, 1, 0, 0),  # i, f, g, o
    "layernorm_lstm": (-1, 1, 0, 0),
    "gru": (1, 0, 0),  # z, r, n; z keeps the state
    "mingru": (-1, 0),  # z, n; z lets the candidate in
    "minlstm": (1, -1, 0),  # f, i, n; σ(b) / σ(-b) = T - 1
    "sru": (0, 1, 0),  # n, f, r
    "qrnn": (0, 1, 0),  # z, f, o
}


@keras.saving.register_keras_serializable("nlp_rnn")
class Chrono(keras.initializers.Initializer):
    """Biases with which the units of a layer forget over 2 … `longest` steps, evenly drawn (Tallec and Ollivier 2018,
    "Can recurrent neural networks warp time?", arXiv:1804.11188): b_f = log(U(1, longest - 1)), b_i = -b_f.

    Keras's LSTM needs `unit_forget_bias=False` beside it, since it would set b_f itself.

    Args:
        longest: the longest distance that matters, in steps; at least 3.
        cell: "lstm", "layernorm_lstm", "gru", "mingru", "minlstm", "sru" or "qrnn". An RG-LRU begins
            with long memories of its own.
        seed: of the draw.

    Example:

    >>> layer = keras.layers.LSTM(4, unit_forget_bias=False, bias_initializer=Chrono(100, "lstm"))
    >>> layer.build((None, None, 3))
    >>> bool(layer.cell.bias.numpy()[4:8].min() >= 0)
    True
    """

    def __init__(self, longest: int, cell: str = "lstm", seed: Any = None) -> None:
        if cell not in _SIGNS:
            raise ValueError(f'cell is "{cell}"; Chrono knows {", ".join(_SIGNS)}.')
        if longest < 3:
            raise ValueError(f"Chrono needs a longest distance of at least 3 steps; it is {longest}.")
        self.longest, self.cell, self.seed = longest, cell, seed

    def __call__(self, shape: Shape, dtype: str | None = None) -> Tensor:
        """Biases `[gates × units]`, or those of Keras's GRU, `[2, gates × units]`, whose second row is 0."""
        signs = _SIGNS[self.cell]
        units = shape[-1] // len(signs)
        kept = ops.log(keras.random.uniform((units,), 1.0, self.longest - 1.0, dtype="float32", seed=self.seed))
        row = ops.cast(ops.concatenate([sign * kept for sign in signs]), dtype or "float32")
        return row if len(shape) == 1 else ops.stack([row, *[ops.zeros_like(row)] * (shape[0] - 1)])

    def get_config(self) -> dict[str, Any]:
        return {"longest": self.longest, "cell": self.cell, "seed": self.seed}
