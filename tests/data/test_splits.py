"""What belongs together stands on one side of every split, in all tasks that read tables of texts."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from nlp_rnn.config.values import override
from nlp_rnn.data.records import Records
from nlp_rnn.data.splits import some_of
from nlp_rnn.errors import InputError
from nlp_rnn.registry import get_task

ROWS = {
    "sentiment": lambda k: {"text": f"review {k}", "label": ("good", "bad")[k % 2]},
    "ner": lambda k: {"text": f"Ada {k}", "entities": [{"start": 0, "end": 3, "label": "person"}]},
    "translation": lambda k: {"source": f"one {k}", "target": f"eins {k}"},
}


@pytest.fixture(params=ROWS)
def grouped(request, tmp_path):
    """A task, its configuration, and which film each text is of."""
    task, films, lines = get_task(request.param), {}, []
    for k in range(120):
        row = ROWS[request.param](k)
        films[row.get("text") or row["source"]] = k // 5
        lines.append(json.dumps({**row, "film": k // 5 if k % 2 else float(k // 5)}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    data = {"train": [str(tmp_path / "rows.jsonl")], "validation_fraction": 0.1, "test_fraction": 0.2, "group": "film"}
    return task, override(task.Config(), {"data": data}), films


def test_no_group_stands_on_both_sides_of_a_split(grouped):
    task, config, films = grouped
    splits = {name: task.read(config, name) for name in ("train", "validation", "test")}
    found = {name: {films[text] for text in records.column(task.input.name)} for name, records in splits.items()}
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["test"]
    assert not found["validation"] & found["test"]
    assert {name: len(records) for name, records in splits.items()} == {"train": 85, "validation": 10, "test": 25}
    assert "whole groups" in splits["test"].notes[0]
    again = task.read(config, "test")
    assert list(again.column(task.input.name)) == list(splits["test"].column(task.input.name))


def test_fewer_training_records_are_part_of_more_and_what_is_held_out_stays(grouped):
    task, config, _ = grouped

    def texts(split, count):
        fewer = override(config, {"data": {"group": "", "train_records": count}})
        return list(task.read(fewer, split).column(task.input.name))

    everything = texts("train", 0)
    assert texts("train", 10_000) == everything
    few, more = texts("train", 10), texts("train", 40)
    assert (len(few), len(more)) == (10, 40)
    assert set(few) < set(more) < set(everything)
    assert texts("train", 10) == few
    assert texts("test", 10) == texts("test", 0)
    assert texts("validation", 10) == texts("validation", 0)


def test_of_every_label_alike():
    records = Records([{"text": str(k), "label": "rare" if k % 5 == 0 else "common"} for k in range(100)])
    found = some_of(records, 20, seed=3, label="label")
    assert Counter(found.column("label")) == {"common": 16, "rare": 4}
    assert "20 of 100, drawn at random (seed 3)" in found.notes
    assert "200 training records were asked for: all are taken" in some_of(records, 200, seed=3, label="label").notes
    other = some_of(records, 20, seed=4, label="label")
    assert list(other.column("text")) != list(found.column("text"))


def test_every_label_is_drawn():
    records = Records([{"text": str(k), "label": "rare" if k == 77 else "ab"[k % 2]} for k in range(100)])
    for count in (3, 4, 50):
        assert set(some_of(records, count, seed=1, label="label").column("label")) == {"a", "b", "rare"}
    with pytest.raises(InputError, match=r"--data\.train_records 2: 3 records are needed for one of each label"):
        some_of(records, 2, seed=1, label="label")
    several = Records([{"tags": ["x"] if k != 5 else ["x", "y"]} for k in range(30)])
    found = some_of(several, 2, seed=1, labels_of=lambda record: set(record["tags"]))
    assert ["x", "y"] in list(found.column("tags"))


def test_pairs_are_drawn_from_those_that_are_left(tmp_path):
    lines = [json.dumps({"source": f"one {k % 20}", "target": f"eins {k % 20}"}) for k in range(60)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    task = get_task("translation")
    data = {
        "train": [str(tmp_path / "pairs.jsonl")],
        "validation_fraction": 0.0,
        "duplicates": False,
        "train_records": 15,
    }
    assert len(task.read(override(task.Config(), {"data": data}), "train")) == 15


def test_evaluate_does_not_train(command, reviews):
    code, _, log = command("evaluate", reviews.path, "--data.train_records", 5)
    assert code == 2
    assert "data.train_records is a setting of training, and the run is trained: leave it out" in " ".join(log.split())


def test_groups_that_cannot_be_held_out_are_refused(grouped, tmp_path):
    task, config, _ = grouped
    with pytest.raises(InputError, match='no column "studio"'):
        task.read(override(config, {"data": {"group": "studio"}}), "train")
    rows = [json.dumps({**json.loads(line), "film": 1}) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    (tmp_path / "one.jsonl").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"has too few groups \(1\)"):
        task.read(override(config, {"data": {"train": [str(tmp_path / "one.jsonl")]}}), "train")


def test_lines_have_no_groups(tmp_path):
    for language in ("en", "de"):
        (tmp_path / f"text.{language}").write_text("one\ntwo\nthree\n" * 10)
    task = get_task("translation")
    files = [str(tmp_path / f"text.{language}") for language in ("en", "de")]
    with pytest.raises(InputError, match=r"have no column data\.group"):
        task.read(override(task.Config(), {"data": {"train": files, "group": "film"}}), "train")


def test_of_large_groups_the_smallest_is_held_out(tmp_path):
    rows = [
        {"text": f"{k}", "label": "ab"[k % 2], "film": "x" if k < 60 else "y" if k < 90 else "z"} for k in range(100)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    task = get_task("sentiment")
    data = {"train": [str(tmp_path / "rows.jsonl")], "validation_fraction": 0.02, "group": "film"}
    assert len(task.read(override(task.Config(), {"data": data}), "validation")) == 10
