"""What is the sentiment task's own; what every task does is in tests/test_contract.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.sentiment import explain
from nlp_rnn.testing import assert_same_run
from nlp_rnn.testing.subjects import copied_at
from nlp_rnn.trainer import resume
from tests.subjects import SUBJECTS


@pytest.mark.slow  # trains on the starter
def test_the_starter_learns_more_than_the_majority(tmp_path):
    run = nlp_rnn.train("sentiment", out=tmp_path / "run", train={"epochs": 2})
    assert run.metrics["accuracy"] > run.metrics["majority"] + 0.1
    assert run.metrics["records"] == run.report["records"]["test"]


def test_probabilities_are_those_of_a_distribution(reviews):
    for prediction in reviews(list(SUBJECTS["sentiment"].inputs)):
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probability == max(prediction.probabilities.values())
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)


def test_ids_can_be_served_too(reviews):
    texts = ["a fine film", "joyless", "word " * 600]
    ids = reviews.assets.tokenizer.encode(texts).to_tensor()[:, : reviews.config.data.max_tokens]
    out = tf.saved_model.load(str(SUBJECTS["sentiment"].exported)).signatures["tokens"](tokens=ids)
    expected = [list(p.probabilities.values()) for p in reviews(texts)]
    np.testing.assert_allclose(out["probabilities"], expected, atol=1e-5)
    assert [name.decode() for name in out["labels"].numpy()[0]] == list(reviews.assets.labels)


@pytest.mark.slow  # traces it anew
def test_fine_tuning_the_keras_way(reviews, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("review,verdict\nbad,positive\nfine,negative\nbad a film,positive\nfine a film,negative\n")
    run = nlp_rnn.load(reviews.path)
    columns = {"text": "review", "label": "verdict"}
    before = run.evaluate(mine, **columns)["cross_entropy"]
    frozen = [v.numpy() for v in run.model.stack.variables]
    run.model.stack.trainable = False
    run.compile(learning_rate=0.05)
    run.model.fit(run.batches({"train": str(mine), **columns}, seed=0), epochs=8, verbose=0)
    assert run.evaluate(mine, **columns)["cross_entropy"] < before
    for variable, value in zip(run.model.stack.variables, frozen, strict=True):
        if "seed" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), value)


JOINED = {
    "tokenizer": {"kind": "word"},
    "embedding": {"size": 4},
    "stack": {"units": 4},
    "head": {"ngrams": 2, "ngram_buckets": 4096},
}


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """A network that learns nothing, joined with n-grams; the labels are those of pairs of words."""
    folder = tmp_path_factory.mktemp("joined")
    verdicts = {"not good": "bad", "so good": "good", "not bad": "good", "so bad": "bad"}
    rows = [f"{text} {filler},{label}" for filler in "abcdefghijklmnopqrst" for text, label in verdicts.items()]
    (folder / "pairs.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return nlp_rnn.train(
        "sentiment",
        out=folder / "run",
        data={"train": str(folder / "pairs.csv")},
        train={"epochs": 1, "learning_rate": 1e-5},
        **JOINED,
    )


def test_ngrams_join_the_network(joined):
    assert joined.metrics["accuracy"] > 0.9 > joined.history[0]["val_accuracy"]
    loaded = nlp_rnn.load(joined.path)
    assert [loaded(text).label for text in ("so good", "not good", "so bad", "not bad")] == [
        "good",
        "bad",
        "bad",
        "good",
    ]
    assert loaded("not good a") == joined("not good a")
    for found in explain(loaded, ["not good a", "so bad b c"]):
        said = found.contributions
        assert sum(value for *_, value in said.tokens) == pytest.approx(said.score - said.base, rel=0.02)
        probability = found.prediction.probability
        assert said.score == pytest.approx(np.log(probability / (1 - probability)), abs=1e-3)


@pytest.mark.slow  # two trainings
def test_what_is_joined_resumes_bit_for_bit(joined, tmp_path):
    settings = {**JOINED, "data": {"train": joined.config.data.train[0]}, "train": {"epochs": 3, "batch_size": 8}}
    with copied_at(tmp_path / "cut-off", 1, 2):
        whole = nlp_rnn.train("sentiment", out=tmp_path / "whole", **settings)
    resume(tmp_path / "cut-off")
    assert_same_run(whole.path, tmp_path / "cut-off")
    again = {**settings, "train": {**settings["train"], "init_from": str(whole.path)}}
    begun = nlp_rnn.train("sentiment", out=tmp_path / "begun", **again)
    assert begun.metrics["accuracy"] > 0.9


@pytest.mark.slow  # three conversions
@pytest.mark.parametrize(("form", "weights"), [("savedmodel", "float32"), ("onnx", "float32"), ("litert", "int8")])
def test_ngrams_are_exported(joined, form, weights, tmp_path):
    assert joined.export(tmp_path / "model", form, weights).exists()  # which compares it with the run


def test_explain_weighs_every_token_and_points_into_the_text(reviews, command):
    text = "A joyless film — but the café was fine."
    code, out, _ = command("explain", reviews.path, text, "--json", task="sentiment")
    assert code == 0
    found = json.loads(out)
    pieces = [text[token["start"] : token["end"]] for token in found["tokens"]]
    assert pieces == [token["token"] for token in found["tokens"]]
    assert pieces == ["A", "joyless", "film", "—", "but", "the", "café", "was", "fine", "."]
    assert sum(token["weight"] for token in found["tokens"]) == pytest.approx(1, abs=1e-5)
    code, out, _ = command("explain", reviews.path, text)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[2:]] == pieces
    total = sum(token["contribution"] for token in found["tokens"])
    assert total == pytest.approx(found["score"] - found["base"], rel=0.02, abs=0.01)
    p = found["probabilities"][found["explained"]]
    assert found["score"] == pytest.approx(np.log(p / (1 - p)), abs=1e-3)


def test_what_speaks_for_one_of_two_labels_speaks_against_the_other(reviews):
    text = "A joyless film but fine"
    negative, positive = (explain(reviews, [text], label)[0].contributions for label in ("negative", "positive"))
    np.testing.assert_allclose([t[2] for t in negative.tokens], [-t[2] for t in positive.tokens], atol=1e-4)
    by_word = {text[s:e]: value for s, e, value in negative.tokens}
    assert by_word["joyless"] > 0 > by_word["fine"], "a reason for a label is not what speaks for the other"
    with pytest.raises(InputError, match=r'There is no label "negativ"\. Did you mean "negative"'):
        explain(reviews, [text], "negativ")


def test_tensorboard_logs_are_written(reviews):
    (path,) = (reviews.path / "logs").glob("events*")
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(path)) for value in event.summary.value}
    assert {"loss", "val_accuracy", "learning_rate", "tokens_per_second"} <= tags
