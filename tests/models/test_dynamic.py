"""Dynamic evaluation: against the formula by hand, in windows, rows and exports; fitted, and left as it was."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.errors import InputError
from nlp_rnn.layers import AdaptiveSoftmaxHead, RecurrentStack, SoftmaxHead, TokenEmbedding
from nlp_rnn.models import LanguageModel
from nlp_rnn.models.dynamic import Adaptation
from nlp_rnn.models.neural_cache import Cache
from tests.conftest import slow
from tests.subjects import SUBJECTS

HEADS = {
    "full": lambda: SoftmaxHead(12, 5),
    "own weights": lambda: SoftmaxHead(12),
    "adaptive": lambda: AdaptiveSoftmaxHead(12, cutoffs=(6, 9)),
}


def model(head="full", cell="lstm", **options):
    stack = RecurrentStack(cell, 6, bidirectional=False)
    made = LanguageModel(TokenEmbedding(12, 5), stack, HEADS[head](), adapts=True, **options)
    made.build()
    generator = np.random.default_rng(0)
    for weight in made.learner.weights:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    text = generator.integers(4, 12, (1, 41)).astype("int32")
    made.learner.know_gradients([tf.constant(text)], 4)
    return made


def texts(rows, steps):
    generator = np.random.default_rng(1)
    targets = generator.integers(4, 12, (rows, steps)).astype("int32")
    for row in range(1, rows):
        targets[row, steps - 2 * row :] = 0
    tokens = np.concatenate([np.full((rows, 1), 3, np.int32), targets[:, :-1]], 1)
    return tokens, targets


def by_hand(head, cell, tokens, targets, how):
    """One text: a model whose weights are assigned, segment after segment."""
    made = model(head, cell)
    weights = made.learner.weights
    first, roots = [w.numpy() for w in weights], [root.numpy() for root in made.roots]
    mean = np.concatenate([root.ravel() for root in roots]).mean()
    state, found = None, []
    for place in range(0, len(targets), how.steps):
        part = slice(place, place + how.steps)
        with tf.GradientTape() as tape:
            states, state = made.read(tf.constant(tokens[None, part]), state)
            nats = made.head.nats(states, tf.constant(targets[None, part]), made.table)
            loss = tf.reduce_mean(nats)
        found += nats.numpy()[0].tolist()
        gradients = tape.gradient(loss, [w.value for w in weights], unconnected_gradients="zero")
        for weight, trained, gradient, root in zip(weights, first, gradients, roots, strict=True):
            step = how.rate * tf.convert_to_tensor(gradient) / (root + mean)
            back = how.decay * np.minimum(root / mean, 1 / how.decay) * (trained - weight) if how.decay else 0
            weight.assign(weight - step + back)
    return np.array(found)


@pytest.mark.parametrize(
    ("head", "cell", "decay"), [slow("full", "lstm", 0.3), slow("own weights", "gru", 0.0), ("adaptive", "lstm", 0.01)]
)
def test_it_is_the_formula(head, cell, decay):
    tokens, targets = texts(3, 11)
    how, made = Adaptation(4, 0.02, decay), model(head, cell)
    before = [weight.numpy() for weight in made.weights]
    found = made.infer_further({"tokens": tokens, "targets": targets}, adaptation=how)
    for row in range(3):
        is_token = targets[row] != 0
        expected = by_hand(head, cell, tokens[row, is_token], targets[row, is_token], how)
        np.testing.assert_allclose(found["adapted"][row][is_token], expected, rtol=1e-4, atol=1e-4)
        assert np.abs(found["adapted"][row][is_token] - found["nats"][row][is_token]).max() > 0.01
    for weight, value in zip(made.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_it_goes_on_from_window_to_window_and_begins_anew():
    tokens, targets = texts(1, 16)
    how, made, cache = Adaptation(4, 0.02, 0.01), model(), Cache(6, 0.2, 1.0)
    whole = made.infer_further({"tokens": tokens, "targets": targets}, cache, how)
    for _ in range(2):
        parts = []
        for first, last in ((0, 8), (8, 16)):
            features = {"tokens": tokens[:, first:last], "targets": targets[:, first:last]}
            features["reset"] = np.array([[int(first == 0)]], np.int32)
            parts.append(made.infer_further({n: tf.constant(v) for n, v in features.items()}, cache, how))
        for name in ("nats", "adapted", "cached"):
            joined = np.concatenate([part[name] for part in parts], 1)
            np.testing.assert_allclose(joined, whole[name], rtol=1e-4, atol=1e-5)


def test_without_sizes_of_gradients_nothing_is_learned():
    tokens, targets = texts(2, 8)
    made = model()
    for root in made.roots:
        root.assign(tf.zeros_like(root))
    found = made.infer_further({"tokens": tokens, "targets": targets}, adaptation=Adaptation(4, 0.1, 0.1))
    is_token = targets != 0
    np.testing.assert_allclose(found["adapted"].numpy()[is_token], found["nats"].numpy()[is_token], rtol=1e-5)


def test_they_are_saved_and_are_no_parameters(tmp_path):
    made = model()
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(made.roots, loaded.roots, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.sum(one) > 0
    plain = LanguageModel(TokenEmbedding(12, 5), RecurrentStack("lstm", 6, bidirectional=False), HEADS["full"]())
    plain.build()
    assert made.count_params() == plain.count_params()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Texts that repeat themselves."""
    folder, generator = tmp_path_factory.mktemp("dynamic"), np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(40)])
    line = lambda: " ".join(generator.choice(words, 9))  # noqa: E731
    files = {"train": [line() for _ in range(80)], "validation": [line()] * 12, "test": [line()] * 12}
    for name, lines in files.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return {name: str(folder / f"{name}.txt") for name in files}


