"""Beam search inside the graph: the most probable continuations, many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from nlp_rnn.errors import InputError
from nlp_rnn.layers.base import Nest, Tensor

_NEVER = -1e9
Step = Callable[[Any, Any], tuple[Tensor, Tensor, Nest]]


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
        no_repeat_ngram: no sequence of so many tokens occurs twice; 0 for no such rule.

    Raises:
        InputError: a number makes no sense.
    """

    width: int = 4
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    min_length: int = 0
    no_repeat_ngram: int = 0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"The width of the beam is {self.width}; it must be at least 1.")
        for name in ("length_penalty", "coverage_penalty", "min_length", "no_repeat_ngram"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0.")

    def search(
        self,
        step: Step,
        state: Nest,
        places: Tensor,
        limits: Tensor,
        begin: int,
        end: int,
        banned: Sequence[int] = (),
        wanted: int | None = None,
    ) -> tuple[Tensor, Tensor, Nest]:
        """The best continuations of each row.

        Args:
            step: (tokens `[rows × width]`, state) → (logits `[rows × width, vocabulary]`, attention
                `[rows × width, places]`, next state).
            state: before the first token, any nest of tensors `[rows, …]`.
            places: how many the attention has.
            limits: int32 `[rows]`: tokens of a continuation at most, its end token not counted.
            begin: the token that comes before the first.
            end: the token that ends.
            banned: tokens that are never chosen.
            wanted: the search is over when the so many best of each row are found; by default all.

        Returns:
            Tokens `[rows, width, longest]`, int32, each padded with 0 after its end, which is left out; their scores
            `[rows, width]`, the best first, -1e9 where there are fewer; the attention of each token
            `[rows, width, longest, places]`.
        """
        search = _Search(self, step, tf.cast(limits, tf.int32), places, (begin, end, *banned), wanted)
        state = tf.nest.map_structure(lambda part: tf.repeat(part, self.width, axis=0), state)
        start = (tf.constant(0), search.first_alive(), search.first_done(), search.first_looks(), state)
        flat, deep = tf.TensorShape([None, self.width]), tf.TensorShape([None, self.width, None])
        books = {"tokens": deep, "path": deep, "seen": deep}
        any_rows = tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), state)
        shapes = (tf.TensorShape([]), {**books, "log_p": flat}, {**books, "score": flat}, None, any_rows)
        _, _, done, looks, _ = tf.while_loop(search.goes_on, search.advance, start, shape_invariants=shapes)
        return done["tokens"][:, :, :-1], done["score"], search.attention_of(done, looks)[:, :, :-1]

    def candidates(
        self, logits: Tensor, alive: Nest, t: Tensor, end: int, banned: Sequence[int]
    ) -> tuple[Tensor, Tensor, Nest]:
        """Of each row the tokens `[rows, many]` to go on with, as many from each unfinished one, their log p together
        with what came before, and the same of the end token `[rows, width]`."""
        logits = tf.cast(logits, tf.float32)
        vocabulary, rows = logits.shape[-1], tf.shape(alive["log_p"])[0]
        before = tf.reshape(alive["log_p"], [-1]) - tf.reduce_logsumexp(logits, 1)
        if self.no_repeat_ngram:
            logits += tf.reshape(self._repeats(alive["tokens"], t, vocabulary), [-1, vocabulary])
        ended = tf.maximum(logits[:, end] + before, _NEVER)
        values, tokens = top_k(logits, min(self.width + 1 + len(banned), vocabulary))
        never = tf.reduce_any(tokens[..., None] == tf.constant([end, *banned]), -1)
        total = tf.where(never, _NEVER, tf.maximum(values + before[:, None], _NEVER))
        return tf.reshape(tokens, [rows, -1]), tf.reshape(total, [rows, -1]), tf.reshape(ended, [rows, self.width])

    def lengths(self, length: Tensor) -> Tensor:
        """lp, by which log-probabilities are divided."""
        return ((5.0 + length) / 6.0) ** self.length_penalty

    def coverage(self, seen: Tensor) -> Tensor:
        """cp, from the sums of the attention."""
        if not self.coverage_penalty:
            return 0.0
        logs = tf.where(seen > 0, tf.math.log(tf.clip_by_value(seen, 1e-9, 1.0)), 0.0)
        return self.coverage_penalty * tf.reduce_sum(logs, -1)

    def _repeats(self, tokens: Tensor, t: Tensor, vocabulary: int) -> Tensor:
        """-1e9 at tokens that would complete a sequence that occurred, `[rows, width, vocabulary]`."""
        size = self.no_repeat_ngram
        length = tf.shape(tokens)[2]
        padded = tf.pad(tokens, [[0, 0], [0, 0], [0, size]])
        windows = tf.stack([padded[:, :, k : k + length] for k in range(size)], -1)
        last = tf.range(size - 1) + t - (size - 1)
        recent = tf.gather(tokens, tf.maximum(last, 0), axis=2)
        same = tf.reduce_all(windows[..., :-1] == recent[:, :, None], -1)
        same &= (tf.range(length) + size <= t) & (t >= size)
        hits = tf.one_hot(tf.where(same, windows[..., -1], -1), vocabulary)
        return _NEVER * tf.minimum(tf.reduce_sum(hits, 2), 1.0)


