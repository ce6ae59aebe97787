"""Attention against its formulas."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_rnn.layers import Attention


@pytest.mark.parametrize("kind", Attention.KINDS)
def test_attention_follows_its_formula(kind):
    generator = np.random.default_rng(0)
    query, memory = generator.normal(size=(2, 3, 6)), generator.normal(size=(2, 4, 6))
    mask = np.array([[True, True, True, False], [True, False, False, False]])
    layer = Attention(kind, 8, 2, dtype="float64")
    contexts, weights = layer(query, memory, mask=mask)
    if kind == "additive":
        layer.bias.assign(generator.normal(size=8))
        contexts, weights = layer(query, memory, mask=mask)
    w = {v.name: v.numpy() for v in layer.weights}

    def averaged(scores, values):
        scores = np.where(mask[:, None], scores, -np.inf)
        found = np.exp(scores - scores.max(-1, keepdims=True))
        found /= found.sum(-1, keepdims=True)
        return found, found @ values

    if kind == "multi_head":
        parts = []
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            scores = query @ w["query_kernel"][:, own] @ (memory @ w["key_kernel"][:, own]).transpose(0, 2, 1) / 2.0
            parts.append(averaged(scores, memory @ w["value_kernel"][:, own]))
        expected = np.concatenate([context for _, context in parts], -1) @ w["output_kernel"]
        expected_weights = np.mean([found for found, _ in parts], 0)
    else:
        scores = np.zeros((2, 3, 4))
        for b, t, s in np.ndindex(2, 3, 4):
            q, m = query[b, t], memory[b, s]
            if kind in ("additive", "concat"):
                joined = np.concatenate([q, m]) @ np.concatenate([w["query_kernel"], w["key_kernel"]])
                scores[b, t, s] = w["score"][:, 0] @ np.tanh(joined + w.get("bias", 0.0))
            else:
                scores[b, t, s] = q @ m if kind == "dot" else q @ w["key_kernel"].T @ m
        expected_weights, expected = averaged(scores, memory)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-5)
    np.testing.assert_allclose(contexts, expected, atol=1e-5)
