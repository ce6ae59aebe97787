"""Anomalies in sessions of events and in logs: what is found, why, in a stream too; what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.metrics.anomalies import Reference
from nlp_rnn.tasks.anomaly import Watcher, explain
from nlp_rnn.tasks.anomaly.data import spans_of, words_of
from nlp_rnn.tasks.anomaly.scores import parts_in_stream, stream_references
from nlp_rnn.tasks.anomaly.starter import FAULTS, sessions
from nlp_rnn.text.templates import templates_in_graph
from tests.subjects import SUBJECTS

QUICK = {"stack": {"units": 8}, "embedding": {"size": 8}, "train": {"epochs": 2, "steps": 0}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return nlp_rnn.train("anomaly", out=tmp_path_factory.mktemp("shop") / "run")


@pytest.mark.slow  # trains on the starter
def test_the_starter_finds_faults_that_simple_methods_do_not(shop):
    found = shop.metrics
    assert found["auc_roc"] > 0.9
    assert found["auc_roc"] > max(found["auc_roc of"].values()) + 0.1
    assert found["false_alarms"] < 0.03
    assert set(found["auc_roc by kind"]) == set(FAULTS)
    assert {row["label"] for row in sessions("train")} == {"normal"}


@pytest.mark.slow  # trains on the starter
def test_an_alarm_says_why(shop):
    visit = [line["event"] for line in sessions("validation") if line["session"] == "validation-0003"]
    assert not shop("\n".join(visit)).alarm
    found = shop("\n".join([*visit[:2], "disk /dev/sda1 is full", *visit[2:]]))
    assert found.alarm
    assert found.p_value < 1e-3
    assert found.unknown == 1
    assert any(one.event == "disk <path> is full" and one.place == 3 for one in found.why)
    assert all(one.expected for one in found.why)
    cut = shop("\n".join(visit[:-1]))
    assert cut.score > shop("\n".join(visit)).score
    assert max(cut.why, key=lambda one: one.surprise).event == "(end)"


def test_surprises_are_the_models_and_sum_to_the_probability():
    """The score of the mean is -log p of the whole session by its events."""
    run = SUBJECTS["anomaly"].run
    records = run.read([{"events": "open read read close"}], "predict")
    outputs = run.infer(records)
    ids = [*run.assets.tokenizer.encode(["open read read close"]).to_list()[0], 3]
    logits = run.model({"tokens": tf.constant([[2, *ids[:-1]]])})
    expected = -tf.gather(tf.nn.log_softmax(logits), [ids], batch_dims=2)
    np.testing.assert_allclose(outputs["nats"][0], expected[0], rtol=1e-5)


def test_a_budget_of_which_the_normal_scores_say_nothing_is_said(monkeypatch):
    run, said = SUBJECTS["anomaly"].run, []
    monkeypatch.setattr("nlp_rnn.display.console.console.warn", said.append)
    Watcher(run, budget=0.5)
    assert said == []
    Watcher(run, budget=1e-6)
    assert "one false alarm in 1,000,000" in said[0]
    assert "normal scores are known: the threshold is a guess" in said[0]
    console.begin()
    run("open read close", budget=0.5)
    assert len(said) == 1
    run("open read close", budget=1e-5)
    run("open read close", budget=1e-5)
    assert "one false alarm in 100,000" in said[1]
    assert len(said) == 2
    console.begin()  # as another training does
    run("open read close", budget=1e-5)
    assert said[2] == said[1]
    monkeypatch.delitem(run.assets.judge, "sessions")  # as in the epochs of training
    run("open read close", budget=1e-4)
    assert len(said) == 3


SESSIONS = ["open " + "read write " * 30 + "close", "open close"]


def surprises(run):
    return run.infer(run.read([{"events": text} for text in SESSIONS], "predict"))["nats"]


def test_a_long_session_is_read_in_windows():
    run = SUBJECTS["anomaly"].run
    found = surprises(run)
    assert [len(nats) for nats in found] == [63, 3]
    ids = [*run.assets.tokenizer.encode(SESSIONS[:1]).to_list()[0], 3]
    logits, _ = run.model.advance(tf.constant([[2, *ids[:-1]]]))
    expected = -tf.gather(tf.nn.log_softmax(logits), [ids], batch_dims=2)
    size = run.config.data.window
    np.testing.assert_allclose(found[0][:size], expected[0][:size], rtol=1e-4)


@pytest.mark.slow  # an export
def test_an_export_reads_long_sessions_as_the_run_does():
    run, texts = SUBJECTS["anomaly"].run, SESSIONS
    outputs = {"nats": surprises(run)}
    served = tf.saved_model.load(str(SUBJECTS["anomaly"].exported)).signatures["serving_default"](
        events=tf.constant(texts)
    )
    for row, nats in enumerate(outputs["nats"]):
        np.testing.assert_allclose(served["surprises"][row, : len(nats)], nats, rtol=1e-4, atol=1e-5)
        assert float(served["mean_surprise"][row]) == pytest.approx(nats.mean(), rel=1e-4)


@pytest.mark.slow  # a training of its own
def test_lines_without_sessions_are_read_in_chunks(tmp_path, command):
    lines = [f"job {i} started\njob {i} took {i % 7}.5 s\njob {i} done" for i in range(200)]
    (tmp_path / "app.log").write_text("\n".join(lines) + "\n")
    small = ("--stack.units", 16, "--train.epochs", 8, "--train.batch_size", 4, "--train.learning_rate", 0.02)
    where = ("--data", tmp_path / "app.log", "--data.chunk", 30, "--out", tmp_path / "run")
    code, _, log = command("train", "anomaly", *where, *small)
    assert code == 0, log
    assert "3 kinds of lines" in log
    code, out, log = command("predict", tmp_path / "run", "--input", tmp_path / "app.log", "--json")
    assert (code, json.loads(out.splitlines()[0])["session"]) == (0, "lines 1–30"), log
    structured = [json.dumps({"message": line}) for line in "\n".join(lines).split("\n")]
    (tmp_path / "structured.log").write_text("\n".join(structured) + "\n")
    given = ("--input", tmp_path / "structured.log", "--column", "message", "--json")
    assert command("predict", tmp_path / "run", *given)[1] == out
    run = nlp_rnn.load(tmp_path / "run")
    assert [record["session"] for record in run.task.read(run.config, "train")][:1] != [""]
    watcher = Watcher(run, budget=0.001)
    normal = "\n".join(lines[:60]).split("\n")
    assert watcher.push(normal) == []
    for start in range(0, 30, 3):  # a stream may begin where a chunk of training did not
        assert not Watcher(run, budget=0.001).push(normal[start : start + 8])
    (alarm,) = watcher.push(["kernel panic", *"\n".join(lines[60:70]).split("\n")])
    assert (alarm.line, alarm.text) == (181, "kernel panic")
    assert alarm.why.expected[0].startswith("job <n>")


@pytest.mark.slow  # thousands of lines, twice
def test_a_stream_in_pieces_and_after_restarts_is_one_stream(shop, tmp_path, command, monkeypatch):
    lines = [line["event"] for line in sessions("test")][:400]
    whole = Watcher(shop).push(lines)
    assert whole
    found = []
    for start in range(0, 400, 37):
        watcher = Watcher(shop, state=tmp_path / "state.npz")
        found += watcher.push(lines[start : start + 37])
        watcher.save()
    assert [(one.line, one.text) for one in found] == [(one.line, one.text) for one in whole]
    np.testing.assert_allclose([one.score for one in found], [one.score for one in whole], rtol=1e-4)
    assert (tmp_path / "state.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match="is the state of another run"):
        Watcher(SUBJECTS["anomaly"].run, state=tmp_path / "state.npz")
    (tmp_path / "bad.npz").write_text("no state")
    with pytest.raises(InputError, match="holds no state of `watch`"):
        Watcher(shop, state=tmp_path / "bad.npz")
    with pytest.raises(InputError, match="watch needs a run of anomaly detection"):
        Watcher(SUBJECTS["sentiment"].run)


@pytest.mark.slow  # trains on the starter
def test_session_follows_session_in_a_stream(shop):
    """A stream of whole normal sessions is about as usual as its sessions."""
    lines = [line["event"] for line in sessions("validation")]
    alarms = Watcher(shop, budget=0.001).push(lines)
    assert len(alarms) < 0.005 * len(lines)
    (alarm,) = Watcher(shop, budget=1e-4).push([*lines[:5], "worker 3 died of signal 11", *lines[5:9]])
    assert (alarm.line, alarm.text) == (6, "worker 3 died of signal 11")


def test_an_event_of_a_stream_is_as_rare_as_its_rarer_part():
    """Also where one session ends and the next begins: the surprises of both are one event's."""
    nats, smooth = np.array([1.0, 9.0, 1.0]), np.array([1.0, 1.8, 1.7])
    usual = {"events": Reference(np.linspace(0.5, 2, 200)), "surprises": Reference(np.linspace(0, 4, 200))}
    parts = parts_in_stream(nats, smooth, usual)
    for row, (name, values) in zip(parts, (("events", smooth), ("surprises", nats)), strict=True):
        np.testing.assert_allclose(np.exp(-row), [usual[name].p_value(value) for value in values])
    assert parts.argmax(0).tolist() == [0, 1, 0]
    np.testing.assert_array_equal(parts_in_stream(nats, smooth, {"events": usual["events"]}), [smooth])
    judge = {"score": {"kind": "any"}, "events": [1.0], "surprises": [2.0]}
    assert [*stream_references(judge)] == ["events", "surprises"]
    assert [*stream_references({**judge, "score": {"kind": "peak"}})] == ["surprises"]
    assert [*stream_references({**judge, "score": {"kind": "median"}})] == ["events"]
    del judge["surprises"]  # a run of before
    assert [*stream_references(judge)] == ["events"]


