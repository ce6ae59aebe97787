"""Choosing the next token from logits, and going on from it, token after token, at the same cost each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from nlp_rnn.errors import InputError
from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.layers.precision import float32_copy

if TYPE_CHECKING:
    import keras

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_k": (0, 2**31 - 1),
    "top_p": (1e-9, 1.0),
    "repetition_penalty": (1e-9, 1e9),
}
"""What servers take of the settings of `Sampling`."""
_NEVER = -1e9
_BLOCK = 16


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. In a graph the settings may be scalar tensors.

    Args:
        temperature: logits are divided by it; 0 takes the most probable token (greedy).
        top_k: only the so many most probable tokens may be drawn; 0 for all.
        top_p: only the fewest tokens that together have this probability may be drawn (nucleus sampling, Holtzman et
            al. 2020, arXiv:1904.09751), of those that top-k leaves; 1 for all.
        repetition_penalty: logits of tokens that occurred are divided by it where positive, else multiplied (Keskar et
            al. 2019, arXiv:1909.05858); 1 for none.

    Raises:
        InputError: a number makes no sense.
    """

    temperature: Any = 1.0
    top_k: Any = 0
    top_p: Any = 1.0
    repetition_penalty: Any = 1.0

    def __post_init__(self) -> None:
        if any(tf.is_tensor(getattr(self, field.name)) for field in fields(self)):
            return
        if not self.temperature >= 0:
            raise InputError(f"The temperature is {self.temperature}; it must be at least 0.")
        if self.top_k < 0:
            raise InputError(f"top-k is {self.top_k}; it must be at least 0 (0 for all tokens).")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}; it must be above 0 and at most 1.")
        if not self.repetition_penalty > 0:
            raise InputError(f"The repetition penalty is {self.repetition_penalty}; it must be above 0 (1 for none).")

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The settings in order, as scalar tensors."""
        kinds = (tf.float32, tf.int32, tf.float32, tf.float32)
        return tuple(tf.cast(getattr(self, f.name), kind) for f, kind in zip(fields(self), kinds, strict=True))

    def filtered(self, logits: Tensor, seen: Tensor) -> Tensor:
        """Logits `[batch, vocabulary]` from which to draw.

        Args:
            logits: as the model gives them.
            seen: booleans `[batch, vocabulary]`: tokens that occurred.
        """
        temperature, top_k, top_p, penalty = self.tensors()
        logits = tf.where(seen, tf.where(logits > 0, logits / penalty, logits * penalty), logits)
        logits /= tf.maximum(temperature, 1e-6)

        def limited() -> Tensor:
            ordered = tf.sort(logits, direction="DESCENDING")
            within = (tf.range(tf.shape(logits)[-1]) < top_k) | (top_k == 0)
            ordered = tf.where(within, ordered, _NEVER)
            before = tf.cumsum(tf.nn.softmax(ordered), -1, exclusive=True)
            taken = within & (before < top_p)
            least = tf.reduce_min(tf.where(taken, ordered, np.inf), -1, keepdims=True)
            return tf.where(logits < least, _NEVER, logits)

        return tf.cond((top_k > 0) | (top_p < 1.0), limited, lambda: logits)

    def draw(self, logits: Tensor, seen: Tensor, seed: tf.Tensor | None) -> Tensor:
        """The next tokens `[batch]`, int32.

        Args:
            logits: `[batch, vocabulary]`.
            seen: as for `filtered`.
            seed: int32 `[2]`.
        """
        filtered = self.filtered(logits, seen)
        return tf.cond(
            tf.equal(tf.cast(self.temperature, tf.float32), 0.0),
            lambda: tf.argmax(filtered, -1, tf.int32),
            lambda: tf.random.stateless_categorical(filtered, 1, seed, tf.int32)[:, 0],
        )


class Generator:
    """Goes on from prompts with a language model, whose state stands for all that came before.

    Args:
        model: a `LanguageModel`.
        banned: ids that are never chosen.
    """

    def __init__(self, model: keras.Model, banned: tuple[int, ...] = ()) -> None:
        self._source = model
        self.model = model if model.compute_dtype == "float32" else float32_copy(model)
        self._banned = np.zeros(model.head.vocabulary, np.float32)
        self._banned[list(banned)] = _NEVER
        prompts = tf.TensorSpec([None, None], tf.int32)
        self._read_traced = tf.function(self.read, input_signature=[prompts], autograph=False)

    def __call__(self, prompts: np.ndarray, sampling: Sampling, seed: int = 0) -> Iterator[np.ndarray]:
        """Yields the next tokens `[batch]`, without end; they are computed a few at a time.

        Args:
            prompts: int32 `[batch, time]`, at least one token each; padded with 0 on the right.
            sampling: how tokens are chosen.
            seed: the same one gives the same tokens.
        """
        if self.model is not self._source:  # which may have been trained on
            self.model.set_weights(self._source.get_weights())
        reached = self._read_traced(tf.constant(prompts, tf.int32))
        settings = sampling.tensors()
        number = 0
        while True:
            tokens, reached = self._write_block(reached, settings, tf.constant(seed), tf.constant(number))
            yield from tokens.numpy()
            number += _BLOCK

    def read(self, prompts: Tensor) -> tuple[Tensor, Tensor, Nest]:
        """What `write` goes on from: the logits after the prompts, the state, and which tokens occurred."""
        vocabulary = self.model.head.vocabulary
        mask = prompts != 0
        logits, state = self.model.advance(prompts, mask=mask)
        last = tf.reduce_sum(tf.cast(mask, tf.int32), 1) - 1
        rows = tf.broadcast_to(tf.range(tf.shape(prompts)[0])[:, None], tf.shape(prompts))
        places = tf.stack([rows, prompts], -1)[mask]
        counts = tf.scatter_nd(places, tf.ones_like(places[:, 0]), [tf.shape(prompts)[0], vocabulary])
        return tf.gather(logits, last, batch_dims=1), state, counts > 0

    def write(
        self,
        reached: tuple[Tensor, Tensor, Nest],
        sampling: Sampling,
        seed: tf.Tensor | None,
        number: Tensor,
        count: Tensor,
    ) -> Nest:
        """The next `count` tokens `[count, batch]`, and what to go on from.

        Args:
            reached: as `read` and this return it.
            sampling: how tokens are chosen.
            seed: int32 scalar.
            number: how many tokens were written before.
            count: int32 scalar.
        """

        def step(place: Tensor, written: Tensor, logits: Tensor, state: Nest, seen: Tensor) -> tuple[Any, ...]:
            tokens = sampling.draw(logits + self._banned, seen, tf.stack([seed, number + place]))
            seen |= tf.one_hot(tokens, self.model.head.vocabulary, True, False, dtype=tf.bool)
            logits, state = self.model.advance(tokens[:, None], state)
            return place + 1, written.write(place, tokens), logits[:, -1], state, seen

        written = tf.TensorArray(tf.int32, count, element_shape=[None])
        begin = (tf.constant(0), written, *reached)
        _, written, *after = tf.while_loop(lambda place, *_: place < count, step, begin, maximum_iterations=count)
        return written.stack(), tuple(after)

    @cached_property
    def _write_block(self) -> Nest:
        def write(reached: Nest, settings: tuple[Any, ...], seed: tf.Tensor | None, number: Tensor) -> Nest:
            return self.write(reached, Sampling(*settings), seed, number, tf.constant(_BLOCK))

        def of_any_batch(tensor: Tensor) -> tf.TensorSpec:
            return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)

        reached = tf.nest.map_structure(of_any_batch, self._read_traced.get_concrete_function().structured_outputs)
        settings = tuple(tf.TensorSpec([], setting.dtype) for setting in Sampling().tensors())
        number = tf.TensorSpec([], tf.int32)
        return tf.function(write, input_signature=[reached, settings, number, number], autograph=False)
