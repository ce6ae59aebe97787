"""Records from every kind of source."""

from __future__ import annotations

import gzip
import io
import json
import os

import pytest

from nlp_rnn.config.values import override
from nlp_rnn.data import files
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.sentiment import TASK as SENTIMENT
from nlp_rnn.tasks.translation import TASK as TRANSLATION

ROWS = [
    ("Fine, really", "1"),
    ('She said "no"', "0"),
    ("NA", "1"),
    ("null", "0"),
    ("日本 👩‍👩‍👧", "1"),
    ("line\u2028sep", "0"),
]


def as_csv(rows):
    quoted = [(text.replace('"', '""'), label) for text, label in rows]
    return "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in quoted)


def as_tsv(rows):
    return "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)


def as_jsonl(rows):
    return "".join(json.dumps({"text": text, "label": int(label)}, ensure_ascii=False) + "\n" for text, label in rows)


def read(source, split="test", **data):
    place = {split if split != "train" else "train": str(source)}
    return SENTIMENT.read(override(SENTIMENT.Config(), {"data": {**place, **data}}), split)


def pairs(records):
    return [(record["text"], record["label"]) for record in records]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("suffix", "write"), [("csv", as_csv), ("tsv", as_tsv), ("jsonl", as_jsonl)])
def test_line_formats(tmp_path, suffix, write, zipped):
    path = tmp_path / f"data.{suffix}{'.gz' if zipped else ''}"
    content = write(ROWS).encode()
    path.write_bytes(gzip.compress(content) if zipped else content)
    records = read(path)
    assert pairs(records) == ROWS
    assert [record["line"] for record in records] == [i + (suffix != "jsonl") for i in range(1, 7)]


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nfine,1\r\n")
    assert pairs(read(path)) == [("fine", "1")]


