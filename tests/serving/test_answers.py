"""What the client makes of a served answer is what the run predicts, for every task that says how."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import nlp_rnn
from nlp_rnn.errors import InputError
from nlp_rnn.serving import Client, protocols
from nlp_rnn.serving.batching import Batcher
from nlp_rnn.serving.client import as_json
from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.serving.inputs import RequestError
from nlp_rnn.testing.comparing import assert_close
from tests.conftest import all_tasks
from tests.subjects import SUBJECTS


class Direct(Client):
    """A client of one model in this process: what goes there and back is JSON."""

    def __init__(self, endpoint):
        super().__init__("http://localhost")
        self.batcher = Batcher(endpoint)

    def ask(self, path, payload=None):
        if payload is None:
            return {"metadata": json.loads(json.dumps(self.batcher.endpoint.about))}
        payload = json.loads(json.dumps(as_json(payload), allow_nan=False))
        return json.loads(json.dumps(asyncio.run(protocols.answer_v1(self.batcher, payload))))


def served(run):
    return Direct(Endpoint.of_run("model", run))["model"]


@pytest.mark.parametrize("task", all_tasks("sentiment", "anomaly"))
def test_the_client_gives_what_the_run_gives(task):
    subject = SUBJECTS[task]
    model = served(subject.run)
    found = model(list(subject.inputs))
    expected = subject.run(list(subject.inputs))
    assert [type(one) for one in found] == [type(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert_close(asdict(one), asdict(other))
    assert_close(asdict(model(subject.inputs[0])), asdict(expected[0]))
    with pytest.raises(InputError):
        model(5)


def test_tables_and_rows_are_read_as_the_run_reads_them():
    run = SUBJECTS["sentiment"].run
    model = served(run)
    frame = pd.DataFrame({"text": ["a fine film", None, "dull \ud83d"], "label": ["x", "y", "z"]})
    for given in (frame, [{"text": "a fine film"}, {"text": "dull"}], iter(["a fine film", "dull"])):
        rows = list(given) if not hasattr(given, "__len__") else given
        found, expected = model(rows), run(rows)
        assert_close([asdict(one) for one in found], [asdict(one) for one in expected])
    assert_close(asdict(model({"text": "dull"})), asdict(run({"text": "dull"})))
    with pytest.raises(InputError, match="has no option"):
        model("a", budget=0.1)
    anomaly = SUBJECTS["anomaly"].run
    model, given = served(anomaly), {"events": "open read close", "session": "s"}
    assert model(given).session == anomaly(given).session == "s"
    assert model("open open", budget=0.999).alarm
    for name, wrong in (("anomaly", {"txt": "a"}), ("sentiment", {"txt": "a"})):
        run = SUBJECTS[name].run
        for call in (run, served(run)):
            with pytest.raises(InputError, match="has no column"):
                call(wrong)
            with pytest.raises(InputError, match="not 5"):
                call(5)


def signal(count=200):
    load = 5 + 3 * np.sin(np.arange(count) / 4)
    values = np.stack([load, 20 + load], 1).tolist()
    values[0] = [None, 24.0]
    values[100][1] += 9
    values[120:130] = [[None, None]] * 10
    values[150][0] = None
    return {"values": values, "times": pd.date_range("2026-01-01", periods=count).astype(str).tolist(), "name": "a"}


def test_alarms_of_signals_with_gaps_are_those_of_the_run():
    run = SUBJECTS["anomaly-values"].run
    model, given = served(run), signal()
    found, expected = model(given), run(given)
    assert len(expected.alarms) == 1
    assert expected.scores[130] is None
    for one, other in zip(found.alarms, expected.alarms, strict=True):
        assert (one.time, one.step, [*map(str, one.why)]) == (other.time, other.step, [*map(str, other.why)])
    assert (found.series, found.judged, found.times) == (expected.series, expected.judged, expected.times)
    for name in ("scores", "p_values"):
        one, other = (np.array(getattr(each, name), float) for each in (found, expected))
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)
    assert found.values == expected.values
    for name in ("expected", "low", "high"):
        for target, values in getattr(expected, name).items():
            np.testing.assert_allclose(getattr(found, name)[target], values, rtol=1e-4, atol=1e-4)
    for options in ({"budget": 0.5}, {"threshold": "dynamic"}):
        changed = run.options(**options)
        (one,), (other,) = model.predict([given], changed), run.predict([given], changed)
        assert [a.step for a in one.alarms] == [a.step for a in other.alarms]
    with pytest.raises(InputError, match="infinite"):
        as_json([[float("inf")]])


@pytest.mark.slow  # a training
def test_covariates_and_texts_of_series_are_sent_as_numbers(tmp_path):
    day = np.arange(120)
    table = pd.DataFrame({"ds": pd.date_range("2025-01-01", periods=120), "y": 5.0 + day % 7, "off": day % 7 == 6})
    table = pd.concat([table.assign(unique_id=n, kind=k) for n, k in (("a", "small"), ("b", "large"))])
    data = {"train": table.assign(off=table["off"].astype(int)), "future": ["off"], "static": ["kind"]}
    settings = {"train": {"epochs": 1, "steps": 0}, "stack": {"units": 8}}
    run = nlp_rnn.train("forecasting", out=tmp_path / "run", horizon=5, lookback=10, data=data, **settings)
    times = pd.date_range("2026-01-01", periods=20).astype(str).tolist()
    given = [
        {"values": list(range(n)), "times": times[:n], "off": [0, 1] * 20, "kind": kind, "name": kind}
        for n, kind in ((20, "small"), (12, "large"))
    ]
    for one, other in zip(served(run)(given), run(given), strict=True):
        assert (one.series, one.times) == (other.series, other.times)
        np.testing.assert_allclose(one.median["y"], other.median["y"], rtol=1e-4)
    assert one.series == "large"
    whole = {**given[0], "off": [0, 1] * 10}
    for change, message in (
        ({}, "reads off for the steps to come too"),
        ({"kind": None}, 'trained with "kind": give it'),
        ({"off": [None] * 25}, 'no "off" at step 1'),
        ({"off": 5}, '"off" must be a list'),
        ({"kind": ["small"] * 20}, '"kind" must be one for the whole series'),
    ):
        for call in (run, served(run)):
            with pytest.raises(InputError, match=message):
                call({**whole, **change})
    endpoint = Endpoint.of_run("model", run)
    example = endpoint.signatures["serving_default"]["example"]["inputs"]
    known = [rows[:-1] for rows in example["known"]]
    with pytest.raises(RequestError, match=r'"known" has .* steps; it must have those of "history" and the 5 to come'):
        endpoint.answer({**example, "known": known})
