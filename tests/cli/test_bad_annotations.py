"""Bad annotations and vectors get one clear sentence that says what to do, and exit code 2."""

from __future__ import annotations

import gzip
import json

import pytest

from nlp_rnn.config.values import override
from nlp_rnn.tasks.ner import TASK
from tests.subjects import SUBJECTS

SETTINGS = ("--embedding.size", 4, "--stack.units", 2, "--train.epochs", 1, "--data.validation_fraction", 0.3)
GOOD = "Ada B-PER\nmet O\nBob B-PER\n. O\n\nIn O\nRome B-LOC\n\n" * 10


@pytest.fixture
def training_fails(command, tmp_path):
    """Trains on a file with the given content: → the message."""

    def call(content: str | list, *arguments: object) -> str:
        path = tmp_path / ("data.conll" if isinstance(content, str) else "data.jsonl")
        path.write_text(content if isinstance(content, str) else "\n".join(map(json.dumps, content)))
        code, out, err = command("train", "ner", "--data", path, "--out", tmp_path / "run", *SETTINGS, *arguments)
        assert code == 2, err
        assert out == ""
        assert "Traceback" not in err
        assert not (tmp_path / "run" / "model.keras").exists()
        return " ".join(err.replace("│", " ").split())

    return call


@pytest.fixture
def read(tmp_path):
    """Reads a file with the given content, which must succeed: → the configuration, the records and the assets."""

    def call(content: str | list, **sections: object) -> tuple:
        path = tmp_path / ("data.conll" if isinstance(content, str) else "data.jsonl")
        path.write_text(content if isinstance(content, str) else "\n".join(map(json.dumps, content)))
        data = {"train": [str(path)], "validation_fraction": 0.3, **sections.pop("data", {})}
        config = override(TASK.Config(), {"data": data, **sections})
        records = TASK.read(config, "train")
        return config, records, TASK.assets(config, records)

    return call


def test_too_few_columns(training_fails):
    message = training_fails(GOOD + "Ada\nmet O\n")
    assert "data.conll, line 81: 1 column where the lines before have 2; every token needs the same" in message
    message = training_fails(GOOD, "--data.tag_column", 3)
    assert "line 1: 2 columns; --data.token_column 0 or --data.tag_column 3 is out of range." in message


def test_unknown_tag_and_unknown_scheme(training_fails):
    message = training_fails(GOOD + "Ada PERSON\n")
    assert (
        'data.conll, line 81, token 1: "PERSON" is not a tag: use O, or a prefix and a label, such as B-PER.' in message
    )
    assert "invalid choice" in training_fails(GOOD, "--data.scheme", "iob3").lower()


def test_tags_that_no_scheme_allows(training_fails):
    assert "mix E-, S- (IOBES) with L-, U- (BILOU)" in training_fails("Ada S-PER\nmet O\nBob U-PER\n\n" * 9)
    message = training_fails("Ada I-PER\nmet O\n\nBob E-PER\nran O\n\n" * 9)
    assert "sentences with entities violate the scheme IOBES, the first in line" in message
    assert "no scheme allows these tags; correct them, or name the scheme with --data.scheme." in message


def test_spans_outside_the_text_or_overlapping(training_fails):
    def row(*spans):
        return {"text": "Ada met Bob", "entities": [{"start": a, "end": b, "label": "PER"} for a, b in spans]}

    message = training_fails([row((0, 3)), row((8, 12))])
    assert "data.jsonl, line 2: the entity 8–12 (PER) is not within the text of 11 characters" in message
    assert "line 1: the entity 3–3 (PER) is not within" in training_fails([row((3, 3))])
    message = training_fails([row((0, 7), (4, 11))])
    assert "line 1: the entities 'Ada met' and 'met Bob' (PER) overlap; keep one of them." in message
    message = training_fails([{"text": "Ada", "entities": [{"start": "0", "end": 3, "label": "PER"}]}])
    assert 'line 1: "entities" must be a list of entities such as {"start": 0' in message


