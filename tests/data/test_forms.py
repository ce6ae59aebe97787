"""Files and data in memory, in the forms that users and other tools have them in, → records."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading

import pytest

from nlp_rnn.config.values import override
from nlp_rnn.data import fields, files
from nlp_rnn.data.readers import rows_of
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.language_modeling import TASK as LANGUAGE_MODELING
from nlp_rnn.tasks.ner import TASK as NER
from nlp_rnn.tasks.sentiment import TASK as SENTIMENT
from nlp_rnn.tasks.translation import TASK as TRANSLATION
from tests.conftest import slow


def read(task, path, split="train", **data):
    """The records of a file as a task reads it."""
    place = "train" if split == "train" else "test"
    settings = {place: [str(path)], "validation_fraction": 0.0, "test_fraction": 0.0, **data}
    return task.read(override(task.Config(), {"data": settings}), split)


def written(folder, content, name):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


TABLE = [("The end; is, near", "neg"), ("Fine | really", "pos"), ("Good", "pos")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", "\n \n", "sep={}\n", '"sep={}"\r\n', ",;\n"], ids=repr)
def test_the_delimiter_is_found_out(tmp_path, delimiter, before):
    before = delimiter * 2 + "\n" if before == ",;\n" else before.format(delimiter)
    rows = [("id", "text", "label"), *((i, *row) for i, row in enumerate(TABLE))]
    lines = [delimiter.join(f'"{cell}"' if i else str(cell) for i, cell in enumerate(row)) for row in rows]
    records = read(SENTIMENT, written(tmp_path, before + "\n".join(lines) + "\n", "data.csv"))
    assert [(row["text"], row["label"]) for row in records] == TABLE
    names = {",": [], ";": ["semicolons"], "\t": ["tabs"], "|": ["vertical bars"]}[delimiter]
    assert list(records.notes) == [f"columns parted by {name}" for name in names]
    assert [row["line"] for row in records] == [before.count("\n") + 2 + i for i in range(3)]


def test_a_delimiter_that_is_given(tmp_path):
    path = written(tmp_path, "text^label\nGood, really;^pos\nBad^neg\n", "data.csv")
    assert [row["text"] for row in read(SENTIMENT, path, delimiter="^")] == ["Good, really;", "Bad"]
    with pytest.raises(InputError, match=r'has no column "text"; it has: text\^label'):
        read(SENTIMENT, path)
    path = written(tmp_path, "text,label\tlabel\na,b\tpos\n", "data.csv")
    assert [row["label"] for row in read(SENTIMENT, path, delimiter="tab", text="text,label")] == ["pos"]
    with pytest.raises(InputError, match=r'data.delimiter is "::"; it must be one character'):
        read(SENTIMENT, path, delimiter="::")


def test_commas_of_texts_are_no_delimiters_of_a_table_without_the_column(tmp_path):
    path = written(tmp_path, "a;b\n1,2;3\n4,5,6;7\n", "data.csv")
    with pytest.raises(InputError, match=r'has no column "text"; it has: a, b\.'):
        read(SENTIMENT, path)


ROWS = [{"text": "Good\nreally", "label": "pos"}, {"text": 'Bad, {["', "label": "neg"}, {"text": "é🐈", "label": "pos"}]


@pytest.mark.parametrize(
    "content",
    [
        "".join(json.dumps(row) + "\n" for row in ROWS),
        "\n \n" + json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        "\n\n".join(json.dumps(row, indent=1) for row in ROWS),
        json.dumps({"version": 1, "data": ROWS}),
        json.dumps({"version": 1, "tags": ["x"], "rows": ROWS}, indent=4),
        "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
        json.dumps(ROWS, separators=(",", ":")) + "   \n\n",
    ],
)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data"])
def test_json_in_lines_in_arrays_and_over_lines(tmp_path, content, name):
    records = read(SENTIMENT, written(tmp_path, content, name))
    assert [(row["text"], row["label"]) for row in records] == [tuple(row.values()) for row in ROWS]


def test_a_long_array_is_read_value_by_value(tmp_path):
    rows = [{"text": f"text {i} " + "x" * (i % 700), "label": str(i % 2)} for i in range(3000)]
    path = written(tmp_path, json.dumps(rows, indent=1), "data.json")
    found = list(rows_of(str(path), "jsonl", "data.json", ["text"]))
    assert [row.values for row in found] == rows
    assert [row.line for row in found] == [2 + 4 * i for i in range(3000)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "a", "label": "b"},\n{"text": }\n]', r"line 3: not valid JSON \(Expecting value\)"),
        ('[\n{"text": "a", "label": "b"}\n{"text": "b"}]', r"line 3: not valid JSON \(a comma or \] is missing\)"),
        ('[{"text": "a", "label": "b"},\n', r"line 2: not valid JSON \(the array does not end\)"),
        ('[{"text": "a", "label": "b"}]\n x', r"line 2: not valid JSON \(more follows the end\)"),
        ('{"text": "a", "label": "b"}\n{"text": "a"', r"line 2: not valid JSON"),
        ("[1, 2]", r"line 1: a JSON object with named fields is needed"),
        ("[[" * 100_000, r"line 1: not valid JSON"),
        ("[]", r"data.json has no rows"),
    ],
)
def test_damaged_json_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(SENTIMENT, written(tmp_path, content, "data.json"))


def test_half_characters_and_long_numbers(tmp_path):
    lines = [
        r'{"text": "half \ud83d", "label": "a", "id": null}',
        '{"text": ' + "9" * 5000 + ', "label": "b", "id": [1]}',
    ]
    lines += [r'{"text": "whole \ud83d\ude00", "label": "\udc00", "id": {"\ud800": "\ud800"}}']
    path = written(tmp_path, "\n".join(lines), "data.jsonl")
    records = read(SENTIMENT, path)
    assert list(records.column("text")) == ["half �", "9" * 5000, "whole 😀"]
    assert list(records.column("label")) == ["a", "b", "�"]
    assert records.notes == ("texts with half a character, which is U+FFFD now: 2",)
    for task in (LANGUAGE_MODELING, NER):
        assert [row["text"] for row in read(task, path, "predict")] == ["half �", "9" * 5000, "whole 😀"]
    assert read(TRANSLATION, path, "predict", source="text")[0]["source"] == "half �"
    from nlp_rnn.data.readers import Form
    from nlp_rnn.data.sources import read_columns

    kept = [row["id"] for row in read_columns(str(path), Form(), ["id"])]
    assert kept == [None, [1], {"�": "�"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_are_recognised(tmp_path, encoding, packed):
    content = "text,label\r\nGood é 🐈,pos\r\nBad,neg\r\n".encode(encoding)
    name = "data.csv.gz" if packed else "data.csv"
    records = read(SENTIMENT, written(tmp_path, gzip.compress(content) if packed else content, name))
    assert list(records.column("text")) == ["Good é 🐈", "Bad"]


def test_what_is_no_text(tmp_path):
    with pytest.raises(InputError, match=r"data.csv is not UTF-16 throughout"):
        read(SENTIMENT, written(tmp_path, "text,label\na,b\n".encode("utf-16")[:-1] + b"\xd8\xd8", "data.csv"))
    with pytest.raises(InputError, match="is a ZIP archive or a spreadsheet: unpack it, or save the sheet as CSV"):
        read(SENTIMENT, written(tmp_path, b"PK\x03\x04...", "data.csv"))


def test_a_pipe_is_read_once_for_all_splits(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "".join(json.dumps(row) + "\n" for row in ROWS * 20)
    writer = threading.Thread(target=lambda: pipe.write_text(content))
    writer.start()
    config = override(SENTIMENT.Config(), {"data": {"train": [str(pipe)], "validation_fraction": 0.1}})
    assert [len(SENTIMENT.read(config, split)) for split in ("train", "validation")] == [54, 6]
    writer.join()
    files.spooled.cache_clear()


@pytest.mark.slow  # processes
def test_process_substitution_and_dev_stdin(tmp_path, reviews):
    code = (
        "import sys; from nlp_rnn.cli import main; "
        "main('sentiment', ['predict', sys.argv[1], '--input', sys.argv[2], '--json'])"
    )
    command = f'{sys.executable} -c "{code}" {reviews.path}'
    lines = subprocess.run(
        ["bash", "-c", f"{command} <(printf 'a fine film\\nbad\\n') && printf 'text\\nbad\\n' | {command} /dev/stdin"],
        capture_output=True,
        text=True,
    )
    assert [json.loads(line)["text"] for line in lines.stdout.splitlines()] == ["a fine film", "bad", "bad"], (
        lines.stderr
    )


SENTENCES = [
    (["Ada", "met", "10\u00a0000", "of", "us"], ["B-PER", "O", "B-NUM", "O", "O"]),
    (["#MeToo", "in", "Rome"], ["B-TAG", "O", "B-LOC"]),
    (["\u3000", "#", "x"], ["O", "O", "O"]),
]


def conll(separator, end="", head=()):
    """Sentences as lines of tokens and tags, each after the comments `head`."""
    blocks = []
    for tokens, tags in SENTENCES:
        blocks.append("\n".join([*head, *(f"{a}{separator}{b}{end}" for a, b in zip(tokens, tags, strict=True))]))
    return "\n\n".join(blocks) + "\n"


SEPARATORS, ENDS = [" ", "\t", "  ", " \t "], ["", " ", "\t", " \t "]
HEADS = [(), ("# id 1b-2\tdomain=en",), ("# sent_id = 1", "# text = Ada met"), ("# x",)]
WAYS = [(a, b, c) for a in range(4) for b in range(4) for c in range(4)]


@pytest.mark.parametrize(
    ("separator", "end", "head"),  # by default all pairs of two of them
    [(slow if (a + b + c) % 4 else pytest.param)(SEPARATORS[a], ENDS[b], HEADS[c]) for a, b, c in WAYS],
)
def test_conll_as_it_is_found(tmp_path, separator, end, head):
    path = written(tmp_path, conll(separator, end, head), "data.conll")
    for split in ("train", "predict"):
        records = read(NER, path, split)
        assert [row["tokens"] for row in records] == [tokens for tokens, _ in SENTENCES]
        assert (f"comment lines: {3 * len(head)}" in records.notes) == bool(head)
    entities = [{e["label"] for e in row["entities"]} for row in read(NER, path)]
    assert entities == [{"PER", "NUM"}, {"TAG", "LOC"}, set()]


def test_tags_have_no_white_space_at_their_edges(tmp_path):
    records = read(NER, written(tmp_path, "Ada B-PER\u00a0\nmet O\u3000\n", "data.conll"))
    assert records[0]["entities"] == [{"start": 0, "end": 3, "label": "PER"}]


def test_conll_u(tmp_path):
    lines = [
        "# sent_id = 1",
        "1-2\tIm\t_\t_",
        "1\tIn\tin\tO",
        "2\tdem\tder\tO",
        "2.1\tnull\t_\t_",
        "3\tRom\tRom\tB-LOC",
        "",
    ]
    lines += ["# newpar", "# text = Ada", "1\tAda\tAda\tB-PER", ""]
    path = written(tmp_path, "\n".join(lines), "data.conllu")
    for split in ("train", "predict"):
        records = read(NER, path, split)
        assert [row["tokens"] for row in records] == [["In", "dem", "Rom"], ["Ada"]]
        noted = {note.split(":")[0]: note.split(": ")[1] for note in records.notes if ":" in note}
        assert noted["comment lines"] == "3"
        assert noted["lines for a word of several tokens, or for none, as CoNLL-U has them"] == "2"
    ten = "\n".join(
        "\t".join([str(i), w, "_", "X", "_", "_", "0", "dep", t, "_"])
        for i, (w, t) in enumerate([("In", "O"), ("Rom", "S-LOC")], 1)
    )
    records = read(NER, written(tmp_path, ten, "ten.conllu"))
    assert [row["entities"] for row in records] == [[{"start": 3, "end": 6, "label": "LOC"}]]


def test_a_conll_file_of_comments_alone_has_no_rows(tmp_path):
    with pytest.raises(InputError, match="has no rows"):
        read(NER, written(tmp_path, "# one\n# two\n\n# three\n", "data.conll"))


TEXT = "🐈 Ada met Bob in Rome"
SPANS = [(2, 5, "PER"), (10, 13, "PER"), (17, 21, "LOC")]
EXPECTED = [{"start": s, "end": e, "label": label} for s, e, label in SPANS]


def regions(shift):
    """As Label Studio has them: counted in code points, or in units of UTF-16."""
    return [{"start": s + shift, "end": e + shift, "text": TEXT[s:e], "labels": [label]} for s, e, label in SPANS]


def studio(shift, **annotation):
    results = [{"from_name": "label", "to_name": "text", "type": "labels", "value": one} for one in regions(shift)]
    other = {"type": "choices", "value": {"choices": ["x"]}}
    return {"id": 1, "data": {"text": TEXT, "source": 5}, "annotations": [{"result": [*results, other], **annotation}]}


ANNOTATED = {
    "prodigy": {"text": TEXT, "spans": EXPECTED, "tokens": [{"text": "🐈", "id": 0}], "answer": "accept"},
    "doccano": {"id": 1, "text": TEXT, "label": [list(span) for span in SPANS], "Comments": []},
    "doccano, labels": {"text": TEXT, "labels": [list(span) for span in SPANS]},
    "doccano with relations": {
        "text": TEXT,
        "relations": [],
        "entities": [{"id": 5, "label": label, "start_offset": s, "end_offset": e} for s, e, label in SPANS],
    },
    "label studio": studio(0),
    "label studio, UTF-16": studio(1),
    "label studio, minimal": {"text": TEXT, "id": 2, "label": regions(1)},
    "label studio, another name": {**studio(0), "data": {"utterance": TEXT, "id": 7}},
    "spacy": [TEXT, {"entities": [list(span) for span in SPANS]}],
}


@pytest.mark.parametrize("form", ANNOTATED)
@pytest.mark.parametrize("as_array", [False, True])
def test_exports_of_annotation_tools(tmp_path, form, as_array):
    rows = [ANNOTATED[form]] * 3
    content = json.dumps(rows) if as_array else "".join(json.dumps(row) + "\n" for row in rows)
    path = written(tmp_path, content, "data.json" if as_array else "data.jsonl")
    records = read(NER, path)
    assert [row["text"] for row in records] == [TEXT] * 3
    assert [row["entities"] for row in records] == [EXPECTED] * 3
    if form != "label studio, another name":
        assert [row["text"] for row in read(NER, path, "predict")] == [TEXT] * 3


def test_labels_of_annotation_tools(tmp_path):
    def studio_choice(*choices):
        result = [{"type": "choices", "value": {"choices": list(choices)}}]
        return {"data": {"text": "Good", "id": 1}, "annotations": [{"result": result}]}

    rows = [
        {"text": "Good", "label": "pos", "answer": "accept"},
        {"text": "Bad", "label": "pos", "answer": "reject"},
        {"text": "Good", "options": [{"id": "pos"}], "accept": ["pos"], "answer": "accept"},
        {"text": "Unsure", "options": [], "accept": [], "answer": "ignore"},
        studio_choice("pos"),
        {"data": {"text": "Later"}, "annotations": []},
    ]
    path = written(tmp_path, json.dumps(rows), "data.json")
    records = read(SENTIMENT, path)
    assert [(row["text"], row["label"]) for row in records] == [("Good", "pos")] * 3
    assert records.dropped == {"answered with ignore": 1, "answered with reject": 1, "not annotated yet": 1}
    assert len(read(SENTIMENT, path, "predict")) == 6
    with pytest.raises(InputError, match=r'line 1: "label" is a list of labels'):
        read(SENTIMENT, written(tmp_path, json.dumps(studio_choice("a", "b")), "several.jsonl"))


def test_the_file_of_an_annotator_for_spacy(tmp_path):
    content = {
        "classes": ["PER"],
        "annotations": [[TEXT, {"entities": [list(span) for span in SPANS]}], ["No", {"entities": []}]],
    }
    records = read(NER, written(tmp_path, json.dumps(content), "data.json"))
    assert [len(row["entities"]) for row in records] == [3, 0]


def test_csv_of_label_studio(tmp_path):
    rows = [f'{TEXT},"{json.dumps(regions(1)).replace(chr(34), chr(34) * 2)}",1', "Nothing here,,2"]
    records = read(NER, written(tmp_path, "\n".join(["text,label,id", *rows]), "data.csv"))
    assert [row["entities"] for row in records] == [EXPECTED, []]


def test_what_annotators_turned_down_is_left_out_and_counted(tmp_path):
    rows = [ANNOTATED["prodigy"]] * 2 + [{**ANNOTATED["prodigy"], "answer": answer} for answer in ("reject", "ignore")]
    rows += [studio(0, was_cancelled=True), {**studio(0), "annotations": []}, studio(0, was_cancelled=False)]
    path = written(tmp_path, json.dumps(rows), "data.json")
    records = read(NER, path)
    assert len(records) == 3
    assert records.dropped == {
        "answered with ignore": 1,
        "answered with reject": 1,
        "not annotated yet": 1,
        "skipped by its annotators": 1,
    }
    assert len(read(NER, path, "predict")) == len(rows)
    with pytest.raises(InputError, match="no row is left; 1 answered with reject"):
        read(NER, written(tmp_path, json.dumps(rows[2]), "rejected.jsonl"))


def test_columns_of_several_names(tmp_path):
    one = written(tmp_path, json.dumps({"tokens": ["Ada"], "ner_tags": ["B-PER"]}), "one.jsonl")
    other = written(tmp_path, json.dumps({"tokens": ["Ada"], "tags": ["B-PER"]}), "other.jsonl")
    for path in (one, other):
        records = read(NER, path, tags="ner_tags|tags")
        assert records[0]["entities"] == [{"start": 0, "end": 3, "label": "PER"}]
    table = written(tmp_path, "a|b;label\nx;y\n", "data.csv")
    assert read(SENTIMENT, table, text="a|b")[0]["text"] == "x"


def test_another_version_reads_anew(tmp_path, monkeypatch):
    """What an earlier version kept of the same file may have another form."""
    path = written(tmp_path, "text,label\nGood,pos\n", "data.csv")
    assert read(SENTIMENT, path)[0]["text"] == "Good"
    monkeypatch.setattr("nlp_rnn.data.files.reading_rules", lambda: "another version")
    monkeypatch.setattr("nlp_rnn.data.fields._KINDS", {**fields._KINDS, "text": lambda value, where: value.upper()})
    assert read(SENTIMENT, path)[0]["text"] == "GOOD"


def test_parquet_without_rows(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["a"], "label": ["b"]}).select([])
    rows.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(InputError, match=r"data\.parquet has no rows\."):
        read(SENTIMENT, tmp_path / "data.parquet")
    with pytest.raises(InputError, match=r"is not a Parquet file"):
        read(SENTIMENT, written(tmp_path, "text,label\n", "text.parquet"))
