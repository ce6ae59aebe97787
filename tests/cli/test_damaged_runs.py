"""A run directory that is not as it was saved is refused in one sentence, whatever is wrong with it."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml

import nlp_rnn
from nlp_rnn.errors import InputError
from tests.subjects import SUBJECTS


@pytest.fixture
def copied(reviews, tmp_path):
    """A copy of a run that may be damaged; like those of version 0.1.0, it does not say what its assets were."""
    run = shutil.copytree(reviews.path, tmp_path / "run")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["assets"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    return run


def says(command, run, *words):
    code, out, error = command("predict", run, "a fine film")
    assert (code, out) == (2, ""), error
    assert "Traceback" not in error
    assert error.startswith("error: "), error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"train: {epochs: 3}\n", b"task: 5\n", b"[1]\n", b"task: klingon\n"]
)
def test_config(command, copied, content):
    (copied / "config.yaml").write_bytes(content)
    says(command, copied)


def test_config_without_a_task(command, copied):
    (copied / "config.yaml").write_text("")
    says(command, copied, "config.yaml does not say which task it is of; copy the run again")


@pytest.mark.parametrize("seed", range(8))
def test_model_with_flipped_bits(command, copied, seed):
    generator, content = random.Random(seed), bytearray((copied / "model.keras").read_bytes())
    for _ in range(20):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    (copied / "model.keras").write_bytes(bytes(content))
    says(command, copied, "model.keras cannot be loaded", "copy the run again")


def test_model_of_another_task(command, copied):
    for task in ("ner", "language-modeling", "translation"):
        shutil.copy(SUBJECTS[task].path / "model.keras", copied / "model.keras")
        says(command, copied, "model.keras does not belong to", "copy the run again")
    other = shutil.copytree(SUBJECTS["translation"].path, copied.parent / "other")
    shutil.copy(SUBJECTS["language-modeling"].path / "model.keras", other / "model.keras")
    says(command, other, "model.keras does not belong to")


@pytest.mark.parametrize("labels", [["positive"], ["a", "b", "c"]])
def test_more_or_fewer_labels_than_classes(command, copied, labels):
    (copied / "assets" / "labels.json").write_text(json.dumps(labels))
    says(command, copied, "model.keras does not belong to")


def test_a_vocabulary_of_another_size(command, copied):
    path = copied / "assets" / "tokenizer" / "vocabulary.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))
    says(command, copied, "model.keras does not belong to")


def without(folder: Path):
    shutil.rmtree(folder)


def of_no_kind(folder: Path):
    about = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**about, "kind": "klingon"}))


def garbage(folder: Path):
    about = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**about, "kind": "subword"}))
    (folder / "model.spm").write_bytes(b"garbage" * 100)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without, "no complete tokenizer"),
        (of_no_kind, "there is no kind 'klingon' of tokenizer"),
        (garbage, "no complete tokenizer"),
    ],
)
def test_tokenizer(command, copied, damage, words):
    damage(copied / "assets" / "tokenizer")
    says(command, copied, words)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"tokenizer": "klingon"}', '{"labels": "labels"}'])
def test_the_index_of_the_assets(command, copied, content):
    (copied / "assets" / "assets.json").write_text(content)
    says(command, copied)


def test_metrics_of_other_weights_are_told_from_those_of_the_model(reviews, tmp_path):
    run = nlp_rnn.load(shutil.copytree(reviews.path, tmp_path / "run"))
    before = dict(run.metrics)
    run.save(tmp_path / "same")
    assert nlp_rnn.load(tmp_path / "same").metrics == before
    card = (tmp_path / "same" / "card.md").read_text()
    assert "have been changed" not in card
    run.model.head.output_layer.bias.assign_add([0.5, -0.5])
    run.save(tmp_path / "changed")
    changed = nlp_rnn.load(tmp_path / "changed")
    assert changed.metrics == {}
    assert changed.report["metrics_before"]["test"] == before
    card = (tmp_path / "changed" / "card.md").read_text()
    assert "Its weights have been changed since" in card
    assert "| test, before that |" in card.replace("validation, before that | ", "")
    metrics = {"test": changed.evaluate(reviews.task.read(reviews.config, "test"))}
    changed.save(tmp_path / "changed", metrics)
    again = nlp_rnn.load(tmp_path / "changed")
    assert again.metrics["accuracy"] == metrics["test"]["accuracy"]
    assert again.report["metrics_before"]["test"] == before


def test_a_run_of_an_earlier_version_gets_a_card(tmp_path):
    run = nlp_rnn.load(Path(__file__).parent.parent / "runs_of_0_1_0" / "sentiment")
    run.save(tmp_path / "run")
    assert nlp_rnn.load(tmp_path / "run").metrics == run.metrics != {}
    assert "have been changed" not in (tmp_path / "run" / "card.md").read_text()


def test_verbs_of_one_task_refuse_runs_of_another(command, reviews):
    from nlp_rnn.tasks.language_modeling import complete, generate, surprise, windows
    from nlp_rnn.tasks.sentiment import explain
    from nlp_rnn.tasks.translation import candidates, score

    entities = SUBJECTS["ner"].run
    for call, needs in [
        (lambda: explain(entities, ["a"]), "explain needs a classifier of texts; this run is of the task ner"),
        (lambda: list(generate(reviews, "a")), "generate needs a language model; this run is of the task sentiment"),
        (lambda: complete(reviews, ["a"]), "generate needs a language model"),
        (lambda: surprise(entities, "a"), "surprise needs a language model; this run is of the task ner"),
        (lambda: windows(reviews, 5), "windows needs a language model"),
        (lambda: candidates(reviews, ["a"]), "candidates needs a translator"),
        (lambda: score(entities, "a.tsv"), "score needs a translator"),
    ]:
        with pytest.raises(InputError, match=needs):
            call()
    code, _, error = command("surprise", SUBJECTS["ner"].path, "a")
    assert (code, 'The task ner has no command "surprise"' in error) == (2, True)


def test_help_is_that_of_the_run_of_the_task_or_of_all(command, reviews):
    translation = SUBJECTS["translation"].path
    assert "--width" in command("evaluate", translation, "--help")[1]
    assert "--data.kept_part" in command("evaluate", reviews.path, "--help")[1]
    code, out, _ = command("evaluate", "--help")
    assert code == 0
    assert "With a RUN or a TASK before --help, the options of that task are shown too." in out
    assert "--data.validation" in out
    assert "--width" not in out
    assert "Leave out entities whose confidence is lower." in command("predict", "ner", "--help")[1]
    code, out, _ = command("score", "--help")
    assert (code, "nlp-rnn score translation --help" in out) == (0, True)
    assert "nlp-rnn score language-modeling --help" in out
    assert "Two files of lines" in command("score", "translation", "--help")[1]
    assert "Two files of lines" in command("score", translation, "--help")[1]
    assert (
        "Log-probability and perplexity of each text"
        in command("score", SUBJECTS["language-modeling"].path, "--help")[1]
    )
