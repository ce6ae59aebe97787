"""Maps of attention, also of nothing."""

from __future__ import annotations

import io

import pytest

from nlp_rnn.display.attention import attention_html, attention_text, plot_attention

MAPS = [
    pytest.param(["a", "cat"], ["eine", "Katze"], [[0.9, 0.1], [0.2, 0.8]], id="two words"),
    pytest.param(["a"], [], [], id="an empty translation"),
    pytest.param([], [], [], id="nothing"),
]


@pytest.mark.parametrize(("source", "target", "weights"), MAPS)
def test_every_token_has_a_row_or_a_column(source, target, weights):
    figure = plot_attention(source, target, weights)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == source
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == target
    image = io.BytesIO()
    figure.savefig(image, format="png")
    assert image.getvalue().startswith(b"\x89PNG")
    assert attention_html(source, target, weights).count("<tr>") == 1 + len(target)
    assert all(token in attention_text(source, target, weights) for token in target)
