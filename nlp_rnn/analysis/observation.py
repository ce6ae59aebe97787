"""What goes on inside the layers of a run: how far back they reach, what their gates do, which units are dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.metrics.inspection import GateUse, HeadUse, UnitUse

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from nlp_rnn.data.records import Records
    from nlp_rnn.layers.base import Nest, Tensor
    from nlp_rnn.run import AnyRun

_DRAWS, _ROWS, _FEWEST, _PART = 4, 64, 8, 400
_SHUT, _OPEN, _DEAD = 0.05, 0.95, 1e-3
_BOUNDED = ("LSTM", "LayerNormLSTM", "GRU", "SimpleRNN")
_GATES = {
    "LSTM": ("input", "forget", None, "output"),
    "GRU": ("update", "reset", None),
    "MinGRU": ("update", None),
    "MinLSTM": ("forget", "input", None),
    "SRU": (None, "forget", "reset"),
}


@dataclass(frozen=True)
class Level:
    """What one layer read and gave, of a batch.

    Args:
        number: of the layer, from 0.
        read: what its cells read, `[rows, steps, features]`.
        given: what they gave, `[rows, steps, units × directions]`.
        passed: what went on to the next layer.
    """

    number: int
    read: Any
    given: Any
    passed: Any


@dataclass(frozen=True)
class Observed:
    """What a stack did with a batch.

    Args:
        stack: the layer.
        features: of the rows.
        vectors: what it read, `[rows, steps, features]`.
        lengths: of the rows.
        levels: of its layers, the lowest first.
        reach: for vectors and each level, the norm of the derivative of the last step's output with respect to the
            step k steps before, `[levels + 1, steps]`, NaN where fewer than a quarter of the rows are as long.
    """

    stack: Any
    features: dict[str, np.ndarray]
    vectors: np.ndarray
    lengths: np.ndarray
    levels: list[Level]
    reach: np.ndarray


def observe(run: AnyRun, records: Records) -> Observed:
    """Reads records and looks at what the first stack of the model does with the longest of them; a text that goes on
    is cut to parts of 400 steps.

    The reach is the root of the mean of squared norms of random projections (Hutchinson's estimate of the Frobenius
    norm of ∂h_T / ∂x_{T-k}), by distance k from each row's last step, over all rows. Where a layer reads in both
    directions, it is that of the forward one.
    """
    import tensorflow as tf

    stack = run.model.stack
    batches = [features for _, features in run.batches_of(records).indexed()]
    rows_of = [len(next(iter(batch.values()))) for batch in batches]
    fewest = min(_FEWEST, max(rows_of))
    many = [batch for batch, count in zip(batches, rows_of, strict=True) if count >= fewest]
    features = max(many, key=lambda batch: max(value.shape[1] for value in batch.values() if value.ndim > 1))
    features = {name: value[:_ROWS] for name, value in features.items()}
    with _inputs_of(stack) as seen:
        run.task.infer(run.model, {name: tf.constant(value) for name, value in features.items()}, run.options())
    vectors, mask = seen[0]
    vectors = tf.cast(vectors, tf.float32)
    if vectors.shape[0] < _FEWEST and vectors.shape[1] >= 2 * _PART:
        features, vectors, mask = _in_parts(features, vectors)
    rows, steps = int(vectors.shape[0]), int(vectors.shape[1])
    lengths = np.full(rows, steps) if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), 1).numpy()
    levels: list[Level] = []
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(vectors)
        sequence, _ = stack.run(vectors, mask, observe=lambda *level: levels.append(Level(*level)))
        last = tf.gather(tf.cast(sequence, tf.float32), np.maximum(lengths - 1, 0), batch_dims=1)
        last = last[:, : stack.units]
        draws = np.random.default_rng(0).normal(size=(_DRAWS, rows, stack.units)).astype("float32")
        projections = [tf.reduce_sum(last * draw) for draw in draws]
    sources = [vectors, *(level.passed for level in levels)]
    squares = np.zeros((len(sources), rows, steps))
    for projection in projections:
        for place, gradient in enumerate(tape.gradient(projection, sources)):
            if gradient is not None:
                squares[place] += tf.reduce_sum(tf.cast(gradient, tf.float32) ** 2, -1).numpy() / _DRAWS
    return Observed(stack, features, vectors.numpy(), lengths, levels, _by_distance(squares, lengths))


def _in_parts(features: dict[str, np.ndarray], vectors: Tensor) -> tuple[dict[str, np.ndarray], Any, None]:
    """Long rows as parts of 400 steps, the rest left out."""
    import tensorflow as tf

    steps, count = int(vectors.shape[1]), int(vectors.shape[1]) // _PART

    def cut(value: Any) -> tf.Tensor:
        return tf.reshape(value[:, : count * _PART], (-1, _PART, *value.shape[2:]))

    of_steps = {n: v for n, v in features.items() if v.ndim > 1 and v.shape[1] == steps}
    return {name: cut(value).numpy() for name, value in of_steps.items()}, cut(vectors), None


@contextmanager
def _inputs_of(stack: Any) -> Iterator[list[tuple[Any, Any]]]:
    """What a stack is called with while this lasts."""
    seen: list[tuple[Any, Any]] = []
    call = stack.call

    def recorded(sequence: Tensor, mask: Tensor | None = None, **others: Any) -> Nest:
        seen.append((sequence, mask))
        return call(sequence, mask=mask, **others)

    stack.call = recorded
    try:
        yield seen
    finally:
        del stack.call


def _by_distance(squares: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Roots of the means over rows, by distance from the last step; none where less than a quarter of them is as long,
    since others would be compared."""
    levels, rows, steps = squares.shape
    distances = np.full((levels, rows, steps), np.nan)
    for row, length in enumerate(lengths):
        distances[:, row, :length] = squares[:, row, :length][:, ::-1]
    known = np.isfinite(distances)
    counts = known.sum(1)
    return np.sqrt(
        np.where(counts >= max(rows // 4, 1), np.where(known, distances, 0).sum(1) / np.maximum(counts, 1), np.nan)
    )


def memory_of(reach: np.ndarray, part: float = 0.01) -> int | None:
    """The steps back from which on derivatives are below a part of the largest; None where they are not.

    Example:

    >>> memory_of(np.array([1.0, 0.1, 0.02, 0.001, 0.0001]))
    3
    """
    reach = reach[np.isfinite(reach)]
    above = np.flatnonzero(reach >= part * reach.max()) if len(reach) and reach.max() > 0 else np.array([])
    if not len(above) or above[-1] == len(reach) - 1:
        return None
    return int(above[-1]) + 1


def gate_use(found: Observed) -> list[GateUse]:
    """How the gates of recurrent layers are used, at real steps."""
    uses = []
    real = _real(found)
    for level, layer, read, given, name in _cells(found):
        names = _GATES.get(type(layer).__name__, ())
        if not names:
            continue
        gates = _gates(layer, read, given, backwards=layer is not found.stack.forward_layers[level.number])
        for gate, values in zip(names, np.split(gates, len(names), -1), strict=True):
            if gate is not None:
                values = values[real]
                shut, opened = float((values < _SHUT).mean()), float((values > _OPEN).mean())
                uses.append(GateUse(name, gate, float(values.mean()), shut, opened))
    return uses


def unit_use(found: Observed) -> list[UnitUse]:
    """How the units of layers are used, at real steps."""
    real, uses = _real(found), []
    for _, layer, _, given, name in _cells(found):
        values = given[real]
        dead = float((values.std(0) < _DEAD).mean())
        saturated = float((np.abs(values) > _OPEN).mean()) if type(layer).__name__ in _BOUNDED else None
        uses.append(UnitUse(name, int(layer.units), dead, saturated))
    return uses


def head_use(found: Observed) -> list[HeadUse]:
    """What the heads of a transformer look at, at real steps that see two or more."""
    uses = []
    for level in _attending(found):
        sums = np.zeros((4, found.stack.heads))
        for row, length in enumerate(found.lengths):
            sums += _looks(_attention(found, level, row, length), _seen(found, length))
        for head, (*parts, steps) in enumerate(sums.T.tolist(), 1):
            if steps:
                uses.append(HeadUse(f"layer {level.number + 1}", head, *(part / steps for part in parts)))
    return uses


def _looks(weights: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of each head the sums over steps of the entropy, as a part of that of equal weights, of the distance and of the
    weight on the step itself, and how many steps these are, `[4, heads]`."""
    counted = seen.sum(1) > 1
    steps = np.arange(len(seen))
    logs = np.log(np.maximum(weights, 1e-30))
    entropy = -(weights * logs).sum(-1)[:, counted] / np.log(seen.sum(1)[counted])
    distance = (weights * np.abs(steps[:, None] - steps)).sum(-1)[:, counted]
    own = weights[:, steps, steps][:, counted]
    return np.stack([entropy.sum(1), distance.sum(1), own.sum(1), np.full(len(weights), counted.sum())])


def attention_of(found: Observed, row: int, most: int) -> dict[str, list[list[float]]]:
    """The weights of each head over the first steps of a row, `[steps, steps]`; none of recurrent layers."""
    length = min(int(found.lengths[row]), most)
    return {
        f"layer {level.number + 1}, head {head + 1}": weights.tolist()
        for level in _attending(found)
        for head, weights in enumerate(_attention(found, level, row, found.lengths[row])[:, :length, :length])
    }


def _attending(found: Observed) -> list[Level]:
    return found.levels if hasattr(found.stack, "attentions") else []


def _attention(found: Observed, level: Level, row: int, length: int) -> np.ndarray:
    """The weights of one row's real steps, `[heads, steps, steps]`."""
    layer = found.stack.attentions[level.number]
    return np.asarray(layer.attention_weights(level.read[row : row + 1, :length])[0], np.float32)


def _seen(found: Observed, length: int) -> np.ndarray:
    """Which steps each step sees."""
    distance = np.arange(length)[:, None] - np.arange(length)
    context = found.stack.attentions[0].context
    return (distance >= 0) & (distance <= context) if context else np.ones_like(distance, bool)


def states_of(found: Observed, row: int = 0) -> np.ndarray:
    """What the last layer gave at each real step of a row, `[steps, units]`; the units that change together stand
    together."""
    values = np.asarray(found.levels[-1].given, np.float32)[row, : found.lengths[row]]
    centered = values - values.mean(0)
    directions = np.linalg.svd(centered, full_matrices=False)[2]
    return values[:, np.argsort(directions[0])]


def _cells(found: Observed) -> Iterator[tuple[Level, Any, np.ndarray, np.ndarray, str]]:
    """Each level's cells, with what they read and gave."""
    stack = found.stack
    if not hasattr(stack, "forward_layers"):
        for level in found.levels:
            yield level, stack.attentions[level.number], *_arrays(level), f"layer {level.number + 1}"
        return
    for level in found.levels:
        read, given = _arrays(level)
        yield level, stack.forward_layers[level.number], read, given[..., : stack.units], f"layer {level.number + 1} →"
        if stack.bidirectional:
            backward = stack.backward_layers[level.number]
            yield level, backward, read, given[..., stack.units :], f"layer {level.number + 1} ←"


def _arrays(level: Level) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(level.read, np.float32), np.asarray(level.given, np.float32)


def _real(found: Observed) -> np.ndarray:
    return np.arange(found.vectors.shape[1]) < found.lengths[:, None]


def _gates(layer: keras.layers.Layer, read: np.ndarray, given: np.ndarray, backwards: bool) -> np.ndarray:
    """σ of what the gates of a layer see, `[rows, steps, gates × units]`."""
    if hasattr(layer, "cell"):
        bias = np.asarray(layer.cell.bias) if layer.cell.use_bias else np.zeros(())
        bias = bias.sum(0) if bias.ndim == 2 else bias
        before = np.zeros_like(given)
        if backwards:
            before[:, :-1] = given[:, 1:]
        else:
            before[:, 1:] = given[:, :-1]
        sums = read @ np.asarray(layer.cell.kernel) + before @ np.asarray(layer.cell.recurrent_kernel) + bias
    else:
        sums = read @ np.asarray(layer.kernel) + np.asarray(layer.bias)
    return 1 / (1 + np.exp(-np.clip(sums, -60, 60)))