def test_normal_surprises_of_a_stream_are_those_that_watch_will_see(monkeypatch):
    run = SUBJECTS["anomaly"].run
    records = run.read([{"events": "open read close"}, {"events": "open write close"}])
    monkeypatch.setattr(run.assets, "judge", run.assets.judge.copy(), raising=False)
    run.task.calibrate(run, records)
    first, second = run.infer(records)["nats"]
    expected = np.concatenate([first[:-1], [first[-1] + second[0]], second[1:-1]])
    np.testing.assert_allclose(run.assets.judge["surprises"], np.sort(expected), atol=1e-5)


@pytest.mark.parametrize("event", [0, 1, 3, 6])
def test_events_are_explained_by_those_before_them(event):
    """The contributions sum to the odds of what was expected, those of the model itself; the last is the end."""
    run, session = SUBJECTS["anomaly"].run, ["open", "read", "read", "write", "close"]
    found = explain(run, session, event)
    (records,) = [run.read([{"events": " ".join(session)}])]
    nats = run.infer(records)["nats"][0]
    place = event - 1 if event else int(np.argmax(nats))
    assert len(found.tokens) == place
    assert found.text.split() == session[: place + 1]
    assert [found.text[start:end] for start, end, _ in found.tokens] == session[:place]
    assert sum(value for *_, value in found.tokens) == pytest.approx(found.score - found.base, abs=0.01)
    assert found.said.startswith(f"event {place + 1}: {[*session, '(end)'][place]} instead of ")
    ids = tf.constant([[2, *run.assets.tokenizer.encode([" ".join(session)]).to_list()[0]]])
    logits = run.model.advance(ids)[0].numpy()[0, place]
    came = 3 if place == 5 else int(ids[0, place + 1])
    others = [k for k in range(3, len(logits)) if k != came]  # padding, unknown and begin are never expected
    assert found.score == pytest.approx(float(logits[others].max() - logits[came]), abs=1e-4)


