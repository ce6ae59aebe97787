"""Forecasting from tables to results: what a user sees, and what is refused."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import nlp_rnn
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.forecasting import Options, backtest
from nlp_rnn.tasks.forecasting.covariates import Covariates
from nlp_rnn.tasks.inputs import HistoryInput
from tests.conftest import slow
from tests.subjects import SUBJECTS

QUICK = {"train": {"epochs": 2, "steps": 0}, "stack": {"units": 8}}


def shop(days=150, stores=("a", "b")):
    """Sales that double on the days of a promotion and rise at weekends."""
    parts = []
    for k, store in enumerate(stores):
        day = np.arange(days)
        promo = (day * (k + 3) % 11 == 0).astype(int)
        units = (10 + 20 * k + 4 * (day % 7 > 4)) * (1 + promo)
        parts.append(
            pd.DataFrame(
                {
                    "date": pd.date_range("2025-01-01", periods=days),
                    "store": store,
                    "units": units,
                    "promo": promo,
                    "kind": ["small", "large"][k],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


COLUMNS = {"series": "store", "target": ["units"]}


@pytest.fixture(scope="module")
def with_promotions(tmp_path_factory):
    data = {"train": shop(), **COLUMNS, "future": ["promo"], "static": ["kind"]}
    settings = {
        "train": {"epochs": 40, "steps": 0, "patience": 0, "learning_rate": 0.01, "batch_size": 32},
        "stack": {"units": 32},
    }
    return nlp_rnn.train("forecasting", out=tmp_path_factory.mktemp("run") / "shop", data=data, horizon=7, **settings)


@pytest.mark.slow  # trains on the starter
def test_the_starter_beats_simple_methods(tmp_path):
    run = nlp_rnn.train("forecasting", out=tmp_path / "run")
    found = run.metrics
    assert found["mae"] < 0.9 * found["mae of"]["seasonal naive"]
    assert found["mae"] < found["mae of"]["linear (NLinear, ridge)"]
    assert 0.75 < found["coverage_80"] < 0.85
    assert run.config.horizon == 7
    assert run.assets.facts["cycles"] == ["week", "year"]


@pytest.mark.slow  # a training of its own
def test_what_is_known_of_the_future_is_used(with_promotions, tmp_path):
    run = with_promotions
    assert run.metrics["mae in units"]["units"] < 4
    frame = shop()
    coming = pd.DataFrame(
        {"date": pd.date_range("2025-05-31", periods=7), "units": None, "promo": [0, 0, 1, 0, 0, 0, 1]}
    )
    frame = pd.concat([frame, coming.assign(store="a", kind="small"), coming.assign(store="b", kind="large")])
    small, large = (np.array(one.median["units"]) for one in run(frame))
    days = np.array([2, 6])
    for found, size in ((small, 10), (large, 30)):
        others = np.delete(found, days)
        assert found[days].mean() > 1.4 * np.median(others)
        assert np.median(others) == pytest.approx(size, rel=0.35)
    with pytest.raises(
        InputError, match=r'reads promo for the steps to come too: after 2025-05-30 of the series "a" 0 of 7'
    ):
        run(shop())
    with pytest.raises(InputError, match='trained with "promo": give it with the series'):
        run({"values": [1.0] * 50, "times": [str(day.date()) for day in pd.date_range("2025-01-01", periods=50)]})


@pytest.mark.slow  # its run is trained for long
def test_unseen_categories_and_series_are_counted(with_promotions):
    frame = shop(days=157, stores=("new",)).assign(kind="huge")
    frame.loc[frame.index[-7:], "units"] = np.nan
    records = with_promotions.read(frame, "predict")
    assert '"huge" of kind was not seen in training' in with_promotions.batches_of(records).notes
    assert next(with_promotions.predict(records)).series == "new"


def test_predict_goes_on_from_the_runs_own_data(command, tmp_path):
    path = SUBJECTS["forecasting"].path
    code, _, error = command("predict", path, "--output", tmp_path / "next.csv", "--plot", tmp_path / "next.png")
    assert code == 0, error
    table = pd.read_csv(tmp_path / "next.csv")
    assert list(table.columns[:5]) == ["series", "time", "target", "mean", "median"]
    assert table["time"].tolist() == [str(d.date()) for d in pd.date_range("2025-05-01", periods=5)] * 2
    assert table["series"].tolist() == ["a"] * 5 + ["b"] * 5
    assert (table["quantiles.0.1"] <= table["quantiles.0.9"]).all()
    assert (tmp_path / "next.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = command("predict", path, "--horizon", 2, "--json")
    assert [len(json.loads(line)["times"]) for line in out.splitlines()] == [2, 2]
    code, out, _ = command("predict", path, "--plot", "-")
    assert "▁" in out
    code, _, error = command("predict", path, "--horizon", 6)
    assert (code, "trained to forecast 5 steps" in " ".join(error.split())) == (2, True)


def test_other_data_are_read_as_the_runs_own(command, tmp_path):
    path = SUBJECTS["forecasting"].path
    frame = pd.DataFrame({"ds": pd.date_range("2026-01-01", periods=30), "store": "c", "y": range(30)})
    frame.to_csv(tmp_path / "new.tsv", sep="\t", index=False)
    code, out, error = command("predict", path, "--data", tmp_path / "new.tsv", "--json")
    assert code == 0, error
    assert json.loads(out)["times"][0] == "2026-01-31"
    code, out, error = command("evaluate", path, "--data", tmp_path / "new.tsv", "--json")
    assert code == 0, error
    assert json.loads(out)["forecasts"] == 30 - 14 - 5 + 1
    frame.assign(ds=pd.date_range("2026-01-01", periods=30, freq="h")).to_csv(tmp_path / "h.csv", index=False)
    code, _, error = command("predict", path, "--data", tmp_path / "h.csv")
    assert (code, "the times do not go on in steps of D (frequency)" in " ".join(error.split())) == (2, True)
    frame.rename(columns={"store": "shop"}).to_csv(tmp_path / "x.csv", index=False)
    code, _, error = command("predict", path, "--data", tmp_path / "x.csv")
    assert (code, 'has no column "store"; it has: ds, shop, y' in " ".join(error.split())) == (2, True)


def test_a_backtest_sets_the_run_beside_simple_methods(command, tmp_path):
    run = SUBJECTS["forecasting"].run
    found = backtest(run, windows=3, ets=False)
    assert len(found.rows) == 6
    begins = [row["begins"] for row in found.rows if row["series"] == "a"]
    assert np.diff(np.array(begins, "datetime64[D]")).tolist() == [timedelta(5)] * 2
    actual = found.windows.actual()
    before = {name: np.std([5 + 3 * (d % 7 == 6) for d in range(90)]) for name in "ab"}  # each in its own spread
    spreads = np.array([before[row["series"]] for row in found.rows])[:, None, None]
    expected = np.abs(actual - found.forecasts.median) / spreads
    np.testing.assert_allclose([row["model"] for row in found.rows], expected.mean((1, 2)), rtol=0.05)
    code, out, error = command("backtest", run.path, "--windows", 2, "--plot", tmp_path / "b.png", "--ets", "False")
    assert code == 0, error
    assert "seasonal naive" in out
    assert "80 % interval" in out
    assert (tmp_path / "b.png").exists()
    code, out, _ = command("backtest", run.path, "--json")
    assert set(json.loads(out)) == {"windows", "metrics"}


@pytest.mark.slow  # a training of each
@pytest.mark.parametrize("kind", [slow("encoder-decoder"), "deepar"])
def test_other_models_train_resume_and_export(kind, tmp_path):
    settings = {**QUICK, "model": {"kind": kind}, "data": {"train": shop(), **COLUMNS}}
    run = nlp_rnn.train("forecasting", out=tmp_path / "run", horizon=4, lookback=10, **settings)
    expected = run(shop())
    again = nlp_rnn.load(tmp_path / "run")(shop())
    assert again == expected
    import tensorflow as tf

    folder = run.export(tmp_path / "export")
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    frame = shop()
    history = np.stack([frame["units"][frame["store"] == s] for s in "ab"])[..., None].astype(np.float32)
    last = int(pd.Timestamp("2025-05-30").timestamp())
    served = serve(history=history, lengths=tf.constant([150, 150]), time=tf.constant([last] * 2, tf.int64))
    np.testing.assert_allclose(served["median"][0, :, 0], expected[0].median["units"], rtol=1e-3, atol=1e-3)
    assert served["times"][0].numpy().astype("datetime64[s]").astype(str)[0][:10] == expected[0].times[0]
    if kind == "deepar":
        check_stream(tf.saved_model.load(str(folder)).signatures, history, last)
        run.export(tmp_path / "onnx", "onnx")  # compared with the model as it is written
        run.export(tmp_path / "litert", "litert")


def check_stream(signatures, history, last):
    """Begun with all but three values, `step` reads those; what is far from what was expected surprises more."""
    import tensorflow as tf

    first = {"history": history[:, :-3], "lengths": tf.constant([147, 147])}
    found = signatures["begin"](**first, time=tf.constant([last - 3 * 86_400] * 2, tf.int64))
    plain = signatures["serving_default"](**first, time=tf.constant([last - 3 * 86_400] * 2, tf.int64))
    np.testing.assert_allclose(found["quantiles"], plain["quantiles"], rtol=1e-4, atol=1e-4)
    for back in (2, 1, 0):
        time = tf.constant([last - back * 86_400] * 2, tf.int64)
        found = signatures["step"](values=history[:, -1 - back], time=time, state=found["state"])
        assert np.isfinite(found["surprise"]).all()
    assert found["times"][0, 0] == last + 86_400
    time = tf.constant([last + 86_400] * 2, tf.int64)
    usual, odd = (
        signatures["step"](values=values, time=time, state=found["state"])
        for values in (found["median"][:, 0], found["median"][:, 0] + 100)
    )
    assert (usual["surprise"].numpy() < odd["surprise"].numpy()).all()
    assert (np.abs(usual["median"] - odd["median"]) > 0.1).all()


@pytest.mark.slow  # a training
def test_deepar_goes_further_and_draws_counts(tmp_path):
    model = {"kind": "deepar", "distribution": "negative-binomial", "calendar": "none"}
    run = nlp_rnn.train(
        "forecasting",
        out=tmp_path / "run",
        horizon=4,
        lookback=10,
        **QUICK,
        model=model,
        data={"train": shop(), **COLUMNS},
    )
    found = run({"values": [3, 4, 5] * 5}, horizon=9, samples=50)
    values = np.array(list(found.quantiles["units"].values()))
    assert values.shape == (7, 9)
    np.testing.assert_array_equal(values, values.round())
    frame = shop().assign(units=lambda table: table["units"] + 0.5)
    with pytest.raises(InputError, match="Not all values are counts"):
        nlp_rnn.train("forecasting", out=tmp_path / "b", **QUICK, model=model, data={"train": frame, **COLUMNS})


@pytest.mark.slow  # a training of its own
def test_a_report_says_when_a_simple_method_wins(command, tmp_path):
    frame = pd.DataFrame({"ds": pd.date_range("2025-01-01", periods=200), "y": np.arange(200) % 7})
    frame.to_csv(tmp_path / "wave.csv", index=False)
    out = tmp_path / "run"
    code, _, log = command("train", "forecasting", "--data", tmp_path / "wave.csv", "--train.epochs", 1, "--out", out)
    assert code == 0, log
    assert "A simple method is better by mae: seasonal naive with 0.0000" in " ".join(log.split())
    assert "A simple method is better" in (out / "card.md").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 100}, "no series is long enough for"),
        ({"lookback": 140}, "give a smaller --lookback or --horizon"),
        ({"data": {"target": ["sales"]}}, 'has no column "sales"; it has: date, store, units'),
        ({"data": {"series": ""}}, "repeats .*is there a column that names the series"),
        ({"data": {"static": ["promo"]}}, r'"promo" must have one value in a series \(static\); it has 2'),
        ({"data": {"frequency": "fortnight"}}, "is not known; use s, min, h, D"),
        ({"stack": {"bidirectional": True}}, "--stack.bidirectional has no effect in forecasting"),
        ({"train": {"class_weights": "balanced"}}, "--train.class_weights has no effect in forecasting"),
        ({"model": {"levels": [0.1, 0.5]}}, "must increase and be symmetric around 0.5"),
        ({"data": {"validation_fraction": 0.0}}, "There is no validation data"),
    ],
)
def test_what_is_refused(settings, message, tmp_path):
    data = {"train": shop(), **COLUMNS, **settings.get("data", {})}
    with pytest.raises(InputError, match=message) as caught:
        nlp_rnn.train("forecasting", out=tmp_path / "run", **{**QUICK, **settings, "data": data})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif("NLP_RNN_DATA" not in os.environ, reason="NLP_RNN_DATA is not set")
def test_etth1(tmp_path):
    data = f"{os.environ['NLP_RNN_DATA']}/ett/ETTh1.csv.gz"
    run = nlp_rnn.train("forecasting", recipe="etth1", out=tmp_path / "run", data={"train": data})
    assert run.metrics["forecasts"] == 2785
    assert run.metrics["mse"] < 0.38
    assert run.metrics["mae"] < 0.40


@pytest.mark.slow  # a training of its own
def test_a_run_needs_its_training_data_no_more(tmp_path, command):
    frame = pd.DataFrame({"ds": pd.date_range("2025-01-01", periods=200), "y": np.arange(200) % 7})
    frame.to_csv(tmp_path / "wave.csv", index=False)
    data = {"train": str(tmp_path / "wave.csv"), "steps": [120, 30, 30]}
    run = nlp_rnn.train("forecasting", out=tmp_path / "run", data=data, horizon=5, lookback=10, **QUICK)
    assert run.metrics["forecasts"] == 30 - 5 + 1
    (tmp_path / "wave.csv").rename(tmp_path / "other.csv")
    code, out, error = command("evaluate", tmp_path / "run", "--data", tmp_path / "other.csv", "--json")
    assert code == 0, error
    assert json.loads(out)["mae"] == pytest.approx(run.metrics["mae"])  # the same part of the same steps
    frame[:170].to_csv(tmp_path / "shorter.csv", index=False)
    code, out, error = command("evaluate", tmp_path / "run", "--data", tmp_path / "shorter.csv", "--json")
    assert json.loads(out)["forecasts"] == 170 - 10 - 5 + 1
    code, _, error = command("predict", tmp_path / "run", "--data", tmp_path / "other.csv")
    assert code == 0, error


@pytest.mark.slow  # a training of its own
def test_noise_with_gaps_is_not_foreseen(tmp_path):
    values = np.random.default_rng(0).normal(size=1500)
    values[::2] = np.nan
    frame = pd.DataFrame({"ds": pd.date_range("2025-01-01", periods=1500, freq="h"), "y": values})
    settings = {"train": {"epochs": 6, "steps": 0}, "stack": {"units": 16}}
    run = nlp_rnn.train("forecasting", out=tmp_path / "run", horizon=2, lookback=8, data={"train": frame}, **settings)
    assert min(v for v in run.metrics["mae by step"].values() if v is not None) > 0.6


@pytest.mark.slow  # a training of its own
def test_series_that_begin_late_or_end_in_zeros(tmp_path):
    late = pd.DataFrame({"unique_id": "new", "ds": pd.date_range("2025-05-20", periods=20), "y": range(20)})
    old = pd.DataFrame(
        {"unique_id": "old", "ds": pd.date_range("2025-01-01", periods=160), "y": [*[3.0] * 80, *[0.0] * 80]}
    )
    run = nlp_rnn.train("forecasting", out=tmp_path / "run", horizon=3, data={"train": pd.concat([old, late])}, **QUICK)
    assert [one.series for one in run(pd.concat([old, late]))] == ["old", "new"]
    hours = pd.DataFrame({"ds": pd.date_range("2025-01-01 05:00", periods=400, freq="h"), "y": np.arange(400) % 24})
    run = nlp_rnn.train("forecasting", out=tmp_path / "hours", data={"train": hours.set_index("ds")}, **QUICK)
    found = run(hours)[0].frame()
    assert (found["time"].diff().dropna() == pd.Timedelta("1h")).all()
    with pytest.raises(InputError, match="must have one name each"):
        run(pd.DataFrame(np.ones((5, 2)), columns=["y", "y"]))


def test_times_over_midnight_have_one_form_also_where_they_are_served():
    from nlp_rnn.tasks.forecasting.predictions import from_row

    row = {"quantiles": np.zeros((2, 1, 3)), "levels": [0.1, 0.5, 0.9], "targets": ["y"], "times": [86340, 86400]}
    assert from_row(row, Options()).times == ["1970-01-01T23:59:00", "1970-01-02T00:00:00"]


def test_a_part_of_which_nothing_is_known_is_refused(tmp_path, command):
    frame = pd.DataFrame({"ds": pd.date_range("2025-01-01", periods=400), "y": np.sin(np.arange(400) / 7)})
    frame.loc[270:398, "y"] = np.nan
    frame.to_csv(tmp_path / "a.csv", index=False)
    options = ("--horizon", 5, "--lookback", 14, "--out", tmp_path / "run")
    code, _, log = command("train", "forecasting", "--data", tmp_path / "a.csv", *options)
    assert code == 2
    assert "no value is known of the steps for validation" in " ".join(log.split())


def test_a_series_of_one_step_has_a_list_of_one():
    covariates = Covariates({"future": [], "past": ["rain"], "static": ["kind"], "categories": {}, "scales": {}})
    series = HistoryInput().parse({"values": [5.0], "rain": [0.5], "kind": 2.0})
    assert covariates.numbers(series, "past").tolist() == [[0.5]]
    assert covariates.numbers(series, "known").tolist() == [[2.0]]
    with pytest.raises(InputError, match='"rain" must be a list'):
        covariates.numbers(HistoryInput().parse({"values": [5.0], "rain": 0.5}), "past")
