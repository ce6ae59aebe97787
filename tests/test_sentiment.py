"""The sentiment task from end to end, as a user meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nlp_rnn

TEXTS = ["A joyless slog.", "Loved it!", "", "   ", "日本 👩‍👩‍👧 e\u0301", "a\x00b", "word " * 3000]


def test_starter_learns_more_than_the_majority(starter):
    assert starter.metrics["accuracy"] > starter.metrics["majority"] + 0.1


def test_run_directory_is_complete(starter):
    for name in ("config.yaml", "assets/labels.json", "model.keras", "metrics.jsonl", "report.json", "card.md"):
        assert (starter.path / name).is_file(), name
    assert (starter.path / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((starter.path / "report.json").read_text())
    assert report["metrics"]["test"]["records"] == report["records"]["test"]
    assert report["peak_memory_bytes"] > 0
    assert report["kernels"]
    rows = [json.loads(line) for line in (starter.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


def test_loading_in_a_fresh_process_gives_the_same_predictions(starter, python):
    code = """
import json, sys, nlp_rnn
run = nlp_rnn.load(sys.argv[1])
print(json.dumps([p.probabilities for p in run(json.loads(sys.argv[2]))]))
"""
    texts = [text for text in TEXTS if "\x00" not in text]
    there = json.loads(python(code, starter.path, json.dumps(texts)).splitlines()[-1])
    here = [prediction.probabilities for prediction in starter(texts)]
    for one, other in zip(there, here, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_prediction_does_not_depend_on_the_other_texts(starter):
    together = starter(TEXTS)
    for text, prediction in zip(TEXTS, together, strict=True):
        assert starter(text).probabilities == pytest.approx(prediction.probabilities, abs=1e-6)
        assert prediction.text == text
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probability == max(prediction.probabilities.values())


def test_saved_model_equals_predict_without_the_package(starter, python, tmp_path):
    exported = starter.export(tmp_path / "export")
    texts = ["A joyless slog.", "Loved it!", "", "日本 👩‍👩‍👧", "word " * 3000]
    ids = starter.assets.tokenizer.encode(texts).to_tensor().numpy()[:, :128]
    code = """
import json, sys
import tensorflow as tf, tensorflow_text
model = tf.saved_model.load(sys.argv[1])
out = model.signatures["serving_default"](text=tf.constant(json.loads(sys.argv[2])))
ids = model.signatures["tokens"](tokens=tf.constant(json.loads(sys.argv[3])))
assert "nlp_rnn" not in sys.modules
decode = lambda a: [decode(x) for x in a] if isinstance(a, list) else a.decode() if isinstance(a, bytes) else a
show = lambda o: {k: decode(v.numpy().tolist()) for k, v in o.items()}
print(json.dumps([show(out), show(ids)]))
"""
    out, by_ids = json.loads(python(code, exported, json.dumps(texts), json.dumps(ids.tolist())).splitlines()[-1])
    predicted = starter(texts)
    expected = [list(p.probabilities.values()) for p in predicted]
    np.testing.assert_allclose(out["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(by_ids["probabilities"], expected, atol=1e-5)
    assert out["label"] == [p.label for p in predicted]
    np.testing.assert_allclose(out["probability"], [p.probability for p in predicted], atol=1e-5)
    assert out["labels"][0] == list(starter.assets.labels)


def test_notebook_snippet_of_the_documentation(starter, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text(
        "review,verdict\nLoved it.,positive\nIt broke.,negative\nFine soup.,positive\nNever again.,negative\n"
    )
    run = nlp_rnn.load(starter.path)
    assert {p.label for p in run(["Loved it.", "It broke."])} <= set(run.assets.labels)
    before = run.evaluate(mine, text="review", label="verdict")["cross_entropy"]
    frozen = [v.numpy() for v in run.model.stack.variables]
    run.model.stack.trainable = False
    run.compile(learning_rate=1e-2)
    data = run.batches({"train": str(mine), "text": "review", "label": "verdict"}, seed=0)
    run.model.fit(data, epochs=8, verbose=0)
    assert run.evaluate(mine, text="review", label="verdict")["cross_entropy"] < before
    for variable, value in zip(run.model.stack.variables, frozen, strict=True):
        if "seed" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), value)
    run.save(tmp_path / "mine")
    again = nlp_rnn.load(tmp_path / "mine")
    assert again("Loved it.").probabilities == pytest.approx(run("Loved it.").probabilities, abs=1e-6)
    assert (run.export(tmp_path / "export") / "saved_model.pb").is_file()


def test_explain_weighs_every_token_and_points_into_the_text(starter, command):
    text = "A joyless slog — but the café was fine."
    code, out, _ = command("explain", starter.path, text, "--json", task="sentiment")
    assert code == 0
    found = json.loads(out)
    pieces = [text[token["start"] : token["end"]] for token in found["tokens"]]
    assert pieces == [token["token"] for token in found["tokens"]]
    assert pieces == ["A", "joyless", "slog", "—", "but", "the", "café", "was", "fine", "."]
    assert sum(token["weight"] for token in found["tokens"]) == pytest.approx(1, abs=1e-5)
    code, out, _ = command("explain", starter.path, text, task="sentiment")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[1:]] == pieces


def test_explain_needs_attention(starter, command):
    from dataclasses import replace

    from nlp_rnn.errors import InputError
    from nlp_rnn.tasks.sentiment import explain

    run = nlp_rnn.load(starter.path)
    run.config = replace(run.config, head=replace(run.config.head, pooling="mean"))
    with pytest.raises(InputError, match=r"train with --head\.pooling attention"):
        explain(run, ["Fine."])


def test_same_seed_gives_the_same_model(tmp_path):
    settings = {"train": {"epochs": 1}, "embedding": {"size": 8}, "stack": {"units": 4, "weight_drop": 0.2}}
    one, other = (nlp_rnn.train("sentiment", out=tmp_path / name, **settings) for name in "ab")
    for a, b in zip(one.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
