"""The recurrent decoder that attends to a memory."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nlp_rnn.layers.attention import Attention
from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor
from nlp_rnn.layers.feedforward import normalization_of
from nlp_rnn.layers.stack import RecurrentStack
from nlp_rnn.layers.transformer import TransformerStack


@keras.saving.register_keras_serializable("nlp_rnn")
class Bridge(SequenceLayer):
    """From the final state of an encoder's stack to the first state of a decoder's.

        h = tanh(W·[h→; h←] + b)    for the first state of each layer; for others, such as c of an LSTM, without tanh

    Layer by layer; where the decoder has more layers, the last of the encoder's serves for those.

    Args:
        units: of the decoder's state.
        layers: of the decoder.
        parts: states of a layer, 2 for an LSTM (h and c), 1 for a GRU; see `RecurrentStack.state_parts`.

    Call arguments:
        final_state: for each layer of the encoder a list of `[batch, units]`, as a `RecurrentStack` returns them.

    Returns:
        The same for the decoder.
    """

    OPTIONS = ("units", "layers", "parts")

    def __init__(self, units: int, layers: int, parts: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.layers, self.parts = units, layers, parts
        self.maps = [[self._dense(layer, part) for part in range(parts)] for layer in range(layers)]

    def _dense(self, layer: int, part: int) -> keras.layers.Dense:
        activation = None if part else "tanh"
        name = f"layer_{layer}_{'hc'[part] if part < 2 else part}"
        return keras.layers.Dense(self.units, activation=activation, dtype=self.dtype_policy, name=name)

    def build(self, size: Any) -> None:
        """Builds it for encoder states of all directions side by side of the last dimension's size."""
        for row in self.maps:
            for dense in row:
                dense.build((None, size[-1]))
        self.built = True

    def call(self, final_state: list[list[Tensor]]) -> list[list[Tensor]]:
        state = []
        for layer, row in enumerate(self.maps):
            given = final_state[min(layer, len(final_state) - 1)]
            sides = [ops.concatenate(given[part :: self.parts], axis=-1) for part in range(self.parts)]
            state.append([dense(side) for dense, side in zip(row, sides, strict=True)])
        return state


def attended(
    attention: Attention, sequence: Tensor, memory: Tensor, mask: Tensor | None, keys: Tensor
) -> tuple[Tensor, Nest]:
    """What each step finds in a memory, and its weights. Of several rows of one step that go on from one source, each
    is a query of its own to the one memory."""
    queries = sequence
    if sequence.shape[1] == 1:
        queries = ops.reshape(sequence, (ops.shape(memory)[0], -1, sequence.shape[-1]))
    contexts, weights = attention(queries, memory, mask=mask, keys=keys)
    if sequence.shape[1] == 1:
        contexts, weights = (ops.reshape(part, (-1, 1, ops.shape(part)[-1])) for part in (contexts, weights))
    return contexts, weights


