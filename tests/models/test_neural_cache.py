"""The neural cache: against loops over its formula, across windows and records, fitted, served."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import nlp_rnn
from nlp_rnn.models import neural_cache
from nlp_rnn.models.neural_cache import forgotten, mixed, recall
from nlp_rnn.tasks.language_modeling.further import best_weight


def by_loops(states: np.ndarray, targets: np.ndarray, size: int, sharpness: float) -> np.ndarray:
    """p of the targets of one row."""
    found = []
    for now in range(len(targets)):
        before = [i for i in range(max(now - size, 0), now) if targets[i]]
        weights = {i: np.exp(sharpness * states[now] @ states[i]) for i in before}
        total = sum(weights.values())
        found.append(sum(w for i, w in weights.items() if targets[i] == targets[now]) / total if before else -1.0)
    return np.array(found)


def some(rows: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    states = generator.normal(size=(rows, steps, 3)).astype(np.float32)
    targets = generator.integers(1, 4, (rows, steps)).astype(np.int32)
    for row in range(1, rows):
        targets[row, steps - row :] = 0
    return states, targets


@given(st.integers(1, 3), st.integers(4, 13), st.integers(1, 15), st.integers(1, 6))
def test_it_is_the_formula_in_windows_of_any_width(rows, steps, size, at_once):
    states, targets = some(rows, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_cache, "_AT_ONCE", at_once)
        memory, found, first = forgotten(rows, size, 3), [], 0
        for last in sorted({steps // 3 or 1, steps // 2, steps}):  # windows, with the memory carried
            p, memory = recall(states[:, first:last], targets[:, first:last], memory, 0.7)
            found.append(p.numpy())
            first = last
    for row in range(rows):
        expected = by_loops(states[row], targets[row], size, 0.7)
        is_token = targets[row] != 0
        np.testing.assert_allclose(np.concatenate(found, 1)[row][is_token], expected[is_token], rtol=1e-5, atol=1e-6)


def test_the_probabilities_of_all_words_sum_to_one():
    states, targets = some(1, 6)
    total = sum(
        recall(states, np.append(targets[:, :-1], [[word]], 1).astype(np.int32), forgotten(1, 9, 3), 2.0)[0][0, -1]
        for word in range(1, 4)
    )
    assert float(total) == pytest.approx(1)


def test_similar_states_beyond_what_a_float_holds():
    states = tf.fill((1, 3, 1), 100.0)
    found, _ = recall(states, tf.constant([[5, 6, 5]]), forgotten(1, 3, 1), 50.0)
    np.testing.assert_allclose(found[0], [-1, 0, 0.5])


def test_the_share_of_the_cache_is_the_best():
    generator = np.random.default_rng(0)
    nats, recalled = generator.exponential(3, 500), generator.uniform(0, 0.3, 500)
    recalled[:5] = -1
    mean, weight = best_weight(nats, recalled)
    every = [
        float(np.mean(mixed(nats.astype("float32"), recalled.astype("float32"), w))) for w in np.arange(0, 1, 0.01)
    ]
    assert 0 < weight < 1
    assert mean <= min(every) + 1e-5
    assert mean == pytest.approx(min(every), abs=1e-3)
    assert best_weight(nats, np.zeros(500))[1] == 0


@pytest.fixture(scope="module")
def remembering(tmp_path_factory):
    """A language model, hardly trained, of texts in each of which a few words come again and again."""
    folder, generator = tmp_path_factory.mktemp("cache"), np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(60)])
    lines = [" ".join(generator.choice(generator.choice(words, 4), 12)) for _ in range(120)]
    for name, part in {"train": lines[:80], "valid": lines[80:100], "test": lines[100:]}.items():
        (folder / f"{name}.txt").write_text("\n".join(part) + "\n")
    return nlp_rnn.train(
        "language-modeling",
        out=folder / "run",
        data={
            name: str(folder / f"{file}.txt")
            for name, file in {"train": "train", "validation": "valid", "test": "test"}.items()
        },
        tokenizer={"kind": "word"},
        embedding={"size": 8},
        stack={"units": 8},
        search={"cache": 12},
        train={"epochs": 2, "batch_size": 4, "bptt": 8},
    )


@pytest.mark.slow  # a training
def test_training_fits_it_and_the_results_say_what_it_gains(remembering):
    run = nlp_rnn.load(remembering.path)
    assert run.config.search.cache_weight > 0.2
    assert run.metrics["perplexity_with_cache"] < 0.7 * run.metrics["perplexity"]
    assert run.evaluate(run.config.data.test[0]) == run.metrics
    assert "val_perplexity_with_cache" not in run.history[0]
    line = "w1 w2 w1 w2 w1 w2"
    assert run(line).perplexity < run(line, cache=0).perplexity
    assert run(line).perplexity == pytest.approx(run([line, "w7"])[0].perplexity, rel=1e-5)


@pytest.mark.slow  # an export
def test_it_serves(remembering, tmp_path):
    texts = ["w1 w2 w1 w2 w1 w2", "w7", " ".join(["w3 w9"] * 30)]
    remembering.export(tmp_path / "model")
    found = tf.saved_model.load(str(tmp_path / "model")).signatures["score"](text=tf.constant(texts))
    np.testing.assert_allclose(found["perplexity"], [one.perplexity for one in remembering(texts)], rtol=1e-4)


@pytest.mark.slow  # a training
def test_it_can_be_given_afterwards(remembering, command):
    data = remembering.config.data.test[0]
    found = []
    for options in (["--cache", 0], [], ["--cache", 3]):
        code, out, _ = command("evaluate", remembering.path, "--data", data, *options, "--json")
        assert code == 0
        found.append(json.loads(out))
    assert found[0]["perplexity"] == found[1]["perplexity"] == found[2]["perplexity"]
    assert "perplexity_with_cache" not in found[0]
    assert found[1]["perplexity_with_cache"] < found[2]["perplexity_with_cache"] < found[0]["perplexity"]
    sizes = [remembering.evaluate(data, remembering.options(cache=size)) for size in (12, 3, 12)]
    assert sizes[0] == sizes[2] == found[1]
    assert sizes[1] == found[2]
    code, _, err = command("evaluate", remembering.path, "--data", data, "--cache", 9, "--cache_weight", 0)
    assert code == 2
    assert "--cache_sharpness" in err


def test_one_of_two_settings_alone_is_refused(tmp_path, command):
    options = ("--search.cache", 9, "--search.cache_weight", 0.2)
    code, _, err = command("train", *options, "--out", tmp_path / "run", task="language-modeling")
    assert code == 2
    assert "--search.cache_sharpness, or neither" in " ".join(err.split())
