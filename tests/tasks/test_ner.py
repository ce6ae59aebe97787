"""Named entity recognition from end to end, as a user meets it."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path

import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.data.records import Records
from nlp_rnn.data.words import sentences_of
from nlp_rnn.tasks.ner import TASK
from nlp_rnn.text.lookup import WordTokenizer
from nlp_rnn.text.schemes import spans_of, tags_of
from tests import subjects
from tests.conftest import ROOT
from tests.subjects import SUBJECTS

TEXTS = [
    "Ada Lovelace met Charles Babbage in London.",
    "No entity here.",
    "",
    "  \n ",
    "Ａｄａ Lovelace’s cat 🐈‍⬛ saw José in São Paulo!\nShe left on Monday.",
    "日本 Ελλάδα Москва",
    "a\x00b \ud800 c",
    "x" * 10_000,
    "We met in Berlin on Friday. " * 60,
]
LABELS = ("date", "event", "location", "organisation", "person", "product")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the starter corpus, trained for a few epochs."""
    settings = {"epochs": 3, "learning_rate": 0.01}
    return nlp_rnn.train("ner", out=tmp_path_factory.mktemp("runs") / "ner", train=settings)


def assert_learned(run, f1, unseen):
    assert run.assets.labels == LABELS
    assert run.metrics["f1"] > f1
    assert run.metrics["f1_unseen"] > unseen
    assert run.metrics["ece"] < 0.25
    assert 0.25 < run.metrics["unseen"] / run.metrics["entities"] < 0.45
    assert (run.path / "plots" / "confusion.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # trains on the starter
def test_the_starter_learns_entities_it_has_never_seen(run):
    assert_learned(run, f1=0.55, unseen=0.35)


@pytest.mark.slow  # half a minute
def test_the_starters_recipe_reaches_what_it_says(tmp_path):
    assert_learned(nlp_rnn.train("ner", out=tmp_path / "run"), f1=0.78, unseen=0.55)


@pytest.mark.slow  # trains on the starter
def test_entities_stand_in_the_text_as_it_was_given(run):
    documents = run(TEXTS)
    for text, document in zip(TEXTS, documents, strict=True):
        assert document.text == text
        places = [(entity.start, entity.end) for entity in document.entities]
        assert places == sorted(places)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(places)), "no overlap"
        for entity in document.entities:
            assert entity.text == text[entity.start : entity.end] != ""
            assert entity.label in LABELS
            assert 0 < entity.confidence <= 1
    assert [e.label for e in documents[-1].entities].count("date") > 30, "long documents are read to their end"
    assert documents[1].entities == documents[2].entities == documents[3].entities == []


@pytest.mark.slow  # trains on the starter
def test_sentences_of_a_document_are_read_like_sentences(run):
    first, second = "Mr. Ito flew to Oslo.", "Siemens opened a plant in Porto on 3 May."
    document = run(f"{first} {second}")
    apart = [(e.start, e.end, e.label) for e in run(first).entities]
    shift = len(first) + 1
    apart += [(e.start + shift, e.end + shift, e.label) for e in run(second).entities]
    assert [(e.start, e.end, e.label) for e in document.entities] == apart


@pytest.fixture(scope="module")
def served():
    """The signatures of a SavedModel of a few sentences."""
    return tf.saved_model.load(str(SUBJECTS["ner"].exported)).signatures


@pytest.mark.slow  # an export; the contract compares one with its run
def test_an_export_finds_the_entities_that_the_run_finds(served):
    texts = [*SUBJECTS["ner"].inputs, *(text for text in TEXTS if "\x00" not in text)]
    out = {name: value.numpy() for name, value in served["serving_default"](text=tf.constant(texts)).items()}
    found = SUBJECTS["ner"].run(texts)
    assert sum(len(document.entities) for document in found) > 5
    for row, document in enumerate(found):
        spans = spans_of([tag.decode() for tag in out["tags"][row] if tag])
        starts, ends, confidences = (out[name][row] for name in ("starts", "ends", "confidences"))
        assert [(starts[first], ends[last - 1], label) for first, last, label in spans] == document.spans
        sure = [confidences[first] for first, _, _ in spans]
        assert sure == pytest.approx([e.confidence for e in document.entities], abs=1e-4)
    assert served["serving_default"](text=tf.constant([""]))["tags"].shape == (1, 0)
    assert served["serving_default"](text=tf.constant([], tf.string))["tags"].shape == (0, 0)


def test_ids_can_be_served_too(served):
    run, text = SUBJECTS["ner"].run, SUBJECTS["ner"].inputs[0]
    batches = run.task.batches(run.config, run.assets, Records([{"text": text}]), None)
    ((_, features),) = batches.indexed()
    ids = {name: tf.constant(features[name]) for name in ("tokens", "characters", "case")}
    out = served["tokens"](**ids)
    spans = spans_of([tag.decode() for tag in out["tags"].numpy()[0]])
    assert [label for _, _, label in spans] == [entity.label for entity in run(text).entities] == ["PER", "PER"]


