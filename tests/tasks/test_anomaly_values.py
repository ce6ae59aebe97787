"""Anomalies in values over time: what is read, judged, watched, exported, and refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.anomaly_values import Watcher
from nlp_rnn.tasks.anomaly_values.scores import all_steps, rarity
from tests.subjects import SUBJECTS

SMALL = {"lookback": 8, "stack": {"units": 8}, "train": {"epochs": 2, "batch_size": 32}}
OPTIONS = ("--lookback", 8, "--stack.units", 8, "--train.epochs", 2)


@pytest.fixture(scope="module")
def run():
    return SUBJECTS["anomaly-values"].run


def wave(count: int, odd: int | None = None, name: str = "") -> dict:
    """Two channels of which the second follows the first, but at one step."""
    load = 5 + 3 * np.sin(np.arange(count) / 4)
    heat = 20 + load + 9.0 * (np.arange(count) == odd)
    return {"values": np.stack([load, heat], 1).tolist(), **({"name": name} if name else {})}


def table(path, rows: int = 300, **columns) -> str:
    times = pd.date_range("2026-01-01", periods=rows, freq="5min")
    values = 5 + 3 * np.sin(np.arange(rows) / 4) + 0.1 * np.random.default_rng(0).standard_normal(rows)
    pd.DataFrame({"timestamp": times, "value": values, **columns}).to_csv(path, index=False)
    return str(path)


def test_the_odd_step_is_found_and_the_channel_that_is_to_blame(run):
    found = run(wave(200, 150, "engine"))
    assert found.series == "engine"
    assert [alarm.step for alarm in found.alarms] == [150]
    (alarm,) = found.alarms
    assert alarm.why[0].target == "heat"
    assert alarm.why[0].value - alarm.why[0].expected > 5
    assert alarm.p_value < 0.001
    assert len(found.scores) == len(found.times) == 200
    assert not run(wave(200)).alarms


def test_nothing_is_judged_before_what_is_usual_is_known(run):
    found = run(wave(40, 30))
    assert (found.judged, found.alarms) == (0, [])
    assert run.task.show(found, None) == "40 steps: too few to judge any"
    assert run(wave(200)).judged == 200 - run.config.score.warm_up
    assert run.config.score.warm_up == 4 * run.config.lookback


def test_what_comes_later_changes_no_score(run):
    whole, cut = run([wave(200, 150), {"values": wave(200, 150)["values"][:120]}])
    first = run.config.score.warm_up
    assert cut.scores[:first] == whole.scores[:first] == [None] * first
    np.testing.assert_allclose(cut.scores[first:], whole.scores[first:120], rtol=1e-5, atol=1e-6)


def test_missing_values_are_not_judged(run):
    given = wave(200)
    given["values"][100] = [None, None]
    given["values"][120][1] = None
    found = run(given)
    assert found.scores[100] is None
    assert found.values["heat"][120] is None
    assert not found.alarms


@pytest.mark.parametrize("change", [lambda v: v + 1e6, lambda v: v * 1e-9, lambda v: v * 1e9 - 5e9])
def test_size_and_offset_change_nothing(run, change):
    values = np.array(wave(200, 150)["values"])
    plain, other = run([{"values": values}, {"values": change(values)}])
    assert [alarm.step for alarm in other.alarms] == [alarm.step for alarm in plain.alarms] == [150]
    np.testing.assert_allclose(other.scores[60:], plain.scores[60:], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("huge", [np.inf, 1e200, 1e12, 1e6])
def test_a_huge_value_hides_nothing_that_comes_after_it(run, huge):
    """In a table and in a stream; what is infinite is missing."""
    given = wave(300, 250)["values"]
    given[100][1] = huge
    lines = [f"{load},{heat}" for load, heat in given]
    found = [alarm.line - 1 for alarm in Watcher(run).push(lines)]
    assert 250 in found
    assert set(found) <= {*range(100, 106), 250, 251}
    assert [alarm.step for alarm in run({"values": given}).alarms] == found


def test_the_score_is_the_rarity_of_both_deviations(run):
    """-log p of the tail of the forecast, and of the distance of the level, summed; the largest of the channels."""
    records = run.read(SUBJECTS["anomaly-values"].data["train"], "test")
    outputs = run.infer(records)
    (steps,) = all_steps(outputs, records, run.assets)
    judge, step = run.assets.judge, 30
    total = 0.0
    for name in ("surprise", "level"):
        kept, value = np.array(judge[name][1]), getattr(steps, name)[step, 1]
        high = np.quantile(kept, 0.9)
        if value > high:
            total += (value - high) / (kept[kept > high] - high).mean() - np.log(0.1)
        else:
            total += -np.log(max(((kept >= value).sum() + 1) / (len(kept) + 1), 0.1))
    assert rarity(steps, judge).sum(0)[step, 1] == pytest.approx(total, rel=1e-6)


def test_labelled_steps_are_measured_and_not_trained_on(run):
    found = run.metrics
    assert found["stretches"] == 1
    assert found["stretch_recall"] == 1
    assert found["nab"] > 90
    assert found["vus_pr"] > 0.5
    assert set(found["nab of"]) == {"moving z-score", "last value"}
    records = run.read(SUBJECTS["anomaly-values"].data["train"], "train")
    whole = [{**row, "labels": np.ones(len(row["history"]), int)} for row in records]
    with pytest.raises(InputError, match="free of anomalies"):
        run.task.batches(run.config, run.assets, type(records)(whole), 0)


def test_labels_of_any_kind_and_changed_ones(tmp_path):
    data, found = {}, {}
    frame = pd.read_csv(table(tmp_path / "a.csv"))
    odd = np.arange(300) >= 290
    for name, label in {
        "truth": odd,
        "numbers": odd * 1.0,
        "texts": np.where(odd, "bad", "OK"),
        "none": odd & False,
    }.items():
        frame.assign(label=label).to_csv(tmp_path / f"{name}.csv", index=False)
        data[name] = str(tmp_path / f"{name}.csv")
    task = SUBJECTS["anomaly-values"].run.task
    for name, source in data.items():
        for normal in (("false", "ok", "0"), ("False", "OK", "0.0")) if name != "numbers" else (("0",),):
            config = override(task.Config(), {"data": {"train": [source], "normal": list(normal)}})
            records = task.read(config, "test")
            assert int((records[0]["labels"] > 0).sum()) == (0 if name == "none" else 10), (name, normal)
            found[name] = records.fingerprint()
    assert found["truth"] == found["numbers"] == found["texts"] != found["none"]


def test_what_follows_the_probation_is_never_taken_as_normal(tmp_path):
    task, data = SUBJECTS["anomaly-values"].run.task, table(tmp_path / "a.csv")
    given = {"train": [data], "probation": 0.5, "validation_fraction": 0.2}
    parts = {"train": (0, 120), "validation": (120, 150), "test": (150, 300)}
    for more in ({}, {"test": [data]}):
        config = override(task.Config(), {"data": {**given, **more}})
        for split, (begin, end) in parts.items():
            (row,) = task.read(config, split)
            assert (row["begin"], len(row["history"])) == (begin, end), (split, more)


def test_windows_with_anomalies_are_left_out(run):
    records = run.read(SUBJECTS["anomaly-values"].data["train"], "train")
    (row,) = records
    labels = np.zeros(len(row["history"]), int)
    plain = run.task.batches(run.config, run.assets, records, 0).elements_per_epoch
    labels[100:105] = 1
    fewer = run.task.batches(run.config, run.assets, type(records)([{**row, "labels": labels}]), 0).elements_per_epoch
    lookback = run.config.lookback
    assert plain - fewer == lookback * (5 + lookback)


@pytest.mark.slow  # an export
def test_the_export_scores_as_the_run_does(run):
    signals = [wave(90, 70), wave(60), {"values": [[7.0, 7.0]]}]
    served = tf.saved_model.load(str(SUBJECTS["anomaly-values"].exported)).signatures["serving_default"]
    given = run.task.input.serving_arguments(signals)
    types = {"history": tf.float32, "lengths": tf.int32, "time": tf.int64}
    found = served(**{name: tf.constant(value, types[name]) for name, value in given.items()})
    for place, one in enumerate(run(signals)):
        length = len(one.scores)
        scores = [score or 0.0 for score in one.scores]
        np.testing.assert_allclose(found["scores"][place, :length], scores, rtol=2e-3, atol=2e-3)
        expected = np.stack(list(one.expected.values()), 1)
        np.testing.assert_allclose(found["expected"][place, :length], expected, rtol=1e-4, atol=1e-4)
        assert not found["scores"][place, length:].numpy().any()


@pytest.mark.slow  # an export and a process
def test_the_script_beside_an_onnx_export_scores_as_the_run_does(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="it needs the extra `onnx`")
    folder, given = run.export(tmp_path / "onnx", "onnx"), wave(120, 90)
    command = [sys.executable, str(folder / "example.py"), "-"]
    done = subprocess.run(command, input=json.dumps(given["values"]), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    expected = [score or 0.0 for score in run(given).scores]
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-3)
    assert int(np.argmax(scores)) == 90


def test_predictions_as_pictures_and_tables(run, tmp_path, command):
    path, data = SUBJECTS["anomaly-values"].path, SUBJECTS["anomaly-values"].data["train"][0]
    code, out, log = command("predict", path, "--input", data, "--plot", tmp_path / "a.png")
    assert code == 0, log
    assert (tmp_path / "a.png").stat().st_size > 10_000
    code, out, _ = command("predict", path, "--plot", "-")
    assert "!" in out.splitlines()[3]
    code, _, log = command("predict", path, "--input", data, "--output", tmp_path / "a.csv")
    frame = pd.read_csv(tmp_path / "a.csv")
    assert (len(frame), list(frame.columns)[:5]) == (400, ["series", "time", "score", "p_value", "alarm"])
    assert frame.alarm.sum() >= 1
    assert frame["expected.heat"].notna().all()
    dynamic = run(wave(200, 150), threshold="dynamic")
    assert 150 in [alarm.step for alarm in dynamic.alarms]


def test_a_stream_in_pieces_and_after_restarts_is_judged_as_the_whole(run, tmp_path):
    given = wave(400, 300)["values"]
    lines = [f"{load},{heat}" for load, heat in given]
    whole = Watcher(run).push(lines)
    assert [alarm.line for alarm in whole] == [301]
    found, place = [], 0
    for size in (1, 3, 100, 196, 1, 99):
        watcher = Watcher(run, state=tmp_path / "state.npz")
        found += watcher.push(lines[place : place + size])
        watcher.save()
        place += size
    assert [alarm.line for alarm in found] == [301]
    assert found[0].score == pytest.approx(whole[0].score, rel=1e-4)
    assert len(watcher.kept) == 2 * run.config.score.memory + 1


@pytest.mark.slow  # a process
def test_watch_at_the_command_line(run, tmp_path):
    rows = wave(200, 150)["values"]
    text = "time,heat,load\n" + "".join(f"2026-01-01T{i},{heat},{load}\n" for i, (load, heat) in enumerate(rows))
    text = text.replace("2026-01-01T20,", "# a comment\n2026-01-01T20,")
    path = SUBJECTS["anomaly-values"].path
    command = [sys.executable, "-m", "nlp_rnn", "watch", str(path), "--json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (alarm,) = map(json.loads, done.stdout.splitlines())
    assert alarm["why"][0]["target"] == "heat"
    assert alarm["line"] == 153
    assert "1 lines held no step" in done.stderr
    assert "202 lines seen" in done.stderr


def test_lines_that_are_no_steps_are_left_out_and_never_guessed(run, capsys):
    rows = wave(200, 150)["values"]
    lines = [f"2026-01-01,{load},{heat}" for load, heat in rows]
    odd = ["1,2,3,4", "7", "# note", "[1]", '{"load": "x", "heat": 2}', "a,b"]
    watcher = Watcher(run)
    alarms = watcher.push([*lines[:100], *odd, *lines[100:]])
    assert [alarm.line for alarm in alarms] == [151 + len(odd)]
    assert (watcher.left_out, watcher.steps) == (len(odd), 200)
    assert "Line 101 and others like it" in capsys.readouterr().err
    for form in ("{heat};{load}", '{{"heat": {heat}, "load": {load}}}'):
        watcher = Watcher(run)
        header = ["heat;load"] if ";" in form else []
        text = [form.format(heat=heat, load=load) for load, heat in rows]
        text = [line.replace(".", ",") for line in text] if header else text
        assert [alarm.line for alarm in watcher.push(header + text)] == [151 + len(header)]
    with pytest.raises(InputError, match='lacks "load"'):
        Watcher(run).push(["time,heat", "1,2"])


@pytest.mark.slow  # a training
def test_one_value_needs_no_header(tmp_path, capsys):
    run = nlp_rnn.train("anomaly-values", data=table(tmp_path / "a.csv"), out=tmp_path / "run", **SMALL)
    values = 5 + 3 * np.sin(np.arange(300) / 4)
    values[200] += 20
    for form in ("{}", "[{}]", "12:00 {}", '{{"value": {}}}'):
        alarms = Watcher(run).push([form.format(value) for value in values])
        assert 201 in [alarm.line for alarm in alarms], form


def test_several_signals_are_not_watched_as_one(tmp_path):
    frame = pd.concat([pd.read_csv(table(tmp_path / "a.csv")).assign(series=name) for name in "ab"])
    run = nlp_rnn.train("anomaly-values", data=frame, out=tmp_path / "run", **SMALL)
    with pytest.raises(InputError, match="reads one signal"):
        Watcher(run).push(["timestamp,value,series", "2026-01-01,5,a"])
    with pytest.raises(InputError, match="--state"):
        Watcher(run, state=tmp_path / "none" / "state.npz")


@pytest.mark.slow  # a training
def test_windows_of_one_file(tmp_path, command):
    data, windows = table(tmp_path / "cpu.csv"), tmp_path / "w.json"
    windows.write_text(json.dumps({"cpu.csv": [["2026-01-01 20:00", "2026-01-01 21:00"]]}))
    given = {"train": data, "windows": str(windows)}
    run = nlp_rnn.train("anomaly-values", data=given, out=tmp_path / "run", **SMALL)
    assert run.metrics["stretches"] == 1
    for content, said in (
        ({"gpu.csv": [["2026-01-01", "2026-01-02"]]}, "no signal is called so"),
        ({"cpu.csv": [["2026-01-02", "2026-01-01"]]}, "ends before it begins"),
        ({"cpu.csv": [["noon", "2026-01-01"]]}, "must be two times"),
    ):
        windows.write_text(json.dumps(content))
        code, _, log = command("evaluate", tmp_path / "run", "--data", data, "--data.windows", windows)
        assert (code, said in " ".join(log.split())) == (2, True), log


@pytest.mark.slow  # trains both
def test_one_script_serves_events_and_values(command, tmp_path):
    data, out = table(tmp_path / "cpu.csv"), tmp_path / "cpu"
    named = ("--data.time", "timestamp", "--data.target", "value")
    code, _, log = command("train", "--data", data, *named, "--out", out, *OPTIONS, task="anomaly")
    assert code == 0, log
    code, stdout, log = command("predict", out, "--input", data, "--json", task="anomaly")
    assert code == 0, log
    assert len(json.loads(stdout)["scores"]) == 300
    code, _, log = command("train", "--data", data, "--out", tmp_path / "no", task="anomaly")
    assert code == 2
    assert "--data.time" in log
    assert command("evaluate", SUBJECTS["anomaly"].path, task="anomaly")[0] == 0


@pytest.mark.slow  # a training
def test_a_folder_of_signals_with_windows(tmp_path, command):
    (tmp_path / "in" / "web").mkdir(parents=True)
    for name in ("a", "web/b"):
        table(tmp_path / "in" / f"{name}.csv")
    windows = {"a.csv": [["2026-01-01 20:00:00.000", "2026-01-01 21:00:00.000"]], "web/b.csv": []}
    (tmp_path / "in" / "windows.json").write_text(json.dumps(windows))
    data = {"probation": 0.5, "probation_steps": 120, "validation_fraction": 0.25}
    run = nlp_rnn.train("anomaly-values", data={"train": str(tmp_path / "in"), **data}, out=tmp_path / "run", **SMALL)
    lengths = {split: len(run.read(str(tmp_path / "in"), split)) for split in ("train", "validation", "test")}
    assert lengths == {"train": 2, "validation": 2, "test": 2}
    first = run.read(str(tmp_path / "in"), "test")[0]
    assert (first["series"], first["begin"], int((first["labels"] > 0).sum())) == ("a.csv", 120, 13)
    assert run.task.read(run.config, "validation")[0]["begin"] == 90
    assert run.metrics["stretches"] == 1
    code, out, log = command("evaluate", tmp_path / "run", "--data", tmp_path / "in", "--json")
    assert code == 0, log
    assert json.loads(out)["nab"] == pytest.approx(run.metrics["nab"])
    lines = command("evaluate", tmp_path / "run", "--errors", 4)[1]
    assert "missed" in lines or "false" in lines or run.metrics["stretch_recall"] == 1


def test_rows_are_steps_whatever_their_times(tmp_path):
    frame = pd.read_csv(table(tmp_path / "a.csv"))
    frame = pd.concat([frame.iloc[150:], frame.iloc[:100], frame.iloc[99:100]])
    run = nlp_rnn.train("anomaly-values", data=frame, out=tmp_path / "run", **SMALL)
    notes = " ".join(run.read(frame, "train").notes)
    assert "ran backwards, which were sorted: 1" in notes
    assert "times that repeat: 1" in notes
    assert "gaps in the times; rows count as steps all the same: 1" in notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(value="high"), '"high" in "value" is no number'),
        (lambda f: f.assign(timestamp="noon"), '"noon" is no time'),
        (lambda f: f.assign(value=np.nan), 'has no value of "value"'),
        (lambda f: f.iloc[:12], "No signal is long enough to train on"),
    ],
)
def test_bad_input_gets_a_sentence(change, said, tmp_path, command):
    change(pd.read_csv(table(tmp_path / "a.csv"))).to_csv(tmp_path / "b.csv", index=False)
    code, _, log = command("train", "anomaly-values", "--data", tmp_path / "b.csv", "--out", tmp_path / "run", *OPTIONS)
    assert code == 2
    assert said in " ".join(log.split())
    assert not (tmp_path / "run" / "model.keras").exists()


def test_more_bad_input(run, tmp_path, command):
    data = table(tmp_path / "a.csv")
    for arguments, said in (
        (("--data.label", "odd"), 'no column "odd"'),
        (("--data.windows", tmp_path / "none.json"), "cannot be read"),
        (("--data.target", "valeu"), "Did you mean"),
        (("--data.validation_fraction", 0), "no validation data"),
        (("--stack.bidirectional", "True"), "bidirectional"),
        (("--model.levels", 0.1, 0.5), "symmetric around 0.5"),
    ):
        code, _, log = command("train", "anomaly-values", "--data", data, "--out", tmp_path / "x", *OPTIONS, *arguments)
        assert (code, said in " ".join(log.split())) == (2, True), log
    with pytest.raises(InputError, match="has 1 value in a step; this run watches 2: load, heat"):
        run([1.0, 2.0])
    with pytest.raises(InputError, match="needs a run of anomaly-values"):
        Watcher(SUBJECTS["anomaly"].run)


@pytest.mark.slow  # trains on the starter
def test_the_starter_finds_faults_that_simple_methods_do_not(tmp_path):
    run = nlp_rnn.train("anomaly-values", out=tmp_path / "run")
    found = run.metrics
    assert found["nab"] > max(found["nab of"].values())
    assert found["vus_pr"] > max(found["vus_pr of"].values()) + 0.05
    assert found["alarm_precision"] > 0.6
