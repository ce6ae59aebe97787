"""What is said of the inside of a run is so."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.analysis.observation import attention_of, gate_use, head_use, observe, states_of, unit_use
from nlp_rnn.layers import RecurrentStack, TransformerStack

LENGTHS = [7, 4, 7]


def looked_at(stack, features=3, seed=0):
    """What is observed of a stack that reads random frames."""
    values = np.random.default_rng(seed).normal(size=(3, 7, features)).astype("float32")
    batch = {"values": values, "lengths": np.array(LENGTHS)}

    def infer(model, given, options):
        model.stack(given["values"], mask=tf.sequence_mask(given["lengths"], 7))
        return {}

    run = SimpleNamespace(
        model=SimpleNamespace(stack=stack),
        task=SimpleNamespace(infer=infer),
        batches_of=lambda records: SimpleNamespace(indexed=lambda: [(np.arange(3), batch)]),
        options=lambda: None,
    )
    return observe(run, None), values


def test_reach_is_the_derivative_by_the_step_so_far_back():
    stack = RecurrentStack("gru", 1, bidirectional=False)
    found, values = looked_at(stack, features=1)

    def last(changed):
        return stack(changed, mask=tf.sequence_mask(LENGTHS, 7))[1][0][0].numpy()[:, 0].astype("float64")

    step, derivatives = 1e-2, np.full((3, 7), np.nan)
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            moved = [values.copy() for _ in range(2)]
            moved[0][row, t] += step
            moved[1][row, t] -= step
            derivatives[row, length - 1 - t] = (last(moved[0]) - last(moved[1]))[row] / (2 * step)
    expected = np.sqrt(np.nanmean(derivatives**2, axis=0))
    assert found.reach[0].shape == (7,)
    ratios = found.reach[0] / expected  # random projections weigh the rows a little unlike
    np.testing.assert_allclose(ratios, ratios.mean(), rtol=0.5)
    assert found.reach[1][1:].max() == 0, "the last layer's last step is the output itself"


def test_gates_and_units_are_counted_at_real_steps():
    stack = RecurrentStack("lstm", 4, bidirectional=True)
    stack.build((None, None, 3))
    for layer in (stack.forward_layers[0], stack.backward_layers[0]):
        bias = np.zeros(16, "float32")
        bias[:4], bias[4:8] = -100, 100  # input shut, forget open
        layer.cell.bias.assign(bias)
    found, _ = looked_at(stack)
    uses = {(use.layer, use.gate): use for use in gate_use(found)}
    assert uses["layer 1 →", "input"].shut == uses["layer 1 ←", "input"].shut == 1.0
    assert uses["layer 1 →", "forget"].open == 1.0
    assert 0.2 < uses["layer 1 ←", "output"].mean < 0.8
    assert [use.dead for use in unit_use(found)] == [1.0, 1.0], "nothing was let in"


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "minlstm", "sru", "simple_rnn", "qrnn", "rglru"])
def test_gates_are_those_that_the_layer_computes(cell):
    stack = RecurrentStack(cell, 4, layers=2, bidirectional=True, residual=True, normalization="rms")
    found, _ = looked_at(stack)
    assert len(found.levels) == 2
    uses = gate_use(found)
    assert all(0 <= use.shut + use.open <= 1 for use in uses)
    if cell == "mingru":
        read = np.asarray(found.levels[0].read)
        layer = stack.forward_layers[0]
        z = 1 / (1 + np.exp(-(read @ np.asarray(layer.kernel) + np.asarray(layer.bias))))[..., :4]
        given = np.asarray(found.levels[0].given)[..., :4]
        n = (read @ np.asarray(layer.kernel) + np.asarray(layer.bias))[..., 4:]
        np.testing.assert_allclose(given[0, 0], (z * n)[0, 0], rtol=1e-4)
        real = np.arange(7) < np.array(LENGTHS)[:, None]
        assert uses[0].mean == pytest.approx(z[real].mean(), rel=1e-4)
    assert states_of(found).shape == (7, 8)


def test_a_transformer_is_looked_at_too():
    found, _ = looked_at(TransformerStack(8, 2, heads=2))
    assert gate_use(found) == []
    assert [use.saturated for use in unit_use(found)] == [None, None]
    assert np.isfinite(found.reach).all()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_weights_of_heads_are_those_that_the_layer_uses(bidirectional):
    stack = TransformerStack(8, layers=2, bidirectional=bidirectional, heads=2, context=3)
    found, _ = looked_at(stack)
    level = found.levels[1]
    weights = [np.array(one) for one in attention_of(found, 1, 99).values()][2:]
    assert [one.shape for one in weights] == [(4, 4)] * 2, "of the second layer, over the real steps"
    layer, read = stack.attentions[1], np.asarray(level.read)[1, :4]
    values = np.split((read @ layer.kernel.numpy())[:, -layer.inner :], 2, -1)
    mixed = np.concatenate([one @ part for one, part in zip(weights, values, strict=True)], -1)
    np.testing.assert_allclose(mixed @ layer.output_kernel.numpy(), np.asarray(level.given)[1, :4], atol=1e-5)
    assert list(attention_of(found, 1, 2)) == [f"layer {i}, head {k}" for i in (1, 2) for k in (1, 2)]
    assert np.shape(attention_of(found, 1, 2)["layer 1, head 1"]) == (2, 2)


def test_what_heads_look_at_is_counted_at_real_steps():
    stack = TransformerStack(8, layers=1, bidirectional=False, heads=2, context=2)
    stack.build((None, None, 3))
    layer = stack.attentions[0]
    kernel = layer.kernel.numpy()
    kernel[:, : layer.inner // 2] = 0  # the first head's queries: it looks at all that it sees alike
    layer.kernel.assign(kernel)
    found, _ = looked_at(stack)
    even, other = head_use(found)
    assert (even.layer, even.head, other.head) == ("layer 1", 1, 2)
    # Steps see one, two, then three places; those of one are left out: rows of 7, 4 and 7 steps.
    counts = np.array([2] * 3 + [3] * (5 + 2 + 5))
    assert even.entropy == pytest.approx(1, abs=1e-5)
    assert even.own == pytest.approx((1 / counts).mean(), abs=1e-5)
    assert even.distance == pytest.approx(((counts - 1) / 2).mean(), abs=1e-5)
    assert 0 < other.entropy < 1
    assert head_use(looked_at(RecurrentStack("gru", 2))[0]) == []
