"""Taggers that read the states of language models of characters."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.errors import InputError
from nlp_rnn.testing import assert_same_run
from nlp_rnn.trainer import resume
from nlp_rnn.transfer import by_place
from tests.subjects import SUBJECTS

SMALL = {"stack": {"units": 8}, "train": {"epochs": 2, "batch_size": 8}}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Language models that read forwards and backwards, of one vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    text = [{"text": text} for text in SUBJECTS["ner"].inputs] * 20
    train = {"epochs": 1, "batch_size": 4, "bptt": 16}
    forward = nlp_rnn.train(
        "language-modeling",
        data={"train": text},
        stack={"units": 7},
        embedding={"size": 6},
        train=train,
        out=folder / "f",
    )
    backward = nlp_rnn.train(
        "language-modeling",
        data={"train": text, "backward": True},
        train={**train, "init_from": str(forward.path)},
        out=folder / "b",
    )
    return forward, backward


def states_of(models):
    return {"states": str(models[0].path), "states_backward": str(models[1].path)}


@pytest.fixture(scope="module")
def run(models, tmp_path_factory):
    """A tagger; the language models are gone since."""
    folder = tmp_path_factory.mktemp("tagger")
    copies = {name: shutil.copytree(path, folder / name) for name, path in states_of(models).items()}
    embedding = {name: str(path) for name, path in copies.items()}
    found = nlp_rnn.train("ner", data=SUBJECTS["ner"].data, embedding=embedding, out=folder / "run", **SMALL)
    for copy in copies.values():
        shutil.rmtree(copy)
    return found


def test_the_states_are_those_of_the_language_models(run, models):
    states = run.model.embedding.states
    for reader, model in ((states.forward, models[0].model), (states.backward, models[1].model)):
        theirs = [*model.embedding.weights, *model.stack.weights]
        mine = [*reader.embedding.weights, *reader.stack.weights]
        for one, other in zip(mine, (w for w in theirs if "seed" not in w.path), strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)
    assert run.assets.characters.vocabulary == models[0].assets.tokenizer.vocabulary
    places = by_place(nlp_rnn.load(run.path).model)
    assert places.keys() == by_place(run.model).keys()
    assert len(places) == sum("seed" not in weight.path for weight in run.model.weights), "each has a place of its own"


def test_it_is_loaded_and_resumed_without_them(run, tmp_path):
    inputs = list(SUBJECTS["ner"].inputs)
    loaded = nlp_rnn.load(run.path)
    assert loaded(inputs) == run(inputs)
    cut = shutil.copytree(run.path, tmp_path / "cut")
    for name in ("report.json", "card.md", "model.keras"):
        (cut / name).unlink()
    newest = max((cut / "checkpoints").glob("step-*"))
    if len(list((cut / "checkpoints").glob("step-*"))) > 1:
        shutil.rmtree(newest)
    resume(cut)
    assert_same_run(run.path, cut)


@pytest.mark.slow  # an export
def test_its_exports_say_the_same(run, tmp_path):
    """The folder is compared with the model as it is written; these are other texts."""
    import tensorflow as tf

    run.export(tmp_path / "export")
    serve = tf.saved_model.load(str(tmp_path / "export")).signatures["spans"]
    texts = ["Ada met Bob in Rome.", "", "Bob sat in the far too long Ltpqrstuvwxyzabcdefghijklmnopqrstuvw house."]
    found = serve(text=tf.constant(texts))
    for row, prediction in enumerate(run(texts)):
        count = int(found["count"][row])
        assert [e.label for e in prediction.entities] == [v.decode() for v in found["labels"][row, :count].numpy()]
        confidences = [e.confidence for e in prediction.entities]
        np.testing.assert_allclose(confidences, found["confidences"][row, :count], atol=1e-5)


@pytest.mark.slow  # two conversions
@pytest.mark.parametrize("to", ["onnx", "litert"])
def test_it_runs_elsewhere(run, to, tmp_path):
    run.export(tmp_path / "export", to)
    kinds = {path.suffix for path in (tmp_path / "export").rglob("*")}
    assert {"onnx": ".onnx", "litert": ".tflite"}[to] in kinds


def test_other_models_are_refused(models, reviews, tmp_path):
    forward, backward = states_of(models).values()

    def train(**embedding):
        nlp_rnn.train("ner", data=SUBJECTS["ner"].data, embedding=embedding, out=tmp_path / "run", **SMALL)

    with pytest.raises(InputError, match=r"states_backward needs embedding\.states"):
        train(states_backward=backward)
    with pytest.raises(InputError, match=r"reads backwards: give it as embedding\.states_backward"):
        train(states=backward)
    with pytest.raises(InputError, match=r"reads forwards: give it as embedding\.states\."):
        train(states=forward, states_backward=forward)
    with pytest.raises(InputError, match=r"is a run of the task sentiment"):
        train(states=str(reviews.path))
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        train(states="nowhere")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # two trainings
def test_another_tagger_begins_with_it_and_learns_from_it(run, models, tmp_path):
    """Although its language models are gone; one that learns from it need not read any."""
    data = SUBJECTS["ner"].data
    begin = {**SMALL["train"], "epochs": 1, "learning_rate": 1e-9, "average": 0.0, "init_from": str(run.path)}
    again = nlp_rnn.train("ner", data=data, train=begin, out=tmp_path / "again")
    theirs = by_place(run.model)
    assert len(theirs) == len(run.model.weights)
    for place, variable in by_place(again.model).items():
        np.testing.assert_allclose(variable, theirs[place], atol=1e-6, err_msg=place)
    with pytest.raises(InputError, match=r"embedding\.states is decided by .*: leave --embedding\.states out"):
        nlp_rnn.train("ner", data=data, train=begin, embedding=states_of(models), out=tmp_path / "more")
    taught = {**SMALL["train"], "epochs": 1, "teacher": str(run.path)}
    pupil = nlp_rnn.train("ner", data=data, train=taught, stack={"units": 4}, out=tmp_path / "pupil")
    assert pupil.model.embedding.states is None
    assert pupil.assets.characters.vocabulary == run.assets.characters.vocabulary


@pytest.mark.slow  # two language models are read for it
def test_a_tagger_that_spells_otherwise_is_refused(models, tmp_path):
    train = {**SMALL["train"], "teacher": str(SUBJECTS["ner"].path)}
    with pytest.raises(InputError, match=r"the characters are others.*embedding\.states"):
        nlp_rnn.train("ner", data=SUBJECTS["ner"].data, embedding=states_of(models), train=train, out=tmp_path / "run")
