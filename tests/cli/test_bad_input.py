"""Bad input gets one clear sentence that says what to do, and exit code 2."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nlp_rnn.config.values import override
from nlp_rnn.data.batching import Batches, Rows
from nlp_rnn.data.summary import data_table, split_sizes
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.sentiment import TASK
from nlp_rnn.trainer import train
from nlp_rnn.training.folders import new_folder

TINY = ("--embedding.size", 4, "--stack.units", 2, "--train.epochs", 1, "--tokenizer.min_count", 1)
GOOD = "text,label\n" + "".join(
    f"row {i} is {'fine' if i % 2 else 'bad'},{'pos' if i % 2 else 'neg'}\n" for i in range(40)
)


@pytest.fixture
def fails(command):
    """Runs a command that must fail as bad input: → its message."""

    def call(*arguments: object, task: str | None = None, code: int = 2) -> str:
        found, out, err = command(*arguments, task=task)
        assert found == code, err
        assert out == ""
        assert "Traceback" not in err
        return " ".join(err.replace("│", " ").split())

    return call


@pytest.fixture
def training_fails(fails, tmp_path):
    """Trains on a file with the given content: → the message."""

    def call(content: str | bytes, *arguments: object, name: str = "data.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        message = fails("train", "sentiment", "--data", path, "--out", tmp_path / "run", *TINY, *arguments)
        assert not (tmp_path / "run" / "model.keras").exists()
        return message

    return call


def test_missing_file(fails, tmp_path):
    (tmp_path / "reviews.csv").write_text(GOOD)
    message = fails("train", "sentiment", "--data", tmp_path / "review.csv")
    assert 'review.csv does not exist. Did you mean "reviews.csv"?' in message


def test_a_misspelt_suffix(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text(GOOD)
    message = fails("train", "sentiment", "--data", "reviews.cvs")
    assert '"reviews.cvs" is not a file' in message
    assert 'Did you mean "reviews.csv"?' in message


def test_empty_file_and_file_without_rows(training_fails):
    assert "data.csv is empty." in training_fails("")
    assert "data.csv has no rows." in training_fails("text,label\n")
    assert "has no rows" in training_fails("\n\n", name="data.jsonl")


def test_folder_without_data(fails, tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    message = fails("train", "sentiment", "--data", tmp_path)
    assert "is a folder without data: put files in it named train" in message


def test_unknown_format(training_fails):
    message = training_fails("one\ntwo\n", name="data.xyz")
    assert "say which with --data.format (to predict, --format): csv, tsv, jsonl, txt, parquet, conll." in message


def test_wrong_column(training_fails):
    message = training_fails(GOOD, "--data.text", "review")
    assert 'no column "review"; it has: text, label. Name yours with --data.text (to predict, --column).' in message
    message = training_fails('{"text": null, "label": "x"}\n{"text": null, "label": "y"}\n', name="data.jsonl")
    assert 'no row has a text in the column "text"' in message


def test_one_label_only(training_fails):
    message = training_fails("text,label\na,pos\nb,pos\nc,pos\n")
    assert 'All 2 training records have the label "pos"; at least two labels are needed' in message


def test_a_column_that_holds_no_labels(training_fails):
    rows = "".join(f"same,{i} words of text\n" for i in range(200))
    assert "it does not hold labels" in training_fails("text,label\n" + rows)


def test_label_unseen_in_training(reviews, fails, at_hand, tmp_path):
    at_hand(reviews)
    path = tmp_path / "test.csv"
    path.write_text("text,label\nfine,positive\nso so,neutral\n")
    message = fails("evaluate", reviews.path, "--data", path)
    assert 'The label "neutral" (line 3) does not occur in the training data. Available: negative, positive.' in message


def noted(records):
    """What the table of the data says of records."""
    batches = Batches({"tokens": Rows([(np.ones(1), np.ones(1, int))])}, np.zeros(1), 1)
    console = Console(width=200, file=io.StringIO())
    console.print(data_table({"train": split_sizes(records, batches, TASK.count)}, "tokens"))
    return console.file.getvalue()


def records_of(path, content):
    path.write_text(content)
    data = {"train": [str(path)], "validation_fraction": 0.0}
    return TASK.read(override(TASK.Config(), {"data": data}), "train")


def test_rows_without_label_are_dropped_and_counted(tmp_path):
    records = records_of(tmp_path / "data.csv", GOOD + "no label here,\nnor here,\n")
    assert len(records) == 40
    assert "2 rows dropped: no label" in noted(records)
    assert "neg 20, pos 20" in noted(records) or "pos 20, neg 20" in noted(records)


def test_empty_texts_are_counted_and_predicted(command, reviews, at_hand, tmp_path):
    assert "empty texts: 2" in noted(records_of(tmp_path / "data.csv", GOOD + ",pos\n   ,neg\n"))
    at_hand(reviews)
    texts = tmp_path / "texts.txt"
    texts.write_text("fine\n\n   \nbad\n")
    code, out, _ = command("predict", reviews.path, "--input", texts, "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["fine", "", "   ", "bad"]


def test_invalid_utf8(training_fails):
    message = training_fails(b"text,label\nfine,pos\ncaf\xe9,neg\n")
    assert "data.csv, line 3: byte 4 is not UTF-8; convert the file" in message


@pytest.mark.slow  # ten megabytes are tokenised
def test_a_line_of_ten_megabytes(command, reviews, at_hand, tmp_path):
    at_hand(reviews)
    path = tmp_path / "long.txt"
    path.write_text("good " * 2_000_000 + "\nbad\n")
    code, out, err = command("predict", reviews.path, "--input", path, "--json")
    assert code == 0, err
    assert [len(json.loads(line)["text"]) for line in out.splitlines()] == [10_000_000, 3]


def test_malformed_rows(training_fails):
    assert "data.csv, line 3: 3 fields where the header has 2" in training_fails("text,label\na,pos\nb,c,neg\n")
    assert "data.csv, line 2: malformed row" in training_fails('text,label\n"a"b,pos\n')
    assert "data.csv, line 3: malformed row" in training_fails('text,label\na,pos\n"b,neg\nc,pos\n')
    message = training_fails('{"text": "a", "label": "x"}\n{"text": \n', name="data.jsonl")
    assert "data.jsonl, line 2: not valid JSON" in message
    assert "line 1: a JSON object with named fields is needed" in training_fails("[1]\n", name="data.jsonl")


def test_damaged_gzip(training_fails):
    whole = gzip.compress(GOOD.encode() * 50)
    assert "is not a complete gzip file" in training_fails(whole[: len(whole) // 2], name="data.csv.gz")
    assert "data.csv.gz is no text: line 1 holds other bytes" in training_fails(b"\x8b" + whole[2:], name="data.csv.gz")


def test_not_parquet(training_fails):
    assert "is not a Parquet file" in training_fails(b"PAR1 no", name="data.parquet")


def test_settings_that_a_cell_does_not_have(fails, tmp_path):
    out = ("--out", tmp_path / "run")
    said = "stack.heads is a setting of transformer, and stack.cell is lstm"
    assert said in fails("train", "sentiment", "--stack.heads", 2, *out)
    said = "stack.activation is a setting of simple_rnn, and stack.cell is gru"
    assert said in fails("train", "ner", "--stack.cell", "gru", "--stack.activation=relu", *out)
    said = "train.teacher is not given, without which train.teacher_weight does nothing"
    assert said in fails("train", "sentiment", "--train.teacher_weight", 0.9, *out)
    with pytest.raises(InputError, match=r"stack\.context is a setting of transformer"):
        train("sentiment", stack={"context": 5}, out=tmp_path / "run")


def test_unknown_names(fails, tmp_path):
    assert "such as nlp-rnn train anomaly. Available: anomaly, anomaly-values, forecasting, " in fails("train")
    assert 'no recipe "startr". Did you mean "starter"?' in fails("train", "sentiment", "--recipe", "startr")
    assert 'There is no task "sentimnet". Did you mean "sentiment"?' in fails("train", "sentimnet")
    assert 'There is no command "trian". Did you mean "train"?' in fails("trian", "sentiment")
    message = fails("train", "sentiment", "--train.epoch", 3)
    assert "--train.epoch" in message
    assert "--train.epochs" in message
    assert "--train.epochs" in fails("train", "sentiment", "--train.epochs", "many")
    config = tmp_path / "config.yaml"
    config.write_text("train:\n  epoch: 3\n")
    assert 'no setting "train.epoch". Did you mean "epochs"?' in fails("train", "sentiment", "--config", config)
    config.write_text("train:\n  epochs: many\n")
    assert "\"train.epochs\" is 'many'; it must be of type int" in fails("train", "sentiment", "--config", config)
    config.write_text("train: [\n")
    assert "line 2 is not valid YAML" in fails("train", "sentiment", "--config", config)
    assert "does not exist" in fails("train", "sentiment", "--config", tmp_path / "absent.yaml")


def test_run_directories_that_are_none(reviews, fails, tmp_path):
    assert "does not exist" in fails("predict", tmp_path / "absent", "x")
    assert "holds no run" in fails("predict", tmp_path, "x")
    assert "Say which run" in fails("predict")

    def copy(name: str, **changes: object):
        path = tmp_path / name
        shutil.copytree(reviews.path, path)
        text = (path / "config.yaml").read_text()
        for key, value in changes.items():
            text = text.replace(f"{key}: {'sentiment' if key == 'task' else 1}", f"{key}: {value}", 1)
        (path / "config.yaml").write_text(text)
        return path

    assert 'is a run of the task "ner", not "sentiment"' in fails(
        "predict", copy("other", task="ner"), "x", task="sentiment"
    )
    assert "was written by a newer version of nlp-rnn; upgrade" in fails("predict", copy("newer", format=2), "x")
    half = copy("half")
    (half / "model.keras").unlink()
    assert "is not finished: continue it with" in fails("predict", half, "x")
    broken = copy("broken")
    (broken / "model.keras").write_bytes(b"PK broken")
    assert "cannot be loaded" in fails("predict", broken, "x")
    lost = copy("lost")
    shutil.rmtree(lost / "assets")
    assert "is incomplete" in fails("predict", lost, "x")
    assert "holds a finished run; choose another --out" in fails("train", "sentiment", "--out", reviews.path)


def test_no_disk_space(fails, tmp_path, monkeypatch):
    from nlp_rnn.training import checkpoints

    def full_disk(path: object, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints, "_write_synced", full_disk)
    data = tmp_path / "data.csv"
    data.write_text(GOOD)
    message = fails("train", "sentiment", "--data", data, "--out", tmp_path / "run", *TINY)
    assert "No space is left on the disk" in message
    assert "free some, or choose another place" in message


def test_hub_out_of_reach(fails, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    message = fails("train", "sentiment", "--data", "somebody/reviews")
    assert '"somebody/reviews" is not a file, and the data-set hub cannot be reached' in message
    assert "give its path with --data" in message


def test_no_training_without_a_place_for_it(fails, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file; choose another --out" in fails("train", "sentiment", "--out", tmp_path / "file")
    below = tmp_path / "file" / "run"
    assert f"{below} cannot be written (Not a directory); choose another" in fails("train", "sentiment", "--out", below)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    assert "holds other files; choose another --out" in fails("train", "sentiment", "--out", tmp_path / "full")


def test_a_run_that_never_began_may_be_written_over(reviews, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(reviews.path / "assets", out / "assets")
    shutil.copy(reviews.path / "config.yaml", out)
    assert new_folder(out, "starter") == out
    (out / "checkpoints" / ".step-000000000.tmp").mkdir(parents=True)
    assert new_folder(out, "starter") == out
    (out / "checkpoints" / "step-000000000").mkdir()
    with pytest.raises(InputError, match="holds an unfinished run: continue it"):
        new_folder(out, "starter")


def test_diverging_training_says_where_and_what_to_try(fails, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(GOOD)
    settings = (
        "--train.learning_rate",
        "1e30",
        "--train.clip_norm",
        0,
        "--train.epochs",
        5,
        "--train.optimizer",
        "sgd",
    )
    message = fails("train", "sentiment", "--data", data, "--out", tmp_path / "run", *TINY, *settings, code=1)
    assert "in epoch 1, batch" in message or "in epoch 2, batch" in message
    assert "try a lower --train.learning_rate" in message
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_inputs_that_would_be_ignored_are_refused(reviews, fails, tmp_path):
    message = fails("predict", reviews.path, "a text", "--input", "file.csv")
    assert "Give either arguments or --input, not both." in message
    assert "--column names a column of --input" in fails("predict", reviews.path, "a text", "--column", "text")
    assert "train.epochs is 0; it must be at least 1" in fails("train", "sentiment", "--train.epochs", 0)


def test_resume_takes_no_other_settings(fails, tmp_path):
    message = fails("train", "sentiment", "--resume", tmp_path, "--train.epochs", 7)
    assert "a resumed run keeps the settings that it began with" in message


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghij"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "line 2 is not valid YAML: an alias (*a)"),
        ("[" * 100_000, "is nested too deeply."),
        ("train: {epochs: 3}  # \xff", "is not UTF-8."),
        ("# " + "x" * (1 << 20), "is larger than any settings are"),
        ("stack: {units: 1000000000000}", "stack.units is 1000000000000; it must be"),
        (
            "embedding: {size: 1000000000000}",
            "embedding.size is 1000000000000; it must be",
        ),
    ],
)
def test_settings_that_no_machine_could_hold(fails, tmp_path, content, message):
    (tmp_path / "settings.yaml").write_bytes(content.encode("latin1"))
    arguments = ("--config", tmp_path / "settings.yaml", "--out", tmp_path / "run")
    assert message in fails("train", "sentiment", *arguments)
    assert not (tmp_path / "run").exists()


def test_a_model_larger_than_the_memory_is_refused(training_fails, monkeypatch):
    monkeypatch.setattr("nlp_rnn.trainer.total_memory", lambda: 1 << 30)
    message = training_fails(GOOD, "--stack.units", 20_000)
    assert "stack.units is 20,000: its weights alone take 6 GB, and this machine has 1 GB." in message


@pytest.mark.parametrize("name", ["config.yaml", "assets/labels.json", "assets/tokenizer/vocabulary.json"])
def test_devices_in_a_run_are_not_read(fails, reviews, tmp_path, name):
    run = shutil.copytree(reviews.path, tmp_path / "run")
    (run / name).unlink()
    (run / name).symlink_to("/dev/zero")
    message = fails("predict", run, "fine")
    assert "it has no config.yaml" in message or "changed since the run was saved" in message


def test_a_damaged_report_does_not_keep_a_run_from_predicting(command, reviews, tmp_path):
    run = shutil.copytree(reviews.path, tmp_path / "run")
    (run / "report.json").write_text('{"metrics": ')
    assert command("predict", run, "a fine film")[0] == 0


def test_a_damaged_model_is_named(fails, reviews, tmp_path):
    run = shutil.copytree(reviews.path, tmp_path / "run")
    content = bytearray((run / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (run / "model.keras").write_bytes(bytes(content))
    message = fails("predict", run, "fine")
    assert "model.keras cannot be loaded" in message
    assert "copy the run again" in message


def test_an_export_onto_a_full_disk(fails, reviews, at_hand, tmp_path, monkeypatch):
    import tensorflow as tf

    at_hand(reviews)

    def full(served, folder, **_):
        Path(folder).mkdir(exist_ok=True)
        raise tf.errors.ResourceExhaustedError(None, None, f"{folder}/variables; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    message = fails("export", reviews.path, "--out", tmp_path / "export" / "e")
    assert "No space is left on the disk" in message
    assert list((tmp_path / "export").iterdir()) == []


def test_terminated_as_it_starts_it_says_so(tmp_path):
    code = "import os, signal, nlp_rnn.cli as cli; cli._dispatch = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
    done = subprocess.run([sys.executable, "-c", code + "cli.main()"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "Terminated.\n")
