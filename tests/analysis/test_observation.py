"""What is said of the inside of a run is so."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.analysis.observation import gate_use, observe, states_of, unit_use
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
