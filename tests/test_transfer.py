"""`--init-from`: a new run begins with what another one has learned."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.testing import assert_same_run
from nlp_rnn.trainer import resume, settings_for
from nlp_rnn.training.compiling import compile_model, courses_of
from nlp_rnn.transfer import by_place
from tests.subjects import SUBJECTS

STILL = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-9, "average": 0.0}


def weights_of(run):
    """By place; paths of a model that was loaded begin at its parts, or below them."""
    return {place: variable.numpy() for place, variable in by_place(run.model).items()}


@pytest.fixture(scope="module")
def language():
    return SUBJECTS["language-modeling"].run


def test_a_classifier_begins_with_a_language_model(language, reviews, command, tmp_path):
    data = ("--data", SUBJECTS["sentiment"].data["train"][0])
    still = [part for name, value in STILL.items() for part in (f"--train.{name}", value)]
    arguments = ("train", "sentiment", *data, "--init-from", language.path, *still, "--out", tmp_path / "run")
    code, _, log = command(*arguments)
    log = " ".join(log.split())
    assert code == 0, log
    assert (
        f"weights are those of {language.path}: embedding/embeddings, stack/forward_0; new: stack/backward_0, head."
        in log
    )
    run = nlp_rnn.load(tmp_path / "run")
    assert run.assets.tokenizer.size == language.assets.tokenizer.size
    assert (run.config.stack.units, run.config.stack.bidirectional) == (language.config.stack.units, True)
    assert run.config.tokenizer.kind == language.config.tokenizer.kind
    mine, theirs = weights_of(run), weights_of(language)
    shared = [name for name in mine if name.startswith(("embedding", "stack/forward"))]
    assert len(shared) == 4
    for name in shared:
        np.testing.assert_allclose(mine[name], theirs[name], atol=1e-6, err_msg=name)


@pytest.mark.slow  # a training
def test_a_run_of_the_same_task_goes_on_with_other_data(reviews, tmp_path):
    """Labels in another order in the data keep their order in the model."""
    texts = [f"a {('joyless', 'fine')[i % 2]} film {i % 7}" for i in range(60)]
    data = [{"text": text, "label": ("negative", "positive")[i % 2]} for i, text in enumerate(texts)]
    begin = {"init_from": str(reviews.path)}
    run = nlp_rnn.train("sentiment", data=data[::-1], train={**STILL, **begin}, out=tmp_path / "run")
    assert run.assets.labels == reviews.assets.labels
    mine, theirs = weights_of(run), weights_of(reviews)
    for name, value in mine.items():
        if "temperature" not in name:  # calibrated anew
            np.testing.assert_allclose(value, theirs[name], atol=1e-6, err_msg=name)
    assert [p.label for p in run(texts[:4])] == [p.label for p in reviews(texts[:4])]
    for found, expected in (
        zip(
            run.infer(run.records(texts[:4]))["logits"],
            reviews.infer(reviews.records(texts[:4]))["logits"],
            strict=True,
        )
        if hasattr(run, "records")
        else ()
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow  # a training
def test_other_labels_get_a_new_head(reviews, tmp_path, capsys):
    data = [{"text": f"a {('joyless', 'fine')[i % 2]} film", "label": ("bad", "good")[i % 2]} for i in range(60)]
    train = {**STILL, "init_from": str(reviews.path)}
    run = nlp_rnn.train("sentiment", data=data, train=train, out=tmp_path / "run")
    assert "stack/backward_0; new: head." in " ".join(capsys.readouterr().err.split())
    assert run.assets.labels == ("bad", "good")
    assert not np.allclose(weights_of(run)["head/output/kernel"], weights_of(reviews)["head/output/kernel"], atol=1e-3)


@pytest.mark.slow  # two trainings more
def test_words_of_a_tagger_are_those_of_a_classifier(reviews, tmp_path):
    begin = {"init_from": str(reviews.path)}
    data = SUBJECTS["ner"].data
    run = nlp_rnn.train("ner", data=data, train={**STILL, **begin}, out=tmp_path / "run")
    words = weights_of(run)["embedding/embeddings"]
    np.testing.assert_allclose(words, weights_of(reviews)["embedding/embeddings"], atol=1e-6)


@pytest.mark.slow  # two trainings more
def test_what_is_cut_off_resumes_without_the_run_that_it_began_with(reviews, tmp_path):
    source = shutil.copytree(reviews.path, tmp_path / "source")
    data = SUBJECTS["sentiment"].sections["data"]
    slow = {"init_from": str(source), "layer_decay": 0.3, "unfreeze": 0.5, "epochs": 3, "batch_size": 8}

    class Cut(Exception):
        pass

    def cut(self, epoch, logs=None):
        if epoch == 1:
            raise Cut

    whole = nlp_rnn.train("sentiment", data=data, train=slow, out=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nlp_rnn.training.callbacks.Checkpointer.on_epoch_end", cut)
        with pytest.raises(Cut):
            nlp_rnn.train("sentiment", data=data, train=slow, out=tmp_path / "cut")
    shutil.rmtree(source)
    resume(tmp_path / "cut")
    assert_same_run(whole.path, tmp_path / "cut")


@pytest.mark.slow  # two trainings
def test_what_is_cut_off_before_its_first_checkpoint_begins_with_the_run_again(reviews, tmp_path):
    data = SUBJECTS["sentiment"].sections["data"]
    train = {"init_from": str(reviews.path), "epochs": 1, "batch_size": 8}
    whole = nlp_rnn.train("sentiment", data=data, train=train, out=tmp_path / "whole")
    cut = shutil.copytree(whole.path, tmp_path / "cut")
    for name in ("checkpoints", "logs"):
        shutil.rmtree(cut / name)
    for name in ("report.json", "card.md", "model.keras", "metrics.jsonl"):
        (cut / name).unlink()
    resume(cut)
    assert_same_run(whole.path, cut)


def test_lower_layers_learn_more_slowly_and_later(reviews):
    sizes = {"stack": {"layers": 2, "units": 6}, "embedding": {"size": 8}}
    config = override(settings_for("sentiment", "starter"), sizes)
    model = reviews.task.build(config, reviews.assets)
    plain = {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "warmup": 0.0, "clip_norm": 0.0}
    begin = {"init_from": "x", "layer_decay": 0.5, "unfreeze": 0.6, "learning_rate": 0.1, "epochs": 1}
    train = override(config.train, {**plain, **begin, "weight_decay": 0.0, "average": 0.0})
    courses = courses_of(model, train, 10)
    found = {path.partition("/")[2].split("/lstm")[0]: course for path, course in courses.items()}
    assert found == {
        "stack/forward_1": (0.5, 2),
        "stack/backward_1": (0.5, 2),
        "stack/forward_0": (0.25, 4),
        "stack/backward_0": (0.25, 4),
        "embedding/embeddings": (0.125, 6),
    }
    compile_model(model, keras.losses.CategoricalCrossentropy(from_logits=True), train, steps_per_epoch=10)
    weights = model.trainable_variables
    for step in range(7):
        before = [variable.numpy() for variable in weights]
        model.optimizer.apply([np.ones(variable.shape, "float32") for variable in weights], weights)
        moved = {v.path: float(np.max(old - v.numpy())) for old, v in zip(before, weights, strict=True)}
        for path, change in moved.items():
            factor, begin = courses.get(path, (1.0, 0))
            assert change == pytest.approx(0.1 * factor if step >= begin else 0.0, rel=1e-3, abs=1e-6), (path, step)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stack.units", 9), "stack.units is 6 in {run}, which training begins with: leave --stack.units out"),
        (("--tokenizer.kind", "byte"), "tokenizer.kind is word in {run}"),
        (("--config", "units.yaml"), "stack.units is 6 in {run}"),
        (("--train.init_from", "nowhere"), "nowhere does not exist"),
    ],
)
def test_what_the_run_decides_and_no_run_is_refused(reviews, command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "units.yaml").write_text("stack: {units: 64}\n")
    data = ("--data", SUBJECTS["sentiment"].data["train"][0], "--out", tmp_path / "run")
    code, _, log = command("train", "sentiment", *data, "--init-from", reviews.path, *arguments)
    assert code == 2
    assert message.format(run=reviews.path) in " ".join(log.split())
    assert not (tmp_path / "run").exists()


def test_what_fits_nowhere_and_what_python_gives_twice_is_refused(reviews, tmp_path):
    begin = {"init_from": str(SUBJECTS["forecasting"].path)}
    with pytest.raises(InputError, match="is a run of the task forecasting, which reads something else"):
        nlp_rnn.train("sentiment", data=SUBJECTS["sentiment"].data, train=begin, out=tmp_path / "run")
    begin = {"init_from": str(reviews.path)}
    with pytest.raises(InputError, match=r"leave --stack\.units out"):
        nlp_rnn.train("sentiment", data=SUBJECTS["sentiment"].data, train=begin, stack={"units": 4})


@pytest.mark.slow  # a training more
def test_another_head_is_new_and_the_rest_goes_on(reviews, command, tmp_path):
    data = ("--data", SUBJECTS["sentiment"].data["train"][0], "--train.epochs", 1, "--out", tmp_path / "run")
    same = ("--stack.units", reviews.config.stack.units)
    code, _, log = command(
        "train", "sentiment", *data, *same, "--init-from", reviews.path, "--head.pooling", "mean+max"
    )
    log = " ".join(log.split())
    assert code == 0, log
    assert "stack/backward_0; new: head." in log
    assert nlp_rnn.load(tmp_path / "run").config.head.pooling == "mean+max"
    code, _, log = command("train", "sentiment", "--resume", tmp_path / "run", "--init-from", reviews.path)
    assert code == 2
    assert "--resume takes no --train.init_from" in log