def test_what_is_explained_of_a_session_must_be_there(command, at_hand):
    run = SUBJECTS["anomaly"].run
    at_hand(run)
    code, out, log = command("explain", run.path, "open read close", "--event", 2, "--json")
    assert code == 0, log
    assert [token["token"] for token in json.loads(out)["tokens"]] == ["open"]
    code, _, log = command("explain", run.path, "open read close", "--event", 9)
    said = "There is no event 9: this session has 4, its end included."
    assert (code, said in " ".join(log.split())) == (2, True)
    for event in (-1, 1.5, "2"):
        with pytest.raises(InputError, match=f"There is no event {event}"):
            explain(run, "open read close", event)
    assert explain(run, {"events": ["open", "close"]}, 2).tokens == explain(run, "open\nclose", 2).tokens
    assert explain(run, "open", 1).said.endswith("before which there is nothing")
    assert len(explain(run, "open").tokens) == 1  # of its end, before which there is something
    with pytest.raises(InputError, match="There is no event to explain"):
        explain(run, " ")
    with pytest.raises(InputError, match="explain needs a run of anomaly detection"):
        explain(SUBJECTS["language-modeling"].run, "open")


@pytest.mark.parametrize("mark", ["\x7f", "\x1b", "\x00", "\x85", "\xa0", "\u2028", "\u3000", "\r"])
def test_control_characters_and_odd_blanks_part_events_everywhere_alike(mark):
    """Also where they stand in lines of a log: ids, spans and names of events stay together."""
    run, text = SUBJECTS["anomaly"].run, f"open{mark} read{mark}close"
    assert [text[slice(*span)] for span in spans_of(text, False)] == words_of(text, False).split()
    (one,) = run.predict([{"events": text}])
    assert one.events == len(words_of(text, False).split())
    found = explain(run, text, one.events)
    assert len(found.tokens) == one.events - 1
    assert Watcher(run).push([text]) is not None
    log = f"GET{mark}it\n{mark}\n  took{mark} 5 ms{mark}\n"
    assert len(spans_of(log, True)) == len(words_of(log, True).split()) == 2
    served = tf.strings.split(templates_in_graph(tf.strings.split(tf.constant(log), "\n")))
    assert [word.decode() for word in served.flat_values.numpy()] == words_of(log, True).split()


