"""Every task learns a simple pattern from little data of its user's, with the recipe that it begins with."""

from __future__ import annotations

import random

import pytest

import nlp_rnn

pytestmark = pytest.mark.slow  # a real training each: minutes

GOOD, BAD = ("fine", "lovely", "superb", "kind", "clever", "warm"), ("dull", "awful", "rude", "broken", "cold", "slow")
THINGS = ("film", "soup", "driver", "hotel", "phone", "song", "book", "train")
PEOPLE, PLACES = ("Ada", "Bob", "Cleo", "Dora", "Emil", "Fritz"), ("Rome", "Oslo", "Lima", "Kyiv", "Bern", "Cairo")
NUMBERS = {"two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "seven": "sieben"}
COLOURS = {"red": "rote", "blue": "blaue", "green": "grüne", "white": "weiße", "black": "schwarze", "old": "alte"}
NOUNS = {"cats": "Katzen", "dogs": "Hunde", "houses": "Häuser", "trees": "Bäume", "cars": "Autos", "birds": "Vögel"}


def reviews(random):
    good = random.random() < 0.5
    words = random.choice(GOOD if good else BAD), random.choice(THINGS), random.choice(THINGS)
    text = random.choice(["The {1} was {0}.", "A {0} {1}, unlike the {2}.", "I found the {1} near the {2} {0}."])
    return {"text": text.format(*words), "label": "good" if good else "bad"}


def sentences(random):
    who, other, where = random.choice(PEOPLE), random.choice(PEOPLE), random.choice(PLACES)
    form = random.choice(["{0} met {1} in {2} .", "In {2} it rained on {0} .", "Nobody from {2} came .", "It rained ."])
    tokens = form.split()
    names = {"{0}": (who, "S-PER"), "{1}": (other, "S-PER"), "{2}": (where, "S-LOC")}
    pairs = [names.get(token, (token, "O")) for token in tokens]
    return {"tokens": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}


def pairs(random):
    number, colour, noun = (random.choice(list(words)) for words in (NUMBERS, COLOURS, NOUNS))
    other, count = random.choice(list(NOUNS)), random.randint(2, 99)
    german = {**NUMBERS, **COLOURS, **NOUNS, str(count): str(count)}
    form = random.choice(["{number} {colour} {noun}", "{count} {noun} and {number} {other}", "the {noun} are {colour}"])
    source = form.format(number=number, colour=colour, noun=noun, other=other, count=count)
    words = [german.get(word, {"and": "und", "the": "die", "are": "sind"}.get(word)) for word in source.split()]
    return {"source": source, "target": " ".join(words)}


def lines(random):
    number, colour, noun = (random.choice(list(words)) for words in (NUMBERS, COLOURS, NOUNS))
    return {"text": f"There are {number} {colour} {noun} in {random.choice(PLACES)}."}


# What is asked of the validation data. A line of `lines` has log2(6⁴) = 10.3 bits in about 38 characters: 0.27 each.
TASKS = {
    "sentiment": (reviews, lambda metrics: metrics["accuracy"] >= 0.97),
    "ner": (sentences, lambda metrics: metrics["f1"] >= 0.97),
    "translation": (pairs, lambda metrics: metrics["chrf"] >= 80),
    "language-modeling": (lines, lambda metrics: metrics["bits_per_character"] <= 0.4),
}


@pytest.mark.parametrize("count", [500, 2500])
@pytest.mark.parametrize("task", TASKS)
def test_a_simple_pattern_is_learned(tmp_path, task, count):
    draw, is_learned = TASKS[task]
    generator = random.Random(count)
    rows = [draw(generator) for _ in range(count)]
    run = nlp_rnn.train(task, out=tmp_path / "run", data={"train": rows})
    assert is_learned(run.metrics), run.metrics