@keras.saving.register_keras_serializable("nlp_rnn")
class AttentionDecoder(SequenceLayer):
    """A recurrent stack of one direction whose outputs attend to a memory (Luong et al. 2015, arXiv:1508.04025).

        s_t = stack(y_t, s_{t-1})            c_t = attention(s_t, memory)            a_t = tanh(W·[s_t; c_t])

    With input feeding the stack reads `[y_t; a_{t-1}]`, so that it knows what was attended to before; all steps must
    then be run one by one. Without, everything is parallel in time while training, but for the recurrence.

    Args:
        stack: a `RecurrentStack` of one direction.
        attention: an `Attention`, or None for a decoder that has nothing but the first state.
        units: size of a.
        input_feeding: see above.
        dropout: on a.

    Call arguments:
        vectors: y, `[batch, time, features]`; with a time of 1 the batch may be a multiple of the memory's, the rows
            that share a source side by side.
        state: as `first_state` returns it.
        memory: `[batch, places, features]`.
        mask: boolean `[batch, places]`.
        training: whether to drop.

    Returns:
        a `[batch, time, units]`, the weights of the attention `[batch, time, places]`, and the next state.
    """

    OPTIONS = ("units", "input_feeding", "dropout")
    PARTS = ("stack", "attention")

    def __init__(
        self,
        stack: RecurrentStack,
        attention: Attention | None,
        units: int,
        input_feeding: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stack, self.attention, self.units = stack, attention, units
        self.input_feeding, self.dropout = input_feeding, dropout
        self.combine = keras.layers.Dense(units, "tanh", use_bias=False, dtype=self.dtype_policy, name="combine")
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, vectors_shape: Shape, memory_shape: Shape) -> None:
        features, places, seen = vectors_shape[-1], memory_shape[-1], self.stack.output_size
        if not self.stack.built:
            self.stack.build((None, None, features + self.units * self.input_feeding))
        if self.attention is not None:
            if not self.attention.built:
                self.attention.build((None, None, seen), (None, None, places))
            seen += self.attention.output_size(places)
        self.combine.build((None, None, seen))
        self.built = True

    @property
    def layers(self) -> int:
        """Of the stack, which the state has."""
        return self.stack.layers

    def keys(self, memory: Tensor) -> Nest:
        """What of the attention depends on the memory alone; None without attention."""
        return None if self.attention is None else self.attention.keys(memory)

    def key_size(self, features: int) -> int:
        """Features of the keys, where the memory has so many."""
        return 0 if self.attention is None else self.attention.key_size(features)

    def first_state(self, layers: Any, grows: bool = False) -> dict[str, Any]:
        """The state before the first step, from that of the stack; recurrent states are no less than float32."""
        state: dict[str, Any] = {"layers": self._widened(layers)}
        if self.input_feeding:
            state["fed"] = ops.zeros((ops.shape(layers[0][0])[0], self.units), self.compute_dtype)
        return state

    def call(
        self,
        vectors: Tensor,
        state: Nest,
        memory: Tensor,
        mask: Tensor | None = None,
        training: bool = False,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Nest]:
        keys = self.keys(memory) if keys is None else keys
        if not self.input_feeding or vectors.shape[1] == 1:
            return self._run(vectors, state, memory, mask, training, keys)
        return self._one_by_one(vectors, state, memory, mask, training, keys)

    def _run(
        self, vectors: Tensor, state: Nest, memory: Tensor, mask: Tensor, training: bool, keys: Tensor
    ) -> tuple[Tensor, Tensor, Nest]:
        if self.input_feeding:
            vectors = ops.concatenate([vectors, ops.cast(state["fed"], vectors.dtype)[:, None]], axis=-1)
        sequence, layers = self.stack(vectors, initial_state=state["layers"], training=training)
        if self.attention is None:
            weights = ops.zeros((*ops.shape(sequence)[:2], ops.shape(memory)[1]))
            found = sequence
        else:
            contexts, weights = attended(self.attention, sequence, memory, mask, keys)
            found = ops.concatenate([sequence, contexts], axis=-1)
        combined = self.combine(found)
        after = {"layers": layers, **({"fed": combined[:, -1]} if self.input_feeding else {})}
        return self.drop(combined, training=training), weights, after

    def _one_by_one(
        self, vectors: Tensor, state: Nest, memory: Tensor, mask: Tensor, training: bool, keys: Tensor
    ) -> tuple[Tensor, Tensor, Nest]:
        time = tf.shape(vectors)[1]
        batch, places = vectors.shape[0], memory.shape[1]
        arrays = (
            tf.TensorArray(vectors.dtype, time, element_shape=[batch, self.units]),
            tf.TensorArray(tf.float32, time, element_shape=[batch, places]),
        )

        def step(t: Tensor, state: Nest, combined: Tensor, weights: Tensor) -> tuple[Any, ...]:
            here, seen, state = self._run(vectors[:, t : t + 1], state, memory, mask, False, keys)
            return t + 1, state, combined.write(t, here[:, 0]), weights.write(t, seen[:, 0])

        state = {**state, "layers": self._widened(state["layers"])}  # Keras narrows what a call is given
        begin = (tf.constant(0), state, *arrays)
        _, state, combined, weights = tf.while_loop(lambda t, *_: t < time, step, begin, maximum_iterations=time)
        outputs = tf.transpose(combined.stack(), [1, 0, 2])
        outputs.set_shape([batch, vectors.shape[1], self.units])
        return self.drop(outputs, training=training), tf.transpose(weights.stack(), [1, 0, 2]), state

    def _widened(self, layers: Nest) -> Nest:
        dtype = tf.float64 if self.compute_dtype == "float64" else tf.float32
        return tf.nest.map_structure(lambda part: tf.cast(part, dtype), layers)


