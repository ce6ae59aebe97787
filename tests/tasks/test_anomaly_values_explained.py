"""Alarms of values, explained by the values before them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.tasks.anomaly_values import explain
from tests.subjects import SUBJECTS
from tests.tasks.test_anomaly_values import wave


@pytest.fixture(scope="module")
def run():
    return SUBJECTS["anomaly-values"].run


def test_an_alarm_is_explained_by_the_values_before_it(run):
    """Contributions sum to what the run expected less what is usual; the most unusual alarm comes first."""
    signal = wave(300, 200)
    alarms = run(signal).alarms
    found = list(explain(run, [signal]))
    assert [one.score for one in found] == sorted((alarm.score for alarm in alarms), reverse=True)
    (cause,) = next(alarm for alarm in alarms if alarm.score == found[0].score).why[:1]
    first, lookback = found[0], run.config.lookback
    assert (first.time, first.target, first.why) == ("200", "heat", str(cause))
    assert first.forecast == pytest.approx(cause.expected, rel=1e-4)
    assert sum(map(sum, first.values)) == pytest.approx(first.forecast - first.base, rel=0.02)
    assert (first.times[0], first.times[-1], len(first.values)) == (str(200 - lookback), "199", lookback)
    assert str(first).startswith(f"200: {cause}; expected ")
    with pytest.raises(InputError, match="explain needs a run of anomaly-values"):
        list(explain(SUBJECTS["forecasting"].run))


def test_explanations_at_the_command_line(run, command, tmp_path, at_hand):
    at_hand(run)
    for name, odd in (("odd", 200), ("usual", None)):
        times = pd.date_range("2026-01-01", periods=300, freq="5min")
        values = pd.DataFrame(wave(300, odd)["values"], times, ["load", "heat"])
        values.to_csv(tmp_path / f"{name}.csv", index_label=run.config.data.time)
    code, out, log = command("explain", run.path, "--data", tmp_path / "odd.csv", "--most", 1, "--json")
    assert (code, json.loads(out)["target"]) == (0, "heat"), log
    code, out, log = command("explain", run.path, "--data", tmp_path / "usual.csv")
    assert (code, out, "a larger --budget has more" in " ".join(log.split())) == (0, "", True)
