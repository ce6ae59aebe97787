"""What n-grams make of the same text, for comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nlp_rnn.tasks.language_modeling.settings import Config

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records

_ORDERS = {"word": 4, "subword": 4, "character": 8, "byte": 8}


class KneserNey:
    """N-grams with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, equation 26).

    Args:
        ids: the training text, `[tokens]`.
        order: the longest n-gram.
        size: of the vocabulary, over which the lowest order spreads what it takes off evenly.

    Example:

    >>> model = KneserNey(np.array([4, 5, 4, 5, 4, 6]), order=2, size=8)
    >>> float(model.nats(np.array([4, 5])).sum()) < float(model.nats(np.array([4, 7])).sum())
    True
    """

    def __init__(self, ids: np.ndarray, order: int, size: int) -> None:
        self.order, self.size = order, size
        self.keys: list[np.ndarray] = []
        gram, grams, begins = np.zeros(len(ids) + 1, np.int64), [], []
        for k in range(order):  # grams of k + 1 tokens, by the token that they end with
            keys, first, found = np.unique(gram[:-1] * size + ids[k:], return_index=True, return_inverse=True)
            self.keys.append(keys)
            grams.append(gram := found)
            begins.append(first)
        self.kept: list[np.ndarray] = []
        self.rest: list[np.ndarray] = []
        for k in range(order):
            if k + 1 < order:  # how many different tokens a gram follows
                counts = np.bincount(grams[k][begins[k + 1] + 1], minlength=len(self.keys[k]))
            else:
                counts = np.bincount(grams[k], minlength=len(self.keys[k]))
            self._smooth(counts.astype(np.float64), self.keys[k] // size, len(self.keys[k - 1]) if k else 1)

    def _smooth(self, counts: np.ndarray, contexts: np.ndarray, number: int) -> None:
        taken = np.minimum(_discounts(counts)[np.minimum(counts, 3).astype(int)], counts)
        totals = np.bincount(contexts, counts, number)
        sums = np.maximum(totals, 1e-300)
        self.kept.append((counts - taken) / sums[contexts])
        self.rest.append(np.where(totals > 0, np.bincount(contexts, taken, number) / sums, 1.0))

    def nats(self, ids: np.ndarray) -> np.ndarray:
        """-log p of each token after those before it, `[tokens]`; the first has none before it."""
        probability = np.full(len(ids), 1.0 / self.size)
        before = np.zeros(len(ids), np.int64)  # the gram before each token, -1 where training has not seen it
        for k in range(self.order):
            wanted = before * self.size + ids
            place = np.minimum(np.searchsorted(self.keys[k], wanted), len(self.keys[k]) - 1)
            is_known = before >= 0
            is_seen = is_known & (self.keys[k][place] == wanted)
            longer = np.where(is_seen, self.kept[k][place], 0.0) + self.rest[k][np.maximum(before, 0)] * probability
            probability = np.where(is_known, longer, probability)
            seen = np.where(is_seen, place, -1)
            before = np.concatenate([[-1], seen[:-1]])
        return -np.log(probability)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off counts of 0, 1, 2, and 3 or more."""
    once, twice, thrice, four = (float((counts == n).sum()) for n in (1, 2, 3, 4))
    if not once or not twice or not thrice:
        return np.array([0.0, 0.5, 0.75, 0.9])
    share = once / (once + 2 * twice)
    found = np.array([0.0, 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four / thrice])
    return np.clip(found, [0.0, 0.05, 0.05, 0.05], [0.0, 0.95, 1.95, 2.95])


def baselines(config: Config, train: Records, test: Records) -> dict[str, float]:
    """The perplexity per token of n-grams, read as one text over the same tokens.

    Args:
        config: of the task.
        train: records of lines.
        test: likewise.
    """
    from nlp_rnn.tasks.language_modeling.data import assets, begin_of, encoded

    found = assets(config, train)
    read, asked = (
        np.concatenate([[begin_of(found)], encoded(config, found, records)[0]]).astype(np.int64)
        for records in (train, test)
    )
    order = _ORDERS[config.tokenizer.kind]
    nats = KneserNey(read, order, found.tokenizer.size).nats(asked)[1:]
    return {f"{order}-grams (modified Kneser-Ney)": float(np.exp(nats.mean()))}
