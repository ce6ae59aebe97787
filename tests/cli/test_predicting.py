"""`predict`: what goes in, and where it comes out."""

from __future__ import annotations

import csv
import json
import os

import pytest

ROUND_TRIP = [("1", 'He said "no" twice'), ("2", "two\nlines"), ("3", "tab\there"), ("4", "plain"), ("5", "=1+1")]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as sink:
        rows = [(number, text, "positive" if number < "3" else "") for number, text in ROUND_TRIP]
        csv.writer(sink).writerows([("id", "text", "label"), *rows])
    return path


@pytest.fixture
def predict(reviews, command, at_hand):
    at_hand(reviews)

    def call(*arguments):
        return command("predict", reviews.path, *arguments)

    return call


def test_kept_columns_stay_beside_their_texts(predict, table):
    code, out, error = predict("--input", table, "--keep", "id", "label", "--json")
    assert code == 0, error
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["id"], row["text"]) for row in rows] == ROUND_TRIP
    assert [row["input.label"] for row in rows] == ["positive", "positive", "", "", ""]
    assert {row["label"] for row in rows} <= {"positive", "negative"}


@pytest.mark.slow  # tables of every form
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables_are_read_as_they_were_written(predict, command, reviews, table, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert predict("--input", table, "--keep", "id", "--output", out)[0] == 0
    code, lines, error = predict("--input", out, "--keep", "id", "--json")
    assert code == 0, error
    assert [(row["id"], row["text"]) for row in map(json.loads, lines.splitlines())] == ROUND_TRIP
    code, lines, error = command("evaluate", reviews.path, "--data", out, "--json")
    assert (code, json.loads(lines)["accuracy"]) == (0, 1.0), error


def test_formulas_can_be_made_harmless(predict, table, tmp_path):
    out = tmp_path / "out.csv"
    for option, expected in (("", "=1+1"), ("--spreadsheet", "'=1+1")):
        assert predict("--input", table, "--output", out, *filter(None, [option]))[0] == 0
        assert out.read_bytes().startswith(b"\xef\xbb\xbf") == bool(option), "spreadsheets know UTF-8 by its mark"
        with out.open(newline="", encoding="utf-8-sig") as source:
            assert list(csv.DictReader(source))[-1]["text"] == expected


@pytest.mark.parametrize("how", ["itself", "another name", "a link", "a hard link"])
def test_the_input_is_never_the_output(predict, table, tmp_path, how):
    before, name = table.read_bytes(), table
    if how == "another name":
        name = tmp_path / "." / ".." / tmp_path.name / table.name
    if how == "a link":
        name = tmp_path / "link.csv"
        name.symlink_to(table)
    if how == "a hard link":
        name = tmp_path / "hard.csv"
        os.link(table, name)
    code, _, error = predict("--input", table, "--output", name)
    assert code == 2
    assert "is the input itself; choose another file" in " ".join(error.split())
    assert table.read_bytes() == before


def test_an_output_stays_as_it_was_where_reading_fails(predict, tmp_path):
    out, wrong = tmp_path / "out.jsonl", tmp_path / "wrong.jsonl"
    out.write_text("earlier\n")
    wrong.write_text('{"text": "a"}\nno json\n')
    assert predict("--input", wrong, "--output", out)[0] == 2
    assert out.read_text() == "earlier\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "wrong.jsonl"]


def test_an_output_is_whole_or_as_it_was_where_the_disk_is_full(predict, table, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    out.write_text("earlier\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nlp_rnn.cli.predict._TableWriter.__call__", full)
    code, _, error = predict("--input", table, "--output", out)
    assert (code, "No space is left on the disk" in error) == (2, True)
    assert out.read_text() == "earlier\n"


def test_outputs_that_are_no_files_and_links(predict, tmp_path):
    assert predict("fine", "--output", tmp_path / "real.jsonl")[0] == 0
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    (tmp_path / "real.jsonl").chmod(0o640)
    assert predict("fine", "joyless", "--output", tmp_path / "link.jsonl")[0] == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "real.jsonl").stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe.jsonl")
    reading = os.open(tmp_path / "pipe.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    assert predict("fine", "--output", tmp_path / "pipe.jsonl")[0] == 0
    assert json.loads(os.read(reading, 10_000))["text"] == "fine"
    os.close(reading)


def test_a_read_only_run_predicts(reviews, command, tmp_path):
    import shutil

    run = shutil.copytree(reviews.path, tmp_path / "run")
    for path in [*run.rglob("*"), run]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code, _, error = command("predict", run, "fine")
    assert code == 0, error
    for path in [run, *run.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/out.csv", "there is no folder nowhere; make it, or choose another"),
        ("folder.csv", "is a folder; give the name of a file"),
        ("out.jsonl/", "is a folder; give the name of a file"),
        ("x" * 300 + ".csv", "File name too long; choose another name"),
    ],
)
def test_places_that_cannot_be_are_noticed_at_once(predict, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.setattr("nlp_rnn.cli.predict._write_all", None)
    code, _, error = predict("fine", "--output", name)
    assert (code, message in " ".join(error.split())) == (2, True), error
