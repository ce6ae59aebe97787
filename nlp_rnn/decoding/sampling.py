"""Choosing the next token from logits, and going on from it, token after token, at the same cost each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_rnn.errors import InputError

_NEVER = -1e9


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: logits are divided by it; 0 takes the most probable token (greedy).
        top_k: only the so many most probable tokens may be drawn; 0 for all.
        top_p: only the fewest tokens that together have this probability may be drawn (nucleus sampling, Holtzman et
            al. 2020, arXiv:1904.09751); 1 for all.
        repetition_penalty: logits of tokens that occurred are divided by it where positive, else multiplied (Keskar et
            al. 2019, arXiv:1909.05858); 1 for none.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"The temperature is {self.temperature}; it must be at least 0.")
        if self.top_k < 0:
            raise InputError(f"top-k is {self.top_k}; it must be at least 0 (0 for all tokens).")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}; it must be above 0 and at most 1.")
        if self.repetition_penalty <= 0:
            raise InputError(f"The repetition penalty is {self.repetition_penalty}; it must be above 0 (1 for none).")

    def filtered(self, logits: Any, seen: Any) -> Any:
        """Logits `[batch, vocabulary]` from which to draw.

        Args:
            logits: as the model gives them.
            seen: booleans `[batch, vocabulary]`: tokens that occurred.
        """
        if self.repetition_penalty != 1.0:
            penalty = self.repetition_penalty
            logits = tf.where(seen, tf.where(logits > 0, logits / penalty, logits * penalty), logits)
        logits /= max(self.temperature, 1e-6)
        if self.top_k:
            least = tf.math.top_k(logits, min(self.top_k, logits.shape[-1])).values[:, -1:]
            logits = tf.where(logits < least, _NEVER, logits)
        if self.top_p < 1.0:
            ordered = tf.sort(logits, direction="DESCENDING")
            before = tf.cumsum(tf.nn.softmax(ordered), -1, exclusive=True)
            least = tf.reduce_min(tf.where(before < self.top_p, ordered, np.inf), -1, keepdims=True)
            logits = tf.where(logits < least, _NEVER, logits)
        return logits

    def draw(self, logits: Any, seen: Any, seed: Any) -> Any:
        """The next tokens `[batch]`, int32.

        Args:
            logits: `[batch, vocabulary]`.
            seen: as for `filtered`.
            seed: int32 `[2]`.
        """
        filtered = self.filtered(logits, seen)
        if self.temperature == 0:
            return tf.argmax(filtered, -1, tf.int32)
        return tf.random.stateless_categorical(filtered, 1, seed, tf.int32)[:, 0]


class Generator:
    """Goes on from prompts with a language model, whose state stands for all that came before.

    Args:
        model: a `LanguageModel`.
        sampling: how tokens are chosen.
        banned: ids that are never chosen.
    """

    def __init__(self, model: Any, sampling: Sampling, banned: tuple[int, ...] = ()) -> None:
        self.model, self.sampling = model, sampling
        self._banned = np.zeros(model.head.vocabulary, np.float32)
        self._banned[list(banned)] = _NEVER
        self._read_traced = tf.function(self._read, reduce_retracing=True, autograph=False)
        self._step_traced = tf.function(self._step, reduce_retracing=True, autograph=False)

    def __call__(self, prompts: np.ndarray, seed: int = 0) -> Iterator[np.ndarray]:
        """Yields the next tokens `[batch]`, without end.

        Args:
            prompts: int32 `[batch, time]`, at least one token each; padded with 0 on the right.
            seed: the same one gives the same tokens.
        """
        logits, state, seen = self._read_traced(tf.constant(prompts, tf.int32))
        number = 0
        while True:
            tokens, logits, state, seen = self._step_traced(logits, state, seen, tf.constant([seed, number]))
            yield tokens.numpy()
            number += 1

    def _read(self, prompts: Any) -> tuple[Any, Any, Any]:
        """The logits after the prompts, the state, and which tokens occurred."""
        vocabulary = self.model.head.vocabulary
        mask = prompts != 0
        logits, state = self.model.advance(prompts, mask=mask)
        last = tf.reduce_sum(tf.cast(mask, tf.int32), 1) - 1
        seen = tf.reduce_max(tf.one_hot(prompts, vocabulary, dtype=tf.float32), 1) > 0
        return tf.gather(logits, last, batch_dims=1), state, seen

    def _step(self, logits: Any, state: Any, seen: Any, seed: Any) -> tuple[Any, Any, Any, Any]:
        tokens = self.sampling.draw(logits + self._banned, seen, seed)
        seen = seen | (tf.one_hot(tokens, tf.shape(seen)[1]) > 0)
        after, state = self.model.advance(tokens[:, None], state)
        return tokens, after[:, -1], state, seen
