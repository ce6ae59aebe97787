"""What is said of data before anything is trained on them, and which task a file is for."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile

import pandas as pd
import pytest

from nlp_rnn.cli.kinds import kind_of_files
from nlp_rnn.errors import InputError

REVIEWS = "text,label\n" + "".join(f"a {w} film number {i},{w}\n" for i in range(30) for w in ("good", "bad"))


@pytest.mark.parametrize(
    ("name", "content", "task", "options"),
    [
        ("a.csv", "text,label\nfine,pos\n", "sentiment", ""),
        ("a.tsv", "Review\tStars\nfine\t5\n", "sentiment", "--data.text Review --data.label Stars"),
        ("a.jsonl", '{"sentence": "fine", "label": 1}\n', "sentiment", "--data.text sentence"),
        ("a.txt", "__label__pos fine\n", "sentiment", ""),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": ["O"]}\n', "ner", "--data.tags ner_tags"),
        ("a.jsonl", '{"text": "a", "label": "x", "entities": []}\n', "ner", ""),
        ("a.conll", "a O\n", "ner", ""),
        ("a.train", "EU B-ORG\nrejects O\n\nPeter B-PER\n", "ner", "--data.format conll"),
        ("a.csv", "en,de\na dog,ein Hund\n", "translation", "--data.source en --data.target de"),
        ("a.csv", "source;target\na dog;ein Hund\n", "translation", ""),
        ("a.csv", "path,sentence\na.wav,hello\n", "speech", ""),
        ("a.jsonl", '{"session": 1, "label": 0, "events": ["a"]}\n', "anomaly", ""),
        ("a.csv", "timestamp,value,is_anomaly\n2026-01-01,1,0\n", "anomaly-values", ""),
        ("a.csv", "date,text,label\n2026-01-01,fine,pos\n", "sentiment", ""),
        ("a.csv", "date,units\n2026-01-01,1\n", "forecasting", ""),
        ("a.csv", "Datum;Wert\n01.02.2026;1,5\n", "forecasting", "--data.time Datum"),
        ("a.jsonl", '{"item_id": "a", "start": "2026-01-01", "target": [1, 2]}\n', "forecasting", ""),
        ("a.csv", "date,comment\n2026-01-01,fine\n", "language-modeling", "--data.text comment"),
        ("a.jsonl", '{"translation": {"en": "a", "de": "b"}}\n', "translation", ""),
        ("a.csv", "session,event\n1,open\n", "anomaly", "--data.events event --data.session session"),
        ("app.log", "Jan 01 it began\n", "anomaly", ""),
        ("syslog", "Jan 01 it began\n", "anomaly", "--data.format txt"),
        ("a.csv", "text\nOnce upon a time\n", "language-modeling", ""),
        ("a.txt", "Once upon a time\n", "language-modeling", ""),
        ("a.tokens", "Once upon a time\n", "language-modeling", "--data.format txt"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_task_is_told_by_what_a_file_holds(name, content, task, options, packed, tmp_path):
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    kind = kind_of_files([str(path)])
    assert (kind.task, " ".join(kind.options)) == (task, options)


def test_the_task_is_told_by_names_in_folders_and_archives(tmp_path):
    for name in ("lines/a.en", "lines/a.de", "nab/windows.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a\n")
    (tmp_path / "sounds").mkdir()
    with tarfile.open(tmp_path / "sounds" / "all.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x/7_jack_1.wav"), io.BytesIO())
    pd.DataFrame({"ds": ["2026-01-01"], "y": [1.0]}).to_parquet(tmp_path / "a.parquet")
    assert kind_of_files([str(tmp_path / "lines/a.en"), str(tmp_path / "lines/a.de")]).task == "translation"
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.csv").write_text(REVIEWS)
    found = {name: kind_of_files([str(tmp_path / name)]).task for name in ("splits", "nab", "sounds", "a.parquet")}
    expected = {"splits": "sentiment", "nab": "anomaly-values", "sounds": "speech", "a.parquet": "forecasting"}
    assert found == expected


def test_what_does_not_tell_is_refused(command, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.zip").write_text("no archive")
    code, _, error = command("data", tmp_path / "a.csv")
    assert (code, "its columns (x, y) do not tell" in error, "nlp-rnn data TASK" in error) == (2, True, True)
    code, _, error = command("data", tmp_path / "none.csv")
    assert (code, "none.csv does not exist" in error) == (2, True)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="is empty"):
        kind_of_files([str(tmp_path / "nothing")])
    assert kind_of_files([str(tmp_path / "a.csv")], ["--data.text", "--data.label"]).task == "sentiment"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="can be read once only"):
        kind_of_files([str(tmp_path / "pipe")])
    with pytest.raises(InputError, match="cannot be read as an archive"):
        kind_of_files([str(tmp_path / "b.zip")])


def test_a_file_alone_is_told_of(command, tmp_path):
    (tmp_path / "a b.csv").write_text(REVIEWS.replace("text", "review"))
    (tmp_path / "test.csv").write_text("text,label\na good film number 3,odd\n")
    code, out, error = command("data", tmp_path / "a b.csv", "--data.validation_fraction", 0.2)
    assert code == 0, error
    assert "Read as data for sentiment" in error
    assert f"--data '{tmp_path}/a b.csv' --data.text review --data.validation_fraction 0.2" in error
    assert "label good" in out
    code, out, _ = command(
        *("data", "sentiment", "--data", tmp_path / "a b.csv", "--data.text", "review|text", "--data.test"),
        *(tmp_path / "test.csv", "--json"),
    )
    found = json.loads(out)
    assert found["splits"]["test"]["labels"] == {"odd": 1}
    assert any("odd, which no training record has" in line for line in found["readings"])


def test_labels_of_which_nothing_can_be_learned_are_told_of(command, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"film number {i},good\n" for i in range(40)))
    (tmp_path / "test.csv").write_text("text,label\n" + "".join(f"Film  number {i},bad\n" for i in range(0, 40, 8)))
    files = ("--data", tmp_path / "train.csv", "--data.test", tmp_path / "test.csv", "--data.validation_fraction", 0.1)
    code, out, error = command("data", "sentiment", *files, "--json")
    assert code == 0, error
    said = " ".join(json.loads(out)["readings"])
    assert "All training records have the label good: nothing can be learned" in said
    assert "of the 5 test texts" in said
    assert "of these have another label in the training data" in said


def test_groups_that_held_out_data_share_with_training_are_told_of(command, tmp_path):
    for name, first in (("train", 0), ("test", 60)):
        rows = [f"film {i} of {name},{'good' if i % 2 else 'bad'},m{i // 4}" for i in range(first, first + 40)]
        rows += ["film 999,good,m9"] if name == "test" else []
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label,movie", *rows]) + "\n")
    files = ("--data", tmp_path / "train.csv", "--data.test", tmp_path / "test.csv")
    code, out, error = command("data", "sentiment", *files, "--data.group", "movie", "--json")
    assert code == 0, error
    assert json.loads(out)["groups"] == {"test": [1, 11]}
    assert "1 of the 11 groups of test occur in the training data too" in out
    assert json.loads(command("data", "sentiment", *files, "--json")[1])["groups"] == {}
    code, _, error = command(
        "data", "sentiment", *files, "--data.validation", tmp_path / "test.csv", "--data.group", "f"
    )
    assert (code, 'has no column "f"; it has: text, label, movie' in error) == (2, True)


def test_series_are_counted_as_windows_and_what_is_missing_once(command, tmp_path):
    rows = [f"2026-01-{1 + i // 24:02} {i % 24:02}:00,{i % 24}" for i in range(20 * 24) if i not in (30, 31, 90)]
    (tmp_path / "sales.csv").write_text("\n".join(["time,sales", *rows]) + "\n")
    sizes = ("--lookback", 24, "--horizon", 6)
    code, out, error = command("data", "forecasting", "--data", tmp_path / "sales.csv", *sizes)
    assert code == 0, error
    assert "windows" in out
    assert "labels" not in out
    assert out.count("missing values") == 1
    (tmp_path / "sales.csv").write_text("\n".join(["time,sales", *rows, rows[-1]]) + "\n")
    code, _, error = command("data", "forecasting", "--data", tmp_path / "sales.csv", *sizes)
    assert (code, "--data.duplicates first, last, mean or sum" in error) == (2, True)


def test_data_without_texts_are_told_of(command, tmp_path):
    rows = [{"session": i, "events": "open read close" if i % 2 else f"open {'read ' * i}close"} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, error = command("data", tmp_path / "a.jsonl", "--json")
    assert code == 0, error
    found = json.loads(out)
    assert found["splits"]["train"]["rows"] + found["splits"]["validation"]["rows"] == 40
    assert "kinds of events" in found["readings"][0]
    assert any("occur in the training data too" in line for line in found["readings"])
    assert command("data", "--json", tmp_path / "a.jsonl")[1] == out, "the option may come first"
    code, out, _ = command("data", tmp_path / "a.jsonl")
    assert "validation" in out
    code, _, error = command("data", "-")
    assert (code, "nlp-rnn data TASK --data -" in error) == (2, True)
