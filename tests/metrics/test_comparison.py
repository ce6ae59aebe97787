"""Ties between models, and the advice that follows from what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nlp_rnn.metrics.comparison import Candidate, Comparison, advice, chance_explains


def candidate(name, quality, noise=0.0, seeds=3, seed=0, **facts):
    """Parts of a test set of which some are harder than others, the same for every candidate."""
    hard = np.random.default_rng(99).normal(0, 0.2, 20)
    generator = np.random.default_rng(seed)
    parts = quality + hard - hard.mean() + generator.normal(0, noise, (seeds, 20))
    return Candidate(name, qualities=parts.mean(1).tolist(), parts=parts.tolist(), **facts)


def comparison(*candidates, **facts):
    return Comparison("sentiment", "accuracy", False, "tokens", 60.0, candidates, **facts)


def test_small_differences_count_where_every_part_shows_them():
    """Parts differ by 0.2; that one model is 0.02 better on each of them is no accident."""
    assert not chance_explains(candidate("lstm", 0.80, 0.005), candidate("gru", 0.78, 0.005, seed=1))
    assert chance_explains(candidate("lstm", 0.80, 0.1), candidate("gru", 0.79, 0.1, seed=1))


def test_seeds_count_too():
    """Two models of which each seed is another story."""

    def shaky(name, qualities):
        return Candidate(name, qualities, parts=[[q] * 20 for q in qualities])

    assert chance_explains(shaky("lstm", [0.9, 0.7, 0.8]), shaky("gru", [0.75, 0.88, 0.7]))
    assert not chance_explains(shaky("lstm", [0.9, 0.91, 0.9]), shaky("gru", [0.75, 0.76, 0.74]))


def test_alarms_of_equal_models_are_rare():
    """Of pairs that differ by chance alone, no more than some 5 % are told apart."""
    told_apart = sum(
        not chance_explains(candidate("a", 0.8, 0.05, seed=2 * k), candidate("b", 0.8, 0.05, seed=2 * k + 1))
        for k in range(40)
    )
    assert told_apart <= 8


@pytest.mark.parametrize("seeds", [2, 3])
def test_alarms_are_rare_too_where_trainings_differ_more_than_parts(seeds):
    def drawn(name, seed):
        generator = np.random.default_rng(seed)
        parts = 0.8 + generator.normal(0, 0.02, (seeds, 1)) + generator.normal(0, 0.02, (seeds, 20))
        return Candidate(name, qualities=parts.mean(1).tolist(), parts=parts.tolist())

    told_apart = sum(not chance_explains(drawn("a", 2 * k), drawn("b", 2 * k + 1)) for k in range(100))
    assert told_apart <= 10


def test_without_parts_the_seeds_decide():
    assert not chance_explains(Candidate("a", [0.9, 0.91, 0.9]), Candidate("b", [0.8, 0.81, 0.8]))
    assert chance_explains(Candidate("a", [0.9, 0.8, 0.7]), Candidate("b", [0.8, 0.81, 0.8]))
    assert chance_explains(Candidate("a", [1.0]), Candidate("b", [0.5])), "one training of each says nothing"
    assert chance_explains(Candidate("a", [1.0, 1.0]), Candidate("b", [0.5, 0.5]))
    few = [Candidate(name, [q], parts=[[q, q]]) for name, q in (("a", 1.0), ("b", 0.5))]
    assert chance_explains(*few), "nor do two parts"


def test_the_best_is_chosen_where_it_is_better():
    said = advice(comparison(candidate("gru", 0.7), candidate("lstm", 0.8)))
    assert said == "lstm is best, with accuracy 0.8; gru, the next, has 0.7. Choose lstm."


def test_of_equals_the_clearly_faster_is_chosen():
    slow = candidate("lstm", 0.8, 0.1, prediction_speed=100.0)
    fast = candidate("mingru", 0.79, 0.1, seed=1, prediction_speed=300.0)
    worst = candidate("simple_rnn", 0.3, 0.1, seed=2, prediction_speed=900.0)
    said = advice(comparison(worst, fast, slow))
    best = max((slow, fast), key=lambda one: one.quality)
    assert f"equal within chance ({best.name}" in said
    assert said.endswith("Choose mingru.")
    alike = advice(comparison(slow, replace(fast, prediction_speed=110.0), worst))
    assert alike.endswith(f"Choose {best.name}.")


def test_less_is_better_where_the_metric_is_an_error():
    found = replace(comparison(candidate("gru", 4.0), candidate("lstm", 5.0)), lower_is_better=True)
    assert found.ranked()[0].name == "gru"
    assert advice(found).endswith("Choose gru.")


def test_what_else_users_should_know_is_said():
    steady = candidate("lstm", 0.8, by_length=[0.8, 0.8, 0.79], seconds_to_reach=100.0)
    failing = candidate("simple_rnn", 0.6, by_length=[0.75, 0.6, 0.45], seconds_to_reach=30.0)
    said = advice(comparison(steady, failing, baselines={"naive Bayes": 0.81, "majority": 0.5}))
    assert "simple_rnn learns fastest" in said
    assert "30 s, and lstm 100 s" in said
    assert "As inputs get longer, simple_rnn loses more than lstm does." in said
    assert "A simple method does as well: naive Bayes (0.81)." in said
    assert "majority" not in said


def test_who_loses_nothing_does_not_fail_on_long_inputs():
    perfect = candidate("rglru", 0.9, by_length=[0.9, 0.9, 0.9])
    learns_late = candidate("gru", 0.8, seed=1, by_length=[0.6, 0.8, 1.0])
    assert "longer" not in advice(comparison(perfect, learns_late))


def test_small_thirds_show_nothing_of_long_inputs():
    by_length = {"lstm": [0.93, 0.80, 0.87], "mingru": [0.83, 0.77, 0.87]}
    one, other = (candidate(name, 0.8, 0.1, seed=k, by_length=by_length[name]) for k, name in enumerate(by_length))
    assert "longer" not in advice(comparison(one, other)), "it is as good on the longest"
    worse = replace(one, by_length=[0.93, 0.80, 0.82])
    assert "longer" not in advice(comparison(worse, other)), "chance in so few records does as much"


def test_who_has_learned_nothing_is_not_chosen():
    said = advice(comparison(candidate("lstm", 0.0, seeds=1), candidate("sru", 0.0, seeds=1)))
    assert "No model has learned anything yet" in said
    assert "Choose" not in said
    broken, whole = Candidate("gru", [float("nan")] * 3), Candidate("lstm", [5.0] * 3)
    found = replace(comparison(broken, whole), lower_is_better=True)
    assert advice(found).startswith("lstm is best")
    assert advice(found).endswith("Choose lstm.")


def test_several_that_learn_equally_fast_are_all_named():
    times = {"lstm": 10.0, "gru": 11.0, "transformer": 40.0}
    found = [candidate(name, 0.8, 0.1, seed=k, seconds_to_reach=t) for k, (name, t) in enumerate(times.items())]
    assert (
        "lstm and gru learn fastest: what the weakest model ends with takes the first of them 10 s, and transformer"
        " 40 s." in advice(comparison(*found))
    )
    assert "fastest" not in advice(comparison(*found[:2]))


def test_who_needs_few_labels_is_said_where_it_is_clear():
    one, other = candidate("gru", 0.8, by_labels=[(100, 0.7), (1000, 0.78)]), candidate("transformer", 0.8, seed=1)
    said = advice(comparison(one, replace(other, by_labels=[(100, 0.55), (1000, 0.77)])))
    assert "With 100 training records, gru has 0.7, and transformer 0.55." in said
    assert "training records" not in advice(comparison(one, replace(other, by_labels=[(100, 0.69), (1000, 0.5)])))
    assert "training records" not in advice(comparison(one, other))
    errors = replace(comparison(one, replace(other, by_labels=[(100, 0.55)])), lower_is_better=True)
    assert "With 100 training records, transformer has 0.55, and gru 0.7." in advice(errors)


def test_differences_in_time_are_said_and_fractions_of_a_second_are_not():
    slow, fast = candidate("sru", 0.8, seconds=8.0, seconds_to_reach=1.2), candidate("gru", 0.7, seconds=5.0)
    said = advice(comparison(slow, replace(fast, seconds_to_reach=0.4)))
    assert "Training took sru 8.0 s and gru 5.0 s" in said
    assert "learns fastest" not in said


def test_a_simple_method_is_held_against_what_is_chosen():
    best = candidate("lstm", 0.8, 0.1, prediction_speed=100.0)
    chosen = candidate("mingru", 0.79, 0.1, seed=1, prediction_speed=300.0)
    bar = (best.quality + chosen.quality) / 2
    said = advice(comparison(best, chosen, baselines={"naive Bayes": bar}))
    weaker = min((best, chosen), key=lambda one: one.quality)
    assert ("naive Bayes" in said) == said.endswith(f"Choose {weaker.name}.")


def test_a_single_training_is_no_proof():
    assert "Each was trained once" in advice(
        comparison(candidate("gru", 0.7, seeds=1), candidate("lstm", 0.8, seeds=1))
    )
    assert "once" not in advice(comparison(candidate("gru", 0.7), candidate("lstm", 0.8)))


@pytest.mark.parametrize("count", [2, 3])
def test_where_all_are_equal_that_is_said(count):
    equal = [candidate(name, 0.8, 0.05, seed=place) for place, name in enumerate(["lstm", "gru", "mingru"][:count])]
    assert advice(comparison(*equal)).startswith("No model is shown to be better than the others beyond chance")
