"""Language models that read backwards, and what begins with them."""

from __future__ import annotations

import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.language_modeling import complete, explain, generate, surprise
from nlp_rnn.tasks.language_modeling.data import read
from nlp_rnn.trainer import settings_for
from nlp_rnn.transfer import by_place
from tests.subjects import SUBJECTS

TEXT = ["the cat sat.", "", "on a mat", "a"]


@pytest.mark.parametrize("kind", ["word", "character", "byte", "subword"])
def test_the_text_is_read_from_its_end(kind, tmp_path):
    """Token by token what a model that reads forwards reads, the other way round."""
    (tmp_path / "text.txt").write_text("\n".join(TEXT * 20) + "\n")
    task = SUBJECTS["language-modeling"].run.task
    targets, assets = {}, None
    for backward in (False, True):
        data = {"train": [str(tmp_path / "text.txt")], "backward": backward}
        tokenizer = {"kind": kind, "size": 300}
        config = override(settings_for("language-modeling", "starter"), {"data": data, "tokenizer": tokenizer})
        records = read(config, "train")
        assets = assets or task.assets(config, records)
        found = [batch[1][0] for batch in task.batches(config, assets, records, None).epoch(0)]
        targets[backward] = np.concatenate(found).tolist()
    forwards = targets[False]
    assert len(forwards) > 100
    assert targets[True] == [*forwards[-2::-1], forwards[-1]]


def test_the_parts_of_a_long_line_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr("nlp_rnn.data.fields._LONGEST_LINE", 12)
    (tmp_path / "text.txt").write_text("one two three four five six seven\neight\n" * 3)
    task = SUBJECTS["language-modeling"].run.task
    tokenizer = {"kind": "word", "min_count": 1}
    data = {"train": [str(tmp_path / "text.txt")], "backward": True, "validation_fraction": 0.0}
    config = override(settings_for("language-modeling", "starter"), {"data": data, "tokenizer": tokenizer})
    records = read(config, "train")
    assert any(line["continues"] for line in records)
    assets = task.assets(config, records)
    (batch,) = task.batches(config, assets, records, None).epoch(0)
    said = assets.tokenizer.decode([[token] for token in batch[1][0]])
    assert said == ["eight", "", "seven", "six", "five", "four", "three", "two", "one", ""] * 3


@pytest.fixture(scope="module")
def forward():
    return SUBJECTS["language-modeling"].run


@pytest.fixture(scope="module")
def backward(forward, tmp_path_factory):
    train = {"init_from": str(forward.path), "epochs": 1}
    return nlp_rnn.train(
        "language-modeling",
        data={**SUBJECTS["language-modeling"].data, "backward": True},
        embedding={"trainable": False},
        train={**train, "batch_size": 4, "bptt": 16, "learning_rate": 0.01},
        out=tmp_path_factory.mktemp("backward") / "run",
    )


def test_a_classifier_begins_with_both(forward, backward, command, tmp_path):
    data = ("--data", SUBJECTS["sentiment"].data["train"][0], "--train.init_backward", backward.path)
    still = ("--train.epochs", 1, "--train.learning_rate", 1e-9, "--train.average", 0)
    code, _, log = command("train", "sentiment", *data, *still, "--init-from", forward.path, "--out", tmp_path / "run")
    log = " ".join(log.split())
    assert code == 0, log
    taken = "embedding/embeddings, stack/forward_0, stack/backward_0; new: head."
    assert f"weights are those of {forward.path} and {backward.path}: {taken}" in log
    mine = by_place(nlp_rnn.load(tmp_path / "run").model)
    for run, theirs, here in ((forward, "forward_0", "forward_0"), (backward, "forward_0", "backward_0")):
        for name, value in by_place(run.model).items():
            if name.startswith(f"stack/{theirs}"):
                np.testing.assert_allclose(mine[name.replace(theirs, here)], value, atol=1e-6, err_msg=name)


def test_it_likes_texts_that_are_turned_round(forward, backward):
    """It measures a text from its end, as one that reads forwards measures the text turned round."""
    line = SUBJECTS["language-modeling"].inputs[0]
    config = override(backward.config, {"data": {"backward": False}})
    turned = nlp_rnn.Run(backward.task, config, backward.assets, backward.model)(line[::-1])
    assert backward(line).log_probability == pytest.approx(turned.log_probability, rel=1e-5)
    assert backward(line).log_probability != pytest.approx(forward(line).log_probability, rel=1e-3)
    records = [{"text": text, "follows": True} for text in ("ab", "cd", "e")]
    assert backward.evaluate(Records(records))["units"] == 8


