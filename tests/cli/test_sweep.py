"""`sweep`: from a search space to the best settings; what was interrupted goes on, what looks bad is ended."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

import nlp_rnn
from nlp_rnn import processes
from nlp_rnn.config.space import Between, Choice, read_space
from nlp_rnn.config.values import read_yaml
from nlp_rnn.errors import InputError
from nlp_rnn.metrics.trials import conclusions
from nlp_rnn.registry import get_task
from nlp_rnn.sweeper import _found, suggested
from nlp_rnn.trainer import settings_for

optuna = pytest.importorskip("optuna", reason="it needs the extra `sweep`")

SPACE = "train.learning_rate: {low: 1e-4, high: 1, log: true}\nstack:\n  units: {low: 8, high: 64, step: 8}\n"
EPOCHS = 6


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"a {('fine', 'dull')[i % 2]} film {i % 7},{('good', 'bad')[i % 2]}" for i in range(60)]
    Path("corpus.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    Path("space.yaml").write_text(SPACE)
    return ("sweep", "sentiment", "--data", "corpus.csv", "--space", "space.yaml", "--out", "out")


class Trainings:
    """Trainings that take no time: accuracy is best at a learning rate of 0.01, and grows with the epochs."""

    def __init__(self):
        self.learned, self.resumed, self.epochs, self.before = [], [], [], lambda epoch: None

    def __call__(self, command, log, goes_on, every):
        options = dict(zip(command[5::2], command[6::2], strict=True))
        folder = Path(options.get("--out") or options["--resume"])
        self.resumed.append("--resume" in options)
        settings = read_yaml(options.get("--config") or folder / "config.yaml")
        rate = settings["train"]["learning_rate"]
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(json.dumps(settings))
        done = (folder / "metrics.jsonl").read_text().count("\n") if self.resumed[-1] else 0
        quality = 1 - abs(math.log10(rate) + 2) / 4
        for epoch in range(done + 1, EPOCHS + 1):
            try:
                self.before(epoch)
            except KeyboardInterrupt:
                return 130, False
            with open(folder / "metrics.jsonl", "a") as rows:
                rows.write(json.dumps({"epoch": epoch, "val_accuracy": quality * epoch / EPOCHS}) + "\n")
            if goes_on and not goes_on():
                self.epochs.append(epoch)
                return 130, True
        self.epochs.append(EPOCHS)
        self.learned.append((rate, settings["stack"]["units"]))
        (folder / "report.json").write_text(json.dumps({"metrics": {"validation": {"accuracy": quality}}}))
        return 0, False


@pytest.fixture
def trainings(monkeypatch):
    found = Trainings()
    monkeypatch.setattr(processes, "_run", found)
    return found


def test_it_finds_good_settings_and_writes_them_for_train(corpus, trainings, command):
    code, out, log = command(*corpus, "--trials", 9, "--json", "--stack.cell", "gru")
    assert code == 0, log
    found = json.loads(out)
    assert len(found["trials"]) == 9
    assert all(units % 8 == 0 and 8 <= units <= 64 for _, units in trainings.learned)
    assert all(1e-4 <= rate <= 1 for rate, _ in trainings.learned)
    finished = [trial for trial in found["trials"] if trial["state"] == "finished"]
    pruned = [trial for trial in found["trials"] if trial["state"] == "pruned"]
    best = max(finished, key=lambda trial: trial["value"])
    assert best["value"] > 0.9
    assert pruned, "the median rule ends trainings that look bad"
    assert all(trial["epochs"] < EPOCHS for trial in pruned)
    settings = settings_for("sentiment", "starter", "out/best.yaml")
    assert settings.train.learning_rate == best["settings"]["train.learning_rate"]
    assert settings.stack.units == best["settings"]["stack.units"]
    assert settings.stack.cell == "gru", "what is not varied is as the command says"
    assert settings.data.train == (str(Path("corpus.csv").absolute()),), "it works from any folder"
    assert "nlp-rnn train sentiment --config out/best.yaml" in Path("out/best.yaml").read_text()
    page = Path("out/sweep.html").read_text()
    assert page.count("data:image/png;base64") == 2
    assert f"{len(finished)} finished, {len(pruned)} pruned" in page
    assert not Path("out", f"trial-{pruned[0]['number']}").exists()
    assert Path("out", f"trial-{best['number']}").is_dir()

    # As many are there already; more are asked for, and the study goes on.
    before = len(trainings.epochs)
    code, out, log = command(*corpus, "--trials", 9, "--stack.cell", "gru")
    assert (code, len(trainings.epochs)) == (0, before), log
    assert out.splitlines()[1].split()[0] == str(best["number"])
    assert "flatters" in out
    assert command(*corpus, "--trials", 10, "--stack.cell", "gru")[0] == 0
    assert len(trainings.epochs) == before + 1

    # A study of something else does not go into the same folder.
    code, _, log = command(*corpus, "--trials", 9, "--stack.cell", "lstm")
    assert code == 2
    assert "was begun with other settings (stack.cell): give another --out" in " ".join(log.split())
    code, _, log = command(*corpus, "--trials", 9, "--stack.cell", "gru", "--pruner", "none")
    assert code == 2
    assert "was begun with other pruner" in " ".join(log.split())
    Path("corpus.csv").write_text(Path("corpus.csv").read_text().replace(",good", ",fair"))
    code, _, log = command(*corpus, "--trials", 9, "--stack.cell", "gru")
    assert code == 2
    assert "was begun with other data" in log


def test_what_decides_and_what_lies_at_the_edge_is_said():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    for _ in range(40):
        trial = study.ask()
        values = suggested(trial, {"units": Between(1, 100), "rate": Between(1e-4, 1e-1, log=True)})
        study.tell(trial, values["units"] + 0.1 * trial.number % 2)
    found = _found(get_task("sentiment"), study)
    assert len(found.ranked()) == 40
    assert found.importance["units"] > 0.8
    said = " ".join(conclusions(found))
    assert "40 trials: 40 finished." in said
    assert "at the end of the range of units:" in said


def test_what_is_interrupted_goes_on_where_it_was(corpus, trainings, command):
    def interrupt(epoch):
        if len(trainings.epochs) == 1 and epoch == 4:
            raise KeyboardInterrupt

    trainings.before = interrupt
    code, _, log = command(*corpus, "--trials", 3)
    assert code == 130, log
    assert "trial-1 is saved" in log
    trainings.before = lambda epoch: None
    code, out, log = command(*corpus, "--trials", 3, "--json")
    assert code == 0, log
    assert trainings.resumed == [False, False, True, False]
    trials = json.loads(out)["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert [trial["epochs"] for trial in trials] == trainings.epochs


@pytest.mark.slow  # several trainings
def test_workers_share_a_study_and_what_a_lost_one_had_is_not_waited_for(corpus, trainings, command, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one, other = (("--storage", url, "--name", "mine", "--out", out) for out in ("a", "b"))
    arguments = corpus[:-2]
    assert command(*arguments, *one, "--trials", 2)[0] == 0
    study = optuna.load_study(study_name="mine", storage=url)
    lost = study.ask()
    lost.set_user_attr("folder", "elsewhere:/runs/trial-2")
    lost.set_user_attr("heard", 0.0)
    busy = study.ask()
    busy.set_user_attr("folder", "elsewhere:/runs/trial-3")
    code, out, log = command(*arguments, *other, "--trials", 5, "--json")
    assert code == 0, log
    states = [trial["state"] for trial in json.loads(out)["trials"]]
    assert states == ["finished", "finished", "failed", "running", *states[4:]]
    assert len(states) == 6, "a failed trial does not count, one of another worker does"
    assert {path.name for path in Path("b").glob("trial-?.yaml")} == {"trial-4.yaml", "trial-5.yaml"}


def test_settings_that_were_tried_are_not_tried_again(corpus, trainings, command):
    Path("space.yaml").write_text("stack.units: [8, 16]\n")
    code, out, log = command(*corpus, "--trials", 6, "--json")
    assert code == 0, log
    assert len(trainings.epochs) == 2
    assert "as trial 0: it is not trained again" in " ".join(log.split())
    assert len(json.loads(out)["trials"]) == 6


def test_the_same_records_are_held_out_where_the_seed_is_varied(corpus, trainings, command):
    Path("space.yaml").write_text("train.seed: [3, 4, 5]\n")
    code, _, log = command(*corpus, "--trials", 3, "--train.seed", 7)
    assert code == 2, log
    code, _, log = command(*corpus, "--trials", 6)
    assert code == 0, log
    settings = [read_yaml(path) for path in Path("out").glob("trial-*.yaml")]
    assert len({one["train"]["seed"] for one in settings}) > 1
    assert {one["data"]["seed"] for one in [*settings, read_yaml("out/best.yaml")]} == {0}


def test_a_run_no_file_and_what_a_run_decides_are_refused(corpus, reviews, command):
    code, _, log = command(*corpus[:-1], reviews.path)
    assert code == 2
    assert f"{reviews.path} holds a run: choose another --out" in " ".join(log.split())
    code, _, log = command("sweep", "sentiment", "--data", "-", *corpus[4:])
    assert code == 2
    assert "give a file instead of standard input" in log
    code, _, log = command(*corpus, "--init-from", reviews.path)
    assert code == 2
    assert "stack.units is as in" in log
    Path("space.yaml").write_text("train.init_from: [a, b]\n")
    code, _, log = command(*corpus)
    assert code == 2
    assert "train.init_from names files, and cannot be varied" in log


def test_where_the_first_trainings_all_fail_it_ends(corpus, monkeypatch, command):
    def fails(command, log, *_):
        log.write_text("error: The loss is not finite.\n")
        return 1, False

    monkeypatch.setattr(processes, "_run", fails)
    code, out, log = command(*corpus, "--trials", 9)
    log = " ".join(log.split())
    assert (code, out) == (2, "")
    assert "The first 3 trials all failed. The last: Training trial-2 failed: The loss is not finite." in log
    assert not Path("out/best.yaml").exists()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("train.learning_rat: [1, 2]", 'there is no setting "train.learning_rat". Did you mean "train.learning_rate"?'),
        ("stack.units: 64", "stack.units needs two values or more, or a range"),
        ("stack.units: [64]", "stack.units needs two values or more, or a range"),
        ("stack.units: [64, 64]", "stack.units has a value twice"),
        ("stack.units: [64, 0]", "stack.units is 0; it must be at least 1"),
        ("stack.cell: [lstm, lstn]", "\"stack.cell\" is 'lstn'; it must be one of"),
        ("stack.cell: {low: 1, high: 2}", "stack.cell is no number and has no range"),
        ("stack.units: {low: 8, high: 64.5}", "stack.units is a whole number"),
        ("stack.units: {low: 64, high: 8}", "needs low and high, the lower first"),
        ("stack.units: {low: 8}", "needs low and high"),
        ("stack.units: {low: 8, high: 64, steps: 8}", 'stack.units has "steps"; a range has low, high, log and step'),
        ("stack.units: {low: 8, high: 64, step: 99}", "stack.units.step is 99; it must be above 0 and at most 56"),
        ("stack.units: {low: 8, high: 64, step: 8, log: true}", "with true, low is above 0 and there is no step"),
        ("train.learning_rate: {low: a, high: 1}", "train.learning_rate.low is 'a'; it must be a number"),
        ("stack.dropout: {low: 0.0, high: 1.5}", "stack.dropout is 1.5; it must be"),
        ("", "names no setting"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(tmp_path, space, message):
    (tmp_path / "space.yaml").write_text(space)
    with pytest.raises(InputError) as error:
        read_space(tmp_path / "space.yaml", settings_for("sentiment", "starter"))
    assert message in str(error.value)
    assert "space.yaml" in str(error.value)


def test_a_space_in_sections_is_the_same_as_one_of_dotted_names(tmp_path):
    (tmp_path / "space.yaml").write_text("stack:\n  cell: [lstm, gru]\n  units: {low: 8, high: 64}\nlookback: [4, 8]\n")
    found = read_space(tmp_path / "space.yaml", settings_for("forecasting", "starter"))
    assert found == {
        "stack.cell": Choice(("lstm", "gru")),
        "stack.units": Between(8, 64),
        "lookback": Choice((4, 8)),
    }


def test_what_is_missing_or_said_twice_is_refused(corpus, command, monkeypatch):
    code, _, log = command(*corpus[:4], "--out", "out")
    assert code == 2
    assert "--space FILE" in log
    code, _, log = command(*corpus, "--stack.units", 8)
    assert code == 2
    assert "--stack.units is given, and space.yaml varies it" in log
    Path("heads.yaml").write_text("stack.heads: [1, 2]\ntrain.teacher_weight: [0.2, 0.5]\n")
    code, _, log = command(*corpus[:4], "--space", "heads.yaml", "--out", "out", "--stack.cell", "gru")
    assert (code, "stack.heads is a setting of transformer, and stack.cell is gru" in log) == (2, True)
    Path("heads.yaml").write_text(
        "stack: {heads: [1, 2], cell: [gru, transformer]}\ntrain.teacher_weight: [0.2, 0.5]\n"
    )
    code, _, log = command(*corpus[:4], "--space", "heads.yaml", "--out", "out")
    assert (code, "train.teacher is not given, without which train.teacher_weight does nothing" in log) == (2, True)
    code, _, log = command(*corpus, "--storage", "postgresql://me:secret@nowhere.invalid/db")
    assert code == 2
    assert "cannot be opened" in log
    assert "secret" not in log
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    code, _, log = command(*corpus, "--storage", "mysql://me:secret@nowhere.invalid/db")
    assert (code, "such as pymysql, and write mysql+pymysql://" in " ".join(log.split())) == (2, True), log
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, log = command(*corpus)
    assert code == 2
    assert 'pip install "nlp-rnn[sweep]"' in log


@pytest.mark.slow  # trainings in processes of their own, one of which is interrupted
def test_real_trainings(corpus, command):
    small = ("--train.epochs", 3, "--embedding.size", 8, "--tokenizer.kind", "word", "--budget", "5m")
    code, out, log = command(*corpus, "--trials", 3, *small, "--json")
    assert code == 0, log
    trials = json.loads(out)["trials"]
    best = max((trial for trial in trials if trial["state"] == "finished"), key=lambda trial: trial["value"])
    run = nlp_rnn.load(f"out/trial-{best['number']}")
    assert run.report["metrics"]["validation"]["accuracy"] == best["value"]
    code, out, log = command("train", "sentiment", "--config", "out/best.yaml", "--out", "again", "--json")
    assert code == 0, log
    assert json.loads(out)["accuracy"] == pytest.approx(best["value"], abs=1e-6)
