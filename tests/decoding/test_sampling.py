"""Choosing the next token, and text that streams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.config.sections import TokenizerConfig
from nlp_rnn.decoding.sampling import Generator, Sampling
from nlp_rnn.decoding.streaming import TextStream, joined
from nlp_rnn.text.tokenizers import ByteTokenizer, train_tokenizer
from tests.models.test_language_model import make
from tests.subjects import LINES

# Choosing -----------------------------------------------------------------------------------------------------------

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32))
NOTHING = np.zeros((1, 4), bool)


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        (Sampling(), [0, 1, 2, 3]),
        (Sampling(top_k=2), [0, 1]),
        (Sampling(top_p=0.49), [0]),
        (Sampling(top_p=0.51), [0, 1]),
        (Sampling(top_p=0.01), [0]),
        (Sampling(top_k=3, top_p=0.9), [0, 1, 2]),
        (Sampling(top_k=99), [0, 1, 2, 3]),
    ],
)
def test_what_may_be_drawn(sampling, left):
    filtered = sampling.filtered(tf.constant(LOGITS), NOTHING).numpy()[0]
    assert np.flatnonzero(filtered > -1e8).tolist() == left
    many, nothing = tf.tile(tf.constant(LOGITS), [100, 1]), np.zeros((100, 4), bool)
    one, other = (sampling.draw(many, nothing, [0, seed]).numpy().tolist() for seed in (1, 2))
    assert set(one + other) == set(left)
    assert (one != other) == (len(left) > 1), "another seed draws others"


def test_draws_follow_the_probabilities():
    sampling = Sampling(temperature=0.5)
    many = tf.tile(tf.constant(LOGITS), [20_000, 1])
    drawn = np.bincount(sampling.draw(many, np.zeros((20_000, 4), bool), [1, 2]).numpy(), minlength=4) / 20_000
    expected = np.exp(LOGITS[0] / 0.5)
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=0.015)


def test_greedy_and_penalty():
    assert int(Sampling(temperature=0).draw(tf.constant(LOGITS), NOTHING, [0, 0])[0]) == 0
    seen = np.array([[True, False, False, False]])
    logits = tf.constant([[2.0, 1.5, -1.0, -2.0]])
    penalized = Sampling(repetition_penalty=2.0).filtered(logits, seen).numpy()[0]
    assert penalized.tolist() == [1.0, 1.5, -1.0, -2.0]
    assert Sampling(repetition_penalty=2.0).filtered(-logits, seen).numpy()[0, 0] == -4.0


def test_a_batch_of_prompts_gives_each_what_it_gives_alone():
    made = make()
    greedy = Sampling(temperature=0)
    generator = Generator(made, banned=(0, 1, 2))
    together = list(itertools.islice(generator(np.array([[5, 6, 7], [8, 0, 0]], np.int32), greedy), 12))
    for row, prompt in enumerate(([5, 6, 7], [8])):
        alone = list(itertools.islice(generator(np.array([prompt], np.int32), greedy), 12))
        assert [int(tokens[row]) for tokens in together] == [int(tokens[0]) for tokens in alone]
    assert not {0, 1, 2} & {int(token) for tokens in together for token in tokens}


@given(st.one_of(st.text(), st.text("aé🐈 \n")), st.lists(st.text("aé🐈 \n", min_size=1, max_size=3), max_size=2))
def test_a_stream_says_whole_characters_and_stops(text, stop):
    stream = TextStream(ByteTokenizer(), stop=stop)
    said = [stream.push(token + 4) for token in text.encode("utf-8", "replace")]
    places = [place for word in stop if (place := text.find(word)) >= 0]
    text = text.encode("utf-8", "replace").decode()
    assert "".join([*said, stream.finish()]) == text[: min(places, default=len(text))]
    assert all(part in text for part in said)


@pytest.mark.parametrize("kind", ["word", "subword", "character", "byte"])
def test_a_stream_says_what_decoding_does(kind):
    tokenizer = train_tokenizer(TokenizerConfig(kind=kind, size=400, normalization="none"), LINES * 40)
    for line in ["the cat sat", "a dog 🐈 is not"]:
        ids = tokenizer.encode([line]).to_list()[0]
        stream = TextStream(tokenizer)
        assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode([ids])[0]
        prompts, ends = tf.constant(["", "x"]), tf.constant(["zzz", ""])
        graph = [text.decode() for text in joined(tokenizer, tf.constant([ids, ids]), prompts, ends).numpy()]
        later = TextStream(tokenizer, line_begins=False)
        assert graph == [tokenizer.decode([ids])[0], "".join([*map(later.push, ids), later.finish()])]