def test_records_that_are_not_annotated(training_fails):
    message = training_fails([{"text": "Ada"}])
    assert "line 1: neither tokens with tags nor a text with entities; name their fields with --data.tokens" in message
    assert 'no column "text"; it has: words, ner.' in training_fails([{"words": ["Ada"], "ner": ["S-PER"]}])
    message = training_fails([{"tokens": ["Ada", "met"], "tags": ["O"]}])
    assert "line 1: 2 tokens but 1 tags; each token needs one." in message
    assert '"tokens" must be a list of texts' in training_fails([{"tokens": "Ada met", "tags": ["O", "O"]}])
    assert "The training data contain no entities" in training_fails([{"text": "Ada", "entities": []}] * 9)


def test_empty_sentences(training_fails, read):
    assert "All sentences are empty" in training_fails([{"tokens": [], "tags": []}, {"text": " ", "entities": []}])
    rows = [{"tokens": ["Ada"], "tags": ["S-PER"]}] * 20 + [{"tokens": [], "tags": []}] * 3
    _, records, _ = read(rows, data={"validation_fraction": 0.0})
    assert records.dropped == {"empty sentence": 3}


def test_a_token_of_ten_thousand_characters_and_a_script_never_seen(command, at_hand):
    run = SUBJECTS["ner"].run
    at_hand(run)
    code, out, _ = command("predict", run.path, "こんにちは 世界", "x" * 10_000, "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["こんにちは 世界", "x" * 10_000]


def test_a_label_that_never_occurs(training_fails, command, at_hand, tmp_path):
    message = training_fails(GOOD, "--data.labels", "PRE", "person")
    assert 'data.labels renames "PRE", which never occurs in the training data. Did you mean "PER"?' in message
    at_hand(SUBJECTS["ner"].run)
    (tmp_path / "test.conll").write_text("Ada B-PERS\n")
    code, _, err = command("evaluate", SUBJECTS["ner"].path, "--data", tmp_path / "test.conll")
    assert code == 2
    assert 'The label "PERS" (line 1) does not occur in the training data. Did you mean "PER"?' in " ".join(err.split())


def vectors(tmp_path, content, name="vectors.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return "--embedding.vectors", path


def test_vectors_that_do_not_fit(training_fails, tmp_path):
    message = training_fails(GOOD, *vectors(tmp_path, "ada 1 2 3\nrome 1 2 3\n"))
    assert "vectors.txt has 3 dimensions: give --embedding.size 3." in message
    message = training_fails(GOOD, *vectors(tmp_path, "ada 1 2 3 4\nrome 1 2\n"))
    assert "vectors.txt, line 2: 2 dimensions where the lines before have 4; the file is cut off or damaged." in message
    whole = gzip.compress(b"".join(b"word%d 1 2 3 %d\n" % (i, i * i) for i in range(5000)))
    message = training_fails(GOOD, *vectors(tmp_path, whole[:-2000], "vectors.gz"))
    assert "vectors.gz" in message
    assert "cut off or damaged" in message


def test_vectors_with_a_header(read, tmp_path):
    _, path = vectors(tmp_path, "2 4\nada 1 2 3 4\nrome 1 2 3 4\n")
    _, _, assets = read(GOOD, embedding={"vectors": str(path), "size": 4})
    assert "vectors for 33.3% of the 6 words" in assets.notes[0]
    assert assets.initial["vectors"].shape == (assets.tokenizer.size, 4)


def test_settings_that_would_do_nothing(training_fails):
    assert "--train.class_weights has no effect in named entity recognition" in training_fails(
        GOOD, "--train.class_weights", "balanced"
    )


def test_a_label_with_one_example_stays_in_training(read):
    rows = [{"tokens": ["Ada"], "tags": ["S-PER"]}] * 9 + [{"tokens": ["Rome"], "tags": ["S-RARE"]}]
    for seed in range(3):
        _, records, assets = read(rows, data={"validation_fraction": 0.9}, train={"seed": seed})
        assert "RARE" in assets.labels
        assert len(records) < len(rows)
