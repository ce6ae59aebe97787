"""Fits the table of `NgramLogits` to training data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.data.batching import Rows

_CHUNK = 512
_MOST_STEPS = 300


def fit_ngrams(
    rows: Rows, targets: np.ndarray, order: int, buckets: int, strength: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Naive Bayes features under a logistic regression (Wang and Manning 2012, "Baselines and Bigrams").

    Whether an n-gram occurs counts as r, the log-ratio of its frequencies in and out of a class, each with 1 added; a
    logistic regression with an L2 penalty learns a weight of each by L-BFGS, one class against the rest.

    Args:
        rows: ids of each text.
        targets: one-hot `[texts, classes]`.
        order: how many ids n-grams have at most.
        buckets: how many they are hashed to.
        strength: of the data against the penalty: C of Wang and Manning.

    Returns:
        The table `[buckets, columns]` and the bias `[columns]`, as `NgramLogits.assign` takes them.
    """
    present = _presence(rows, order, buckets)
    used = np.flatnonzero(np.asarray(present.sum(0)).ravel())
    present = present[:, used]
    columns = [1] if targets.shape[1] == 2 else list(range(targets.shape[1]))
    table, bias = np.zeros((buckets, len(columns)), np.float32), np.zeros(len(columns), np.float32)
    for place, column in enumerate(columns):
        table[used, place], bias[place] = _regression(present, targets[:, column] > 0, strength)
    return table, bias


def _presence(rows: Rows, order: int, buckets: int) -> tf.SparseTensor:
    """A sparse matrix `[texts, buckets]` of ones where a text has an n-gram."""
    from scipy import sparse

    counts, found = [np.zeros(1, np.int64)], []
    for buckets_of in _buckets_of(rows, order, buckets):
        counts.append((buckets_of != 0).sum(1))
        found.append(buckets_of[buckets_of != 0])
    indices = np.concatenate(found)
    starts = np.cumsum(np.concatenate(counts))
    return sparse.csr_matrix((np.ones(len(indices), np.float32), indices, starts), (len(starts) - 1, buckets))


def _buckets_of(rows: Rows, order: int, buckets: int) -> Iterator[np.ndarray]:
    import tensorflow as tf

    from nlp_rnn.layers.ngrams import distinct, ngram_buckets

    for start in range(0, len(rows.lengths), _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, len(rows.lengths)))
        ids = tf.constant(rows.padded(chunk, int(rows.lengths[chunk].max())))
        yield distinct(ngram_buckets(ids, order, buckets)).numpy()


def _regression(present: tf.SparseTensor, is_it: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """One class against the rest: what each n-gram adds to the log-odds, and the bias."""
    from scipy.optimize import minimize

    inside, outside = (1 + np.asarray(present[rows].sum(0)).ravel() for rows in (is_it, ~is_it))
    ratios = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    sign = np.where(is_it, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters[:-1], parameters[-1]
        margins = sign * (present @ (ratios * weights) + bias)
        slopes = -sign * strength / (1 + np.exp(np.minimum(margins, 700)))
        gradient = ratios * (present.T @ slopes) + weights
        value = strength * np.logaddexp(0, -margins).sum() + weights @ weights / 2
        return float(value), np.append(gradient, slopes.sum())

    found = minimize(loss, np.zeros(len(ratios) + 1), jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS}).x
    return ratios * found[:-1], float(found[-1])
