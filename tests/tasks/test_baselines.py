"""Simple models beside the networks: n-grams and an averaged perceptron."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nlp_rnn.config.values import override
from nlp_rnn.registry import get_task
from nlp_rnn.tasks.language_modeling.baselines import KneserNey, _discounts
from tests.subjects import SUBJECTS

SIZE = 9


def reference(ids, order, size, history, token):
    """The recursion as Chen and Goodman have it, with counts in dictionaries."""
    text = list(ids)
    grams = [Counter(tuple(text[i : i + k]) for i in range(len(text) - k + 1)) for k in range(1, order + 1)]
    used = [Counter(gram[1:] for gram in grams[k]) for k in range(1, order)] + [grams[-1]]

    def probability(k, history, token):
        if k < 0:
            return 1 / size
        history = tuple(history[len(history) - k :]) if k else ()
        lower = probability(k - 1, history[1:], token)
        counts = {gram[-1]: used[k].get(gram, 0) for gram in grams[k] if gram[:-1] == history}
        total = sum(counts.values())
        if not total:
            return lower
        table = _discounts(np.array([used[k].get(gram, 0) for gram in grams[k]], float))
        taken = {word: min(table[min(count, 3)], count) for word, count in counts.items()}
        here = (counts[token] - taken[token]) / total if token in counts else 0.0
        return here + sum(taken.values()) / total * lower

    return probability(min(len(history), order - 1), history, token)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_n_grams_are_those_of_the_formula_and_sum_to_one(order):
    draw = np.random.default_rng(order)
    read = draw.choice(SIZE - 1, 60, p=np.arange(SIZE - 1, 0, -1) / 36)
    model = KneserNey(read, order, SIZE)
    asked = draw.integers(0, SIZE, 12)
    expected = [reference(read, order, SIZE, asked[:i], token) for i, token in enumerate(asked)]
    np.testing.assert_allclose(np.exp(-model.nats(asked)), expected, rtol=1e-9)
    for length in range(4):
        last = [np.exp(-model.nats(np.append(asked[:length], token))[-1]) for token in range(SIZE)]
        assert sum(last) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("task", "name", "bound"), [("language-modeling", "grams", (1, 3)), ("ner", "perceptron", (0.95, 1))]
)
def test_a_task_has_its_simple_model(task, name, bound):
    found, config = get_task(task), SUBJECTS[task].run.config
    train = found.read(config, "train")
    ((said, value),) = found.baselines(config, train, found.read(config, "validation")).items()
    assert name in said
    assert bound[0] <= value <= bound[1]


@pytest.mark.slow  # two minutes
@pytest.mark.skipif("NLP_RNN_DATA" not in os.environ, reason="NLP_RNN_DATA is not set")
def test_on_real_data_they_are_as_good_as_is_known():
    folder = Path(os.environ["NLP_RNN_DATA"])
    task = get_task("ner")
    data = {
        "train": [str(folder / "conll2003/eng.train.gz")],
        "validation": [str(folder / "conll2003/eng.testa.gz")],
        "format": "conll",
    }
    config = override(task.Config(), {"data": data, "tokenizer": {"lowercase": False}})
    f1 = task.baselines(config, task.read(config, "train"), task.read(config, "validation"))
    assert 0.83 < f1["averaged perceptron"] < 0.93
    task = get_task("language-modeling")
    data = {"train": [str(folder / "ptb/ptb.train.txt.gz")], "validation": [str(folder / "ptb/ptb.valid.txt.gz")]}
    words = {"kind": "word", "size": 10004, "normalization": "none", "split": "whitespace"}
    config = override(task.Config(), {"data": data, "tokenizer": words})
    (perplexity,) = task.baselines(config, task.read(config, "train"), task.read(config, "validation")).values()
    assert 135 < perplexity < 165  # 5-grams: 141 on the test part (Mikolov and Zweig 2012)
