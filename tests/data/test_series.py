"""Tables of every form → series on a grid: nothing is lost, moved or filled without being counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.data.frames import read_frame
from nlp_rnn.data.grids import parse_times
from nlp_rnn.data.histories import history_of
from nlp_rnn.data.readers import Form
from nlp_rnn.data.series import LINE, Columns, Policy, Series, find_columns, series_of
from nlp_rnn.data.windows import Gathered, Windows
from nlp_rnn.errors import InputError

DAYS = pd.date_range("2025-01-30", periods=40, freq="D")


def read(path, asked=None, policy=None, form="auto"):
    frame, shown = read_frame([str(path)], "train", Form(form), {"ds", "unique_id"})
    columns = find_columns(frame, asked or Columns("", "", ()), shown)
    return *series_of(frame, columns, policy or Policy(), shown), columns


def write(path, times, values, name="ds", delimiter=","):
    lines = [f"{name}{delimiter}y", *(f"{t}{delimiter}{v}" for t, v in zip(times, values, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d %b %Y", "%Y%m%d", "%Y-%m-%dT00:00:00Z",
        "%Y-%m-%d 00:00:00+0200", "%d.%m.%y",
    ],
)  # fmt: skip
def test_dates_of_every_form_are_the_same_days(tmp_path, form):
    (series,), step, counts, _ = read(write(tmp_path / "a.csv", DAYS.strftime(form), range(40)))
    np.testing.assert_array_equal(series.times, DAYS.as_unit("s").asi8)
    assert (step.alias, len(series), counts.total()) == ("D", 40, 0)


@pytest.mark.parametrize("divisor", [1, 1000])
def test_seconds_and_milliseconds_since_1970(tmp_path, divisor):
    stamps = DAYS.as_unit("s").asi8 * divisor
    (series,), *_ = read(write(tmp_path / "a.csv", stamps, range(40)))
    np.testing.assert_array_equal(series.times, DAYS.as_unit("s").asi8)


@pytest.mark.parametrize(
    ("alias", "form"),
    [
        ("h", "%Y-%m-%d %H:%M"),
        ("MS", "%Y-%m"),
        ("YS", "%Y"),
        ("W-SUN", "%Y-%m-%d"),
        ("B", "%Y-%m-%d"),
        ("QS-OCT", "%Y-%m-%d"),
    ],
)
def test_the_step_is_found_also_where_values_are_missing(tmp_path, alias, form):
    times = pd.date_range("2001-01-01", periods=120, freq=alias)
    kept = np.arange(120) % 17 != 5
    values = np.arange(120.0)
    (series,), step, counts, _ = read(write(tmp_path / "a.csv", times[kept].strftime(form), values[kept]))
    assert (step.unit, step.count) == (type(step)(alias).unit, type(step)(alias).count)
    np.testing.assert_array_equal(series.times, times.as_unit("s").asi8)
    expected = pd.Series(values).where(kept).ffill()
    np.testing.assert_allclose(series.values[:, 0], expected)  # from before, never from what is later
    np.testing.assert_array_equal(series.observed[:, 0], kept)
    assert list(counts.values()) == [(~kept).sum()]


def test_the_hour_that_a_clock_skips_or_shows_twice(tmp_path):
    for first, refused in (("2025-03-28", False), ("2025-10-24", True)):
        aware = pd.date_range(first, periods=120, freq="h", tz="Europe/Berlin")
        path = write(tmp_path / "a.csv", aware.strftime("%Y-%m-%d %H:%M"), range(120))
        (series,), _, counts, _ = read(path, policy=Policy(timezone="Europe/Berlin"))
        np.testing.assert_array_equal(series.times, aware.as_unit("s").asi8)
        assert list(counts.items()) == [("times of a zone, in UTC from here on", 120)]
        if refused:
            with pytest.raises(InputError, match=r"line 53: the time 2025-10-26T02:00:00 repeats \(1 do\)"):
                read(path)
    with pytest.raises(InputError, match='There is no time zone "Berlin"'):
        read(path, policy=Policy(timezone="Berlin"))


@pytest.mark.parametrize(
    ("how", "expected"), [("first", 0.0), ("last", 3.0), ("mean", 4 / 3), ("sum", 4.0)]
)  # fmt: skip
def test_times_that_repeat(tmp_path, how, expected):
    path = write(
        tmp_path / "a.csv", [DAYS[0].date(), *[d.date() for d in DAYS[:9]], DAYS[0].date()], [0, 1, *range(8), 3]
    )
    (series,), _, counts, _ = read(path, policy=Policy(duplicates=how))
    assert series.values[0, 0] == pytest.approx(expected)
    assert counts[f"rows of a time that repeats ({how})"] == 2


def test_gaps(tmp_path):
    path = write(tmp_path / "a.csv", [d.date() for d in DAYS], [5 if i not in (3, 4) else "" for i in range(39)] + [7])
    for how, value in (("previous", 5), ("zero", 0)):
        (series,), *_ = read(path, policy=Policy(gaps=how))
        assert series.values[3, 0] == value
        assert np.isnan(series.known[3:5]).all()
    with pytest.raises(InputError, match="has 2 missing values, the first at 2025-02-02"):
        read(path, policy=Policy(gaps="refuse"))


def test_rows_after_the_last_value_say_what_is_known_of_the_future(tmp_path):
    frame = pd.DataFrame({"ds": DAYS, "y": [*range(35), *[None] * 5], "promo": [i % 3 for i in range(40)]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    (series,), _, counts, _ = read(tmp_path / "a.csv", Columns("", "", (), ("promo",)))
    assert (len(series), len(series.covariates["promo"]), counts.total()) == (35, 40, 0)


def test_columns_are_found_in_wide_and_in_long_tables(tmp_path):
    wide = pd.DataFrame({"Day": DAYS, "a": range(40), "b": np.ones(40), "note": ["x"] * 40})
    wide.to_parquet(tmp_path / "wide.parquet")
    *_, columns = read(tmp_path / "wide.parquet")
    assert (columns.time, columns.series, columns.targets) == ("Day", "", ("a", "b"))
    long = pd.concat([wide.assign(unique_id=name, y=k) for k, name in enumerate(("007", "NA"))])
    long[["unique_id", "Day", "y"]].to_csv(tmp_path / "long.csv", index=False)
    series, _, _, columns = read(tmp_path / "long.csv")
    assert [one.name for one in series] == ["007", "NA"]
    assert (columns.series, columns.targets) == ("unique_id", ("y",))


def test_decimals_after_a_comma(tmp_path):
    path = write(tmp_path / "a.csv", DAYS.strftime("%d.%m.%Y"), [f"{i},5" for i in range(40)], "Datum", ";")
    (series,), *_ = read(path)
    assert series.values[:3, 0].tolist() == [0.5, 1.5, 2.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ds,y\n2025-01-01,1\n2025-13-45,2\n", 'line 3: "2025-13-45" is no time in "ds"; times look like 2026-01-31 '),
        ("ds,y\n2025-01-01,1\n,2\n", 'line 3: a time is missing in "ds"'),
        ("ds,y\n2025-01-01,1\n2025-01-02,two\n", 'line 3: "two" in "y" is no number.'),
        ("ds,y\n" + "".join(f"{np.datetime64('2025-01-01') + i * i},1\n" for i in range(30)), "have no regular step"),
        ("ds,y\n2025-01-01,\n2025-01-02,\n2025-01-03,\n", "has no value of y"),
        ("ds,name\n2025-01-01,a\n", "has no column of numbers to forecast; it has: ds, name"),
        ("ds,y\n2025-01-01,1,7\n2025-01-01,1,7,8\n", "is no table"),
        ("ds,y,y\n2025-01-01,1,7\n", 'the header has "y" twice; rename one.'),
        ("ds,y\n", "has no rows."),
        ("", "is empty."),
        ("t,y\n17,1\n18,2\n", None),
        ("ds,y\n17,1\n18,2\n", 'the numbers in "ds" are no times'),
        ("ds,y\n2025-01-01,1\n2025-01-02,1\n2025-01-03,1\n1925-01-04,2\n", "span 36,525 steps of D"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    if message is None:  # steps that are counted
        assert not read(tmp_path / "a.csv", Columns("", "", ("y",)))[0][0].has_times
        return
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_history_by_itself():
    series = history_of({"values": [[1, 2], [None, 4]], "times": ["2026-01-31", "2026-02-01"], "name": 7}, "It")
    assert (series.name, series.has_times, series.values.tolist()) == ("7", True, [[1, 2], [1, 4]])
    assert series.observed.tolist() == [[True, True], [False, True]]
    for value in ("a text", [], [[1], [2, 3]], [[]], {"values": "x"}, None, 5, [float("nan")], ["a"]):
        with pytest.raises(InputError, match=r"It (must be a list of numbers|has no value)"):
            history_of(value, "It")
    with pytest.raises(InputError, match="It has 2 steps and 1 times"):
        history_of({"values": [1, 2], "times": ["2026-01-31"]}, "It")


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    lookback=st.integers(1, 6),
    horizon=st.integers(1, 5),
    stride=st.integers(1, 7),
)
def test_windows_are_the_slices_around_their_origins(lengths, lookback, horizon, stride):
    many = [
        Series(str(k), np.arange(n), np.arange(n)[:, None] + 100.0 * k, np.ones((n, 1), bool))
        for k, n in enumerate(lengths)
    ]
    windows = Windows.over(many, lookback, horizon, stride)
    every = np.arange(len(windows))
    history = Gathered([one.values for one in many], windows, (-lookback, 0))[every]
    expected = [(k, o) for k, n in enumerate(lengths) for o in range(n - horizon, lookback - 1, -stride)]
    assert sorted(zip(windows.which.tolist(), windows.origins.tolist(), strict=True)) == sorted(expected)
    for place, (k, o) in enumerate(zip(windows.which, windows.origins, strict=True)):
        np.testing.assert_array_equal(history[place, :, 0], np.arange(o - lookback, o) + 100 * k)
        np.testing.assert_array_equal(windows.actual()[place, :, 0], np.arange(o, o + horizon) + 100 * k)
        np.testing.assert_array_equal(windows[place]["actual"][:, 0], np.arange(o, o + horizon) + 100 * k)


def test_what_lies_beside_a_series_is_its_first_value_or_not_known():
    series = Series("", np.arange(3), np.arange(3.0)[:, None], np.ones((3, 1), bool))
    windows = Windows.at_the_end([series], 2)
    assert Gathered([series.values], windows, (-5, 0), repeats=True)[np.array([0])][0, :, 0].tolist() == [0, 0, 0, 1, 2]
    assert np.isnan(windows.actual()).all()


def test_a_change_of_one_value_changes_the_fingerprint():
    values = np.arange(50.0)[:, None]
    one = Series("", np.arange(50), values, np.ones((50, 1), bool))
    other = Series("", np.arange(50), np.where(np.arange(50)[:, None] == 25, 0, values), np.ones((50, 1), bool))
    first, second = (Windows.over([series], 3, 2).fingerprint() for series in (one, other))
    assert first != second


def test_times_of_a_column_are_parsed_as_one_form():
    """01/02 is the first of February where another row has a day above 12 in the first place."""
    frame = pd.DataFrame({"ds": ["01/02/2025", "02/02/2025", "13/02/2025"], LINE: range(3)})
    assert parse_times(frame, "ds", "", "x")[0] == 1738368000


def test_days_stand_before_months_where_that_leaves_no_gaps(tmp_path):
    months = pd.date_range("2010-01-01", periods=60, freq="MS")
    (series,), step, *_ = read(write(tmp_path / "a.csv", months.strftime("%d/%m/%Y"), range(60)))
    np.testing.assert_array_equal(series.times, months.as_unit("s").asi8)
    assert step.alias == "MS"


def test_nothing_is_filled_from_what_is_later():
    from nlp_rnn.data.series import filled

    values = np.random.default_rng(0).normal(size=(60, 2))
    values[np.random.default_rng(1).random((60, 2)) < 0.5] = np.nan
    values[0] = 1.0
    for end in (1, 17, 40):
        np.testing.assert_array_equal(filled(values)[:end], filled(values[:end]))


def test_what_is_mostly_missing_is_refused_or_zero(tmp_path):
    months = pd.date_range("2010-01-01", periods=40, freq="MS")
    path = write(tmp_path / "a.csv", months.strftime("%Y-%m-%d"), range(40))
    with pytest.raises(InputError, match=r"40 times span 1,187 steps of D: .* if what is missing is 0, that"):
        read(path, policy=Policy(step="D"))
    (series,), *_ = read(path, policy=Policy(step="D", gaps="zero"))
    assert series.values.sum() == sum(range(40))


def test_days_of_a_zone_are_dates_and_several_series_have_the_repeated_hour(tmp_path):
    days = pd.date_range("2025-03-01", periods=60, tz="Europe/Berlin")
    (series,), step, *_ = read(write(tmp_path / "a.csv", days.strftime("%Y-%m-%d 00:00:00%z"), range(60)))
    assert (step.alias, len(series)) == ("D", 60)
    hours = pd.date_range("2025-10-25", periods=60, freq="h", tz="Europe/Berlin")
    rows = [f"{time:%Y-%m-%d %H:%M},{name},{i}" for name in "ab" for i, time in enumerate(hours)]
    (tmp_path / "b.csv").write_text("\n".join(["ds,unique_id,y", *rows]) + "\n")
    series, *_ = read(tmp_path / "b.csv", policy=Policy(timezone="Europe/Berlin"))
    for one in series:
        np.testing.assert_array_equal(one.times, hours.as_unit("s").asi8)


def test_a_covariate_that_is_missing_in_the_future_is_not_made_up(tmp_path):
    frame = pd.DataFrame(
        {"ds": DAYS, "y": [*range(35), *[None] * 5], "promo": [1.0] * 20 + [None] + [0.0] * 16 + [None] * 3}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    (series,), _, counts, _ = read(tmp_path / "a.csv", Columns("", "", (), ("promo",)))
    assert len(series.covariates["promo"]) == 37
    assert counts['missing values of "promo", taken from those before'] == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Columns("", "", ("y",), ("y",)), '"y" is named twice'),
        (Columns("ds", "", ("y",), (), ("ds",)), '"ds" is named twice'),
    ],
)
def test_a_column_is_one_thing(tmp_path, asked, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.csv", DAYS.strftime("%Y-%m-%d"), range(40)), asked)


def test_a_name_with_a_number_is_no_repeated_name_and_damaged_json_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("ds,x,x.1\n" + "".join(f"{day:%Y-%m-%d},1,{i}\n" for i, day in enumerate(DAYS)))
    assert read(tmp_path / "a.csv")[3].targets == ("x", "x.1")
    (tmp_path / "b.txt").write_text("[1, 2\n")
    from nlp_rnn.data.histories import series_of_rows

    frame, shown = read_frame([str(tmp_path / "b.txt")], "train", Form("auto"), ())
    with pytest.raises(InputError, match="line 1 must be a list of numbers"):
        series_of_rows(frame, "", shown)


def test_series_and_frames_of_pandas_are_histories():
    index = pd.date_range("2026-01-30", periods=3)
    found = history_of(pd.Series([1.0, 2.0, 3.0], index, name="sales"), "It")
    assert (found.name, found.has_times, found.values[:, 0].tolist()) == ("sales", True, [1.0, 2.0, 3.0])
    assert np.diff(found.times).tolist() == [86400, 86400]
    assert history_of(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), "It").values.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(InputError, match='has "ds", which is no number'):
        history_of(pd.DataFrame({"ds": ["2026-01-01"], "y": [1.0]}), "It")
