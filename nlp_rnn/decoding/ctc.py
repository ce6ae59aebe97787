"""From the steps of CTC to sequences, inside the graph: the best path, a prefix beam search, and when each class was
said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from nlp_rnn.errors import InputError
from nlp_rnn.layers.base import Nest, Tensor
from nlp_rnn.layers.ctc import BLANK

_NEVER = -1e9
_PRIME = 1_000_003
Advance = Callable[[Tensor, Nest], tuple[Tensor, Nest]]


def best_path(log_p: Tensor) -> Tensor:
    """The sequence of the best class at each step, repetitions merged and blanks taken out.

    Args:
        log_p: `[batch, time, classes]`; any scores of which the largest is the best.

    Returns:
        int32 `[batch, time]`, padded with 0.

    Example:

    >>> best_path(tf.one_hot([[0, 2, 2, 0, 2, 1]], 3)).numpy().tolist()
    [[2, 2, 1, 0, 0, 0]]
    """
    path = tf.argmax(log_p, -1, tf.int32)
    before = tf.pad(path[:, :-1], [[0, 0], [1, 0]], constant_values=BLANK)
    return compacted(tf.where((path != before) & (path != BLANK), path, BLANK))


def compacted(ids: Tensor) -> Tensor:
    """Rows of ids whose zeros are moved to their ends."""
    order = tf.argsort(tf.cast(ids == BLANK, tf.int32), 1, stable=True)
    return tf.gather(ids, order, batch_dims=1)


@dataclass(frozen=True)
class LanguageScores:
    """A language model that says how likely each class is after those before it.

    Args:
        begin: rows → log p of each class `[rows, classes]` at the beginning, and the state.
        advance: (classes `[rows]`, state) → the same after them.
    """

    begin: Callable[[Tensor], tuple[Tensor, Nest]]
    advance: Advance


@dataclass(frozen=True)
class PrefixBeam:
    """A search for the most probable sequence, where the alignments of each are summed (Graves and Jaitly 2014; Hannun
    et al. 2014, arXiv:1408.2873), with a language model fused in.

        s(y) = log p(y | x) + α log p_LM(y) + β |y|

    Args:
        width: sequences that are kept at each step.
        language_weight: α.
        bonus: β, for each class.
        choices: classes that may come next at a step, the most probable ones.

    Raises:
        InputError: a number makes no sense.
    """

    width: int = 16
    language_weight: float = 0.0
    bonus: float = 0.0
    choices: int = 24

    def __post_init__(self) -> None:
        if self.width < 1 or self.choices < 1:
            raise InputError(f"The beam is {min(self.width, self.choices)} wide; it must be at least 1.")

    def search(self, log_p: Tensor, language: LanguageScores | None = None) -> tuple[Tensor, Tensor]:
        """The best sequences of each row.

        Args:
            log_p: log-probabilities `[batch, time, classes]`; certain blanks at padded steps change nothing.
            language: the language model.

        Returns:
            int32 `[batch, width, time]`, padded with 0, the best first; their scores s, `[batch, width]`, -1e9 where
            there are fewer.
        """
        log_p = tf.maximum(tf.cast(log_p, tf.float32), _NEVER)
        batch, time = tf.shape(log_p)[0], tf.shape(log_p)[1]
        books = self._first(batch, time)
        scores, state = (None, None) if language is None else language.begin(batch * self.width)
        by_time = tf.transpose(log_p, [1, 0, 2])

        def step(t: Tensor, books: Nest, scores: Tensor, state: Nest) -> tuple[Any, ...]:
            books, source, added = self._advanced(books, by_time[t], scores)
            if language is not None:
                scores, state = self._language(language, scores, state, source, added)
            return t + 1, books, scores, state

        extra = () if language is None else (scores, state)
        loop = (tf.constant(0), books, *extra)

        def body(t: Tensor, books: Nest, *rest: Tensor) -> tuple[Any, ...]:
            t, books, scores, state = step(t, books, *(rest or (None, None)))
            return (t, books, scores, state) if language is not None else (t, books)

        shapes = tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), loop[1:])
        books = tf.while_loop(lambda t, *_: t < time, body, loop, shape_invariants=(tf.TensorShape([]), *shapes))[1]
        total = tf.where(books["alive"], self._ranked(books), _NEVER)
        order = tf.argsort(total, 1, "DESCENDING")
        return tf.gather(books["tokens"], order, batch_dims=1), tf.gather(total, order, batch_dims=1)

    def _first(self, batch: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Only the empty sequence, all of whose alignments have ended in a blank."""
        width = self.width
        first = tf.tile(tf.constant([[True] + [False] * (width - 1)]), [batch, 1])
        zeros = tf.zeros([batch, width], tf.int32)
        return {
            "tokens": tf.ensure_shape(tf.zeros([batch, width, time], tf.int32), [None, width, None]),
            "length": zeros,
            "last": zeros,
            "hash": tf.cast(zeros, tf.int64),
            "blank": tf.where(first, 0.0, _NEVER),
            "label": tf.fill([batch, width], _NEVER),
            "language": tf.zeros([batch, width]),
            "alive": first,
        }

    def _ranked(self, books: Nest) -> Tensor:
        acoustic = _add(books["blank"], books["label"])
        return acoustic + self.language_weight * books["language"] + self.bonus * tf.cast(books["length"], tf.float32)

    def _advanced(self, books: Nest, log_p: Tensor, scores: Tensor) -> tuple[Nest, Tensor, Tensor]:
        """The sequences after a step; of which each goes on, and what was added, 0 for nothing."""
        width, batch = self.width, tf.shape(log_p)[0]
        choices = min(self.choices, log_p.shape[-1] - 1)
        values, classes = tf.math.top_k(log_p[:, 1:], choices)
        classes += 1
        total = _add(books["blank"], books["label"])
        # A sequence that stays: by a blank, or by its last class again.
        again = tf.where(books["length"] > 0, tf.gather(log_p, books["last"], batch_dims=1), _NEVER)
        stay = {"blank": total + log_p[:, :1], "label": books["label"] + again}
        # One that goes on: after itself in full, but after its own last class only where a blank lies between.
        same = books["last"][:, :, None] == classes[:, None, :]
        label = tf.where(same, books["blank"][:, :, None], total[:, :, None]) + values[:, None, :]
        label = tf.where(books["alive"][:, :, None], label, _NEVER)
        hashes = books["hash"][:, :, None] * _PRIME + tf.cast(classes[:, None, :], tf.int64) + 1
        # Where that is a sequence which is kept already, its alignments count there.
        twin = (hashes[:, :, :, None] == books["hash"][:, None, None, :]) & books["alive"][:, None, None, :]
        joined = tf.reduce_logsumexp(tf.where(twin, label[..., None], _NEVER), [1, 2])
        stay["label"] = _add(stay["label"], joined)
        label = tf.where(tf.reduce_any(twin, -1), _NEVER, label)
        flat = [batch, width * choices]
        new = {
            "blank": tf.fill(flat, _NEVER),
            "label": tf.reshape(label, flat),
            "hash": tf.reshape(hashes, flat),
            "last": tf.reshape(tf.repeat(classes[:, None], width, 1), flat),
            "length": tf.repeat(books["length"] + 1, choices, 1),
            "language": tf.repeat(books["language"], choices, 1),
        }
        if scores is not None:
            grouped = tf.reshape(scores, [batch, width, scores.shape[-1]])
            wanted = tf.repeat(classes[:, None], width, 1)
            new["language"] += tf.reshape(tf.gather(grouped, wanted, batch_dims=2), flat)
        kept = {name: tf.concat([stay.get(name, books[name]), new[name]], 1) for name in new}
        rank = tf.where(tf.concat([books["alive"], new["label"] > _NEVER / 2], 1), self._ranked(kept), _NEVER)
        rank, chosen = tf.math.top_k(rank, width)
        found = {name: tf.gather(value, chosen, batch_dims=1) for name, value in kept.items()}
        source = tf.where(chosen < width, chosen, (chosen - width) // choices)
        added = tf.where(chosen < width, 0, found["last"])
        tokens = tf.gather(books["tokens"], source, batch_dims=1)
        place = tf.one_hot(found["length"] - 1, tf.shape(tokens)[2], dtype=tf.int32)
        tokens = tf.where((added > 0)[..., None] & (place > 0), added[..., None], tokens)
        alive = rank > _NEVER / 2
        return {**found, "tokens": tokens, "alive": alive}, source, added

    def _language(
        self, language: LanguageScores, scores: Tensor, state: Nest, source: Tensor, added: Tensor
    ) -> tuple[Tensor, Nest]:
        """The model's scores and states of the sequences that were chosen, advanced where a class was added."""
        rows = tf.reshape(source + tf.range(tf.shape(source)[0])[:, None] * self.width, [-1])
        scores, state = tf.nest.map_structure(lambda part: tf.gather(part, rows), (scores, state))
        added = tf.reshape(added, [-1])
        after = language.advance(tf.maximum(added, 1), state)

        def changed(new: Tensor, old: Tensor) -> Tensor:
            is_new = tf.reshape(added > 0, [-1, *[1] * (len(old.shape) - 1)])
            return tf.where(is_new, tf.cast(new, old.dtype), old)

        return tf.nest.map_structure(changed, after, (scores, state))


def align(log_p: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """When each class of a sequence was said: the most probable alignment, by Viterbi's algorithm.

    Args:
        log_p: log-probabilities `[batch, time, classes]`.
        tokens: int32 `[batch, labels]`, padded with 0; a row must fit into the steps.

    Returns:
        The first step of each class and the step after its last, int32 `[batch, labels]`, and its highest probability
        in between, float32; 0 at padding.

    Example:

    >>> log_p = tf.math.log(tf.one_hot([[0, 2, 2, 0, 1]], 3) + 1e-6)
    >>> first, end, p = align(log_p, tf.constant([[2, 1]]))
    >>> first.numpy().tolist(), end.numpy().tolist()
    ([[1, 4]], [[3, 5]])
    """
    log_p = tf.maximum(tf.cast(log_p, tf.float32), _NEVER)
    batch, time, labels = tf.shape(log_p)[0], tf.shape(log_p)[1], tf.shape(tokens)[1]
    states = tf.reshape(tf.stack([tf.zeros_like(tokens), tokens], -1), [batch, 2 * labels])
    states = tf.pad(states, [[0, 0], [0, 1]])  # blank, class, blank, class, …, blank
    said = tf.gather(log_p, states, axis=2, batch_dims=1)
    score, back = _forward(tf.transpose(said, [1, 0, 2]), states)
    length = tf.reduce_sum(tf.cast(tokens != BLANK, tf.int32), 1)
    last = tf.stack([2 * length, tf.maximum(2 * length - 1, 0)], 1)
    ends = tf.gather(score, last, batch_dims=1)
    path = _backward(back, tf.where(ends[:, 0] >= ends[:, 1], last[:, 0], last[:, 1]), time)
    here = path[:, :, None] == (2 * tf.range(labels) + 1)[None, None]
    steps = tf.range(time)[None, :, None]
    is_said = tf.reduce_any(here, 1)
    first = tf.reduce_min(tf.where(here, steps, time), 1)
    end = tf.reduce_max(tf.where(here, steps + 1, 0), 1)
    best = tf.reduce_max(tf.where(here, said[:, :, 1::2], _NEVER), 1)
    return tf.where(is_said, first, 0), end, tf.where(is_said, tf.exp(best), 0.0)


def _forward(said: Tensor, states: Tensor) -> tuple[Tensor, Any]:
    """The best scores of the states `[batch, states]` at the last step, and by step how many states back each came
    from; from the log-probabilities of the states, `[time, batch, states]`."""
    time, count = tf.shape(said)[0], tf.shape(states)[1]
    before = tf.pad(states, [[0, 0], [2, 0]])[:, :count]
    skips = (states != BLANK) & (states != before)
    score = tf.where(tf.range(count)[None] < 2, said[0], _NEVER)
    back = tf.TensorArray(tf.int32, time, element_shape=[None, None])

    def step(t: Tensor, score: Tensor, back: Tensor) -> tuple[Tensor, Tensor, Any]:
        one = tf.pad(score, [[0, 0], [1, 0]], constant_values=_NEVER)[:, :count]
        two = tf.pad(score, [[0, 0], [2, 0]], constant_values=_NEVER)[:, :count]
        ways = tf.stack([score, one, tf.where(skips, two, _NEVER)])
        return t + 1, tf.reduce_max(ways, 0) + said[t], back.write(t, tf.argmax(ways, 0, tf.int32))

    loop = (tf.constant(1), score, back.write(0, tf.zeros_like(states)))
    shapes = (tf.TensorShape([]), tf.TensorShape([None, None]), None)
    return tf.while_loop(lambda t, *_: t < time, step, loop, shape_invariants=shapes)[1:]


def _backward(back: Tensor, last: Tensor, time: Tensor) -> Tensor:
    """The states of the best alignment, int32 `[batch, time]`, from the last one."""
    path = tf.TensorArray(tf.int32, time, element_shape=[None])

    def step(t: Tensor, at: Tensor, path: Tensor) -> tuple[Tensor, Tensor, Any]:
        path = path.write(t, at)
        return t - 1, at - tf.gather(back.read(t), at, batch_dims=1), path

    shapes = (tf.TensorShape([]), tf.TensorShape([None]), None)
    path = tf.while_loop(lambda t, *_: t >= 0, step, (time - 1, last, path), shape_invariants=shapes)[2]
    return tf.transpose(path.stack())


def _add(one: Tensor, other: Tensor) -> Tensor:
    """log(exp a + exp b), where both may be next to nothing."""
    high, low = tf.maximum(one, other), tf.minimum(one, other)
    return high + tf.math.log1p(tf.exp(low - high))
