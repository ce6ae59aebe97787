"""The step between times, beside pandas; the phases of the calendar, beside their formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from nlp_rnn.errors import InputError
from nlp_rnn.series.calendar import cycles_of, phase_count, phases
from nlp_rnn.series.steps import YEAR, Step, time_text

ALIASES = ["s", "15min", "h", "6h", "D", "W-SUN", "B", "MS", "ME", "2MS", "QS-OCT", "QE-DEC", "YS-JAN", "YE-DEC"]


@pytest.mark.parametrize("alias", ALIASES)
def test_times_ahead_and_before_are_those_of_pandas(alias):
    grid = pd.date_range("1963-01-01", periods=150, freq=alias).as_unit("s").asi8
    step, places = Step(alias), np.arange(150)
    for origin in (0, 13, 149):
        np.testing.assert_array_equal(step.ahead(np.full(150, grid[origin]), places - origin), grid)
    in_graph = tf.function(step.ahead)(tf.fill([150], grid[50]), tf.constant(places - 50))
    np.testing.assert_array_equal(in_graph, grid)


@pytest.mark.parametrize(
    ("alias", "season"),
    [("h", 24), ("15min", 96), ("D", 7), ("W-SUN", 52), ("MS", 12), ("QS", 4), ("YS", 1), ("B", 5), ("1", 1)],
)
def test_seasons_are_the_usual_ones(alias, season):
    assert Step(alias).season == season


@pytest.mark.parametrize("alias", ["", "ms", "BME", "WOM-3FRI", "2B", "fortnight"])
def test_unknown_steps_are_refused(alias):
    with pytest.raises(InputError, match=r"is not known; use s, min, h, D, W"):
        Step(alias)


def test_only_cycles_that_were_seen_twice_are_read():
    assert cycles_of(Step("h"), YEAR) == ["day", "week"]
    assert cycles_of(Step("h"), 2 * YEAR) == ["day", "week", "year"]
    assert cycles_of(Step("D"), 10 * YEAR) == ["week", "year"]
    assert cycles_of(Step("W"), 10 * YEAR) == ["year"]
    assert cycles_of(Step("1"), 10 * YEAR) == []


def test_phases_are_sines_of_the_place_in_the_cycle():
    times = pd.date_range("2025-12-29", "2026-01-03", freq="5h")
    found = phases(tf.constant(times.as_unit("s").asi8), ["day", "week"]).numpy()
    assert found.shape == (len(times), phase_count(["day", "week"]))
    hour = times.hour.to_numpy() / 24
    week = (times.dayofweek.to_numpy() + hour) / 7
    expected = [f(2 * np.pi * k * place) for place in (hour, week) for k in (1, 2, 3) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-5)


def test_times_are_shown_short():
    assert time_text(0) == "1970-01-01"
    assert time_text(-60) == "1969-12-31T23:59:00"
    assert time_text(253402300799) == "9999-12-31T23:59:59"
