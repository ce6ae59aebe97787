"""The language model: steps, carried states, penalties, tied weights, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.analysis.gradients import gradient_reach
from nlp_rnn.layers import RecurrentStack, SoftmaxHead, TokenEmbedding
from nlp_rnn.models import LanguageModel


def make(cell="lstm", layers=2, size=12, vocabulary=11, tied=True, **options):
    made = LanguageModel(
        TokenEmbedding(vocabulary, size),
        RecurrentStack(cell, 9, layers, bidirectional=False),
        SoftmaxHead(vocabulary, size if tied else 0),
        **options,
    )
    made.build()
    return made


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("tied", [True, False])
def test_steps_one_by_one_give_what_a_call_gives(cell, tied):
    made = make(cell, tied=tied)
    tokens = np.random.default_rng(0).integers(4, 11, (3, 7)).astype("int32")
    whole = made({"tokens": tokens}).numpy()
    state = None
    for t in range(7):
        logits, state = made.advance(tokens[:, t : t + 1], state)
        np.testing.assert_allclose(logits[:, 0], whole[:, t], atol=1e-5)


def test_a_batch_goes_on_where_the_one_before_it_ended():
    made = make()
    tokens = np.random.default_rng(0).integers(4, 11, (3, 8)).astype("int32")
    begin, go_on = np.ones((3, 1), np.int32), np.zeros((3, 1), np.int32)
    whole = made({"tokens": tokens}).numpy()
    parts = [made({"tokens": tokens[:, :5], "reset": begin}), made({"tokens": tokens[:, 5:], "reset": go_on})]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-5)
    again = made({"tokens": tokens[:, :5], "reset": begin})
    np.testing.assert_allclose(again, whole[:, :5], atol=1e-5, err_msg="reset begins anew")
    assert not [v for v in made.variables if "carried" in v.path]
    assert len(made.carried) == 4


def test_penalties_are_added_to_the_loss():
    tokens = np.random.default_rng(0).integers(4, 11, (3, 8)).astype("int32")
    made = make(activation_penalty=2.0, change_penalty=3.0)
    made({"tokens": tokens}, training=True)
    sequence, _ = made.stack(made.embedding(tokens))
    h = sequence.numpy()
    expected = [2 * np.mean(h**2), 3 * np.mean((h[:, 1:] - h[:, :-1]) ** 2)]
    np.testing.assert_allclose([float(loss) for loss in made.losses], expected, rtol=1e-5)
    plain = make()
    plain({"tokens": tokens}, training=True)
    assert plain.losses == []


def test_tied_weights_are_one():
    made = make(tied=True)
    untied = make(tied=False)
    assert made.count_params() == untied.count_params() - 9 * 11 + (9 * 12 + 12), "a projection instead of a table"
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(made({"tokens": np.array([[4]], np.int32)}) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, made.embedding.embeddings.value))
    assert (np.abs(gradient.numpy()).sum(-1) > 0).all(), "every word's vector is compared with the state"


def test_gradients_reach_back_as_differences_say():
    made = make("simple_rnn", layers=1)
    drawn = np.random.default_rng(0).integers(4, 11, (1, 6)).astype("int32")
    reach = gradient_reach(made, drawn)
    vectors = made.embedding(drawn[:, :-1]).numpy()

    def loss(vectors):
        sequence, _ = made.stack(tf.constant(vectors))
        logits = made.head(sequence[:, -1:], embeddings=made.embedding.embeddings)
        return -float(tf.nn.log_softmax(logits)[0, 0, drawn[0, -1]])

    for back in range(5):
        gradient = []
        for place in range(vectors.shape[-1]):
            moved = [vectors.copy(), vectors.copy()]
            for sign, values in zip((1, -1), moved, strict=True):
                values[0, 4 - back, place] += sign * 1e-2
            gradient.append((loss(moved[0]) - loss(moved[1])) / 2e-2)
        assert reach[back] == pytest.approx(np.linalg.norm(gradient), rel=2e-2, abs=1e-5)
