"""What scores of stretches are worth, beside values worked out by hand and by the reference implementations."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_rnn.metrics.signals import dynamic_threshold, peaks, running_scale, tail_deviation, trailing_mean
from nlp_rnn.metrics.stretches import nab_score, stretch_report, stretches_of, vus_pr


def sigmoid(place):
    return 2 / (1 + np.exp(5 * place)) - 1


def test_the_first_alarm_in_a_stretch_counts_the_more_the_earlier_it_comes():
    labels = np.zeros(100, int)
    labels[40:50] = 1
    for step in (40, 44, 49):
        scores = np.zeros(100)
        scores[step] = 1.0
        expected = sigmoid((step - 50) / 10) / sigmoid(-1)
        assert nab_score([scores], [labels]).score == pytest.approx(100 * (expected + 1) / 2)


def test_alarms_outside_count_against_it_by_how_far_they_are():
    """Of one signal with one stretch, found at once: an alarm before costs the whole weight, one just after less."""
    labels = np.zeros(100, int)
    labels[40:50] = 1
    scores = np.zeros(100)
    scores[[10, 40, 52]] = 1.0
    outside = -0.11 + 0.11 * sigmoid(3 / 9)
    assert nab_score([scores], [labels]).score == pytest.approx(100 * (2 + outside) / 2)
    low = nab_score([scores], [labels], "low_false_positives").score
    assert low == pytest.approx(100 * (2 + 2 * outside) / 2)


def test_the_threshold_is_one_for_all_signals_and_missing_all_is_0():
    labels = [np.array([0] * 20 + [1] * 5), np.array([0] * 25)]
    scores = [np.array([0.1] * 20 + [0.9] * 5), np.array([0.8] * 25)]
    found = nab_score(scores, labels)
    assert (found.score, found.threshold) == (100.0, 0.9)
    assert nab_score([-scores[0], scores[1]], labels).score == 0
    assert nab_score(scores[1:], labels[1:]) is None


def test_stretches_that_touch_are_told_apart():
    assert stretches_of(np.array([1, 1, 2, 0, 3])) == [(0, 2), (2, 3), (4, 5)]


@pytest.mark.parametrize("buffer", [0, 4])
def test_the_volume_is_that_of_the_paper_threshold_by_threshold(buffer):
    scores, labels = np.array([0.1, 0.9, 0.8, 0.7, 0.2, 0.0]), np.array([0, 1, 0, 1, 0, 0])
    found = [area(scores, labels, b) for b in range(buffer + 1)]
    assert vus_pr(scores, labels, buffer, thresholds=6) == pytest.approx(np.mean(found), abs=1e-12)


def area(scores, labels, buffer):
    """As the paper has it, threshold by threshold."""
    weights = labels.astype(float)
    for place in np.flatnonzero(labels):
        for other in range(len(labels)):
            distance = abs(other - place)
            if 0 < distance <= buffer // 2:
                weights[other] += np.sqrt(1 - distance / buffer)
    weights = np.minimum(weights, 1)
    is_wide = np.array([any(labels[max(i - buffer // 2, 0) : i + buffer // 2 + 1]) for i in range(len(labels))])
    edges = np.flatnonzero(np.diff(is_wide.astype(int), prepend=0, append=0)).reshape(-1, 2)
    before = total = 0.0
    for limit in np.sort(scores)[::-1]:
        given = scores >= limit
        hits = weights[given].sum()
        positives = (2 * labels.sum() + weights[given & (labels == 0)].sum()) / 2
        exists = np.mean([given[a:b].any() for a, b in edges])
        recall = min(hits / positives, 1) * exists
        total += (recall - before) * hits / given.sum()
        before = recall
    return total


@pytest.mark.parametrize("ties", [False, True])
def test_the_volume_equals_that_of_the_reference(ties):
    """Values of `vus` 0.0.6, `metricor().RangeAUC_volume_opt`."""
    rng = np.random.default_rng(3)
    labels = np.zeros(300, int)
    labels[[*range(40, 52), *range(60, 63), *range(200, 230)]] = 1
    scores = rng.random(300) + 0.3 * labels
    scores = scores.round(1) if ties else scores
    expected = {False: REFERENCE[0], True: REFERENCE[1]}[ties]
    assert [vus_pr(scores, labels, longest) for longest in (0, 10, 37)] == pytest.approx(expected, abs=1e-9)


REFERENCE = (
    [0.5944669489539682, 0.6194103586747687, 0.6891741564867606],
    [0.544917112543967, 0.5696231718094437, 0.6440282871511818],
)


def test_alarms_are_counted_by_stretch():
    labels = np.array([0, 1, 1, 0, 2, 2, 0, 0])
    alarms = np.array([1, 0, 1, 0, 0, 0, 0, 0], bool)
    found = stretch_report([alarms], [labels])
    assert found["stretch_recall"] == 0.5
    assert found["alarm_precision"] == 0.5
    assert found["false_alarms_per_1000_steps"] == pytest.approx(1000 / 4)


def test_the_scale_is_that_of_the_steps_so_far():
    values = 1e6 + np.random.default_rng(0).standard_normal((200, 2)) * 5e4
    mean, spread = running_scale(values, 50, least=0.01)
    for step in (0, 7, 49, 50, 199):
        part = values[max(step - 49, 0) : step + 1]
        np.testing.assert_allclose(mean[step], part.mean(0))
        np.testing.assert_allclose(spread[step], np.maximum(part.std(0), 0.01 * part.mean(0)), rtol=1e-6)
    later = values.copy()
    later[100:] = 0
    np.testing.assert_array_equal(running_scale(later, 50, least=0.01)[0][:100], mean[:100])
    huge = values.copy()
    huge[60] = 1e15
    _, after = running_scale(huge, 50)
    assert (after[61:109] < 10 * spread[61:109]).all()  # not 1e14, and gone after 50 steps
    np.testing.assert_allclose(after[111:], running_scale(values, 50)[1][111:])
    np.testing.assert_allclose(trailing_mean(values, 3)[5], values[3:6].mean(0))


def test_the_deviate_of_a_normal_forecast_is_the_z_score():
    from statistics import NormalDist

    levels = [0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975]
    quantiles = 3 + 2 * np.array([NormalDist().inv_cdf(level) for level in levels])
    values = np.array([3.0, 5.0, 1.0, 13.0, -17.0])
    found = tail_deviation(np.tile(quantiles, (5, 1)), levels, values)
    np.testing.assert_allclose(found, (values - 3) / 2, atol=1e-9)
    flat = tail_deviation(np.zeros((2, 7)), levels, np.array([0.0, 1.0]))
    assert abs(flat[0]) < 3
    assert flat[1] == 50  # a line that was flat and is not


def test_peaks_fade_and_go_on_from_where_they_were():
    scores = np.random.default_rng(1).random(300) * 5
    whole, height = peaks(scores, 20)
    first, middle = peaks(scores[:130], 20)
    second, end = peaks(scores[130:], 20, middle)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert end == height
    assert 0 < (whole > 0).mean() < 0.5
    np.testing.assert_array_equal(peaks(scores, 0)[0], scores)


def test_the_dynamic_threshold_lies_under_what_stands_out():
    scores = np.abs(np.random.default_rng(0).standard_normal(1000))
    scores[500:505] = 20
    limit = dynamic_threshold(scores)
    assert scores[:500].max() < limit < 20
    assert dynamic_threshold(np.ones(50)) == float("inf")
