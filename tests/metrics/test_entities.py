"""Metrics of entities, worked out by hand."""

from __future__ import annotations

import pytest

from nlp_rnn.metrics.entities import entity_report, frequent_errors

TEXTS = ["Ada met Bob in Rome", "Rome fell", "nothing here"]
EXPECTED = [[(0, 3, "PER"), (8, 11, "PER"), (15, 19, "LOC")], [(0, 4, "LOC")], []]
PREDICTED = [[(0, 3, "PER"), (8, 19, "PER")], [(0, 4, "ORG")], [(0, 7, "LOC")]]
CONFIDENCES = [[1.0, 0.5], [0.9], [0.6]]


def test_report():
    known = frozenset({("Ada", "PER"), ("Rome", "LOC")})
    report = entity_report(EXPECTED, PREDICTED, CONFIDENCES, TEXTS, ("LOC", "PER", "ORG"), known)
    assert next(iter(report)) == "f1"
    assert report["precision"] == 1 / 4
    assert report["recall"] == 1 / 4
    assert report["f1"] == pytest.approx(1 / 4)
    assert report["by_label"] == {"LOC": 0, "PER": pytest.approx(0.5), "ORG": 0}
    assert report["recall_by_label"]["PER"] == 0.5
    # Known to training are three of the true entities and one of the predicted, which is right.
    assert report["f1_seen"] == pytest.approx(2 * 1 * (1 / 3) / (1 + 1 / 3))
    assert report["unseen"] == 1
    assert report["f1_unseen"] == 0
    assert report["ece"] == pytest.approx((0 + 0.5 + 0.9 + 0.6) / 4)
    assert report["entities"] == 4
    # Rows are true labels, columns predicted ones; the last is "none".
    assert report["confusion"] == [[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert report["confusion_labels"][-1] == "none"


def test_nothing_expected_and_nothing_found():
    report = entity_report([[]], [[]], [[]], ["a"], ("X",))
    assert report["f1"] == report["precision"] == report["recall"] == report["ece"] == 0


def test_errors_are_named_and_counted():
    twice = [part * 2 for part in (EXPECTED, PREDICTED, TEXTS)]
    errors = frequent_errors(*twice, count=10)
    assert {(error.kind, error.entity, error.count) for error in errors} == {
        ("wrong limits", "Bob", 2),
        ("wrong limits", "Rome", 2),
        ("wrong label", "Rome", 2),
        ("invented", "nothing", 2),
    }
    assert "LOC read as ORG: [Rome] fell" in str(next(e for e in errors if e.kind == "wrong label"))
    assert len(frequent_errors(*twice, count=1)) == 1
