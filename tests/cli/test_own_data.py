"""Training on data of one's own: what is found out from them, what is said, and what is refused at once."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import yaml

from nlp_rnn.config.recipes import load_recipe, recipe_names
from nlp_rnn.config.sections import TrainConfig
from nlp_rnn.config.values import override
from nlp_rnn.data.batching import Batches, Rows
from nlp_rnn.data.repeated import Repeated
from nlp_rnn.registry import get_task
from nlp_rnn.tasks.ner import TASK as NER
from nlp_rnn.tasks.ner import EntityOptions
from nlp_rnn.tasks.sentiment import TASK as SENTIMENT
from nlp_rnn.tasks.translation import TASK as TRANSLATION
from nlp_rnn.training.callbacks import Validation
from nlp_rnn.training.pace import pace_note, paced
from tests.conftest import slow
from tests.subjects import SUBJECTS

TINY = ("--embedding.size", 4, "--stack.units", 2, "--tokenizer.min_count", 1)


def write_reviews(path, count=60, words=3):
    rows = [
        f"{'fine' if i % 2 else 'dull'} {' '.join(['word'] * words)},{'pos' if i % 2 else 'neg'}" for i in range(count)
    ]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("steps_per_pass", "epochs", "passes"),
    [(131, 12, 1), (110, 12, 1), (34, 15, 3), (1, 157, 10), (262, 6, 1), (5000, 2, 1), (90, 17, 1)],
)
def test_other_data_are_trained_on_for_the_steps_of_the_recipe(steps_per_pass, epochs, passes):
    recipe = TrainConfig(epochs=12, steps=1572)
    found = paced(recipe, steps_per_pass)
    assert (found.epochs, found.passes) == (epochs, passes)
    assert paced(found, steps_per_pass) == found
    said = pace_note(recipe, found, steps_per_pass)
    assert (f"{epochs * passes * steps_per_pass:,} steps in {epochs} epochs" in said) == ((epochs, passes) != (12, 1))
    assert paced(TrainConfig(epochs=12), steps_per_pass) == TrainConfig(epochs=12)


@pytest.mark.parametrize("task", ["sentiment", "ner", "translation", "language-modeling"])
def test_every_recipe_says_its_steps(task):
    for name in recipe_names(get_task(task).resources):
        train = load_recipe(get_task(task).resources, task, name)["train"]
        assert train["steps"] % train["epochs"] == 0


@pytest.mark.slow  # several trainings
def test_epochs_that_are_given_are_passes(command, tmp_path):
    data, settings = write_reviews(tmp_path / "data.csv"), tmp_path / "settings.yaml"
    settings.write_text("train: {epochs: 2}\n")
    for number, given in enumerate([("--train.epochs=2",), ("--config", settings)]):
        out = tmp_path / f"run{number}"
        code, _, log = command("train", "sentiment", "--data", data, "--out", out, *TINY, *given)
        assert code == 0, log
        assert "The recipe trains for" not in log
        train = yaml.safe_load((out / "config.yaml").read_text())["train"]
        assert (train["epochs"], train["steps"], train["passes"]) == (2, 0, 1)
    settings = ("--train.passes", 2, "--train.batch_size", 64)
    code, _, log = command("train", "sentiment", "--data", data, "--out", tmp_path / "passes", *TINY, *settings)
    assert code == 0, log
    train = yaml.safe_load((tmp_path / "passes" / "config.yaml").read_text())["train"]
    assert (train["epochs"], train["passes"]) == (15, 2)


def test_small_data_are_passed_over_and_everything_is_said(command, tmp_path):
    data = write_reviews(tmp_path / "data.csv", words=3)
    steps = ("--train.steps", 60, "--train.epochs", 3, "--tokenizer.kind", "subword")
    code, _, log = command("train", "sentiment", "--data", data, "--out", tmp_path / "run", *TINY, *steps)
    said = " ".join(log.split())
    assert code == 0, log
    assert "The recipe trains for 60 steps, and so do these data: 60 steps in 3 epochs of 5 passes" in said
    assert "no more can be made of so little text (8,000 were asked for)." in said
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["train"]["epochs"], config["train"]["passes"]) == (3, 5)
    assert config["data"]["max_tokens"] == 128
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3


def test_an_epoch_of_several_passes_goes_on_anywhere():
    rows = Rows([(np.arange(1, 21, dtype=np.int32), np.full(10, 2))])
    source = Batches({"tokens": rows}, np.arange(10), batch_size=4, seed=3)
    repeated = Repeated(source, 3)
    assert repeated.steps_per_epoch == 9
    assert repeated.elements_per_epoch == 60

    def tokens(batches):
        return [features["tokens"].tolist() for features, *_ in batches]

    assert tokens(repeated.epoch(2)) == [*tokens(source.epoch(6)), *tokens(source.epoch(7)), *tokens(source.epoch(8))]
    for start in range(9):
        assert tokens(repeated.epoch(2, start)) == tokens(repeated.epoch(2))[start:]


def test_the_length_of_texts_is_found_out(tmp_path):
    path = tmp_path / "data.csv"
    lengths = [300 if i < 4 else 900 if i < 6 else 20 for i in range(100)]
    path.write_text("text,label\n" + "".join(f"{'w ' * n},{i % 2}\n" for i, n in enumerate(lengths)))
    config = override(SENTIMENT.Config(), {"data": {"train": [str(path)]}, "tokenizer": {"kind": "word"}})
    records = SENTIMENT.read(override(config, {"data": {"validation_fraction": 0.0}}), "train")
    assets = SENTIMENT.assets(config, records)
    found, said = SENTIMENT.settle(config, assets, records)
    assert found.data.max_tokens == 300
    assert said == "2.0% of the training texts are cut to 300 tokens (--data.max_tokens)."
    given = override(config, {"data": {"max_tokens": 7}})
    assert SENTIMENT.settle(given, assets, records) == (given, "")


def test_the_length_of_pairs_is_found_out(tmp_path):
    rows = [f"{'a ' * (400 if i == 0 else 120)}\t{'b ' * 9}" for i in range(50)]
    (tmp_path / "data.tsv").write_text("\n".join(["source\ttarget", *rows]) + "\n")
    settings = {"data": {"train": [str(tmp_path / "data.tsv")], "validation_fraction": 0.0, "max_ratio": 0.0}}
    config = override(TRANSLATION.Config(), {**settings, "tokenizer": {"kind": "word"}})
    records = TRANSLATION.read(config, "train")
    found, said = TRANSLATION.settle(config, TRANSLATION.assets(config, records), records)
    assert found.data.max_tokens == 250
    assert said == "2.0% of the sources are cut to 250 tokens (--data.max_tokens)."


@pytest.mark.slow  # a training of its own
def test_a_model_that_says_the_same_of_everything_is_noticed(command, tmp_path):
    data = write_reviews(tmp_path / "data.csv", count=120)
    arguments = ("--data", data, "--out", tmp_path / "run", *TINY, "--train.epochs", 1, "--train.learning_rate", 1e-9)
    code, _, log = command("train", "sentiment", *arguments)
    said = " ".join(log.split())
    assert code == 0
    assert "The model says the same of all 12 validation records (" in said
    assert "it has not learned the task. Train longer (--train.epochs)" in said
    notes = SENTIMENT.read(override(SENTIMENT.Config(), {"data": {"train": [str(data)]}}), "validation").notes
    assert notes == ("held out from the training data (10%, of every label alike, seed 0)",)


@pytest.mark.parametrize(
    ("tie", "best", "waited"),
    [("perplexity", 2, 1), ("", 3, 3)],
)
def test_ties_are_decided_by_the_loss(tmp_path, tie, best, waited):
    import keras

    results = iter([(0.5, 9.0), (0.5, 7.0), (0.5, 3.0), (0.5, 4.0)])

    def measure():
        value, perplexity = next(results)
        return {"chrf": value, "perplexity": perplexity}

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    validation = Validation(measure, tmp_path, patience=9, tie=tie)
    validation.set_model(model)
    for epoch in range(4):
        validation.on_epoch_end(epoch, {"loss": 4.0 - epoch})
    assert (validation.best_epoch, validation.waited) == (best, waited)


def test_entities_that_no_text_has_seen_have_no_score():
    run = SUBJECTS["ner"].run
    records = run.task.read(run.config, "validation")
    metrics = run.evaluate(records)
    assert (metrics["unseen"], metrics["f1_unseen"], metrics["recall_unseen"]) == (0, None, None)
    from nlp_rnn.card import shown

    assert shown(metrics["f1_unseen"]) == "–"
    json.dumps(metrics)


@pytest.mark.slow  # a training of its own
def test_entities_of_little_confidence_are_left_out(command):
    run = SUBJECTS["ner"].run
    text = "Ada met Bob . In New York Bob slept"
    entities = run(text).entities
    limit = sorted(entity.confidence for entity in entities)[1]
    sure = [entity for entity in entities if entity.confidence >= limit]
    assert 0 < len(sure) < len(entities)
    assert run(text, min_confidence=limit).entities == sure
    code, out, _ = command("predict", run.path, text, "--min-confidence", limit, "--json")
    assert (code, len(json.loads(out)["entities"])) == (0, len(sure))
    assert NER.options(run.config) == EntityOptions()
    assert run.evaluate(run.task.read(run.config, "validation"), EntityOptions(1.0))["recall"] == 0


def test_too_few_records_to_hold_some_out(command, tmp_path):
    (tmp_path / "data.csv").write_text("text,label\na,pos\nb,neg\n")
    code, _, error = command("train", "sentiment", "--data", tmp_path / "data.csv", "--out", tmp_path / "runs" / "x")
    assert code == 2
    assert "give some with --data.validation; 2 training records are too few to hold some out of." in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("task", ["sentiment", slow("ner"), slow("translation")])
def test_a_wrong_column_is_seen_before_tensorflow_is_imported_and_leaves_nothing(tmp_path, python, task):
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    code = (
        "import os, sys; os.chdir(sys.argv[1])\n"
        "from nlp_rnn.cli import run_command\n"
        "code = run_command(None, ['train', sys.argv[2], '--data', 'data.csv'])\n"
        "print(code, 'tensorflow' in sys.modules, sorted(os.listdir()))"
    )
    assert python(code, tmp_path, task).strip() == "2 False ['data.csv']"


def test_predict_reads_columns_before_it_loads_the_model(fails_quickly, reviews, tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    for arguments in (("predict", reviews.path, "--input"), ("evaluate", reviews.path, "--data")):
        assert 'has no column "text"; it has: a, b.' in fails_quickly(*arguments, tmp_path / "data.csv")


@pytest.fixture
def fails_quickly(command, monkeypatch):
    """Runs a command that must fail before a model is loaded: → its message."""

    def load(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("nlp_rnn.run.load", load)

    def call(*arguments):
        code, out, error = command(*arguments)
        assert (code, out) == (2, "")
        return error

    return call


@pytest.mark.slow  # a training of its own
def test_empty_tokens_are_unknown_words(command, tmp_path):
    rows = [
        {"tokens": ["Ada", "", "met", "\u200b"], "tags": ["B-PER", "O", "O", "O"]},
        {"tokens": ["Rome", ""], "tags": ["B-LOC", "I-LOC"]},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 30))
    small = ("--stack.units", 4, "--embedding.size", 4, "--train.epochs", 1)
    code, _, log = command("train", "ner", "--data", tmp_path / "data.jsonl", "--out", tmp_path / "run", *small)
    assert code == 0, log
    config = override(NER.Config(), {"data": {"train": [str(tmp_path / "data.jsonl")], "validation_fraction": 0.0}})
    assert "empty tokens: 90" in NER.read(config, "train").notes
    code, out, _ = command("predict", tmp_path / "run", "--input", tmp_path / "data.jsonl", "--json")
    assert [json.loads(line)["text"] for line in out.splitlines()][:2] == ["Ada  met \u200b", "Rome "]


def test_a_few_records_without_a_mistake_do_not_make_a_model_sure_of_everything():
    from nlp_rnn.metrics.classification import cross_entropy, fit_temperature, softmax

    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 45)
    logits = np.where(np.arange(2) == targets[:, None], 3.0, -3.0) + generator.normal(0, 0.5, (45, 2))
    temperature = fit_temperature(logits, targets)
    assert softmax(logits / temperature).max() < 0.999
    many = np.tile(targets, 400)
    noisy = np.where(generator.random(len(many)) < 0.1, 1 - many, many)
    found = fit_temperature(np.tile(logits, (400, 1)), noisy)
    losses = {t: cross_entropy(np.tile(logits, (400, 1)) / t, noisy) for t in np.geomspace(0.5, 10, 60)}
    assert found == pytest.approx(min(losses, key=losses.get), rel=0.06)


def test_evaluating_what_predict_wrote_is_noticed(command, reviews, tmp_path):
    write_reviews(tmp_path / "data.csv", count=10)
    text = (tmp_path / "data.csv").read_text().replace(",pos", ",positive").replace(",neg", ",negative")
    (tmp_path / "data.csv").write_text(text)
    arguments = ("--input", tmp_path / "data.csv", "--keep", "label", "--output", tmp_path / "out.csv")
    assert command("predict", reviews.path, *arguments)[0] == 0
    code, _, log = command("evaluate", reviews.path, "--data", tmp_path / "out.csv", "--json")
    assert code == 0
    assert (
        "labels that may be predictions, since the file has a column of the same name with input. before it: 10" in log
    )
    _, _, log = command("evaluate", reviews.path, "--data", tmp_path / "out.csv", "--data.label", "input.label")
    assert "may be predictions" not in log


def test_labels_are_trimmed_and_what_may_be_mistakes_is_said(tmp_path):
    labels = ["pos", "neg", "pos ", "NEG", "neutral", "neg", "pos", "neg"] * 3
    labels = [label for i, label in enumerate(labels) if label not in ("NEG", "neutral") or i < 8]
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels)))
    settings = {"data": {"train": [str(path)], "validation_fraction": 0.0}, "tokenizer": {"kind": "word"}}
    config = override(SENTIMENT.Config(), settings)
    records = SENTIMENT.read(config, "train")
    assert records.notes == ("labels with blanks at their edges, which were cut off: 3",)
    assets = SENTIMENT.assets(config, records)
    assert set(assets.labels) == {"pos", "neg", "NEG", "neutral"}
    assert assets.notes == (
        "Labels that differ in case alone: NEG, neg.",
        "Labels of very few records: NEG (1), neutral (1).",
    )


@pytest.mark.slow  # a training of its own
def test_unknown_words_and_training_data_among_the_held_out_are_said(command, reviews, tmp_path):
    (tmp_path / "data.csv").write_text("text,label\nЖук,positive\nНет,negative\n")
    _, _, log = command("evaluate", reviews.path, "--data", tmp_path / "data.csv", "--json")
    assert "unknown tokens: 100%" in log
    _, _, log = command("predict", reviews.path, "--input", tmp_path / "data.csv", "--json")
    assert "unknown tokens: 100%, in the first 2 inputs" in log
    data = write_reviews(tmp_path / "own.csv")
    arguments = ("--data", data, "--data.test", data, "--out", tmp_path / "run", *TINY, "--train.epochs", 2)
    _, _, log = command("train", "sentiment", *arguments)
    said = " ".join(log.split())
    assert "60 of the 60 test inputs occur in the training data too." in said


def test_chinese_and_thai_are_split_by_character_also_in_sentiment():
    from nlp_rnn.text.lookup import WordTokenizer
    from nlp_rnn.text.normalization import Normalizer

    words = WordTokenizer([], Normalizer("nfkc")).tokens(["这部电影很好。OK", "หนังดีมาก"])
    assert words == [["这", "部", "电", "影", "很", "好", "。", "OK"], ["ห", "นั", "ง", "ดี", "ม", "า", "ก"]]


def test_columns_numbers_and_what_is_missing_are_inputs(reviews):
    import datasets
    import pandas
    import polars

    texts = ["a fine film", "a joyless film"]
    expected = [prediction.label for prediction in reviews(texts)]
    for column in (
        pandas.Series(texts),
        polars.Series(texts),
        datasets.Dataset.from_dict({"x": texts})["x"],
        tuple(texts),
    ):
        assert [prediction.label for prediction in reviews(column)] == expected
    assert [prediction.text for prediction in reviews([3, None, float("nan"), 2.5])] == ["3", "", "", "2.5"]
    from nlp_rnn.errors import InputError

    with pytest.raises(InputError, match=r"must be a text; it is a list"):
        reviews([["Ada"]])


BLANK = ["", "  \n", "one cat", "\u3000"]


def test_empty_texts_are_translated_by_empty_ones():
    run = SUBJECTS["translation"].run
    assert [bool(found.translation) for found in run(BLANK)] == [False, False, True, False]


@pytest.mark.slow  # an export
def test_an_export_translates_empty_texts_by_empty_ones():
    import tensorflow as tf

    loaded, texts = tf.saved_model.load(str(SUBJECTS["translation"].exported)), BLANK
    served = loaded.signatures["serving_default"](source=tf.constant(texts))["translation"].numpy()
    assert [bool(text) for text in served] == [False, False, True, False]
    best = loaded.signatures["n_best"](source=tf.constant(texts))["translations"].numpy()
    assert [any(row) for row in best.tolist()] == [False, False, True, False]


def test_places_that_are_taken_are_refused(reviews, command, tmp_path):
    from nlp_rnn.errors import InputError

    (tmp_path / "file.txt").write_text("x")
    for path in (tmp_path / "file.txt", tmp_path):
        with pytest.raises(InputError, match="holds something else: choose another folder"):
            reviews.save(path)
    code, _, error = command("export", reviews.path, "--out", tmp_path / "file.txt")
    assert (code, "is a file; choose another folder with --out" in error) == (2, True)
    code, _, error = command("predict", tmp_path / "file.txt", "x")
    assert (code, "file.txt is a file; give the directory that training wrote" in error) == (2, True)
    code, _, error = command("predict", reviews.path.parent, "x")
    assert code == 2
    assert f"give one of the runs in it, such as {reviews.path.parent}" in " ".join(error.split())


def test_nothing_on_standard_input_is_no_input(reviews, command, monkeypatch):
    import io

    for verb in ("predict", "explain"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        assert command(verb, reviews.path)[:2] == (0, "")


def test_a_file_of_an_unknown_suffix_is_not_taken_for_lines(reviews, command, tmp_path):
    (tmp_path / "data.xyz").write_text("one\ntwo\n")
    code, _, error = command("predict", reviews.path, "--input", tmp_path / "data.xyz")
    assert (code, "say which with --data.format (to predict, --format)" in error) == (2, True)
    (tmp_path / "data").write_text("one\ntwo\n")
    assert command("predict", reviews.path, "--input", tmp_path / "data")[1].count("\n") == 2


def test_resume_knows_the_task_of_the_run(reviews, command):
    code, _, error = command("train", "--resume", reviews.path)
    assert (code, "is finished; train again" in error) == (2, True)
