"""What every task must do."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nlp_rnn.config.recipes import recipe_header, recipe_names
from nlp_rnn.config.values import settings_of
from nlp_rnn.errors import InputError
from nlp_rnn.registry import get_task
from nlp_rnn.testing.comparing import assert_close, assert_same_run
from nlp_rnn.testing.settings import documented, outside
from nlp_rnn.testing.subjects import Subject, in_a_fresh_process
from nlp_rnn.trainer import resume, settings_for, train

_OF_CONFIDENCE = ("ece", "cross_entropy")


class TaskContract:
    """The tests; a subclass names its subjects."""

    subjects: ClassVar[list[Subject]] = []

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each test runs for each subject."""
        if "subject" in metafunc.fixturenames:
            metafunc.parametrize("subject", self.subjects, ids=str)

    @pytest.fixture(scope="class")
    def elsewhere(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        """What a fresh process says of the subjects that tests ask it about."""
        mine = [item for item in request.session.items if getattr(item, "cls", None) is request.cls]
        asked = {item.callspec.params["subject"] for item in mine if "elsewhere" in item.fixturenames}  # type: ignore[attr-defined]
        return in_a_fresh_process([subject for subject in self.subjects if subject in asked])

    # Training ---------------------------------------------------------------------------------------------------------

    def test_it_trains_and_reports(self, subject: Subject) -> None:
        run, epochs = subject.run, len(subject.run.history)
        names = ("config.yaml", "assets/assets.json", "model.keras", "metrics.jsonl", "report.json", "card.md")
        for name in names:
            assert (subject.path / name).is_file(), name
        assert (subject.path / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")
        report = json.loads((subject.path / "report.json").read_text())
        assert next(iter(run.metrics)) == run.task.metric.name, "the metric that decides comes first"
        assert report["epochs"] == epochs
        assert report["kernels"]
        assert report["peak_memory_bytes"] > 0
        assert report[f"{run.task.unit}_per_second"] > 0
        assert [row["epoch"] for row in run.history] == list(range(1, epochs + 1))
        assert f"| {run.task.metric.name} |" in (subject.path / "card.md").read_text()

    def test_it_learns(self, subject: Subject) -> None:
        losses = [row["loss"] for row in subject.run.history]
        assert losses[-1] < losses[0]

    def test_the_best_epoch_is_kept(self, subject: Subject) -> None:
        run, metric = subject.run, subject.run.task.metric
        sign, tie = (-1 if metric.lower_is_better else 1), f"val_{metric.tie}" if metric.tie else "loss"
        values = [(sign * row[f"val_{metric.name}"], -row[tie]) for row in run.history]
        assert run.report["best_epoch"] == values.index(max(values)) + 1

    def test_evaluating_again_gives_what_the_report_says(self, subject: Subject) -> None:
        run = subject.run
        records = run.task.read(run.config, "validation")
        found, reported = json.loads(json.dumps(run.evaluate(records))), dict(run.report["metrics"]["validation"])
        if hasattr(run.model, "calibrate"):  # the report has those of each half calibrated on the other
            reported |= {name: found[name] for name in _OF_CONFIDENCE if name in found}
        assert_close(found, reported)

    def test_a_run_that_was_cut_off_resumes_bit_for_bit(self, subject: Subject, tmp_path: Path) -> None:
        cut_off = shutil.copytree(subject.cut_off, tmp_path / "run")
        resume(cut_off)
        assert_same_run(subject.path, cut_off)

    # Using ------------------------------------------------------------------------------------------------------------

    def test_predictions_depend_on_their_input_alone(self, subject: Subject) -> None:
        assert len(subject.predictions) == len(subject.inputs)
        for value, together in zip(subject.inputs, subject.predictions, strict=True):
            assert_close(dataclasses.asdict(subject.run(value)), together)
        assert subject.run([]) == []
        json.dumps(subject.predictions)

    def test_prediction_needs_inputs_alone_and_drops_none(self, subject: Subject, tmp_path: Path) -> None:
        """Whatever stands in other columns: no label, an odd one, one that the run does not know."""
        run, others = subject.run, ("label", "target", "tags", "entities", "class")
        odd = [None, "never seen", ["a", "list"], 7, "-", {"of": "objects"}]
        rows = [
            {**{name: odd[i % len(odd)] for name in others}, run.task.input.name: value}
            for i, value in enumerate(subject.inputs)
        ]
        (tmp_path / "inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = list(run.predict(run.read(tmp_path / "inputs.jsonl", "predict")))
        assert_close([dataclasses.asdict(prediction) for prediction in found], subject.predictions)

    def test_a_fresh_process_predicts_the_same(self, subject: Subject, elsewhere: dict[str, Any]) -> None:
        assert_close(elsewhere[subject.task]["predictions"], json.loads(json.dumps(subject.predictions)))

    def test_the_export_serves_what_the_run_predicts(self, subject: Subject, elsewhere: dict[str, Any]) -> None:
        served = elsewhere[subject.task]["served"]
        for name in set(served) & {field.name for field in dataclasses.fields(subject.run.task.Prediction)}:
            expected = [row[name] for row in subject.predictions]
            if isinstance(expected[0], (str, int, float)):
                assert_close(served[name], expected, name)

    def test_the_export_serves_what_its_signature_does_here(self, subject: Subject, elsewhere: dict[str, Any]) -> None:
        import tensorflow as tf

        from nlp_rnn.export.signatures import as_signature

        run = subject.run
        signatures = run.task.signatures(run.config, run.model, run.assets)
        assert elsewhere[subject.task]["signatures"] == sorted(signatures)
        assert set(elsewhere[subject.task]["rows of none"].values()) == {0}
        default = as_signature(signatures["serving_default"])
        arguments = run.task.input.serving_arguments(subject.inputs)
        for name, value in default(*(tf.constant(arguments[spec.name], spec.dtype) for spec in default.specs)).items():
            found, expected = np.array(elsewhere[subject.task]["served"][name]), value.numpy()
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3, err_msg=name)
            elif expected.dtype.kind == "O":
                assert found.tolist() == [_text(item) for item in expected.tolist()], name

    def test_a_pickled_run_is_the_same(self, subject: Subject) -> None:
        again = pickle.loads(pickle.dumps(subject.run))
        assert_close(dataclasses.asdict(again(subject.inputs[0])), subject.predictions[0])

    @pytest.mark.filterwarnings("ignore:.*fork.*")
    def test_a_forked_process_says_that_it_cannot_predict(self, subject: Subject) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # no test framework in here
            try:
                subject.run(subject.inputs[0])
            except InputError as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading) as pipe:
            assert "load the run after forking" in pipe.read()

    def test_other_assets_are_refused(self, subject: Subject, tmp_path: Path) -> None:
        import nlp_rnn

        files = sorted(path for path in (subject.path / "assets").rglob("*") if path.is_file())
        for number, path in enumerate(files):
            damaged = shutil.copytree(subject.path, tmp_path / str(number))
            place = damaged / path.relative_to(subject.path)
            content = bytearray(place.read_bytes())
            content[len(content) // 2] ^= 1
            place.write_bytes(bytes(content))
            with pytest.raises(InputError, match="changed since the run was saved"):
                nlp_rnn.load(damaged)

    def test_a_saved_copy_is_the_same_and_is_not_written_over(self, subject: Subject, tmp_path: Path) -> None:
        import nlp_rnn

        again = nlp_rnn.load(subject.path)
        again.save(tmp_path / "copy")
        with pytest.raises(InputError, match="holds another run"):
            nlp_rnn.load(subject.path).save(tmp_path / "copy")
        found = [dataclasses.asdict(prediction) for prediction in again(list(subject.inputs))]
        assert_close(found, subject.predictions)

    @pytest.mark.slow  # further graphs
    def test_an_ensemble_is_a_run(self, subject: Subject, tmp_path: Path) -> None:
        import tensorflow as tf

        import nlp_rnn

        members = [subject.path, _changed_a_little(subject.path, tmp_path / "other")]
        nlp_rnn.ensemble(members, tmp_path / "joined")
        joined = nlp_rnn.load(tmp_path / "joined")
        together = [dataclasses.asdict(prediction) for prediction in joined(list(subject.inputs))]
        for value, found in zip(subject.inputs, together, strict=True):
            assert_close(dataclasses.asdict(joined(value)), found)
        served = tf.saved_model.load(str(joined.export(tmp_path / "export"))).signatures["serving_default"]
        arguments = joined.task.input.serving_arguments(subject.inputs)
        inputs = served.structured_input_signature[1]
        outputs = served(**{name: tf.constant(arguments[name], spec.dtype) for name, spec in inputs.items()})
        for name in set(outputs) & set(together[0]):
            expected = [row[name] for row in together]
            if isinstance(expected[0], (str, int, float)):
                assert_close([_text(value) for value in outputs[name].numpy().tolist()], expected, name)

    # At the command line ----------------------------------------------------------------------------------------------

    def test_the_verbs_of_all_tasks(
        self, subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, exported = subject.run, subject.exported
        # What a fresh process loads and an export holds is tested above: here the run is as it is.
        monkeypatch.setattr("nlp_rnn.run.load", lambda path, task=None: copy.copy(run))
        monkeypatch.setattr("nlp_rnn.run.Run.export", lambda self, *_: exported)
        inputs = [value if isinstance(value, str) else json.dumps(value) for value in subject.inputs]
        found = _command(capsys, "predict", subject.path, *inputs, "--json")
        assert_close([json.loads(line) for line in found], json.loads(json.dumps(subject.predictions)))
        assert _command(capsys, "predict", subject.path, inputs[0])
        _command(capsys, "predict", subject.path, *inputs, "--output", tmp_path / "out.csv")
        assert len((tmp_path / "out.csv").read_text().splitlines()) > len(inputs)
        (line,) = _command(capsys, "evaluate", subject.path, "--json")
        assert next(iter(json.loads(line))) == run.task.metric.name
        found = _command(capsys, "export", subject.path, "--out", tmp_path / "export")
        assert any("serve(" in line and run.task.input.name in line for line in found)

    @pytest.mark.slow  # gradients through all lengths
    def test_it_can_be_inspected(
        self, subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = subject.run
        monkeypatch.setattr("nlp_rnn.run.load", lambda path, task=None: copy.copy(run))
        assert _command(capsys, "inspect", subject.path, "--out", tmp_path / "inspection.html", "--records", 40)
        page = (tmp_path / "inspection.html").read_text(encoding="utf-8")
        assert "How far back the last output still depends" in page
        assert page.count("<img") >= 2

    def test_every_verb_explains_itself(self, subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
        from nlp_rnn.cli import run_command

        task = get_task(subject.task)
        own = [*(command.name for command in task.commands), *(task.synonyms or {})]
        compared = ["compare"] if hasattr(getattr(task.Config(), "stack", None), "cell") else []
        for verb in ("train", "predict", "evaluate", "export", "sweep", *compared, *own):
            with pytest.raises(SystemExit) as exit:
                run_command(subject.task, [verb, "--help"])
            assert exit.value.code == 0
            assert "usage" in capsys.readouterr().out.lower()

    # Settings ---------------------------------------------------------------------------------------------------------

    def test_every_setting_is_documented_and_every_number_has_a_range(self, subject: Subject) -> None:
        task = get_task(subject.task)
        for kind in (task.Config, task.Options):
            docs = dict(documented(kind))
            for setting, value in settings_of(kind()):
                assert docs[setting.dotted], f"{setting.dotted} has no docstring"
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    assert setting.ranges, f"{setting.dotted} has no range"

    def test_numbers_out_of_range_are_refused_by_name(self, subject: Subject, tmp_path: Path) -> None:
        task = get_task(subject.task)
        for setting, value in settings_of(task.Config()):
            several = isinstance(value, tuple)
            for wrong in (outside(allowed, int if several else type(value)) for allowed in setting.ranges):
                if wrong is None:
                    continue
                section: Any = {setting.name: [wrong] if several else wrong}
                section = {setting.section.rstrip("."): section} if setting.section else section
                with pytest.raises(InputError, match=f"{setting.dotted} is .*; it must be"):
                    train(subject.task, out=tmp_path / "run", **section)
        assert not (tmp_path / "run").exists()

    def test_every_recipe_fits_and_says_how_to_run_it(self, subject: Subject) -> None:
        task = get_task(subject.task)
        for name in recipe_names(task.resources):
            settings_for(subject.task, name)
            assert "train" in recipe_header(task.resources, name), f"{name} has no command"

    # What is refused --------------------------------------------------------------------------------------------------

    def test_what_must_be_refused(self, subject: Subject, tmp_path: Path) -> None:
        import nlp_rnn

        run = subject.run
        with pytest.raises(InputError, match="holds a finished run"):
            train(subject.task, out=subject.path, **subject.sections)
        with pytest.raises(InputError, match="is finished"):
            resume(subject.path)
        with pytest.raises(InputError, match="does not exist"):
            train(subject.task, out=tmp_path / "run", data={"train": ["./nowhere.jsonl"]})
        with pytest.raises(InputError, match=r'no setting "train\.epoch"'):
            train(subject.task, out=tmp_path / "run", train={"epoch": 1})
        with pytest.raises(InputError, match='has no option "no_such_option"'):
            run(subject.inputs[0], no_such_option=1)
        with pytest.raises(InputError, match='not "another"'):
            nlp_rnn.load(subject.path, "another")
        broken = shutil.copytree(subject.path, tmp_path / "broken")
        (broken / "assets" / "assets.json").write_text("{")
        with pytest.raises(InputError, match="changed since the run was saved"):
            nlp_rnn.load(broken)
        (broken / "model.keras").unlink()
        with pytest.raises(InputError, match="not finished: continue it"):
            nlp_rnn.load(broken)


def _changed_a_little(path: Path, place: Path) -> Path:
    """A run whose weights are a little other than those of another."""
    import nlp_rnn

    run, rng = nlp_rnn.load(path), np.random.default_rng(0)
    for variable in run.model.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape).astype(variable.dtype))
    run.save(place)
    return place


def _text(value: object) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def _command(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """The lines that a command prints, which must succeed."""
    from nlp_rnn.cli import run_command

    capsys.readouterr()
    code = run_command(None, [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out.splitlines()
