"""A transformer with the contract of a recurrent stack: steps that look at each other instead of a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.attention import masked_softmax
from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.feedforward import FeedForward, normalization_of
from nlp_rnn.layers.projection import projected, read_weight
from nlp_rnn.layers.scan import last_real_step

_SLOWEST = 10_000.0  # the longest wavelength of positions, over 2π


def rotated(x: Tensor, first: Tensor | int = 0) -> Tensor:
    """Vectors turned by angles that grow with their places, so that products of two depend on their distance alone
    (Su et al. 2021, arXiv:2104.09864).

    Args:
        x: `[batch, time, heads, size]`, of an even size.
        first: place of the first.

    Example:

    >>> x = tf.ones((1, 5, 1, 4))
    >>> products = tf.einsum("bthd,bshd->ts", rotated(x), rotated(x))
    >>> bool(abs(products[0, 2] - products[2, 4]) < 1e-5)
    True
    """
    half = x.shape[-1] // 2
    frequencies = tf.constant([_SLOWEST ** (-i / half) for i in range(half)], tf.float32)
    places = tf.cast(tf.range(first, first + tf.shape(x)[1]), tf.float32)
    angles = (places[:, None] * frequencies)[:, None]
    cosine, sine = (tf.cast(part, x.dtype) for part in (tf.cos(angles), tf.sin(angles)))
    a, b = tf.split(x, 2, -1)
    return tf.concat([a * cosine - b * sine, a * sine + b * cosine], -1)


@keras.saving.register_keras_serializable("nlp_rnn")
class SelfAttention(SequenceLayer):
    """Attention of each step to the steps of its sequence (Vaswani et al. 2017, arXiv:1706.03762), by their distances.

        α_ts = softmax_s(R_t·W_q·x_t · R_s·W_k·x_s / √d)        y_t = W_o·Σ_s α_ts W_v·x_s        for each of the heads

    R turns by the place (`rotated`). With a context each step sees itself and so many steps before it, in time and
    memory that grow with the steps times the context; keys and values of the last steps are the state. Without one all
    steps see all others.

    Args:
        units: features of the output, and of all heads together, rounded up to an even number for each.
        heads: how many.
        context: steps before its own that each sees; 0 for all steps, on both sides.
        dropout: on the weights α.

    Call arguments:
        sequence: x, `[batch, time, features]`, right-padded.
        mask: boolean `[batch, time]`, False at padding.
        state: `[batch, state_size]`, as returned; None or zeros at the beginning. Or keys and values as they are,
            `[batch, steps, 2 × inner]`, of rows without padding: the state then grows with the steps, up to the
            context.
        training: whether to drop.

    Returns:
        y, `[batch, time, units]`, and the state after the last real step, `[batch, state_size]`.

    Raises:
        ValueError: there is no head or unit, or the context is negative.

    Example:

    >>> layer = SelfAttention(8, heads=2, context=4)
    >>> y, state = layer(keras.ops.ones((2, 5, 3)))
    >>> y.shape, state.shape
    (TensorShape([2, 5, 8]), TensorShape([2, 68]))
    """

    OPTIONS = ("units", "heads", "context", "dropout")

    def __init__(self, units: int, heads: int = 4, context: int = 0, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if min(units, heads) < 1 or context < 0:
            raise ValueError(
                f"units, heads and context are {units}, {heads} and {context}; they must be 1, 1 and 0 or more."
            )
        self.units, self.heads, self.context, self.dropout = units, heads, context, dropout
        self.supports_jit = False  # XLA would compile each length of the rows anew
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    @property
    def inner(self) -> int:
        """Features of all heads."""
        return 2 * -(-self.units // (2 * self.heads)) * self.heads

    @property
    def state_size(self) -> int:
        """Of the keys and values of the context, and of which of them there are."""
        return self.context * (2 * self.inner + 1)

    def build(self, sequence_shape: Shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(sequence_shape[-1], 3 * self.inner))
        self.output_kernel = self.add_weight(name="output_kernel", shape=(self.inner, self.units))
        self.built = True

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, state: Tensor | None = None, training: bool = False
    ) -> tuple[Tensor, Nest]:
        sequence = ops.cast(sequence, self.compute_dtype)
        query, keys, values = tf.split(projected(sequence, read_weight(self.kernel)), 3, -1)
        real = tf.ones(tf.shape(sequence)[:2], tf.bool) if mask is None else tf.cast(mask, tf.bool)
        if self.context:
            now = [keys, values, real]
            seen = now if state is None else self._with_those_before(state, now)
            grows = state is not None and len(state.shape) == 3
            after = self._grown(seen) if grows else self._state_after(seen, mask, state is None)
            found = self._in_blocks(query, seen, training)
        else:
            after = tf.zeros((tf.shape(sequence)[0], 0), tf.float32)
            found = self._of_one_block(query, [keys, values, real], training)
        found.set_shape((None, sequence.shape[1], self.inner))
        return projected(found, read_weight(self.output_kernel)), after

    def attention_weights(self, sequence: Tensor, mask: Tensor | None = None) -> Tensor:
        """α of rows by themselves, `[batch, heads, time, time]`: row t holds the weights of what step t sees."""
        sequence = ops.cast(sequence, self.compute_dtype)
        query, keys, _ = tf.split(projected(sequence, read_weight(self.kernel)), 3, -1)
        real = tf.ones(tf.shape(sequence)[:2], tf.bool) if mask is None else tf.cast(mask, tf.bool)
        return self._scored(self._by_head(query), self._by_head(keys), real)

    def _with_those_before(self, state: Tensor, now: list[Tensor]) -> list[Tensor]:
        """Keys, values and which of them are real: those of the context before these."""
        if len(state.shape) == 3:
            before = tf.split(tf.cast(state, now[0].dtype), 2, -1)
            known = tf.ones(tf.shape(state)[:2], tf.bool)
            return [tf.concat(pair, 1) for pair in zip([*before, known], now, strict=True)]
        size = self.context * self.inner
        *flat, flags = tf.split(state, [size, size, self.context], -1)
        before = [tf.cast(tf.reshape(part, (-1, self.context, self.inner)), now[0].dtype) for part in flat]
        return [tf.concat(pair, 1) for pair in zip([*before, flags > 0.5], now, strict=True)]

    def _grown(self, seen: list[Tensor]) -> Tensor:
        """Keys and values, those that were not seen longest left out."""
        dtype = tf.float64 if seen[0].dtype == tf.float64 else tf.float32
        return tf.cast(tf.concat(seen[:2], -1)[:, -self.context :], dtype)

    def _state_after(self, seen: list[Tensor], mask: Tensor | None, is_first: bool) -> Tensor:
        """The last real steps of the context and of these, in one tensor."""
        dtype = tf.float64 if seen[0].dtype == tf.float64 else tf.float32
        if is_first:
            seen = [_padded(part, self.context, 0) for part in seen]
        if mask is None:
            last = [part[:, -self.context :] for part in seen]
        else:
            steps = tf.reduce_sum(tf.cast(mask, tf.int32), 1)
            places = steps[:, None] + tf.range(self.context)
            last = [tf.gather(part, places, batch_dims=1) for part in seen]
        size = self.context * self.inner
        flat = [tf.reshape(tf.cast(part, dtype), (-1, size)) for part in last[:2]]
        return tf.concat([*flat, tf.reshape(tf.cast(last[2], dtype), (-1, self.context))], -1)

    def _in_blocks(self, query: Tensor, seen: list[Tensor], training: bool) -> Tensor:
        """Blocks of as many steps as the context has, each with its own keys and those of the context before it."""
        given = query.shape[1]
        if given is not None and given <= self.context:
            return self._of_one_block(query, seen, training)
        steps = tf.shape(query)[1]
        size = tf.maximum(tf.minimum(self.context, steps), 1)
        blocks = (steps + size - 1) // size
        missing = blocks * size - steps
        before = tf.shape(seen[0])[1] - steps
        front = tf.where(blocks > 1, self.context - before, 0)
        query, seen = _padded(query, 0, missing), [_padded(part, front, missing) for part in seen]
        places = tf.range(blocks)[:, None] * size + tf.range(before + front + size)
        found = self._attend(
            tf.reshape(query, (-1, blocks, size, self.inner)),
            [tf.gather(part, places, axis=1) for part in seen],
            training,
        )
        return tf.reshape(found, (-1, blocks * size, self.inner))[:, :steps]

    def _of_one_block(self, query: Tensor, seen: list[Tensor], training: bool) -> Tensor:
        return self._attend(query[:, None], [part[:, None] for part in seen], training)[:, 0]

    def _attend(self, query: Tensor, seen: list[Tensor], training: bool) -> Tensor:
        """Of blocks of queries `[batch, blocks, time, inner]` to keys and values `[batch, blocks, places, inner]`, and
        which of them are real; the last places are those of the queries."""
        batch, blocks, steps = (tf.shape(query)[axis] for axis in range(3))
        query, keys, values = (self._by_head(part) for part in (query, *seen[:2]))
        real = tf.reshape(seen[2], (batch * blocks, tf.shape(keys)[1]))
        weights = ops.cast(self._scored(query, keys, real), values.dtype)
        found = tf.einsum("bhts,bshd->bthd", self.drop(weights, training=training), values)
        return tf.reshape(found, (batch, blocks, steps, self.inner))

    def _by_head(self, part: Tensor) -> Tensor:
        """`[…, time, inner]` as `[rows, time, heads, size]`."""
        return tf.reshape(part, (-1, tf.shape(part)[-2], self.heads, self.inner // self.heads))

    def _scored(self, query: Tensor, keys: Tensor, real: Tensor) -> Tensor:
        """α of queries `[rows, time, heads, size]` to keys `[rows, places, heads, size]`, of which some are `real`."""
        steps, places = tf.shape(query)[1], tf.shape(keys)[1]
        before = places - steps
        scores = tf.einsum("bthd,bshd->bhts", rotated(query, before), rotated(keys)) / keys.shape[-1] ** 0.5
        visible = real[:, None, None]
        if self.context:
            distance = tf.range(steps)[:, None] + before - tf.range(places)
            visible = visible & (distance >= 0) & (distance <= self.context)
        return masked_softmax(scores, visible)


@keras.saving.register_keras_serializable("nlp_rnn")
class TransformerStack(SequenceLayer):
    """Layers of self-attention and feed-forward blocks, each normalised on the way in (pre-norm; Xiong et al. 2020,
    arXiv:2002.04745), with the contract of a `RecurrentStack`.

    In one direction each step sees itself and the `context` before it, and the state holds the keys and values of that
    context: it is as constant as a recurrent state, but 2 × context times as large, and what lies further back is gone.

    Args:
        units: features of each layer.
        layers: depth.
        bidirectional: whether each step sees all others; without a state to go on from, then.
        heads: of the attention.
        context: steps before its own that each sees in one direction.
        feedforward: units of the feed-forward blocks; 0 for four times `units`.
        normalization: "layer" or "rms".
        dropout: of what the layers are given, of attention weights and of what each block adds.

    Call arguments:
        sequence: `[batch, time, features]`.
        mask: boolean `[batch, time]`, True for tokens; rows are right-padded.
        initial_state: as returned, or None.
        training: whether to drop.

    Returns:
        The sequence `[batch, time, units]`, in which padded steps are 0, and the final state: for each layer a list of
        one `[batch, state_size]`, zeros of which are a beginning.

    Example:

    >>> stack = TransformerStack(8, layers=2, bidirectional=False, context=16)
    >>> sequence, state = stack(keras.ops.ones((2, 5, 3)))
    >>> sequence.shape, len(state)
    (TensorShape([2, 5, 8]), 2)
    """

    OPTIONS = ("units", "layers", "bidirectional", "heads", "context", "feedforward", "normalization", "dropout")
    state_parts = 1

    def __init__(
        self,
        units: int = 128,
        layers: int = 2,
        bidirectional: bool = True,
        heads: int = 4,
        context: int = 128,
        feedforward: int = 0,
        normalization: str = "layer",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if layers < 1 or context < 1:
            raise ValueError(f"layers and context are {layers} and {context}; both must be 1 or more.")
        if normalization == "none":
            raise ValueError('normalization is "none"; a transformer needs "layer" or "rms".')
        self.units, self.layers, self.bidirectional, self.heads = units, layers, bidirectional, heads
        self.context, self.feedforward = context, feedforward
        self.normalization, self.dropout = normalization, dropout
        policy, levels = self.dtype_policy, range(layers)
        seen = 0 if bidirectional else context
        self.enter = keras.layers.Dense(units, dtype=policy, name="enter")
        self.norms = [normalization_of(normalization, policy, f"norm_{i}") for i in range(layers + 1)]
        self.attentions = [
            SelfAttention(units, heads, seen, dropout, dtype=policy, name=f"attention_{i}") for i in levels
        ]
        self.blocks = [feedforward_block(units, feedforward, normalization, dropout, policy, i) for i in levels]
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="drop")

    @property
    def output_size(self) -> int:
        """Features of the output sequence."""
        return self.units

    @property
    def state_size(self) -> int:
        """Numbers in the state of a layer: that of its attention, and its last output."""
        return self.attentions[0].state_size + self.units

    def build(self, sequence_shape: Shape) -> None:
        self.enter.build(sequence_shape)
        for part in (*self.norms, *self.attentions, *self.blocks):
            part.build((None, None, self.units))
        self.built = True

    def call(
        self, sequence: Tensor, mask: Tensor | None = None, initial_state: Nest = None, training: bool = False
    ) -> tuple[Tensor, list[list[Tensor]]]:
        return self.run(sequence, mask, initial_state, training)

    def run(
        self,
        sequence: Tensor,
        mask: Tensor | None = None,
        initial_state: Nest = None,
        training: bool = False,
        between: Callable[[int, Tensor], Tensor] | None = None,
        observe: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The same as a call; with `between`, what each layer's steps go through between its two blocks, by the layer's
        number. `observe` is told of each layer its number, what its attention reads, what that gives, and the sequence
        that goes on to the next."""
        if self.bidirectional and initial_state is not None:
            raise ValueError("A transformer that reads in both directions has no state to go on from.")
        sequence = self.drop(self.enter(sequence), training=training)
        final_state: list[list[Tensor]] = []
        for index, (norm, attention, block) in enumerate(zip(self.norms, self.attentions, self.blocks, strict=False)):
            given = initial_state[index][0] if initial_state is not None and attention.context else None
            grows = given is not None and len(given.shape) == 3
            before = given if given is None or grows else given[:, : attention.state_size]
            read = norm(sequence)
            found, after = attention(read, mask=mask, state=before, training=training)
            sequence = sequence + self.drop(found, training=training)
            sequence = sequence if between is None else between(index, sequence)
            sequence = block(sequence, training=training)
            if observe is not None:
                observe(index, read, found, sequence)
            is_last = index == self.layers - 1
            sequence = self.norms[-1](sequence) if is_last else sequence
            if grows:
                final_state.append([after])
                continue
            last = _last_real(sequence, mask, None if given is None else given[:, attention.state_size :])
            final_state.append([tf.concat([after, tf.cast(last, after.dtype)], -1)])
        if mask is not None:
            sequence = sequence * ops.cast(ops.expand_dims(mask, -1), sequence.dtype)
        return sequence, final_state

    def last_output(
        self, final_state: list[list[Tensor]], sequence: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The output of the last real step: `[batch, units]`."""
        return ops.cast(final_state[-1][0][:, -self.units :], self.compute_dtype)

    def zero_state(self, batch: Tensor | int) -> list[list[Tensor]]:
        """The state at the beginning, of so many rows."""
        return [[tf.zeros((batch, self.state_size))] for _ in range(self.layers)]

    def growing_state(self, batch: Tensor | int) -> list[list[Tensor]]:
        """A state at the beginning that grows with the steps, up to the context, for rows without padding: short
        sequences, such as translations, then cost what they are long."""
        size = 2 * self.attentions[0].inner
        nothing = tf.zeros((batch, tf.minimum(batch, 0), size))  # of a length that is not known before
        return [[nothing] for _ in range(self.layers)]


def feedforward_block(
    units: int, feedforward: int, normalization: str, dropout: float, dtype: keras.DTypePolicy | str, index: int
) -> FeedForward:
    """The feed-forward block of a transformer's layer."""
    size = feedforward or 4 * units
    return FeedForward(size, normalization, dropout, variational=False, dtype=dtype, name=f"feedforward_{index}")


def _padded(values: Tensor, front: Tensor | int, back: Tensor | int) -> Tensor:
    """`[batch, time, …]` with zeros before and after."""
    return tf.pad(values, [[0, 0], [front, back], *[[0, 0]] * (len(values.shape) - 2)])


def _last_real(sequence: Tensor, mask: Tensor | None, before: Tensor | None) -> Tensor:
    """The last real step of each row, or, where there is none, what was before; float32 at least."""
    dtype = tf.float64 if sequence.dtype == tf.float64 else tf.float32
    if mask is None:
        last, some = tf.reduce_sum(sequence[:, -1:], 1), tf.shape(sequence)[1] > 0  # of no step zeros
    else:
        last, some = last_real_step(sequence, mask, False), tf.reduce_any(mask, 1)[:, None]
    last = tf.cast(last, dtype)
    return last if before is None else tf.where(some, last, tf.cast(before, dtype))
