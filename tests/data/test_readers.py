"""Lines of files → rows, and what they must hold."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.config.values import override
from nlp_rnn.data.readers import rows_of
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.ner import TASK as NER
from nlp_rnn.tasks.sentiment import TASK as SENTIMENT

PIECES = st.lists(st.sampled_from(["a", '"', "\t", "b c", "é", ",", "'", "=1", "\\"]), max_size=5).map("".join)


def read_tsv(folder, content):
    path = folder / "data.tsv"
    path.write_bytes(content.encode())
    return [list(row.values.values()) for row in rows_of(str(path), "tsv", "data.tsv", ["x", "text"])]


@given(rows=st.lists(st.tuples(PIECES, PIECES, PIECES), min_size=1, max_size=6))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_tsv_as_spreadsheets_and_pandas_write_it(tmp_path_factory, rows, quoting):
    content = io.StringIO()
    csv.writer(content, delimiter="\t", quoting=quoting, lineterminator="\r\n").writerows([("x", "y", "z"), *rows])
    assert read_tsv(tmp_path_factory.mktemp("tsv"), content.getvalue()) == [list(row) for row in rows]


def test_tsv_with_line_ends_within_fields(tmp_path):
    assert read_tsv(tmp_path, 'id\ttext\n1\t"two\nlines"\n2\t"He said ""no"""\n3\t""\n') == [
        ["1", "two\nlines"],
        ["2", 'He said "no"'],
        ["3", ""],
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [['5" disk', "a"], ['"Hello', "b"], ['world"', "a"]],
        [['"Great" they said', "a"], ["plain", "b"]],
        [['"Hello', "a"], ['world"', "b"]],
        [["'' quoted ``", "a"], ['"', "b"]],
    ],
)
def test_tsv_without_quoting(tmp_path, rows):
    content = "text\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows)
    assert read_tsv(tmp_path, content) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label,label\nGood,pos,x\n", 'a.csv: the header has "label" in columns 2 and 3; rename all but'),
        ("a.tsv", "text\tlabel\ttext\nGood\tpos\tx\n", 'the header has "text" in columns 1 and 3'),
        ("a.jsonl", '{"text": "a", "label": "x", "text": "b"}\n', 'line 1: the field "text" occurs twice; remove one.'),
        ("a.jsonl", '{"text": "a", "label": ["x"]}\n', 'line 1: "label" is a list of labels, but each record can have'),
        ("a.jsonl", '{"text": ["x", "y"], "label": "b"}\n', 'a.jsonl, line 1: "text" must be a text; it is a list.'),
        ("a.jsonl", '{"text": "a", "label": {"a": 1}}\n', 'line 1: "label" must be a text; it is an object.'),
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as error:
        sentiment(name)
    assert message in str(error.value)


def sentiment(path, split="train"):
    data = {"train" if split == "train" else "test": [str(path)], "validation_fraction": 0.0, "test_fraction": 0.0}
    return SENTIMENT.read(override(SENTIMENT.Config(), {"data": data}), split)


def test_missing_is_missing(tmp_path):
    rows = [{"text": "a", "label": "x"}, {"text": float("nan"), "label": "y"}, {"text": "b", "label": float("nan")}]
    rows += [{"text": None, "label": "x"}, {"label": "x"}, {"text": 5, "label": True}, {"text": "c", "label": ""}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = sentiment(tmp_path / "data.jsonl")
    assert [(row["text"], row["label"]) for row in records] == [("a", "x"), ("5", "true")]
    assert records.dropped == {"no text": 3, "no label": 2}
    found = sentiment(tmp_path / "data.jsonl", "predict")
    assert [row["text"] for row in found] == ["a", "", "b", "", "", "5", "c"]
    assert found.notes == ("empty inputs: 3",)


def test_parquet_bytes_are_no_text(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": [b"a"], "label": ["x"]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(InputError, match=r'row 1: "text" must be a text; it is bytes\.'):
        sentiment(tmp_path / "data.parquet")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(tmp_path, end):
    lines = ["Ada B-PER", "met O", "", "In O", "Rome B-LOC", ""]
    (tmp_path / "data.conll").write_bytes("".join(line + end for line in lines).encode())
    config = override(NER.Config(), {"data": {"train": [str(tmp_path / "data.conll")], "validation_fraction": 0.0}})
    assert [row["tokens"] for row in NER.read(config, "train")] == [["Ada", "met"], ["In", "Rome"]]


@pytest.mark.parametrize("tags", [["-", "?!"], None])
def test_tags_are_not_read_to_predict(tmp_path, tags):
    lines = [f"{token} {tag}" if tags else token for token, tag in zip(["Ada", "met"], tags or ["", ""], strict=True)]
    (tmp_path / "data.conll").write_text("\n".join([*lines, "", *lines, ""]))
    config = override(NER.Config(), {"data": {"test": [str(tmp_path / "data.conll")]}})
    assert [row["text"] for row in NER.read(config, "predict")] == ["Ada met", "Ada met"]