def test_quoted_field_over_several_lines(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"one\ntwo",1\nthree,0\n')
    records = read(path)
    assert pairs(records) == [("one\ntwo", "1"), ("three", "0")]
    assert [record["line"] for record in records] == [2, 4]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_languages_inside_a_translation_column(tmp_path, suffix):
    import datasets

    rows = [{"id": str(i), "translation": {"en": f"cat {i}", "de": f"Katze {i}"}} for i in range(10)]
    path = tmp_path / f"pairs.{suffix}"
    features = {"id": datasets.Value("string"), "translation": datasets.Translation(languages=("en", "de"))}
    table = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    table.to_parquet(path) if suffix == "parquet" else table.to_json(path, force_ascii=False)
    config = override(TRANSLATION.Config(), {"data": {"train": [str(path)], "source": "en", "target": "de"}})
    assert TRANSLATION.read(override(config, {"data": {"test": [str(path)]}}), "test")[3]["target"] == "Katze 3"
    with pytest.raises(InputError, match='has no column "fr"'):
        TRANSLATION.read(override(config, {"data": {"target": "fr"}}), "train")


def test_parquet_with_class_labels(tmp_path):
    import datasets

    features = datasets.Features({"review": datasets.Value("string"), "y": datasets.ClassLabel(names=["neg", "pos"])})
    table = datasets.Dataset.from_dict({"review": ["a", "b"], "y": [1, 0]}, features=features)
    table.to_parquet(tmp_path / "data.parquet")
    records = read(tmp_path / "data.parquet", text="review", label="y")
    assert pairs(records) == [("a", "pos"), ("b", "neg")]


def test_folder_with_split_files(tmp_path):
    for name, count in (("train.jsonl", 6), ("my-dev.csv.gz", 4), ("test.tsv", 2)):
        rows = ROWS[:count]
        content = (as_jsonl if "jsonl" in name else as_csv if "csv" in name else as_tsv)(rows).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    config = override(SENTIMENT.Config(), {"data": {"train": str(tmp_path)}})
    sizes = {split: len(SENTIMENT.read(config, split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 6, "validation": 4, "test": 2}


def test_a_hidden_test_part_is_no_test_data(tmp_path):
    for name, labels in (("train", ("1", "0")), ("test", ("", ""))):
        (tmp_path / f"{name}.csv").write_text(as_csv([("a", labels[0]), ("b", labels[1])]))
    config = override(SENTIMENT.Config(), {"data": {"train": str(tmp_path)}})
    assert SENTIMENT.read(config, "test") is None
    with pytest.raises(InputError, match="no row has a label"):
        read(tmp_path / "test.csv")


def test_edited_file_is_read_anew(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\nold,1\n")
    assert pairs(read(path)) == [("old", "1")]
    path.write_text("text,label\nnew,1\n")
    os.utime(path, ns=(1, 1))
    assert pairs(read(path)) == [("new", "1")]


def test_several_files_are_one_corpus(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(as_csv(ROWS[:2]))
    config = override(SENTIMENT.Config(), {"data": {"test": [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]}})
    assert pairs(SENTIMENT.read(config, "test")) == ROWS[:2] * 2


@pytest.fixture
def fresh_input():
    """Standard input is kept once it was read: tests of it begin and end without any."""
    files.spooled.cache_clear()
    yield
    files.spooled.cache_clear()


def test_standard_input(monkeypatch, fresh_input):
    class Stdin:
        buffer = io.BytesIO(as_csv(ROWS).encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert pairs(read("-", format="csv")) == ROWS
    config = override(SENTIMENT.Config(), {"data": {"train": "-", "format": "csv", "validation_fraction": 0.3}})
    assert [len(SENTIMENT.read(config, split)) for split in ("train", "validation")] == [4, 2]


def test_labels_are_renamed_and_ordered(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(as_csv(ROWS))
    config = override(SENTIMENT.Config(), {"data": {"train": str(path), "labels": {1: "yes", 0: "no"}}})
    records = SENTIMENT.read(config, "train")
    assert {record["label"] for record in records} == {"yes", "no"}
    assert SENTIMENT.assets(override(config, {"tokenizer": {"kind": "byte"}}), records).labels == ("yes", "no")


def test_numbers_are_ordered_as_numbers():
    records = Records([{"text": "x", "label": label} for label in ("10", "9", "2", "2")])
    config = override(SENTIMENT.Config(), {"tokenizer": {"kind": "byte"}})
    assert SENTIMENT.assets(config, records).labels == ("2", "9", "10")


def test_cut_off_parts_are_disjoint_stratified_and_the_same_every_time(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{'rare' if i % 10 == 0 else 'common'}\n" for i in range(200)))
    config = override(SENTIMENT.Config(), {"data": {"train": str(path), "test_fraction": 0.2}})
    parts = {split: SENTIMENT.read(config, split) for split in ("train", "validation", "test")}
    texts = {split: {record["text"] for record in records} for split, records in parts.items()}
    assert {split: len(some) for split, some in texts.items()} == {"train": 140, "validation": 20, "test": 40}
    assert len(set().union(*texts.values())) == 200
    assert sum(record["label"] == "rare" for record in parts["validation"]) == 2
    assert "held out from the training data" in parts["validation"].notes[0]
    again = SENTIMENT.read(config, "validation")
    assert pairs(again) == pairs(parts["validation"])


def test_starter_corpus_is_complete_and_its_splits_share_nothing():
    parts = {split: SENTIMENT.read(SENTIMENT.Config(), split) for split in ("train", "validation", "test")}
    texts = {split: {record["text"] for record in records} for split, records in parts.items()}
    assert sum(map(len, texts.values())) == sum(map(len, parts.values())) >= 2000
    for records in parts.values():
        share = sum(record["label"] == "positive" for record in records) / len(records)
        assert 0.45 < share < 0.55


def test_conll_blocks_have_no_text_column(tmp_path):
    path = tmp_path / "eng.conll"
    path.write_text("-DOCSTART- O\n\nEU I-ORG\nrejects O\n\n")
    with pytest.raises(InputError, match='no column "text"; it has: tokens, tags'):
        read(path)


def test_records_in_memory_and_on_disk_are_alike(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(as_jsonl(ROWS))
    stored = read(path)
    memory = Records([{"text": text, "label": label, "line": 0} for text, label in ROWS])
    assert stored.fingerprint() == memory.fingerprint()
    assert list(stored.column("text")) == list(memory.column("text"))
    assert [len(chunk) for chunk in stored.chunks(4)] == [4, 2]
    assert list(Records([{"text": "x"}] * 2).columns("text", "label", "line")) == [("x", None, None)] * 2
    assert pairs(stored.select([2, 0])) == [ROWS[2], ROWS[0]]