class _Search:
    """The loop of a search.

    "alive" are the unfinished continuations of each row, "done" the finished ones; of both "tokens" and "path"
    `[rows, width, longest + 1]`, where "path" says to which of the row's unfinished ones each token was added, and
    "seen" `[rows, width, places]`, the sums of the attention. "looks" is the attention of each step.
    """

    def __init__(
        self, beam: Beam, step: Step, limits: Tensor, places: Tensor, special: tuple[int, ...], wanted: int | None
    ) -> None:
        self.beam, self.step, self.limits, self.places = beam, step, limits, places
        self.begin, self.end, *self.banned = special
        self.rows, self.longest = tf.shape(limits)[0], tf.reduce_max(limits)
        self.wanted = min(wanted or beam.width, beam.width)

    def first_alive(self) -> dict[str, Any]:
        """One continuation without a token in each row."""
        log_p = tf.tile(tf.constant([[0.0] + [_NEVER] * (self.beam.width - 1)]), [self.rows, 1])
        return {**self._nothing_written(), "log_p": log_p}

    def first_done(self) -> dict[str, Any]:
        """None."""
        return {**self._nothing_written(), "score": tf.fill([self.rows, self.beam.width], _NEVER)}

    def first_looks(self) -> tf.TensorArray:
        return tf.TensorArray(tf.float32, self.longest + 1, element_shape=[None, self.beam.width, None])

    def _nothing_written(self) -> dict[str, Any]:
        written = tf.zeros([self.rows, self.beam.width, self.longest + 1], tf.int32)
        return {"tokens": written, "path": written, "seen": tf.zeros([self.rows, self.beam.width, self.places])}

    def goes_on(self, t: Tensor, alive: Nest, done: Nest, looks: Tensor, state: Nest) -> Tensor:
        """Whether an unfinished continuation can still become one of the best."""
        # The longest penalty is the most that an unfinished one can still gain.
        best = alive["log_p"][:, 0] / self.beam.lengths(tf.cast(self.limits + 1, tf.float32))
        settled = (best <= done["score"][:, self.wanted - 1]) | (alive["log_p"][:, 0] <= _NEVER / 2)
        if self.beam.width == 1:  # greedy: what was begun is not looked at again
            settled |= done["score"][:, 0] > _NEVER / 2
        return (t <= self.longest) & ~tf.reduce_all(settled)

    def advance(self, t: Tensor, alive: Nest, done: Nest, looks: Tensor, state: Nest) -> Nest:
        """Adds a token to all that are unfinished, and keeps the best."""
        beam, width = self.beam, self.beam.width
        before = tf.where(t > 0, alive["tokens"][:, :, tf.maximum(t - 1, 0)], self.begin)
        logits, look, state = self.step(tf.reshape(before, [-1]), state)
        look = tf.reshape(tf.cast(look, tf.float32), [self.rows, width, self.places])
        looks = looks.write(t, look)
        here = tf.cast(tf.range(self.longest + 1) == t, tf.int32)
        path = alive["path"] + tf.range(width)[None, :, None] * here
        alive = {**alive, "path": path, "seen": alive["seen"] + look}
        token, total, ended = beam.candidates(logits, alive, t, self.end, self.banned)
        must_end = (t >= self.limits)[:, None]
        total = tf.where(must_end, _NEVER, total)
        ended = ended if beam.min_length == 0 else tf.where((t >= beam.min_length) | must_end, ended, _NEVER)
        best, which = tf.math.top_k(total, width)
        done = self._with_ended(done, alive, best, ended, t)
        origin = which // (tf.shape(total)[1] // width)
        after = {name: tf.gather(alive[name], origin, batch_dims=1) for name in ("tokens", "path", "seen")}
        after["tokens"] += tf.gather(token, which, batch_dims=1)[:, :, None] * here
        after["log_p"] = tf.where(best <= _NEVER / 2, _NEVER, best)
        places_of = tf.reshape(tf.range(self.rows)[:, None] * width + origin, [-1])
        state = tf.nest.map_structure(lambda part: tf.gather(part, places_of), state)
        return t + 1, after, done, looks, state

    def _with_ended(self, done: Nest, alive: Nest, best: Tensor, ended: Tensor, t: Tensor) -> dict[str, Any]:
        """The finished ones with those that end now; an end counts where it is among the best of all."""
        beam = self.beam
        least = tf.math.top_k(tf.concat([best, ended], 1), beam.width).values[:, -1:]
        scores = ended / beam.lengths(tf.cast(t + 1, tf.float32)) + beam.coverage(alive["seen"])
        scores = tf.where((ended < least) | (ended <= _NEVER / 2), _NEVER, scores)
        score, chosen = tf.math.top_k(tf.concat([done["score"], scores], 1), beam.width)
        both = {name: tf.concat([done[name], alive[name]], 1) for name in ("tokens", "path", "seen")}
        return {"score": score, **{name: tf.gather(part, chosen, batch_dims=1) for name, part in both.items()}}

    def attention_of(self, done: Nest, looks: Tensor) -> Tensor:
        """The attention of each token of the finished ones, `[rows, width, time, places]`."""
        by_row = tf.transpose(looks.stack(), [1, 2, 0, 3])  # [rows, width, time, places]
        index = tf.stack([done["path"], tf.zeros_like(done["path"]) + tf.range(self.longest + 1)], -1)
        attention = tf.gather_nd(by_row, index, batch_dims=1)
        # What comes after the end was looked at by others.
        ended = tf.math.cumsum(tf.cast(done["tokens"][:, :, ::-1] != 0, tf.int32), 2)[:, :, ::-1] > 0
        return tf.where(ended[..., None], attention, 0.0)


def top_k(values: Tensor, k: int) -> tuple[Tensor, Nest]:
    """`tf.math.top_k` of many columns `[rows, columns]`, some four times as fast on a CPU.

    The k best lie in the k groups of columns whose best are best, so that most need only be reduced.

    Example:

    >>> top_k(tf.reshape(tf.range(200.0), [1, 200]), 2)[1].numpy().tolist()
    [[199, 198]]
    """
    columns, group = values.shape[-1], 16
    groups = -(-columns // group)
    if groups <= k:
        return tf.math.top_k(values, k)
    values = tf.pad(values, [[0, 0], [0, groups * group - columns]], constant_values=values.dtype.min)
    best = tf.math.top_k(tf.reduce_max(tf.reshape(values, [-1, group, groups]), 1), k, sorted=False).indices
    among = tf.reshape(best[:, :, None] + groups * tf.range(group), [-1, k * group])
    found, which = tf.math.top_k(tf.gather(values, among, batch_dims=1), k)
    return found, tf.gather(among, which, batch_dims=1)
