"""Several runs as one, at the command line: what it gains is shown, and what does not fit is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nlp_rnn
from nlp_rnn.config.values import override
from tests.subjects import SUBJECTS


@pytest.fixture(scope="module")
def other(tmp_path_factory, reviews):
    """A run that differs from another as if it had begun with another seed."""
    run, rng = nlp_rnn.load(reviews.path), np.random.default_rng(1)
    for variable in run.model.trainable_variables:
        variable.assign_add(0.3 * rng.standard_normal(variable.shape).astype("float32"))
    path = tmp_path_factory.mktemp("other") / "run"
    run.save(path, {"validation": run.evaluate(run.task.read(run.config, "validation"))})
    return path


def test_it_is_measured_beside_its_members_and_used_as_a_run(command, reviews, other, tmp_path):
    code, out, log = command("ensemble", reviews.path, other, "--out", tmp_path / "joined")
    assert code == 0, log
    assert "ensemble" in out
    assert "accuracy" in out
    report = json.loads((tmp_path / "joined" / "report.json").read_text())
    own = nlp_rnn.load(other).metrics["accuracy"]
    assert [m["metrics"]["validation"]["accuracy"] for m in report["members"]] == [reviews.metrics["accuracy"], own]
    assert report["parameters"] == 2 * reviews.model.count_params() + 1  # and a temperature
    assert "The mean of 2 models" in (tmp_path / "joined" / "card.md").read_text()
    code, out, log = command("predict", tmp_path / "joined", "a fine film", "--json")
    assert code == 0, log
    found = json.loads(out)
    parts = [run("a fine film").probabilities for run in (reviews, nlp_rnn.load(other))]
    joined = nlp_rnn.load(tmp_path / "joined")
    temperature = float(joined.model.head.temperature)
    log_p = np.log(np.mean([[part[label] for label in joined.assets.labels] for part in parts], 0)) / temperature
    expected = np.exp(log_p) / np.exp(log_p).sum()
    np.testing.assert_allclose([found["probabilities"][label] for label in joined.assets.labels], expected, atol=1e-4)
    code, _, log = command("inspect", tmp_path / "joined")
    assert (code, "is an ensemble: inspect its members" in " ".join(log.split())) == (2, True)


def test_what_does_not_fit_together_is_refused(command, reviews, other, tmp_path):
    def refused(*arguments):
        code, out, log = command("ensemble", *arguments)
        assert (code, out) == (2, ""), log
        assert not (tmp_path / "joined").exists()
        return " ".join(log.split())

    to = ("--out", tmp_path / "joined")
    assert "needs two runs or more" in refused(reviews.path, *to)
    assert "Say where the ensemble goes" in refused(reviews.path, other)
    shutil.copytree(reviews.path, tmp_path / "copy")
    assert "have the same weights" in refused(reviews.path, tmp_path / "copy", *to)
    assert "does not exist" in refused(reviews.path, tmp_path / "nowhere", *to)
    changed = nlp_rnn.load(other)
    changed.report = {**changed.report, "assets": "0"}
    changed.save(tmp_path / "changed")
    assert "--data.seed 0 beside other values of --train.seed" in refused(reviews.path, tmp_path / "changed", *to)
    assert "exists; choose another --out" in " ".join(
        command("ensemble", reviews.path, other, "--out", other)[2].split()
    )


@pytest.mark.slow  # three ensembles
def test_an_ensemble_of_an_ensemble_has_all_members_once(command, reviews, other, tmp_path):
    third = nlp_rnn.load(other)
    third.model.trainable_variables[0].assign_add(np.ones(third.model.trainable_variables[0].shape))
    third.save(tmp_path / "third")
    assert command("ensemble", reviews.path, other, "--out", tmp_path / "two")[0] == 0
    code, out, log = command("ensemble", tmp_path / "two", tmp_path / "third", "--out", tmp_path / "three", "--json")
    assert code == 0, log
    assert [Path(member["run"]) for member in json.loads(out)["members"]] == [reviews.path, other, tmp_path / "third"]
    joined = nlp_rnn.load(tmp_path / "three")
    parts = [nlp_rnn.load(path)("a fine film").probabilities for path in (reviews.path, other, tmp_path / "third")]
    log_p = np.log(np.mean([[part[label] for label in joined.assets.labels] for part in parts], 0))
    expected = np.exp(log_p / float(joined.model.head.temperature))
    found = joined("a fine film").probabilities
    np.testing.assert_allclose([found[n] for n in joined.assets.labels], expected / expected.sum(), atol=1e-4)
    code, _, log = command("ensemble", tmp_path / "two", other, "--out", tmp_path / "twice")
    assert (code, "have the same weights" in " ".join(log.split())) == (2, True)
    code, _, log = command("train", "sentiment", "--init-from", tmp_path / "two", "--out", tmp_path / "begun")
    assert (code, "is an ensemble: begin with one of its members" in " ".join(log.split())) == (2, True)


def test_members_are_measured_on_the_data_of_the_first(command, reviews, other, tmp_path):
    changed = nlp_rnn.load(other)
    data = {**reviews.config.data.__dict__, "test": (str(tmp_path / "test.csv"),)}
    (tmp_path / "test.csv").write_text("text,label\na fine film,positive\na joyless film,negative\n")
    changed.config = override(changed.config, {"data": data})
    changed.report = {**changed.report, "metrics": {"validation": {"accuracy": 0.0}, "test": {"accuracy": 0.0}}}
    changed.save(tmp_path / "changed")
    code, out, log = command("ensemble", reviews.path, tmp_path / "changed", "--out", tmp_path / "joined", "--json")
    assert code == 0, log
    found = json.loads(out)["members"]
    assert {split: values["records"] for split, values in found[1]["metrics"].items()} == {
        split: values["records"] for split, values in found[0]["metrics"].items()
    }


def test_where_the_data_are_gone_nothing_is_measured(command, reviews, other, tmp_path):
    paths = []
    for number, path in enumerate((reviews.path, other)):
        run = nlp_rnn.load(path)
        run.config = override(run.config, {"data": {"train": (str(tmp_path / "gone.csv"),)}})
        run.save(tmp_path / f"{number}")
        paths.append(tmp_path / f"{number}")
    code, out, log = command("ensemble", *paths, "--out", tmp_path / "joined", "--json")
    assert (code, json.loads(out)["metrics"]) == (0, {}), log
    assert "nothing is measured or calibrated" in " ".join(log.split())


def test_members_that_saw_what_others_held_out_are_not_measured_on_it(command, reviews, other, tmp_path):
    changed = nlp_rnn.load(other)
    changed.report = {**changed.report, "fingerprint": "of other records"}
    changed.save(tmp_path / "changed")
    code, out, log = command("ensemble", reviews.path, tmp_path / "changed", "--out", tmp_path / "joined", "--json")
    assert code == 0, log
    assert json.loads(out)["metrics"] == {}
    assert "trained on different records" in " ".join(log.split())


@pytest.mark.slow  # a training
def test_where_nothing_is_usual_any_more_an_ensemble_of_events_is_refused(command, tmp_path):
    paths = []
    for number in range(2):
        run, rng = nlp_rnn.load(SUBJECTS["anomaly"].path), np.random.default_rng(number)
        for variable in run.model.trainable_variables:
            variable.assign_add(0.1 * rng.standard_normal(variable.shape).astype("float32"))
        run.report = {**run.report, "fingerprint": f"{number}"}
        run.save(tmp_path / f"{number}")
        paths.append(tmp_path / f"{number}")
    code, _, log = command("ensemble", *paths, "--out", tmp_path / "joined")
    assert (code, "what is usual: train the members with --data.seed 0" in " ".join(log.split())) == (2, True), log


def test_runs_of_several_seeds_hold_out_the_same_records(tmp_path):
    from nlp_rnn.registry import get_task
    from nlp_rnn.trainer import settings_for

    for name in ("sentiment", "ner", "translation", "anomaly", "speech"):
        task = get_task(name)
        folder = tmp_path / name
        folder.mkdir()
        data = {"validation_fraction": 0.2, **SUBJECTS[name].write(folder), "validation": []}

        def held_out(seed, own, task=task, name=name, data=data):
            settings = settings_for(name, "starter")
            config = override(settings, {"data": {**data, "seed": own}, "train": {"seed": seed}})
            return task.read(config, "validation").fingerprint()

        assert held_out(1, 0) == held_out(2, 0) == held_out(0, -1)
        assert held_out(1, -1) != held_out(0, -1)
