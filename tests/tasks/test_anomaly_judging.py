"""What exports say of sessions is what the run says: scores of all kinds, p-values, reasons."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.data.records import Records
from nlp_rnn.metrics.anomalies import Reference, session_score
from nlp_rnn.serving import Client, protocols
from nlp_rnn.serving.batching import Batcher
from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.tasks.anomaly.judging import reasons, scored
from nlp_rnn.tasks.anomaly.predictions import END_OF_SESSION, Judgement, errors, from_row, surprises
from nlp_rnn.tasks.anomaly.scores import scores_of
from nlp_rnn.tasks.anomaly.settings import Options
from nlp_rnn.text.tokenizers import WordTokenizer
from tests.subjects import SUBJECTS

LENGTHS = [9, 5, 2, 1, 4]
KINDS = ["any", "mean", "median", "peak", "stretch", "misses"]


@pytest.fixture
def sessions():
    """Surprises and ranks of sessions of several lengths, with rubbish where padding is."""
    generator = np.random.default_rng(0)
    shape = (len(LENGTHS), max(LENGTHS))
    return generator.exponential(2, shape).astype("float32"), generator.integers(0, 6, shape).astype("int32")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_p_values_of_padded_rows(sessions, kind):
    nats, ranks = sessions
    judge = {"score": {"kind": kind, "stretch": 3, "top": 2}}
    generator = np.random.default_rng(1)
    judge |= {name: Reference(generator.gamma(2, 1, 50)).kept() for name in ("mean", "peak", "sessions")}
    rows = {"nats": [n[:k] for n, k in zip(nats, LENGTHS, strict=True)]}
    rows["rank"] = [r[:k] for r, k in zip(ranks, LENGTHS, strict=True)]
    found = scored(tf.constant(nats), tf.constant(ranks), tf.constant(LENGTHS), judge)
    expected = scores_of(rows, judge)
    np.testing.assert_allclose(found["score"], expected, rtol=1e-5)
    if kind != "any":
        pairs = zip(rows["nats"], rows["rank"], strict=True)
        np.testing.assert_allclose(expected, [session_score(n, r, kind, 3, 2) for n, r in pairs], rtol=1e-6)
    p_values = [Reference(judge["sessions"]).p_value(score) for score in expected]
    np.testing.assert_allclose(found["p_value"], p_values, rtol=1e-4)
    np.testing.assert_allclose(found["mean_surprise"], [row.mean() for row in rows["nats"]], rtol=1e-5)
    assert (found["surprises"].numpy()[~(np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None])] == 0).all()


def test_reasons_are_those_of_the_run(sessions):
    nats, ranks = sessions
    vocabulary = ["open", "read␣<n>", "write", "close"]
    assets = type("Assets", (), {"tokenizer": WordTokenizer(vocabulary, split="whitespace")})
    expected = np.random.default_rng(2).integers(3, 8, (*nats.shape, 3)).astype("int32")
    words = [list(np.random.default_rng(row).choice([*vocabulary, "new"], k - 1)) for row, k in enumerate(LENGTHS)]
    events = [[*row, END_OF_SESSION] + [""] * (max(LENGTHS) - len(row) - 1) for row in words]
    events[3] = [""] * max(LENGTHS)  # a session without events
    given = {"nats": tf.constant(nats), "rank": tf.constant(ranks), "expected": tf.constant(expected)}
    found = reasons(given, tf.constant(LENGTHS), tf.constant(events), [END_OF_SESSION, *vocabulary], 3)
    for place, (row, count) in enumerate(zip(words, LENGTHS, strict=True)):
        why = surprises(row, nats[place, :count], ranks[place], expected[place], assets) if row else []
        served = {name: value[place].numpy().tolist() for name, value in found.items()}
        served["why_event"] = [event.decode() for event in served["why_event"]]
        served["why_expected"] = [[name.decode() for name in names] for names in served["why_expected"]]
        served |= {"score": 1.0, "p_value": 0.01, "events": len(row), "unknown": 0}
        judgement = from_row(served, Options(budget=0.01))
        assert judgement.why == why
        assert judgement.alarm
    assert not from_row(served, Options(budget=0.009)).alarm


def test_of_few_normal_sessions_the_tail_does_not_fall_at_once():
    few, many = Reference([1.0, 1.1, 1.2, 1.301]), Reference(np.random.default_rng(0).exponential(1, 5000))
    assert few.p_value(1.32) > 0.03
    assert few.p_value(1.5) > 1e-3
    assert few.p_value(10.0) < 1e-6
    assert many.excess == pytest.approx(1, abs=0.4)  # by twenty scores
    assert few.p_value(0.5) == 1
    assert str(few.nats(0.5)) == "0.0"


@pytest.mark.slow  # a training and a conversion
def test_the_script_beside_an_export_masks_lines(tmp_path):
    rows = [f"job {i} started\njob {i} took {i % 7}.5 s\njob {i} at /var/db/{i} done" for i in range(120)]
    (tmp_path / "app.log").write_text("\n".join(rows) + "\n")
    data = {"train": str(tmp_path / "app.log"), "format": "txt", "chunk": 6}
    run = nlp_rnn.train("anomaly", data=data, stack={"units": 8}, train={"epochs": 1}, out=tmp_path / "run")
    run.export(tmp_path / "model", to="onnx")
    texts = ["\n".join(rows[:4]), rows[7], "a line never seen 10.0.0.1", ""]
    script = [sys.executable, tmp_path / "model" / "example.py", *texts]
    done = subprocess.run(script, capture_output=True, text=True)
    found = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert found == pytest.approx([one.score for one in run(texts)], rel=1e-3, abs=1e-4), done.stderr


def test_errors_are_false_alarms_and_missed_anomalies():
    def judged(score, alarm):
        return Judgement(f"s{score}", score, 0.5, alarm, 3, 0, [])

    cases = [(9.0, True, False), (8.0, True, True), (7.0, True, False), (2.0, False, True), (1.0, False, False)]
    records = Records([{"odd": odd} for _, _, odd in cases])
    found = errors(records, [judged(score, alarm) for score, alarm, _ in cases], 5)
    assert [line.split()[:2] for line in found] == [["ALARM", "9.000"], ["ok", "2.000"], ["ALARM", "7.000"]]
    assert ["(normal)" in line for line in found] == [True, False, True]


@pytest.mark.slow  # an export
def test_what_is_served_is_what_the_run_says(monkeypatch):
    """Asked as `predict --url` asks."""
    run = SUBJECTS["anomaly"].run
    sessions = [*SUBJECTS["anomaly"].inputs, "open crash read", "open " * 40, ["open", "read", "close"]]
    batcher = Batcher(Endpoint.of_export("calls", SUBJECTS["anomaly"].exported))

    def ask(client, path, payload=None):
        if payload is None:
            return {"metadata": batcher.endpoint.about}
        return json.loads(json.dumps(asyncio.run(protocols.answer_v1(batcher, payload))))

    monkeypatch.setattr(Client, "ask", ask)
    remote = Client("http://localhost:1")["calls"]
    for options in (Options(), Options(budget=0.3)):
        for served, own in zip(remote.predict(sessions, options), run.predict(sessions, options), strict=True):
            assert (served.events, served.unknown, served.alarm) == (own.events, own.unknown, own.alarm)
            reasons = [[(w.place, w.event, w.expected) for w in one.why] for one in (served, own)]
            assert reasons[0] == reasons[1]
            assert served.score == pytest.approx(own.score, rel=1e-3)
            assert served.p_value == pytest.approx(own.p_value, rel=1e-2)