@pytest.mark.parametrize(
    "use",
    [
        lambda run: next(generate(run, "a")),
        lambda run: complete(run, ["a"]),
        lambda run: surprise(run, "a"),
        lambda run: explain(run, "a"),
        lambda run: run.export("nowhere"),
    ],
)
def test_it_does_nothing_that_needs_to_read_forwards(backward, use):
    with pytest.raises(
        InputError, match=r"This model reads backwards \(data\.backward\), and .* needs one that reads forwards"
    ):
        use(backward)


def test_layers_that_would_read_in_another_direction_are_refused(forward, backward, tmp_path):
    data = SUBJECTS["sentiment"].data

    def train(**sections):
        nlp_rnn.train("sentiment", data=data, out=tmp_path / "run", **sections)

    with pytest.raises(InputError, match="reads backwards: begin with one that reads forwards"):
        train(train={"init_from": str(backward.path)})
    both = {"init_from": str(forward.path), "init_backward": str(backward.path)}
    with pytest.raises(InputError, match=r"reads in one direction: leave --train\.init_backward out"):
        train(train=both, stack={"bidirectional": False})
    with pytest.raises(InputError, match=r"does not read backwards: train it with --data\.backward True"):
        train(train={**both, "init_backward": str(forward.path)})
    with pytest.raises(InputError, match=r"is no language model: --train\.init_backward goes with one"):
        train(train={**both, "init_backward": str(SUBJECTS["ner"].path)})
    with pytest.raises(InputError, match=r"train\.init_from is not given, without which train\.init_backward"):
        train(train={"init_backward": str(backward.path)})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # two language models of words
def test_a_tagger_takes_no_layers_of_one(tmp_path):
    text = {"train": [{"text": text} for text in TEXT * 20]}
    train = {"epochs": 1, "batch_size": 4, "bptt": 8}
    words = {"tokenizer": {"kind": "word", "split": "fine"}, "stack": {"units": 8}}
    forward = nlp_rnn.train("language-modeling", data=text, train=train, out=tmp_path / "f", **words)
    begin = {**train, "init_from": str(forward.path)}
    text["backward"], still = True, {"trainable": False}
    backward = nlp_rnn.train("language-modeling", data=text, train=begin, embedding=still, out=tmp_path / "b")
    both = {"init_from": str(forward.path), "init_backward": str(backward.path)}
    with pytest.raises(InputError, match=r"No layers of .* fit this model: leave --train\.init_backward out"):
        nlp_rnn.train("ner", data=SUBJECTS["ner"].data, train=both, out=tmp_path / "run")


def test_directions_are_not_mixed(forward, backward, command, tmp_path):
    """In ensembles, teachers, and by settings of a run that is trained."""
    with pytest.raises(InputError, match="read in opposite directions"):
        nlp_rnn.ensemble([forward.path, backward.path], tmp_path / "both")
    data = SUBJECTS["language-modeling"].data
    with pytest.raises(InputError, match="reads in the other direction"):
        nlp_rnn.train("language-modeling", data=data, train={"teacher": str(backward.path)}, out=tmp_path / "run")
    code, _, log = command("evaluate", forward.path, "--data", data["train"][0], "--data.backward", "True")
    assert code == 2
    assert "data.backward is a setting of training" in " ".join(log.split())
    with pytest.raises(InputError, match=r"data\.backward is a setting of training"):
        backward.evaluate(data["train"][0], backward=False)
    assert not [path for path in tmp_path.iterdir() if any(path.iterdir())]


def test_layers_that_learn_another_direction_are_named(backward, command, tmp_path):
    data = SUBJECTS["language-modeling"].data["train"][0]
    train = ("--init-from", backward.path, "--train.epochs", 1, "--train.batch_size", 4, "--out", tmp_path / "run")
    code, _, log = command("train", "language-modeling", "--data.train", data, *train)
    assert code == 0
    assert "They learn to read in the other direction." in " ".join(log.split())
