"""Recurrent layers in NumPy, step by step, from the formulas in the docstrings of `nlp_rnn/layers/recurrent.py`.

Weights have Keras's layout: gates side by side in the order i, f, g, o or z, r, n.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def step(kind: str, x: np.ndarray, states: Sequence[np.ndarray], kernel: np.ndarray, inner_bias: np.ndarray | float):
    """x·W + b of one step, the states, U and b'_n → the states after it, h first; any number of rows."""
    h = states[0]
    if kind == "tanh":
        return [np.tanh(x + h @ kernel)]
    if kind == "relu":
        return [np.maximum(x + h @ kernel, 0)]
    if kind == "lstm":
        i, f, g, o = np.split(x + h @ kernel, 4, axis=-1)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    x_z, x_r, x_n = np.split(x, 3, axis=-1)
    u_z, u_r, u_n = np.split(kernel, 3, axis=-1)
    z, r = sigmoid(x_z + h @ u_z), sigmoid(x_r + h @ u_r)
    n = np.tanh(x_n + r * (h @ u_n + inner_bias)) if kind == "gru" else np.tanh(x_n + (r * h) @ u_n)
    return [z * h + (1 - z) * n]


def one_direction(
    kind: str,
    projected: np.ndarray,
    kernel: np.ndarray,
    states: Sequence[np.ndarray],
    mask: np.ndarray | None = None,
    backwards: bool = False,
    hold: bool = False,
    inner_bias: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A recurrence over all steps.

    Args:
        kind: of the cell: "tanh" or "relu" of a simple RNN, "lstm", "gru", which resets after the product, or
            "gru_reset_before".
        projected: x·W + b, `[batch, time, gates × units]`.
        kernel: U, `[units, gates × units]`.
        states: h, and c of an LSTM, before the first step, `[batch, units]`.
        mask: booleans `[batch, time]`; the states stand still where it is False.
        backwards: whether it runs from the last step to the first.
        hold: whether a masked step repeats the output before it, instead of giving 0.
        inner_bias: b'_n of "gru", `[units]`.

    Returns:
        The outputs `[batch, time, units]`, each where its step is, and the states after the last step.
    """
    batch, time, _ = projected.shape
    real = np.ones((batch, time), bool) if mask is None else mask
    output = np.zeros((batch, kernel.shape[0]))
    outputs = np.zeros((batch, time, kernel.shape[0]))
    for t in reversed(range(time)) if backwards else range(time):
        after, here = step(kind, projected[:, t], states, kernel, inner_bias), real[:, t, None]
        states = [np.where(here, new, old) for new, old in zip(after, states, strict=True)]
        output = np.where(here, after[0], output if hold else 0.0)
        outputs[:, t] = output
    return outputs, list(states)


def side_by_side(
    kind: str,
    projected: Sequence[np.ndarray],
    kernels: Sequence[np.ndarray],
    states: Sequence[np.ndarray],
    mask: np.ndarray | None,
    backwards: Sequence[bool],
    hold: bool,
    inner_biases: Sequence[np.ndarray | float],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """`one_direction` for each of several directions: outputs and states `[…, directions × units]`."""
    states_of = zip(*(np.split(state, len(kernels), axis=-1) for state in states), strict=True)
    each = zip(projected, kernels, states_of, backwards, inner_biases, strict=True)
    found = [one_direction(kind, x, u, own, mask, back, hold, bias) for x, u, own, back, bias in each]
    outputs, after = zip(*found, strict=True)
    return np.concatenate(outputs, -1), [np.concatenate(parts, -1) for parts in zip(*after, strict=True)]


def projection(
    kind: str, inputs: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray | float]:
    """x·W + b and b'_n: a GRU that resets after the product has two biases, of which that of the candidate stays in."""
    if kind != "gru":
        return inputs @ kernel + bias, 0.0
    outer, inner = bias
    units = len(inner) // 3
    of_gates = np.concatenate([inner[: 2 * units], np.zeros(units)])
    return inputs @ kernel + outer + of_gates, inner[2 * units :]


def scan_by_formula(
    kind: str,
    projected: np.ndarray,
    state: np.ndarray,
    parameters: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    skip: np.ndarray | None = None,
    backwards: bool = False,
) -> list[np.ndarray]:
    """A cell of `nlp_rnn/layers/parallel.py`, step by step.

    Args:
        kind: "linear", "mingru", "minlstm", "sru", "qrnn" or "rglru".
        projected: x·W, `[batch, time, gates × units]`.
        state: before the first step, `[batch, units]`.
        parameters: biases of the gates side by side, and after them the decay of "rglru".
        mask: booleans `[batch, time]`; steps at which it is False are left out.
        skip: x of "sru" and "rglru", `[batch, time, units]`.
        backwards: whether it runs from the last step to the first.

    Returns:
        The outputs, the last output of each row, and its last state.
    """
    batch, time, _ = projected.shape
    units = state.shape[1]
    rows = [] if parameters is None else np.split(parameters, len(parameters) // units)
    outputs, last, state = np.zeros((batch, time, units)), np.zeros((batch, units)), state.copy()
    for row in range(batch):
        for t in range(time)[::-1] if backwards else range(time):
            if mask is not None and not mask[row, t]:
                continue
            gates = np.split(projected[row, t], projected.shape[2] // units)
            gates = [gate + bias for gate, bias in zip(gates, rows or np.zeros((len(gates), units)), strict=False)]
            read = None if skip is None else skip[row, t]
            last[row], state[row] = scan_step(kind, gates, state[row], read, rows[-1] if rows else None)
            outputs[row, t] = last[row]
    return [outputs, last, state]


def scan_step(
    kind: str, gates: Sequence[np.ndarray], before: np.ndarray, x: np.ndarray | None, decay: np.ndarray | None
):
    """The gates before they are squashed, the state → the output and the state after the step."""
    if kind == "linear":
        after = gates[0] * before + gates[1]
    elif kind == "mingru":
        z = sigmoid(gates[0])
        after = (1 - z) * before + z * gates[1]
    elif kind == "minlstm":
        f, i = sigmoid(gates[0]), sigmoid(gates[1])
        after = f / (f + i) * before + i / (f + i) * gates[2]
    elif kind == "sru":
        f, r = sigmoid(gates[1]), sigmoid(gates[2])
        after = f * before + (1 - f) * gates[0]
        return r * after + (1 - r) * x, after
    elif kind == "qrnn":
        f = sigmoid(gates[1])
        after = f * before + (1 - f) * np.tanh(gates[0])
        return sigmoid(gates[2]) * after, after
    else:
        a = np.exp(-decay * sigmoid(gates[0]))
        after = a * before + np.sqrt(1 - a**2) * sigmoid(gates[1]) * x
    return after, after
