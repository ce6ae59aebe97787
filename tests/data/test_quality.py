"""What is said of data is so: each fault that was put in is found, and no other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nlp_rnn.data.quality import near_duplicates, normal

WORDS = (
    *("river", "stone", "walks", "under", "light", "every", "morning", "while", "seven", "quiet", "boats", "carry"),
    *("old", "letters", "across", "some", "harbour"),
)


def sentences(count, seed=0):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, 12)) for _ in range(count)]


def jaccard(a, b):
    first, second = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b))
    return len(first & second) / len(first | second)


def test_near_duplicates_are_those_that_comparing_all_pairs_finds():
    texts = sentences(120)
    texts += [text.replace("river", "rivers", 1) for text in texts[:15]] + [f"{text} too" for text in texts[15:30]]
    expected = {
        b
        for b in range(len(texts))
        if any(texts[a] != texts[b] and jaccard(texts[a], texts[b]) >= 0.85 for a in range(b))
    }
    found = {b: (a, alike) for a, b, alike in near_duplicates(texts)}
    assert len(expected) > 20
    assert len(expected - set(found)) <= 1, "a chance of MinHash"
    for b, (a, alike) in found.items():
        assert alike == pytest.approx(jaccard(texts[a], texts[b]), abs=1e-6)
        assert alike >= 0.8


def test_texts_are_compared_with_their_signs():
    assert normal("GREAT,  film :)") == "great, film :)" != normal("great, film :(")
    assert list(near_duplicates(["", "", "a", "a b"])) == []


def test_held_out_texts_are_compared_with_those_of_training():
    known = sentences(5)
    copies = [f"{text} {word}" for text in known for word in ("a", "b", "c", "d")]
    assert {b for _, b, _ in near_duplicates([*known, *copies], len(known))} == set(range(5, 25))
    assert all(a < 5 for a, _, _ in near_duplicates([*known, *copies], len(known)))


@pytest.fixture
def faulty(tmp_path):
    rows = [(text, "positive" if k % 2 else "negative") for k, text in enumerate(sentences(60))]
    rows += [(rows[0][0].upper() + "!", "positive"), ("<b>fine</b> &amp; good", "positive"), ("...", "negative")]
    rows += [("the cafÃ© was fine and the bread was fresh", "odd")]
    test = [(rows[3][0], "positive"), (rows[4][0] + " too", "negative"), (sentences(1, seed=9)[0], "negative")]
    for name, some in (("train", rows), ("test", test)):
        lines = [json.dumps({"text": text, "label": label}) for text, label in some]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_faults_of_data_are_found_before_training(command, faulty):
    options = (
        "--data",
        faulty / "train.jsonl",
        "--data.test",
        faulty / "test.jsonl",
        "--data.validation-fraction",
        0.0,
    )
    code, out, error = command("data", "sentiment", *options[:4], "--json")
    assert code == 0, error
    found = json.loads(out)
    train, said = found["splits"]["train"], " ".join(found["readings"])
    assert found["leaks"]["test"][0] + found["leaks"]["test"][1] >= 1
    assert train["labels"]["negative"] > 20
    assert "HTML tags or entities" in said
    assert "UTF-8 that was read as another encoding" in said
    assert "Fewer than 10 records have the label odd" in said
    assert "texts have no word" in said
    code, out, _ = command("data", "sentiment", *options)
    assert code == 0
    assert "texts that occur before" in out
    assert "occur in the training data too" in out


def test_whose_data_they_are_must_be_said(command):
    code, _, error = command("data")
    assert (code, "Say whose data they are" in error) == (2, True)
