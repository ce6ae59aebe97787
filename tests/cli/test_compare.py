"""`compare`: from data to a table, a page and advice; what is finished is not done again."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

import nlp_rnn
from nlp_rnn import comparer, planner, processes
from nlp_rnn.cli import run_command
from nlp_rnn.config.comparable import cells_of
from nlp_rnn.config.values import override, seconds_of
from nlp_rnn.display.comparison import as_page, as_text
from nlp_rnn.errors import InputError
from nlp_rnn.registry import get_task

WORDS = {"good": ["fine", "lovely", "superb", "great"], "bad": ["dull", "poor", "awful", "tedious"]}


@pytest.fixture
def corpus(tmp_path):
    lines = ["text,label"]
    for number in range(240):
        label = ("good", "bad")[number % 2]
        words = [WORDS[label][(number * 7 + k) % 4] for k in range(1 + number % 9)]
        lines.append(f"{' '.join(['it', 'was', *words])},{label}")
    path = tmp_path / "corpus.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def trained(monkeypatch):
    """Trainings run in this process, for one epoch; their commands are kept."""
    monkeypatch.setenv("NLP_RNN_QUICK", "1")
    commands = []

    def run(command, *_):
        commands.append(command[3:])
        with contextlib.redirect_stdout(io.StringIO()):
            return run_command(None, command[3:]), False

    monkeypatch.setattr(processes, "_run", run)
    return commands


def arguments_for(corpus, out, *more):
    small = ["--embedding.size", "8", "--stack.units", "8", "--data.test-fraction", "0.3", "--tokenizer.kind", "word"]
    return [
        "compare",
        "sentiment",
        "--data",
        str(corpus),
        "--out",
        str(out),
        "--budget",
        "3s",
        "--seeds",
        "1",
        *small,
        *more,
    ]


@pytest.mark.slow  # two trainings and their measurements
def test_two_cells_are_compared_and_what_is_finished_is_kept(corpus, tmp_path, trained, capsys):
    out = tmp_path / "compared"
    arguments = arguments_for(corpus, out, "--models", "gru,qrnn", "--json")
    assert run_command(None, arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(trained) == 2
    assert {one["name"] for one in found["candidates"]} == {"gru", "qrnn"}
    gru, qrnn = sorted(found["candidates"], key=lambda one: one["name"])
    assert qrnn["parameters"] == pytest.approx(gru["parameters"], rel=0.1)
    for one in found["candidates"]:
        assert len(one["qualities"]) == 1
        assert 0 <= min(one["qualities"]) <= max(one["qualities"]) <= 1
        assert (len(one["parts"]), len(one["parts"][0]), len(one["by_length"])) == (1, 20, 3)
        assert min(one["training_speed"], one["prediction_speed"], one["size"], one["epochs"]) > 0
    settings = (out / "qrnn-0.yaml").read_text()
    assert "cell: qrnn" in settings
    assert "normalization: rms" in settings
    assert "residual: true" in settings
    assert (found["split"], found["records"]) == ("test", 72)
    page = (out / "comparison.html").read_text()
    assert "72 test records" in page
    assert found["advice"] in page
    assert page.count("data:image/png;base64") == 2

    assert run_command(None, arguments[:-1]) == 0
    assert len(trained) == 2  # nothing was trained again
    shown = capsys.readouterr().out
    assert "qrnn" in shown
    assert found["advice"].split(".")[0] in shown

    # From Python it is the same comparison.
    settings = {"embedding": {"size": 8}, "stack": {"units": 8}, "tokenizer": {"kind": "word"}}
    again = nlp_rnn.compare(
        "sentiment", ["gru", "qrnn"], 3, 1, out, [30], data={"train": corpus, "test_fraction": 0.3}, **settings
    )
    assert len(trained) == 4  # those with fewer labels
    assert all(0 <= value <= 1 for one in again.candidates for count, value in one.by_labels if count == 30)
    assert [[count for count, _ in one.by_labels] for one in again.candidates] == [[30], [30]]
    assert "with 30 records" in (out / "comparison.html").read_text()
    assert "with 30 records" in as_text(again)
    assert as_page(again, {"gru": [(1.0, 0.5)]}).count("data:image/png;base64") == 3
    assert {one.name: one.qualities for one in again.candidates} == {
        one["name"]: one["qualities"] for one in found["candidates"]
    }

    # Nor do changed data go beside what was trained on others.
    before = corpus.read_text()
    corpus.write_text(before.replace(",good", ",fair"))
    assert run_command(None, arguments) == 2
    assert "The data have changed" in capsys.readouterr().err
    corpus.write_text(before)

    # Another comparison does not go into the same folder.
    assert run_command(None, arguments_for(corpus, out, "--models", "gru,lstm")) == 2
    assert "give another folder with --out" in capsys.readouterr().err
    assert len(trained) == 4


def test_all_trainings_hold_out_the_same_records(corpus, tmp_path, monkeypatch):
    """Else seeds would be measured on records that they learned."""
    asked = {}
    monkeypatch.setattr(planner, "_seconds_per_step", lambda run, batches: 0.01)
    monkeypatch.setattr(
        comparer, "train_apart", lambda task, settings, recipe, folder: asked.update({folder.name: settings})
    )
    monkeypatch.setattr(comparer, "_measured", lambda *arguments: None)
    monkeypatch.setattr(comparer, "_write", lambda *arguments: None)
    data = {"train": str(corpus), "test_fraction": 0.3}
    nlp_rnn.compare("sentiment", "lstm,gru", 3, 2, tmp_path / "out", [50, 20], data=data, train={"batch_size": 24})
    names = {f"{cell}-{seed}{few}" for cell in ("lstm", "gru") for seed in (0, 1) for few in ("", "-of-20", "-of-50")}
    assert set(asked) == names
    assert {settings.data.seed for settings in asked.values()} == {0}
    assert {name[-1]: settings.train.seed for name, settings in asked.items() if "of" not in name} == {"0": 0, "1": 1}
    parts = [get_task("sentiment").read(asked[name], "test").fingerprint() for name in sorted(names)]
    assert len(set(parts)) == 1
    few, many = asked["gru-1-of-20"], asked["gru-1"]
    assert (few.data.train_records, many.data.train_records) == (20, 0)
    assert (few.train.passes, many.train.passes) == (7, 1)  # of 144 records
    assert few.train.epochs == many.train.epochs


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("sentiment", "20,many", "Numbers of training records such as 100,1000 are needed, not 20,many"),
        ("sentiment", "0", "Numbers of training records"),
        ("sentiment", "1,20", "--data.train_records 1: 2 records are needed for one of each label"),
        ("sentiment", "20,5000", "There are 144 training records: 5000 labels are not fewer"),
        ("language-modeling", "20", "cannot be fewer by their number: leave the numbers of labels out"),
    ],
)
def test_labels_that_make_no_sense(corpus, tmp_path, capsys, task, labels, message):
    arguments = arguments_for(corpus, tmp_path / "out", "--labels", labels)
    arguments[1] = task
    arguments = [a for a in arguments if task == "sentiment" or a not in ("--data.test-fraction", "0.3")]
    assert run_command(None, arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_budget_below_an_epoch_is_refused(corpus, tmp_path, trained, capsys, monkeypatch):
    monkeypatch.setattr(planner, "_seconds_per_step", lambda run, batches: 100.0)
    assert run_command(None, arguments_for(corpus, tmp_path / "out")) == 2
    assert "One epoch of lstm takes about" in capsys.readouterr().err
    assert not trained


def test_a_training_that_fails_says_where_to_read_more(corpus, tmp_path, capsys, monkeypatch):
    def fails(command, log, *_):
        log.write_text("The loss is not finite.\n")
        return 1, False

    monkeypatch.setattr(processes, "_run", fails)
    monkeypatch.setattr(planner, "_seconds_per_step", lambda run, batches: 0.01)
    assert run_command(None, arguments_for(corpus, tmp_path / "out", "--models", "gru,lstm")) == 2
    error = capsys.readouterr().err
    assert "Training gru-0 failed: The loss is not finite." in error
    assert "gru-0.log" in error


def test_a_folder_with_other_things_is_left_alone(corpus, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert run_command(None, arguments_for(corpus, tmp_path / "mine")) == 2
    assert "is not empty and holds no comparison" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("option", ["--train.epochs", "--stack.cell", "--train.patience", "--init-from"])
def test_what_compare_decides_itself_is_refused(corpus, tmp_path, capsys, option):
    assert run_command(None, arguments_for(corpus, tmp_path / "out", option, "3")) == 2
    name = {"--init-from": "train.init_from"}.get(option, option.removeprefix("--"))
    assert f"compare chooses {name} itself" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_python_refuses_the_same(corpus, tmp_path):
    def compared(models="lstm,gru", budget="3s", **sections):
        return nlp_rnn.compare("sentiment", models, budget, out=tmp_path / "out", data=str(corpus), **sections)

    for sections, message in (
        ({"train": {"epochs": 3}}, r"compare chooses train\.epochs itself"),
        ({"stack": {"heads": 2}}, r"stack\.heads is a setting of transformer"),
        ({"stack": {"unit": 2}}, "unit"),
        ({"models": "lstm"}, "two models or more"),
        ({"budget": 0}, "0 is no time"),
        ({"budget": float("inf")}, "inf is no time"),
        ({"budget": None}, "None is no time"),
        ({"seeds": 1.5}, "seeds is 1.5"),
        ({"labels": 0}, "Numbers of training records"),
        ({"labels": ["some"]}, "Numbers of training records"),
        ({"models": None}, "two models or more"),
        ({"budget": "long"}, "is no time"),
    ):
        with pytest.raises(InputError, match=message):
            compared(**sections)
    assert not (tmp_path / "out").exists()


def test_what_none_of_the_cells_has_is_refused(corpus, tmp_path, capsys):
    assert run_command(None, arguments_for(corpus, tmp_path / "out", "--stack.heads", "2")) == 2
    assert "stack.heads is a setting of transformer, and the cells are" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cell", ["sru", "rglru", "qrnn", "lstm"])
def test_models_have_about_equally_many_weights(corpus, cell):
    """Also where the size of the embedding is a width that was tried, at which some cells have a matrix less."""
    task = get_task("sentiment")
    settings = {"data": {"train": [str(corpus)]}, "embedding": {"size": 32}, "stack": {"units": 16}}
    config = override(task.Config(), settings)
    assets = task.assets(config, task.read(config, "train"))
    wanted = task.build(config, assets).count_params()
    units = planner._units_for(task, config, cell, assets, wanted)
    found = task.build(planner.settings_of(config, cell, units), assets).count_params()
    assert found == pytest.approx(wanted, rel=0.06)


@pytest.mark.parametrize(
    ("given", "message"),
    [("lstm,gpu", 'no cell "gpu"'), ("lstm", "two models or more"), ("gru,gru", "twice"), ("", "two models or more")],
)
def test_models_that_make_no_sense(given, message):
    with pytest.raises(InputError, match=message):
        cells_of(given)


@pytest.mark.parametrize(("given", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), (" 2 m ", 120)])
def test_times(given, seconds):
    assert seconds_of(given) == seconds


@pytest.mark.parametrize("given", ["5", "m", "0s", "-3m", "5 minutes"])
def test_times_that_are_none(given):
    with pytest.raises(InputError, match="is no time"):
        seconds_of(given)


def test_a_linear_model_stands_beside_the_networks(corpus):
    pytest.importorskip("sklearn")
    task = get_task("sentiment")
    config = override(task.Config(), {"data": {"train": [str(corpus)], "test_fraction": 0.3}})
    train, test = task.read(config, "train"), task.read(config, "test")
    common, linear = task.baselines(config, train, test).items()
    assert common == ("the commonest label", 0.5)
    assert "linear" in linear[0]
    assert linear[1] > 0.95
