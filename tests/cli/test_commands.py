"""Every verb, as typed."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from nlp_rnn.config.options import spell_booleans
from nlp_rnn.config.values import to_dict
from nlp_rnn.errors import did_you_mean
from tests.subjects import SUBJECTS


class Stdin:
    """Standard input: bytes from a pipe, or a terminal."""

    def __init__(self, content: bytes = b"", terminal: bool = False) -> None:
        self.buffer, self.terminal = io.BytesIO(content), terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text('review,stars\n"Loved it, truly.",5\nIt broke.,1\n,3\n')
    return path


def test_evaluate_prints_one_flat_object(reviews, command, at_hand):
    at_hand(reviews)
    code, out, _ = command("evaluate", reviews.path, "--json")
    assert code == 0
    found = json.loads(out)
    assert list(found)[:3] == ["accuracy", "macro_f1", "ece"]
    assert found["accuracy"] == reviews.metrics["accuracy"]
    assert not [value for value in found.values() if isinstance(value, (dict, list))]
    assert found["recall.negative"] == reviews.metrics["recall"]["negative"]


def test_evaluate_shows_a_table_with_every_label(reviews, command, at_hand):
    at_hand(reviews)
    code, out, _ = command("evaluate", reviews.path, task="sentiment")
    assert code == 0
    assert "accuracy" in out
    assert "recall · negative" in out


def test_predict_for_arguments(reviews, command, at_hand):
    at_hand(reviews)
    code, out, err = command("predict", reviews.path, "Loved it.", "It broke.")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == [p.label for p in reviews(["Loved it.", "It broke."])]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_predict_from_file_to_file(reviews, command, at_hand, texts, tmp_path, suffix):
    at_hand(reviews)
    output = tmp_path / f"out.{suffix}"
    code, out, err = command("predict", reviews.path, "--input", texts, "--column", "review", "--output", output)
    assert (code, out) == (0, "")
    assert "3 predictions written" in err
    content = output.read_text()
    if suffix == "jsonl":
        rows = [json.loads(line) for line in content.splitlines()]
    else:
        rows = list(csv.DictReader(io.StringIO(content), delimiter="," if suffix == "csv" else "\t"))
    assert [row["text"] for row in rows] == ["Loved it, truly.", "It broke.", ""]
    expected = [prediction.probability for prediction in reviews(["Loved it, truly.", "It broke.", ""])]
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected, abs=1e-6)


def test_predict_keeps_columns(reviews, command, at_hand, texts, tmp_path):
    at_hand(reviews)
    table = tmp_path / "in.csv"
    table.write_text('id,text,stars\n7,Loved it.,5\n008,"It broke, twice.",\n')
    code, out, err = command("predict", reviews.path, "--input", table, "--keep", "id", "stars", "--json")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["id"], row["text"], row["stars"] or "") for row in rows] == [
        ("7", "Loved it.", "5"),
        ("008", "It broke, twice.", ""),
    ]
    code, out, err = command(
        "predict", reviews.path, "--input", table, "--keep", "id", "--output", tmp_path / "out.tsv"
    )
    assert code == 0, err
    assert [line.split("\t")[0] for line in (tmp_path / "out.tsv").read_text().splitlines()] == ["id", "7", "008"]
    code, out, err = command("predict", reviews.path, "--input", table, "--keep", "ident", "--json")
    assert (code, out) == (2, "")
    assert 'has no column "ident"; it has: id, text, stars.' in " ".join(err.split())
    code, out, err = command("predict", reviews.path, "--input", table, "--keep", "id")
    assert code == 2
    assert "--keep copies columns of --input: give" in " ".join(err.split())


def test_predict_from_standard_input(reviews, command, at_hand, monkeypatch):
    at_hand(reviews)
    monkeypatch.setattr(sys, "stdin", Stdin("Loved it.\nÜber\n".encode()))
    code, out, _ = command("predict", reviews.path, "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["Loved it.", "Über"]
    monkeypatch.setattr(sys, "stdin", Stdin("Loved it.\nÜber\n".encode("latin1")))
    code, _, error = command("predict", reviews.path, "--json")
    assert code == 2
    assert "Standard input, line 2: byte 1 is not UTF-8" in error


def test_predict_from_a_table_on_standard_input(reviews, command, at_hand, monkeypatch):
    at_hand(reviews)
    from nlp_rnn.data import files

    monkeypatch.setattr(sys, "stdin", Stdin(b"text,other\nLoved it.,1\n"))
    files.spooled.cache_clear()
    code, out, err = command("predict", reviews.path, "--format", "csv", "--json")
    files.spooled.cache_clear()
    assert code == 0, err
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["Loved it."]


def test_predict_at_a_prompt(reviews, command, at_hand, monkeypatch):
    at_hand(reviews)
    answers = iter(["Loved it.", ""])
    monkeypatch.setattr(sys, "stdin", Stdin(terminal=True))
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    code, out, err = command("predict", reviews.path)
    assert code == 0
    assert "an empty line ends" in err
    assert out.split()[0] == reviews("Loved it.").label


def test_train_prints_results_and_where_they_are(command, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"fine {i},good\nbad {i},poor\n" for i in range(40)))
    out = tmp_path / "run"
    small = ("--embedding.size", 8, "--stack.units", 4, "--train.epochs", 6, "--train.learning_rate", 0.02)
    code, stdout, err = command("train", "--data", data, "--out", out, "--json", *small, task="sentiment")
    assert code == 0, err
    found = json.loads(stdout)
    assert found["run"] == str(out)
    assert found["accuracy"] == 1.0
    assert "held out from the training data" in " ".join(err.replace("│", " ").split())
    card = (out / "card.md").read_text()
    assert "| accuracy | 1.0000 |" in card
    assert "Labels: good, poor." in card


def test_settings_of_a_file_go_before_a_recipes_and_options_before_both(command, monkeypatch, tmp_path):
    """What is trained with is looked at, nothing is trained."""
    given = []
    monkeypatch.setattr("nlp_rnn.trainer.train_with", lambda task, settings, out, recipe: given.append(settings))
    monkeypatch.setattr("nlp_rnn.cli.train._show", lambda *rest: None)
    config = tmp_path / "config.yaml"
    config.write_text("task: sentiment\ntrain: {epochs: 1}\nstack: {cell: gru, units: 3}\nembedding: {size: 5}\n")
    code, _, err = command("train", "sentiment", "--config", config, "--stack.units", 2, "--out", tmp_path / "run")
    assert code == 0, err
    (settings,) = given
    assert (settings.stack.cell, settings.stack.units, settings.embedding.size) == ("gru", 2, 5)
    assert settings.train.batch_size == 16, "as the recipe has it"
    text = yaml.safe_dump({"task": "sentiment", "format": 1, **to_dict(settings)})
    (tmp_path / "again.yaml").write_text(text)
    assert command("train", "sentiment", "--config", tmp_path / "again.yaml")[0] == 0
    assert given[1] == settings


def test_settings_by_the_names_of_earlier_versions(command, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("nlp_rnn.trainer.train_with", lambda task, settings, out, recipe: given.append(settings))
    monkeypatch.setattr("nlp_rnn.cli.train._show", lambda *rest: None)
    code, _, err = command("train", "language-modeling", "--train.window", 7, "--train.vary_window=False")
    assert code == 0, err
    assert "--train.window has been renamed to --train.bptt." in err
    (tmp_path / "old.yaml").write_text("train: {window: 9}\n")
    assert command("train", "language-modeling", "--config", tmp_path / "old.yaml")[0] == 0
    assert [(s.train.bptt, s.train.vary_bptt) for s in given] == [(7, False), (9, True)]


@pytest.mark.slow  # an export and a process
def test_export_says_how_to_load(reviews, command, at_hand, tmp_path):
    at_hand(reviews)
    shutil.copytree(SUBJECTS["sentiment"].exported, tmp_path / "export")
    code, out, err = command("export", reviews.path, "--out", tmp_path / "export", "--json")
    assert json.loads(out)["signatures"] == ["serving_default", "tokens"]
    assert "Replaced the export" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    code, _, err = command("export", reviews.path, "--out", tmp_path / "other")
    assert code == 2
    assert "holds other files" in err


def test_help_on_training_without_a_task_names_the_tasks(command):
    code, out, _ = command("train", "--help")
    assert code == 0
    assert "tasks: " in out
    assert "nlp-rnn train " in out


def test_general_verbs(command):
    code, out, _ = command("tasks")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= {"language-modeling", "ner", "sentiment", "translation"}
    assert "Sentiment: a text → one of any number of classes" in out
    code, out, _ = command("recipes", "--json")
    assert {"starter", "imdb", "sst2", "sst2-glove"} <= set(json.loads(out)["sentiment"])
    code, out, _ = command("doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["versions"]["tensorflow"].startswith("2.")
    assert report["missing"] == []
    assert set(report["kernels"]) == {"LSTM", "LSTM, weight_drop", "GRU", "SimpleRNN"}


@pytest.mark.parametrize("verb", ["tasks", "recipes", "doctor"])
def test_general_verbs_take_nothing_but_json(command, verb):
    code, out, _ = command(verb, "--help")
    assert code == 0
    assert f"usage: nlp-rnn {verb} [--json]" in out
    code, out, error = command(verb, "sentiment")
    assert (code, out) == (2, "")
    assert f'nlp-rnn {verb} takes only --json; leave out "sentiment".' in error


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "export", "explain"])
def test_help_explains_every_option(command, verb):
    code, out, _ = command(verb, "--help", task="sentiment")
    assert code == 0
    assert "--json" in out
    assert command("--help")[0] == 0
    assert command("--version")[1].startswith("nlp-rnn 0.")
    assert "usage" in command()[1]


def test_train_help_needs_no_tensorflow(python):
    code = """