@keras.saving.register_keras_serializable("nlp_rnn")
class TransformerDecoder(SequenceLayer):
    """Transformer layers of one direction, each of which also attends to a memory (Vaswani et al. 2017,
    arXiv:1706.03762; normalised on the way in), with the contract of an `AttentionDecoder`.

    Args:
        stack: a `TransformerStack` of one direction, whose layers these are.
        dropout: on the output.

    Call arguments:
        vectors, state, memory, mask, training, keys: as an `AttentionDecoder` takes them.

    Returns:
        The output `[batch, time, units]`; the weights of the attention to the memory `[batch, time, places]`, the mean
        of the heads of the last layer but one, which aligns best (Garg et al. 2019, arXiv:1909.02074); the next state.
    """

    OPTIONS = ("dropout",)
    PARTS = ("stack",)
    input_feeding = False

    def __init__(self, stack: TransformerStack, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stack, self.dropout = stack, dropout
        policy, levels, units = self.dtype_policy, range(stack.layers), stack.units
        inner = stack.attentions[0].inner
        self.crossings = [
            Attention("multi_head", inner, stack.heads, units, dtype=policy, name=f"cross_{i}") for i in levels
        ]
        self.norms = [normalization_of(stack.normalization, policy, f"cross_norm_{i}") for i in levels]
        self.drop = keras.layers.SpatialDropout1D(dropout, dtype=policy, name="drop")

    @property
    def units(self) -> int:
        """Features of the output."""
        return self.stack.units

    def build(self, vectors_shape: Shape, memory_shape: Shape) -> None:
        if not self.stack.built:
            self.stack.build((None, None, vectors_shape[-1]))
        features = (None, None, self.units)
        for crossing, norm in zip(self.crossings, self.norms, strict=True):
            crossing.build(features, (None, None, memory_shape[-1]))
            norm.build(features)
        self.built = True

    @property
    def layers(self) -> int:
        """Of the stack, which the state has."""
        return self.stack.layers

    def keys(self, memory: Tensor) -> Nest:
        """What of the layers' attention depends on the memory alone, side by side."""
        return ops.concatenate([crossing.keys(memory) for crossing in self.crossings], axis=-1)

    def key_size(self, features: int) -> int:
        """Features of the keys, where the memory has so many."""
        return sum(crossing.key_size(features) for crossing in self.crossings)

    def first_state(self, layers: Any, grows: bool = False) -> dict[str, Any]:
        """The state before the first step, of one size or one that grows with the steps; of what is given only the
        number of rows matters."""
        make = self.stack.growing_state if grows else self.stack.zero_state
        return {"layers": make(tf.shape(layers[0][0])[0])}

    def call(
        self,
        vectors: Tensor,
        state: Nest,
        memory: Tensor,
        mask: Tensor | None = None,
        training: bool = False,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Nest]:
        of_layers = ops.split(self.keys(memory) if keys is None else keys, self.stack.layers, axis=-1)
        looks: list[Tensor] = []

        def look(index: int, sequence: Tensor) -> Tensor:
            read = self.norms[index](sequence)
            found, weights = attended(self.crossings[index], read, memory, mask, of_layers[index])
            looks.append(weights)
            return sequence + self.stack.drop(found, training=training)

        sequence, layers = self.stack.run(vectors, None, state["layers"], training, look)
        return self.drop(sequence, training=training), looks[max(len(looks) - 2, 0)], {"layers": layers}
