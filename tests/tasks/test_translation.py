"""What is translation's own; what every task does is in tests/test_contract.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError
from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.tasks.translation import TASK, candidates, explain, score
from nlp_rnn.tasks.translation.starter import LANGUAGES, split_pairs
from tests.conftest import slow
from tests.subjects import ENGLISH, GERMAN, SUBJECTS

SMALL = (
    "--tokenizer.kind", "character", "--embedding.size", 32, "--stack.units", 32, "--decoder.units", 48,
    "--decoder.attention_units", 32, "--train.epochs", 30, "--train.batch_size", 8, "--train.learning_rate", 0.01,
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "train.en").write_text("\n".join(ENGLISH * 20) + "\n")
    (folder / "train.de").write_text("\n".join(GERMAN * 20) + "\n")
    return folder


@pytest.fixture(scope="module")
def run():
    """A run that has learned its few phrases by heart."""
    return SUBJECTS["translation"].run


def test_it_learns_and_predicts(run, command, at_hand, tmp_path):
    at_hand(run)
    assert run.metrics["exact_match"] == 1.0
    assert run.metrics["bleu"] > 99 or run.metrics["chrf"] > 99
    assert [p.translation for p in run(ENGLISH)] == GERMAN
    (tmp_path / "in.en").write_text("\n".join(ENGLISH) + "\n")
    code, out, log = command("predict", run.path, "--input", tmp_path / "in.en")
    assert code == 0, log
    assert out.splitlines() == GERMAN
    code, out, _ = command("evaluate", run.path, "--data", tmp_path / "in.en", tmp_path / "in.en", "--json")
    assert json.loads(out)["exact_match"] == 0.0
    assert "13a" in json.loads(out)["bleu_signature"]


@pytest.mark.slow  # several searches, each traced
def test_candidates_attention_and_lines_at_the_command_line(run, command, at_hand, tmp_path):
    at_hand(run)
    code, out, log = command("predict", run.path, "two cats", "--beam", 6, "--n-best", 3, "--json")
    assert code == 0, log
    ranked = [json.loads(line) for line in out.splitlines()]
    assert [found["rank"] for found in ranked] == [1, 2, 3]
    assert ranked[0]["translation"] == "zwei Katzen"
    assert [found["score"] for found in ranked] == sorted((found["score"] for found in ranked), reverse=True)
    assert "".join(ranked[0]["source_tokens"]) == "two·cats"
    assert len(ranked[0]["attention"]) == len(ranked[0]["target_tokens"]) == len("zwei Katzen")
    assert all(sum(row) == pytest.approx(1, abs=0.01) for row in ranked[0]["attention"])
    code, out, log = command("predict", run.path, "two cats", "--attention", tmp_path / "map.png")
    assert code == 0, log
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    code, out, log = command("predict", run.path, "two cats", "--attention", "-")
    assert code == 0, log
    header, *rows = out.splitlines()
    assert header.split() == list("two·cats")
    assert [row[0] for row in rows[:11]] == list("zwei·Katzen")
    assert any(shade in out for shade in "░▒▓█")
    (tmp_path / "in.en").write_text("\n".join(ENGLISH) + "\n")
    code, out, log = command("predict", run.path, "--input", tmp_path / "in.en", "--output", tmp_path / "out.de")
    assert (code, out) == (0, ""), log
    assert (tmp_path / "out.de").read_text().splitlines() == GERMAN
    greedy = command("predict", run.path, "two cats", "--beam", 1)[1].splitlines()
    assert greedy == ["zwei Katzen"]


def test_a_given_translation_is_scored(run, command, at_hand, files):
    at_hand(run)
    plain = candidates(run, ENGLISH, 2, length_penalty=0.0)
    pairs = [{"source": c.source, "target": c.translation} for ranked in plain for c in ranked]
    for forced, found in zip(score(run, Records(pairs)), (c for ranked in plain for c in ranked), strict=True):
        assert forced.log_probability == pytest.approx(found.score, abs=1e-3)
        assert forced.tokens == len(found.target_tokens) + 1
        assert forced.perplexity == pytest.approx(np.exp(-forced.log_probability / forced.tokens), rel=1e-4)
    code, out, log = command("score", run.path, "--data", files / "train.en", files / "train.de", "--json")
    assert code == 0, log
    assert [json.loads(line)["target"] for line in out.splitlines()] == GERMAN * 20


def test_what_made_each_word_of_a_translation_likely(run, command, at_hand, monkeypatch):
    source, target = "2 hats and a coat", "ein alter Hut"
    found = explain(run, source, target)
    assert [one.said for one in found] == target.split()
    for one in found:
        assert sum(value for *_, value in one.tokens) == pytest.approx(one.score - one.base, rel=0.05, abs=0.01)
        assert "".join(source[a:b] for a, b, _ in one.tokens).replace(" ", "") == source.replace(" ", "")
    features = {name: tf.constant(value) for name, value in forced(run, source, target).items()}
    nats, _ = run.model.nats(features, features["targets"])
    assert sum(one.score for one in found) == pytest.approx(-float(tf.reduce_sum(nats[:, :-1])), rel=1e-4)
    at_hand(run)
    code, out, error = command("explain", run.path, source, "--json")
    assert code == 0, error
    rows = [json.loads(line) for line in out.splitlines()]
    assert " ".join(row["said"] for row in rows) == " ".join(run(source).translation.split())
    monkeypatch.setattr("nlp_rnn.tasks.translation.explaining.explain", lambda *given: [])
    code, out, error = command("explain", run.path, source, "--json")
    assert (code, out) == (0, "")
    assert "The translation is empty: 2 hats" in error
    monkeypatch.undo()
    code, _, error = command("explain", run.path, " ")
    assert (code, "There is no text to explain" in error) == (2, True)


def forced(run, source, target):
    """One row of both, as `Translator.nats` takes them."""
    batches = run.batches_of(Records([{"source": source, "target": target}]))
    (_, features), *_ = batches.indexed()
    lengths = {"source": int((features["source"][0] != 0).sum()), "target": int((features["targets"][0] != 0).sum())}
    names = {"source": "source", "target": "target", "targets": "target"}
    return {name: features[name][:1, : lengths[of]] for name, of in names.items()}


@pytest.mark.slow  # an export with a search of its own
def test_the_second_signature_is_what_candidates_finds(run):
    served = tf.saved_model.load(str(SUBJECTS["translation"].exported)).signatures["n_best"]
    out = {name: value.numpy() for name, value in served(source=tf.constant(ENGLISH)).items()}
    for i, ranked in enumerate(candidates(run, ENGLISH, 3)):
        for j, found in enumerate(ranked):
            assert out["translations"][i, j].decode() == found.translation
            assert out["scores"][i, j] == pytest.approx(found.score, abs=1e-3)
            rows, columns = len(found.target_tokens), len(found.source_tokens)
            np.testing.assert_allclose(out["attention"][i, j, :rows, :columns], found.attention, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one cat", "--beam", 2, "--n-best", 3], "--n-best 3 needs --beam 3 or more."),
        (["one cat", "--beam", 0], "width is 0; it must be at least 1."),
        (["one cat", "--n-best", 0], "n_best is 0; it must be at least 1."),
        (["one cat", "two", "--attention", "-"], "--plot draws exactly one text: give one as an argument."),
        (["one cat", "--attention", "a.txt"], "must end in .png, .svg or .pdf"),
    ],
)
def test_bad_options_of_predict(run, command, at_hand, arguments, message):
    at_hand(run)
    code, out, log = command("predict", run.path, *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(log.split())


def test_a_very_long_source_is_cut_and_translated(run, command, at_hand):
    at_hand(run)
    code, out, log = command("predict", run.path, "one cat " * 5000)
    assert code == 0, log
    assert len(out.splitlines()) == 1


def name_pairs():
    """Sentences of names, of which a third occur once, and whose order changes in translation."""
    generator, verbs = np.random.default_rng(0), [("sees", "sieht"), ("calls", "ruft"), ("likes", "mag")]
    pairs = []
    for i in range(300):
        names = [f"Rare{2 * i + k}" if generator.random() < 0.3 else f"N{generator.integers(12)}" for k in (0, 1)]
        one, other = verbs[i % 3]
        pairs.append((f"{names[0]} {one} {names[1]}", f"dort {other} {names[0]} {names[1]}"))
    return pairs


@pytest.fixture(scope="module")
def of_words(tmp_path_factory):
    """A word model of `name_pairs`, measured on 40 of them."""
    folder = tmp_path_factory.mktemp("names")
    pairs = name_pairs()
    for split, chosen in (("train", pairs), ("validation", pairs[:40])):
        for side, language in enumerate(("en", "de")):
            (folder / f"{split}.{language}").write_text("\n".join(pair[side] for pair in chosen) + "\n")
    both = {s: [str(folder / f"{s}.{language}") for language in ("en", "de")] for s in ("train", "validation")}
    return nlp_rnn.train(
        "translation",
        out=folder / "run",
        data=both,
        tokenizer={"kind": "word", "min_count": 3},
        embedding={"size": 32},
        stack={"units": 32},
        decoder={"units": 48, "attention_units": 32},
        search={"width": 2},
        train={"epochs": 12, "batch_size": 8, "learning_rate": 0.01},
    )


@pytest.mark.slow  # half a minute of training
def test_a_word_model_carries_names_over(of_words):
    said = [p.translation for p in of_words(["Zuse99 sees N3", "N5 likes Noether"])]
    assert said == ["dort sieht Zuse99 N3", "dort mag N5 Noether"]
    served = TASK.signatures(of_words.config, portable_copy(of_words.model), of_words.assets)
    out = served["serving_default"](tf.constant(["Zuse99 sees N3"]))
    assert out["translation"].numpy()[0].decode() == said[0]
    assert candidates(of_words, ["N5 likes Noether"], 2)[0][0].translation == said[1]


@pytest.mark.slow  # many searches are traced
def test_the_search_can_be_changed_after_training(of_words, command, at_hand):
    at_hand(of_words)
    data = ("--data", *of_words.config.data.validation)
    exact = [
        json.loads(command("evaluate", of_words.path, *data, "--json", *changed)[1])["exact_match"]
        for changed in (("--search.replace_unknown", "False"), ("--search.width", 1), ("--beam", 1))
    ]
    assert exact[1] > exact[0] + 0.3
    assert exact[1] == exact[2]
    with pytest.raises(InputError, match="width is 0; it must be at least 1"):
        of_words("N5 likes N3", width=0)
    code, _, log = command("evaluate", of_words.path, *data, "--search.no_repeat", 2, "--json")
    assert code == 0
    assert "--search.no_repeat has been renamed to --no_repeat_ngram." in log


def prepared(pair, **data):
    """The configuration, training records and assets of a pair of files."""
    settings = {"data": {"train": list(map(str, pair)), **data}, "tokenizer": {"kind": "character"}}
    config = override(TASK.Config(), settings)
    records = TASK.read(config, "train")
    return config, records, TASK.assets(config, records)


def test_long_targets_are_cut_and_counted(files, tmp_path):
    (tmp_path / "long.de").write_text("\n".join([*GERMAN * 19, *GERMAN[:-1], "ein " * 30]) + "\n")
    pair = (files / "train.en", tmp_path / "long.de")
    config, records, assets = prepared(pair, validation_fraction=0.0, max_tokens=20, max_ratio=0.0)
    assert TASK.batches(config, assets, records, None).cut == 1


def test_one_file_for_both_sides_is_noticed(files):
    assert "is given for both sides" in prepared([files / "train.en"] * 2)[2].notes[0]
    assert prepared((files / "train.en", files / "train.de"))[2].notes == ()


def test_the_other_direction(files):
    _, records, _ = prepared((files / "train.en", files / "train.de"), swap=True)
    assert (records[0]["source"], records[0]["target"]) in list(zip(GERMAN, ENGLISH, strict=True))


def test_what_is_dropped_is_counted(tmp_path):
    (tmp_path / "a").write_text("\n".join([*ENGLISH * 10, "", "", "a" * 100, "x"]) + "\n")
    (tmp_path / "b").write_text("\n".join([*GERMAN * 10, "", "leer", "b", ""]) + "\n")
    _, records, _ = prepared((tmp_path / "a", tmp_path / "b"), validation_fraction=0.0)
    assert records.dropped == {
        "both texts empty": 1,
        "one of the texts empty": 2,
        "one text more than 4 times as long as the other": 1,
    }


def test_bad_input(files, command, tmp_path):
    (tmp_path / "short.de").write_text("\n".join(GERMAN) + "\n")
    code, out, log = command(
        "train", "translation", "--data", files / "train.en", tmp_path / "short.de", "--out", tmp_path / "run"
    )
    assert (code, out) == (2, "")
    assert "which ends after line 5: parallel files need a line for each line of the other" in " ".join(log.split())
    code, _, log = command(
        "train", "translation", "--tokenizer.joint", "False", "--out", tmp_path / "run", "--train.epochs", 1
    )
    assert code == 2
    assert "--head.tied all needs a joint vocabulary" in " ".join(log.split())
    code, _, log = command("train", "translation", "--data", files / "train.en", "--out", tmp_path / "run")
    assert code == 2
    assert "train.en has only one side of the pairs: give two files" in " ".join(log.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--decoder.attention", "dot", "--decoder.units", 40],
            "decoder.units the size of the encoder's output",
        ),
        (
            ["--decoder.attention", "multi_head", "--decoder.attention_units", 30],
            "must be a multiple of heads, 4; it is 30",
        ),
        (["--decoder.units", 0], "decoder.units is 0; it must be at least 1 and at most 65536."),
        (["--stack.dropout", 2], "stack.dropout is 2.0; it must be at least 0 and below 1."),
        (["--train.learning_rate", -1], "train.learning_rate is -1.0; it must be above 0."),
        (["--train.clip_norm", "nan"], "train.clip_norm is nan; it must be at least 0."),
        (["--search.width", 0], "search.width is 0; it must be at least 1."),
    ],
)
def test_settings_of_which_no_model_can_be_built(files, command, tmp_path, options, message):
    pair = (files / "train.en", files / "train.de")
    code, _, log = command(
        "train", "translation", "--data", *pair, "--data.validation", *pair, "--out", tmp_path / "run", *SMALL, *options
    )
    assert code == 2, log
    assert message in " ".join(log.split())
    assert "Traceback" not in log


@pytest.mark.parametrize("target", [code if code == "de" else slow(code) for code in LANGUAGES if code != "en"])
def test_no_phrase_of_the_starters_test_is_in_training(target):
    splits = {name: {p["source"] for p in split_pairs(name, "en", target)} for name in ("train", "validation", "test")}
    assert [len(phrases) for phrases in splits.values()] == [8000, 400, 800]
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["validation"]
    assert not splits["validation"] & splits["test"]
    assert all(p["source"].strip() and p["target"].strip() for p in split_pairs("test", "en", target))