import sys
from nlp_rnn.cli import run_command
try:
    run_command("sentiment", ["train", "--help"])
except SystemExit:
    pass
print("tensorflow" in sys.modules, "datasets" in sys.modules, "numpy" in sys.modules)
"""
    assert python(code).splitlines()[-1] == "False False False"


def test_booleans_are_written_as_in_yaml_too():
    typed = ["--stack.residual", "true", "--train.deterministic", "False", "--recipe", "true", "true"]
    assert spell_booleans(typed) == ["--stack.residual", "True", *typed[2:]]


@pytest.mark.slow  # a process
def test_a_run_loads_without_the_chatter_of_tensorflow(reviews, tmp_path):
    code = "import sys, pickle, nlp_rnn; pickle.dump(nlp_rnn.load(sys.argv[1]), open(sys.argv[2], 'wb'))"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", code, str(reviews.path), str(tmp_path / "run.pickle")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nothing_is_proposed_that_was_typed():
    assert did_you_mean("ner", ["ner", "sentiment"]) == " Available: sentiment."
    assert did_you_mean("ner", ["ner"]) == ""


@pytest.mark.parametrize(
    ("number", "said", "code"), [(signal.SIGINT, "Interrupted.", 130), (signal.SIGTERM, "Terminated.", 143)]
)
def test_an_interruption_is_none_of_the_errors_that_libraries_make_of_it(command, monkeypatch, number, said, code):
    def run(arguments):
        try:
            os.kill(os.getpid(), number)
        except BaseException:
            raise TypeError("Failed to convert elements of (16, None) to Tensor.") from None

    monkeypatch.setattr("nlp_rnn.cli.recipes.run", run)
    # As at a terminal: what a script starts in the background ignores SIGINT.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)
    try:
        assert command("recipes") == (code, "", f"{said}\n")
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)
