"""The translator: steps, search, gradients, precision."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.decoding.beam import Beam
from nlp_rnn.layers import (
    Attention,
    AttentionDecoder,
    Bridge,
    RecurrentStack,
    SoftmaxHead,
    TokenEmbedding,
    TransformerDecoder,
    TransformerStack,
)
from nlp_rnn.models import Translator
from tests.conftest import slow


def model(cell="lstm", attention="additive", input_feeding=False, layers=2, shared=False, dtype="float32"):
    keras.utils.set_random_seed(0)
    options = {"dtype": dtype}
    kind = None if attention == "none" else Attention(attention, 8, 2, **options)
    encoder = RecurrentStack(cell, 5, 1, **options)
    decoder = RecurrentStack(cell, 10, layers, bidirectional=False, **options)
    made = Translator(
        None if shared else TokenEmbedding(12, 6, **options),
        encoder,
        Bridge(10, layers, 2 if cell == "lstm" else 1, **options),
        TokenEmbedding(12, 6, **options),
        AttentionDecoder(decoder, kind, 7, input_feeding, **options),
        SoftmaxHead(12, 6, **options),
        **options,
    )
    made.build()
    made.set_weights([w * 2 for w in made.get_weights()])
    return made


def transformer(shared=False, dtype="float32"):
    keras.utils.set_random_seed(0)
    options = {"dtype": dtype}
    decoder = TransformerStack(10, 3, bidirectional=False, heads=2, context=8, **options)
    made = Translator(
        None if shared else TokenEmbedding(12, 6, **options),
        TransformerStack(9, 2, heads=2, **options),
        None,
        TokenEmbedding(12, 6, **options),
        TransformerDecoder(decoder, **options),
        SoftmaxHead(12, 6, **options),
        **options,
    )
    made.build()
    return made


MAKES = {
    "recurrent": model,
    "input_feeding": lambda **options: model(input_feeding=True, **options),
    "transformer": transformer,
}
SOURCE = np.array([[4, 5, 6, 7, 3], [8, 9, 0, 0, 0], [5, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[2, 4, 5, 6], [2, 7, 0, 0], [2, 8, 9, 0]], np.int32)


DECODERS = list(itertools.product(["simple_rnn", "gru", "lstm"], [*Attention.KINDS, "none"], [False, True]))
COMMON = [("lstm", "additive", False), ("simple_rnn", "none", False), ("gru", "dot", True), ("gru", "multi_head", True)]


@pytest.mark.parametrize(
    ("cell", "attention", "input_feeding"),
    [one if one in COMMON else slow(*one) for one in DECODERS],
)
def test_steps_one_by_one_give_what_a_call_gives(cell, attention, input_feeding):
    made = model(cell, attention, input_feeding)
    whole = made({"source": SOURCE, "target": TARGET}).numpy()
    memory = made.encode(SOURCE)
    state = made.initial_state(memory)
    for t in range(4):
        logits, weights, state = made.step(TARGET[:, t], state, memory)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
        if attention != "none":
            np.testing.assert_allclose(weights.numpy().sum(-1), 1.0, rtol=1e-5)
            assert (weights.numpy()[SOURCE == 0] == 0).all()


def test_a_transformers_steps_one_by_one_give_what_a_call_gives():
    made = transformer()
    whole, memory = made({"source": SOURCE, "target": TARGET}).numpy(), made.encode(SOURCE)
    state = made.initial_state(memory)
    for t in range(4):
        logits, weights, state = made.step(TARGET[:, t], state, memory)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
        np.testing.assert_allclose(weights.numpy().sum(-1), 1.0, rtol=1e-5)
        assert (weights.numpy()[SOURCE == 0] == 0).all()


@pytest.mark.parametrize("kind", ["recurrent", slow("input_feeding"), slow("transformer")])
def test_a_beams_scores_are_those_of_forced_decoding(kind):
    made = MAKES[kind]()
    tokens, scores, attention = made.translate(made.encode(SOURCE), Beam(4, length_penalty=0.0), np.array([6, 6, 6]))
    for rank in range(3):
        said = [row[row != 0] for row in tokens.numpy()[:, rank]]
        for row, ids in enumerate(said):
            features = {"source": SOURCE[row : row + 1], "target": np.array([[2, *ids]], np.int32)}
            nats, weights = made.nats(features, np.array([[*ids, 3]], np.int32))
            assert scores.numpy()[row, rank] == pytest.approx(-float(tf.reduce_sum(nats)), abs=1e-3)
            np.testing.assert_allclose(attention[row, rank, : len(ids)], weights[0, :-1], atol=1e-4)


@pytest.mark.parametrize("kind", ["recurrent", slow("transformer")])
def test_a_translation_does_not_depend_on_its_batch(kind):
    made = MAKES[kind]()
    together = made.infer({"source": SOURCE})
    for row in range(3):
        source = SOURCE[row : row + 1, : int((SOURCE[row] != 0).sum())]
        alone = made.infer({"source": source})
        said = alone["tokens"].numpy()[0]
        np.testing.assert_array_equal(together["tokens"].numpy()[row, : len(said)], said)
        assert float(together["score"][row]) == pytest.approx(float(alone["score"][0]), abs=1e-4)


@pytest.mark.parametrize("kind", ["recurrent", slow("input_feeding"), slow("transformer")])
def test_gradients_reach_every_weight(kind):
    made = MAKES[kind](shared=True)
    made.compile(keras.optimizers.SGD(0.1))
    targets = np.concatenate([TARGET[:, 1:], np.zeros((3, 1), np.int32)], 1)
    targets[targets == 0] = 3
    before = made.get_weights()
    first = float(made.train_on_batch({"source": SOURCE, "target": TARGET}, targets, np.ones(3, np.float32)))
    for _ in range(20):
        last = float(made.train_on_batch({"source": SOURCE, "target": TARGET}, targets, np.ones(3, np.float32)))
    assert last < first
    assert all(not np.array_equal(old, new) for old, new in zip(before, made.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("mixed_bfloat16", "recurrent"),
        slow("mixed_bfloat16", "transformer"),
        slow("mixed_float16", "input_feeding"),
    ],
)
@pytest.mark.slow  # a training
def test_mixed_precision_trains_and_translates(dtype, kind):
    made = MAKES[kind](dtype=dtype)
    made.compile(keras.optimizers.SGD(0.1))
    targets = np.where(TARGET == 0, 3, TARGET)
    losses = [
        float(made.train_on_batch({"source": SOURCE, "target": TARGET}, targets, np.ones(3, np.float32)))
        for _ in range(10)
    ]
    assert losses[-1] < losses[0]
    exact = MAKES[kind]()
    exact.set_weights(made.get_weights())
    scores = made.infer({"source": SOURCE})["score"].numpy()
    np.testing.assert_allclose(scores, exact.infer({"source": SOURCE})["score"], atol=0.1)