def trained(corpus, out, seed=0):
    return nlp_rnn.train(
        "language-modeling",
        out=out,
        data=corpus,
        tokenizer={"kind": "word"},
        embedding={"size": 8},
        stack={"units": 16},
        search={"dynamic": 5, "cache": 30},
        train={"epochs": 2, "batch_size": 4, "bptt": 8, "seed": seed},
    )


@pytest.fixture(scope="module")
def learning(corpus, tmp_path_factory):
    """A language model, hardly trained."""
    return trained(corpus, tmp_path_factory.mktemp("learning") / "run")


@pytest.mark.slow  # a training
def test_training_fits_it_and_the_results_say_what_it_gains(learning, command):
    run = nlp_rnn.load(learning.path)
    assert run.config.search.dynamic_rate > 0
    found = run.metrics
    assert found["perplexity_with_dynamic"] < 0.8 * found["perplexity"]
    assert found["perplexity_with_dynamic_and_cache"] < found["perplexity_with_dynamic"]
    assert run.evaluate(run.config.data.test[0]) == pytest.approx(found, rel=1e-4)
    assert run.evaluate(run.config.data.test[0])["perplexity"] == pytest.approx(found["perplexity"], rel=1e-5)
    code, out, _ = command("evaluate", run.path, "--data", run.config.data.test[0], "--dynamic", 0, "--json")
    assert code == 0
    assert "perplexity_with_dynamic" not in json.loads(out)
    line = " ".join(["w1 w2 w3 w4 w5"] * 5)
    alone = run(line, cache=0).perplexity
    assert alone < run(line, cache=0, dynamic=0).perplexity
    assert alone == pytest.approx(run([line, "w7"], cache=0)[0].perplexity, rel=1e-4)


@pytest.mark.slow  # an export
def test_it_serves(learning, tmp_path):
    lines = ["w1 w2 w1 w2 w1 w2", "w7", " ".join(["w3 w9"] * 30), "", " \u3000\t"]
    learning.export(tmp_path / "model")
    found = tf.saved_model.load(str(tmp_path / "model")).signatures["score"](text=tf.constant(lines))
    expected = learning(lines)
    assert found["units"].numpy().tolist() == [one.units for one in expected] == [7, 2, 61, 1, 1]
    np.testing.assert_allclose(found["perplexity"], [one.perplexity for one in expected], rtol=1e-3)


@pytest.mark.slow  # two trainings
def test_an_ensemble_learns_too(corpus, learning, tmp_path):
    other = trained(corpus, tmp_path / "other", seed=1)
    joined = nlp_rnn.ensemble([learning.path, other.path], out=tmp_path / "joined")
    found = joined.report["metrics"]["test"]
    assert found["perplexity_with_dynamic"] < 0.9 * found["perplexity"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--search.dynamic_rate", 0.1], "do nothing without --search.dynamic"),
        (["--search.dynamic", 5, "--search.dynamic_decay", 0.1], "needs --search.dynamic_rate"),
    ],
)
def test_settings_that_do_nothing_are_refused(options, message, tmp_path, command):
    code, _, log = command("train", *options, "--out", tmp_path / "run", task="language-modeling")
    assert (code, message in " ".join(log.split())) == (2, True)
    assert not (tmp_path / "run").exists()


def test_what_it_needs_is_said():
    run = SUBJECTS["language-modeling"].run
    with pytest.raises(InputError, match="dynamic_rate does nothing without --dynamic"):
        run("the cat", dynamic_rate=0.1)
    with pytest.raises(InputError, match=r"does not know the sizes of its gradients.*--search.dynamic"):
        run("the cat", dynamic=5, dynamic_rate=0.1)


def test_calls_at_the_same_time_share_nothing():
    """TensorFlow turns an `AddN` of three and more values of fixed shapes into a variable of the graph, which calls of
    several threads would create twice."""
    tokens, targets = texts(2, 9)
    how, made = Adaptation(4, 0.01, 0.1), model()
    function = tf.function(lambda features: made.infer_further(features, adaptation=how))
    graph = function.get_concrete_function({"tokens": tf.constant(tokens), "targets": tf.constant(targets)}).graph
    nodes = [node for part in graph.as_graph_def().library.function for node in part.node_def]
    assert any(node.op.startswith("MatMul") for node in nodes)
    assert [node.name for node in nodes if node.op == "AddN" and len(node.input) > 2] == []