@pytest.mark.slow  # trains on the starter
def test_entities_are_shown_in_place(run):
    document = run(TEXTS[0])
    assert document.entities
    page = document._repr_html_()
    assert page.count("<mark") == len(document.entities)
    plain = document.__rich__().plain
    for entity in document.entities:
        assert entity.text in plain
        assert entity.label in plain
    hostile = type(document)('<b> & "x"', [])
    assert "&lt;b&gt; &amp;" in hostile._repr_html_()


# Forms of input ------------------------------------------------------------------------------------------------------

SENTENCES = [
    *subjects.SENTENCES,
    (["Nothing"], []),
    (["Rome", "Paris"], [(0, 1, "LOC"), (1, 2, "LOC")]),
]


def conll(scheme, columns=2, separator=" "):
    lines = ["-DOCSTART- " + "O " * (columns - 1), ""]
    for tokens, spans in SENTENCES:
        tags = tags_of(len(tokens), spans, scheme)
        lines += [separator.join([token, *["x"] * (columns - 2), tag]) for token, tag in zip(tokens, tags, strict=True)]
        lines.append("")
    return "\n".join(lines)


def tokens_and_tags(row):
    tokens, spans = row
    return {"tokens": tokens, "tags": tags_of(len(tokens), spans, "iob2")}


def text_and_entities(row):
    return subjects.text_and_entities(*row)


def records_of(path, **data):
    settings = {"train": [str(path)], "validation_fraction": 0.0, **data}
    records = TASK.read(override(TASK.Config(), {"data": settings}), "train")
    return records, [(row["text"], [(e["start"], e["end"], e["label"]) for e in row["entities"]]) for row in records]


EXPECTED = [
    (row["text"], [(e["start"], e["end"], e["label"]) for e in row["entities"]])
    for row in map(text_and_entities, SENTENCES)
]


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_conll_files_in_every_scheme(scheme, tmp_path):
    path = tmp_path / "data.conll"
    path.write_text(conll(scheme))
    records, found = records_of(path)
    assert found == EXPECTED
    assert f"tags in {scheme.upper()}" in "; ".join(records.notes)
    assert [row["line"] for row in records] == [3, 8, 14, 16]


def test_conll_files_with_tabs_columns_and_gzip(tmp_path):
    path = tmp_path / "data.conll.gz"
    path.write_bytes(gzip.compress(conll("iob2", 4, "\t").encode()))
    assert records_of(path)[1] == EXPECTED
    path = tmp_path / "turned.conll"
    path.write_text("\n".join(" ".join(reversed(line.split())) for line in conll("iob2").splitlines()[2:]))
    assert records_of(path, token_column=1, tag_column=0)[1] == EXPECTED


@pytest.mark.parametrize("form", [tokens_and_tags, text_and_entities])
def test_json_lines(form, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(form(row)) for row in SENTENCES))
    assert records_of(path)[1] == EXPECTED


def test_other_names_for_fields_and_labels(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [{"words": row["tokens"], "ner": row["tags"]} for row in map(tokens_and_tags, SENTENCES)]
    path.write_text("\n".join(map(json.dumps, rows)))
    _, found = records_of(path, tokens="words", tags="ner", labels={"PER": "person"})
    assert found == [(t, [(a, b, {"PER": "person"}.get(c, c)) for a, b, c in spans]) for t, spans in EXPECTED]


def test_class_labels_of_a_hub_data_set(tmp_path):
    import datasets

    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    rows = {name: [tokens_and_tags(row)[name] for row in SENTENCES] for name in ("tokens", "tags")}
    rows["tags"] = [[names.index(tag) for tag in tags] for tags in rows["tags"]]
    label = datasets.ClassLabel(names=names)
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(label)})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data.parquet")
    assert records_of(tmp_path / "data.parquet")[1] == EXPECTED