def test_an_alarm_hides_no_other_one():
    """Each unseen line that stands by itself is one, though the smoothed surprise is high since the first."""
    run, usual = SUBJECTS["anomaly"].run, ["open", "read", "write", "close"]
    assert not Watcher(run, budget=0.001).push(usual)
    lines = [*usual * 20, "panic", *usual, "fire", *usual]
    assert {"panic", "fire"} <= {alarm.text for alarm in Watcher(run, budget=0.001).push(lines)}


@pytest.mark.slow  # trains on the starter
def test_the_step_before_is_why_another_was_expected(shop):
    """A payment that was sent is confirmed, and no cart is counted up after it."""
    lines = [
        "cart 7 opened for user 5",
        "seat 3 reserved in cart 7 until 2026-03-01T20:18:00",
        "payment of cart 7 sent to provider",
    ]
    found = explain(
        shop, ["user 5 asks to sign in", "user 5 signed in after 9 ms", *lines, "cart 7 total 20.00 EUR"], 6
    )
    assert max(found.tokens, key=lambda token: token[2]) == found.tokens[-1]
    assert found.tokens[-1][2] > 0.5 * (found.score - found.base)


@pytest.mark.slow  # several trainings
def test_forms_of_data(tmp_path):
    rows = [{"trace_id": f"t{i % 40}", "message": f"step {'abc'[i // 40 % 3]} of {i}"} for i in range(240)]
    run = nlp_rnn.train("anomaly", out=tmp_path / "lines", data={"train": rows}, **QUICK)
    assert run.assets.judge["lines"]
    assert sorted(run.assets.tokenizer.vocabulary) == [f"step␣{kind}␣of␣<n>" for kind in "abc"]
    assert {r["session"] for split in ("train", "validation") for r in run.task.read(run.config, split)} == {
        f"t{i}" for i in range(40)
    }
    rows = [{"events": ["open", "read", "close"][: 2 + i % 2], "anomaly": int(i > 35)} for i in range(40)]
    run = nlp_rnn.train("anomaly", out=tmp_path / "lists", data={"train": rows}, **QUICK)
    assert sorted(run.assets.tokenizer.vocabulary) == ["close", "open", "read"]
    assert "sessions that are not normal, left out of training: 4" in run.task.read(run.config, "train").notes
    assert run('["open", "read"]') == run("open read") == run({"events": ["open", "read"]})


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([{"events": "a b", "label": "bad"}] * 20, {}, "No session is normal: the labels are bad; name those that are"),
        ([{"events": "a a"}] * 20, {}, "Training has 1 kind of event: there is nothing to expect"),
        ([{"x": "a b"}] * 20, {}, "has no column of events; it has: x: name it with --data.events"),
        ([{"events": "a b"}] * 20, {"data": {"session": "who"}}, 'has no column "who"; it has: events'),
        ([{"events": "a b"}] * 20, {"stack": {"bidirectional": True}}, "Events are read in one direction"),
        ([{"events": None, "label": "normal"}] * 20, {}, 'no row has anything in "events"'),
        ([{"events": "a b"}], {}, "1 normal sessions are too few to hold some out of"),
    ],
)
def test_what_is_refused(rows, settings, message, tmp_path):
    data = {"train": rows, **settings.get("data", {})}
    with pytest.raises(InputError, match=message):
        nlp_rnn.train("anomaly", out=tmp_path / "run", **{**QUICK, **settings, "data": data})
    assert not (tmp_path / "run").exists()


def test_watch_at_the_command_line(command, monkeypatch, tmp_path, at_hand):
    run = SUBJECTS["anomaly"].run
    at_hand(run)
    lines = [*["open", "read", "write", "close"] * 50, "the sky is falling"]  # one such line among usual ones
    (tmp_path / "app.log").write_text("\n".join(lines) + "\n")
    with (tmp_path / "app.log").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        code, out, log = command("watch", run.path, "--json", "--state", tmp_path / "state.npz")
    assert code == 0, log
    assert json.loads(out.splitlines()[-1])["text"] == "the sky is falling"
    assert "201 lines seen" in log
    assert (tmp_path / "state.npz").is_file()
    with (tmp_path / "blob").open("wb") as sink:
        sink.write(b"x" * (3 << 20))
    with (tmp_path / "blob").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        code, _, log = command("watch", run.path)
    assert (code, "A line of more than a megabyte is no event" in " ".join(log.split())) == (2, True)
    assert isinstance(stream, io.TextIOWrapper)


@pytest.mark.slow  # a training and an export
def test_a_run_that_knows_two_kinds_of_events_is_exported(tmp_path):
    rows = [{"events": " ".join(["open", "close"] * (1 + i % 3))} for i in range(40)]
    run = nlp_rnn.train("anomaly", out=tmp_path / "run", data={"train": rows}, **QUICK)
    assert len(run.assets.tokenizer.vocabulary) == 2
    run.export(tmp_path / "export")
