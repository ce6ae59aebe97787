"""`inspect`: a run → a page, facts and what they mean."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nlp_rnn.metrics.inspection import HeadUse, Inspection, confident_disagreements, readings
from tests.subjects import SUBJECTS


@pytest.mark.slow  # trains for each fold
def test_labels_that_are_wrong_are_found(reviews, command, tmp_path, monkeypatch):
    rows = [f"a {'fine' if i % 2 else 'joyless'} film {i % 7},{'positive' if i % 2 else 'negative'}" for i in range(80)]
    wrong = [8, 21, 46]
    for row in wrong:
        text, label = rows[row].split(",")
        rows[row] = f"{text},{'negative' if label == 'positive' else 'positive'}"
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    settings = ("--tokenizer.kind", "word", "--embedding.size", 8, "--stack.units", 8, "--train.epochs", 8)
    rate = ("--train.learning-rate", 0.02, "--train.batch-size", 8)
    data = ("--data", tmp_path / "reviews.csv", "--data.validation-fraction", 0.1)
    code, _, error = command("train", "sentiment", *data, *settings, *rate, "--out", tmp_path / "run")
    assert code == 0, error
    code, out, error = command("inspect", tmp_path / "run", "--label-errors", 4, "--json")
    assert code == 0, error
    found = json.loads(out)
    lines = {doubt["line"] for doubt in found["doubts"]["most"]}
    held_out = set(wrong) - {line - 2 for line in lines}
    assert len(held_out) <= 1, "one may be among the validation records"
    assert found["doubts"]["count"] <= 5
    assert found["doubts"]["accuracy"] > 0.9
    assert "contradict what models say" in " ".join(found["readings"])
    page = (tmp_path / "run" / "inspection.html").read_text()
    assert all(word in page for word in ("Gates", "Calibration", "Labels of the training data", "forget"))


def test_a_run_is_looked_into(reviews, command, at_hand, tmp_path):
    at_hand(reviews)
    code, out, error = command("inspect", reviews.path, "--out", tmp_path / "page.html", "--records", 16)
    assert code == 0, error
    page = (tmp_path / "page.html").read_text()
    assert all(word in page for word in ("How far back", "Gates", "Calibration", "forget"))
    assert str(tmp_path / "page.html") in out


def test_what_makes_no_sense_is_refused(command, reviews, tmp_path):
    for arguments, message in (
        (("--label-errors", 1), "needs 2 folds or more"),
        (("--label-errors", 60), "too few for 60 folds"),
        (("--records", 0), "records"),
        (("--out", tmp_path), "is a folder"),
    ):
        code, _, error = command("inspect", reviews.path, *arguments)
        assert (code, message in error) == (2, True), error
    code, _, error = command("inspect", SUBJECTS["ner"].path, "--label-errors", 2)
    assert (code, "where records have one label, not in ner" in error) == (2, True)


def empty(**changes):
    plain = {
        "task": "sentiment",
        "cell": "lstm",
        "unit": "tokens",
        "records": "10 records",
        "lengths": [50] * 10,
        "reach": {"input": [1.0, 0.001]},
        "memory": {"input": 20},
        "gates": [],
        "units": [],
        "states": [],
        "steps": [],
        "looked_with": 500,
    }
    return Inspection(**{**plain, **changes})


def test_what_it_means_follows_from_the_figures():
    assert "100% of the inputs are longer" in readings(empty())[0]
    assert "hardly any input is longer" in readings(empty(lengths=[10] * 5))[0]
    assert "do not fade within the 2 tokens" in readings(empty(memory={"input": None}))[0]
    assert "--stack.context" in readings(empty(cell="transformer"))[0]
    assert "pools all steps" in readings(empty(pooling="attention"))[0]
    assert "--stack.chrono" in readings(empty(pooling="last"))[0]
    needed = [(1, 0.5), (2, 0.7), (4, 0.9), (50, 0.9)]
    assert "The last 4 tokens give the accuracy" in readings(empty(needed=needed, metric="accuracy"))[-1]
    assert len(readings(empty(needed=needed, metric="accuracy", looked_with=20))) == 1, "too few to say so"
    noise = [(1, 0.533), (2, 0.563), (4, 0.548), (8, 0.518), (82, 0.563)]
    assert len(readings(empty(needed=noise, metric="accuracy"))) == 1, "chance does as much"
    dips = [(1, 0.5), (2, 0.9), (4, 0.7), (8, 0.9), (50, 0.9)]
    assert "The last 8 tokens" in readings(empty(needed=dips, metric="accuracy"))[-1], "and no fewer, as 4 show"
    assert len(readings(empty(needed=[(1, 0.8), (50, 0.8)], metric="accuracy"))) == 1, "nothing was learned"
    heads = [HeadUse("layer 1", 1, 0.99, 3.0, 0.2), HeadUse("layer 1", 2, 0.5, 0.1, 0.95)]
    said = readings(empty(heads=heads))
    assert said[1] == "All that they see is nearly alike to heads: layer 1, head 1."
    assert said[2] == "Heads that look at little but the step itself: layer 1, head 2."
    unsure = [(0.95, 0.75, 200)]
    assert "do not read them as probabilities" in readings(empty(calibration=unsure))[-1]
    assert "off by 0.0%" in readings(empty(calibration=[(0.9, 0.9, 200)]))[-1]


def test_disagreements_need_more_than_the_usual_confidence():
    probabilities = np.array([[0.55, 0.45], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.97, 0.03]])
    given = np.array([1, 0, 0, 1, 0, 1])
    assert confident_disagreements(probabilities, given) == [(5, 0), (4, 1)]
    unsure = np.array([[0.95, 0.03, 0.02]] * 8 + [[0.5, 0.48, 0.02]] + [[0.5, 0.45, 0.05]] * 3)
    found = confident_disagreements(unsure, np.array([0] * 9 + [1] * 3))
    assert all(place > 8 for place, _ in found), "a label that is the most probable one is not in doubt"