def test_ill_formed_sentences_and_empty_ones_are_counted(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [
        *map(tokens_and_tags, SENTENCES * 3),
        {"tokens": ["a", "b"], "tags": ["O", "I-PER"]},
        {"tokens": [], "tags": []},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    records, found = records_of(path)
    assert "1 ill-formed sentences (the first in line 13)" in "; ".join(records.notes)
    assert found[-1] == ("a b", [(2, 3, "PER")]), "read as conlleval reads it"
    assert records.dropped == {"empty sentence": 1}


def test_entities_within_words_are_widened_and_counted(tmp_path):
    text = "In Londonderry. Bob slept at St. Pancras Station"
    entities = [
        {"start": 3, "end": 9, "label": "LOC"},
        {"start": 9, "end": 14, "label": "LOC"},
        {"start": 29, "end": 48, "label": "LOC"},
    ]
    (tmp_path / "few.jsonl").write_text(json.dumps({"text": text, "entities": entities}) + "\n")
    records, ((_, spans),) = records_of(tmp_path / "few.jsonl")
    assert records.notes == (
        "entities extended to whole words: 1",
        "entities that share a word with another or contain none, which cannot be found: 1",
    )
    assert spans == [(3, 14, "LOC"), (9, 14, "LOC"), (29, 48, "LOC")]
    found = sentences_of(WordTokenizer([], split="fine"), records, 100, with_entities=True)
    assert found.lengths.tolist() == [3, 7]
    assert found.spans == [[(1, 2, "LOC")], [(3, 7, "LOC")]]


@pytest.fixture(scope="module")
def own():
    """A run on annotations of one's own."""
    return SUBJECTS["ner"].run


def test_own_annotations_are_learned_and_measured(own, command, at_hand, tmp_path):
    at_hand(own)
    code, stdout, _ = command("evaluate", own.path, "--data", own.config.data.train[0], "--json")
    scores = json.loads(stdout)
    assert code == 0
    assert list(scores)[:4] == ["f1", "precision", "recall", "ece"]
    assert scores["f1"] == 1.0
    (tmp_path / "more.conll").write_text(conll("iob1"))
    code, stdout, _ = command("evaluate", own.path, "--data", tmp_path / "more.conll", "--errors", 5)
    assert code == 0
    assert "LOC" in stdout.split("Results")[1]
    assert any(kind in stdout for kind in ("missed LOC", "wrong limits", "read as", "invented"))


def test_predictions_of_texts_and_of_tokens(own, command, at_hand, tmp_path):
    at_hand(own)
    code, stdout, _ = command("predict", own.path, "Ada met Bob .", "--json")
    document = json.loads(stdout)
    assert [(e["start"], e["end"], e["label"]) for e in document["entities"]] == [(0, 3, "PER"), (8, 11, "PER")]
    code, stdout, _ = command("predict", own.path, "Ada met Bob .")
    assert stdout.startswith("[Ada|PER ")
    (tmp_path / "in.conll").write_text("Ada\nmet\nBob\n.\n\nIn\nNew\nYork\nBob\nslept\n")
    code, _, log = command("predict", own.path, "--input", tmp_path / "in.conll", "--output", tmp_path / "out.csv")
    assert code == 0, log
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


@pytest.mark.slow  # traces it anew
def test_fine_tuning_with_fit(own, tmp_path):
    rows = [
        {"text": f"The zarkon{i} sang.", "entities": [{"start": 4, "end": 10 + len(str(i)), "label": "LOC"}]}
        for i in range(48)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tuned = nlp_rnn.load(own.path)
    tuned.compile(learning_rate=0.02)
    tuned.model.fit(tuned.batches({"train": str(tmp_path / "mine.jsonl")}), epochs=6, verbose=0)
    assert [e.label for e in tuned("The zarkon99 sang.").entities] == ["LOC"]


@pytest.mark.slow  # four trainings
def test_ablations_build(tmp_path):
    (tmp_path / "mine.conll").write_text(conll("iob2") * 5)
    for number, sections in enumerate(
        [
            {"head": {"kind": "softmax"}},
            {"embedding": {"characters": "none", "case_size": 0}},
            {"stack": {"cell": "simple_rnn", "bidirectional": False}},
            {"embedding": {"characters": "lstm"}},
        ]
    ):
        settings = {**sections, "data": {"train": [str(tmp_path / "mine.conll")]}, "train": {"epochs": 1}}
        run = nlp_rnn.train("ner", out=tmp_path / str(number), **settings)
        assert run("Ada met Bob").text == "Ada met Bob"


@pytest.mark.skipif("NLP_RNN_DATA" not in os.environ, reason="NLP_RNN_DATA is not set")
def test_conll_2003_is_read_as_published():
    folder = Path(os.environ["NLP_RNN_DATA"]) / "conll2003"
    records, found = records_of(folder / "eng.testa.gz", format="conll")
    assert len(records) == 3466 - 216
    assert sum(len(spans) for _, spans in found) == 5942
    assert records.notes == ("tags in IOB1",)


def test_starter_corpus_is_sound():
    seen = set()
    for split in ("train", "validation", "test"):
        path = ROOT / "nlp_rnn" / "tasks" / "ner" / "starter" / f"{split}.jsonl"
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            assert row["text"] not in seen
            seen.add(row["text"])
            for entity in row["entities"]:
                name = row["text"][entity["start"] : entity["end"]]
                assert entity["label"] in LABELS
                assert name == name.strip() != ""
    assert len(seen) >= 1500
