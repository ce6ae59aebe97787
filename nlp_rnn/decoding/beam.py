"""Beam search inside the graph: the most probable continuations, many rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from nlp_rnn.errors import InputError

_NEVER = -1e9
Step = Callable[[Any, Any], tuple[Any, Any, Any]]


@dataclass(frozen=True)
class Beam:
    """How continuations are searched for.

    A finished one is ranked by (Wu et al. 2016, arXiv:1609.08144)

        s(y) = log p(y) / lp(y) + cp(y),    lp(y) = ((5 + |y|) / 6)^α,    cp(y) = β Σ_s log min(Σ_t a_ts, 1)

    with the attention a; |y| counts the end token.

    Args:
        width: how many are kept at each step; 1 is greedy.
        length_penalty: α; 0 ranks by probability, which prefers short ones.
        coverage_penalty: β; above 0 prefers those that looked at all of the source.
        min_length: the end token is not chosen before so many tokens.
        no_repeat: no sequence of so many tokens occurs twice; 0 for no such rule.

    Raises:
        InputError: a number makes no sense.
    """

    width: int = 4
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    min_length: int = 0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"The beam is {self.width} wide; it must be at least 1.")
        for name in ("length_penalty", "coverage_penalty", "min_length", "no_repeat"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0.")

    def search(
        self, step: Step, state: Any, places: Any, limits: Any, vocabulary: int, begin: int, end: int, banned: Any
    ) -> tuple[Any, Any, Any]:
        """The best continuations of each row.

        Args:
            step: (tokens `[rows × width]`, state) → (log p `[rows × width, vocabulary]`, attention
                `[rows × width, places]`, next state).
            state: before the first token, any nest of tensors `[rows, …]`.
            places: how many the attention has.
            limits: int32 `[rows]`: tokens of a continuation at most, its end token not counted.
            vocabulary: number of tokens.
            begin: the token that comes before the first.
            end: the token that ends.
            banned: float32 `[vocabulary]`, added to log p: `-1e9` at what is never chosen.

        Returns:
            Tokens `[rows, width, longest]`, int32, each padded with 0 after its end, which is left out; their scores
            `[rows, width]`, the best first, -1e9 where there are fewer; the attention of each token
            `[rows, width, longest, places]`.
        """
        limits = tf.cast(limits, tf.int32)
        width, rows = self.width, tf.shape(limits)[0]
        longest = tf.reduce_max(limits)
        state = tf.nest.map_structure(lambda part: tf.repeat(part, width, axis=0), state)
        alive = {
            "tokens": tf.zeros([rows, width, longest + 1], tf.int32),
            "log_p": tf.tile(tf.constant([[0.0] + [_NEVER] * (width - 1)]), [rows, 1]),
            "attention": tf.zeros([rows, width, longest + 1, places]),
        }
        done = {
            "tokens": tf.zeros([rows, width, longest + 1], tf.int32),
            "score": tf.fill([rows, width], _NEVER),
            "attention": tf.zeros([rows, width, longest + 1, places]),
        }

        def go_on(t: Any, alive: Any, done: Any, state: Any) -> Any:
            # The longest penalty is the most that an unfinished one can still gain.
            best = alive["log_p"][:, 0] / self._lengths(tf.cast(limits + 1, tf.float32))
            settled = (best <= tf.reduce_min(done["score"], 1)) | (alive["log_p"][:, 0] <= _NEVER / 2)
            if width == 1:  # greedy: what was begun is not looked at again
                settled |= done["score"][:, 0] > _NEVER / 2
            return (t <= longest) & ~tf.reduce_all(settled)

        def body(t: Any, alive: Any, done: Any, state: Any) -> Any:
            before = tf.where(t > 0, alive["tokens"][:, :, tf.maximum(t - 1, 0)], begin)
            log_p, seen, state = step(tf.reshape(before, [-1]), state)
            log_p = tf.reshape(tf.cast(log_p, tf.float32), [rows, width, vocabulary]) + banned
            if self.no_repeat:
                log_p += self._repeats(alive["tokens"], t, vocabulary)
            is_end = tf.one_hot(end, vocabulary, dtype=tf.bool, on_value=True, off_value=False)
            may_end = (t >= self.min_length) & tf.ones([rows], tf.bool)
            must_end = t >= limits
            log_p = tf.where(is_end & ~may_end[:, None, None] & ~must_end[:, None, None], _NEVER, log_p)
            log_p = tf.where(~is_end & must_end[:, None, None], _NEVER, log_p)
            total = tf.maximum(alive["log_p"][:, :, None] + log_p, _NEVER)
            seen = tf.reshape(seen, [rows, width, 1, places])
            here = tf.reshape(tf.cast(tf.range(longest + 1) == t, tf.float32), [1, 1, -1, 1])
            attention = alive["attention"] + seen * here

            # An end counts where it is among the best of all.
            flat = tf.reshape(total, [rows, -1])
            least = tf.math.top_k(flat, width).values[:, -1:]
            ended = tf.where(total[:, :, end] >= least, total[:, :, end], _NEVER)
            scores = ended / self._lengths(tf.cast(t + 1, tf.float32)) + self._coverage(attention)
            scores = tf.where(ended <= _NEVER / 2, _NEVER, scores)
            joined = tf.concat([done["score"], scores], 1)
            score, which = tf.math.top_k(joined, width)
            done = {
                "tokens": tf.gather(tf.concat([done["tokens"], alive["tokens"]], 1), which, batch_dims=1),
                "score": score,
                "attention": tf.gather(tf.concat([done["attention"], attention], 1), which, batch_dims=1),
            }
            open_ = tf.reshape(tf.where(is_end, _NEVER, total), [rows, -1])
            best, which = tf.math.top_k(open_, width)
            origin, token = which // vocabulary, which % vocabulary
            tokens = tf.gather(alive["tokens"], origin, batch_dims=1)
            tokens += token[:, :, None] * tf.cast(here[..., 0], tf.int32)
            alive = {
                "tokens": tokens,
                "log_p": tf.where(best <= _NEVER / 2, _NEVER, best),
                "attention": tf.gather(attention, origin, batch_dims=1),
            }
            places_of = tf.reshape(tf.range(rows)[:, None] * width + origin, [-1])
            state = tf.nest.map_structure(lambda part: tf.gather(part, places_of), state)
            return t + 1, alive, done, state

        invariants = (
            tf.TensorShape([]),
            {
                "tokens": tf.TensorShape([None, width, None]),
                "log_p": tf.TensorShape([None, width]),
                "attention": tf.TensorShape([None, width, None, None]),
            },
            {
                "tokens": tf.TensorShape([None, width, None]),
                "score": tf.TensorShape([None, width]),
                "attention": tf.TensorShape([None, width, None, None]),
            },
            tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), state),
        )
        start = (tf.constant(0), alive, done, state)
        _, _, done, _ = tf.while_loop(go_on, body, start, shape_invariants=invariants)
        return done["tokens"][:, :, :-1], done["score"], done["attention"][:, :, :-1]

    def _lengths(self, length: Any) -> Any:
        return ((5.0 + length) / 6.0) ** self.length_penalty

    def _coverage(self, attention: Any) -> Any:
        if not self.coverage_penalty:
            return 0.0
        seen = tf.reduce_sum(attention, 2)
        logs = tf.where(seen > 0, tf.math.log(tf.clip_by_value(seen, 1e-9, 1.0)), 0.0)
        return self.coverage_penalty * tf.reduce_sum(logs, -1)

    def _repeats(self, tokens: Any, t: Any, vocabulary: int) -> Any:
        """-1e9 at tokens that would complete a sequence that occurred, `[rows, width, vocabulary]`."""
        size = self.no_repeat
        length = tf.shape(tokens)[2]
        padded = tf.pad(tokens, [[0, 0], [0, 0], [0, size]])
        windows = tf.stack([padded[:, :, k : k + length] for k in range(size)], -1)
        last = tf.range(size - 1) + t - (size - 1)
        recent = tf.gather(tokens, tf.maximum(last, 0), axis=2)
        same = tf.reduce_all(windows[..., :-1] == recent[:, :, None], -1)
        same &= (tf.range(length) + size <= t) & (t >= size)
        hits = tf.one_hot(tf.where(same, windows[..., -1], -1), vocabulary)
        return _NEVER * tf.minimum(tf.reduce_sum(hits, 2), 1.0)
