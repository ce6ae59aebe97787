"""Lines of logs → templates, the same in Python and in the graph."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.text.templates import template_of, templates_in_graph

LINES = {
    "GET /api/items/17 from 10.0.0.5 took 3.5 ms": "GET␣<path>␣from␣<address>␣took␣<n>␣ms",
    "2026-03-01 20:15:00,123 ERROR worker-7 died": "<time>␣ERROR␣worker<n>␣died",
    "user 5eda3874-867d-4c46-9c08-5576973d1fed gone": "user␣<id>␣gone",
    "see https://example.org/a?b=1 or mail a.b@example.org": "see␣<url>␣or␣mail␣<mail>",
    "block 0xDEADBEEF, hash 9f86d081884c7d65": "block␣<hex>,␣hash␣<hex>",
    "  spaces\t and   tabs ": "spaces␣and␣tabs",
    "decade facade": "decade␣facade",
    "from 192.168.1.1:8080 at 12:30:01": "from␣<address>␣at␣<time>",
}


@pytest.mark.parametrize(("line", "template"), LINES.items())
def test_what_varies_is_masked(line, template):
    assert template_of(line) == template


def test_lines_of_one_kind_are_one_template():
    assert (
        len(
            {
                template_of(f"session {i * 7919 + 2**60:016x} of user {i} took {i / 7:.2f} s at 10.0.{i % 256}.7")
                for i in range(300)
            }
        )
        <= 3
    )


ANY = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=40)
OF_LOGS = st.text('0189afFxXTZ-:./@+%_,"<> \t\u00a0ü', max_size=60)


@given(st.lists(ANY | OF_LOGS, min_size=4, max_size=20))
def test_the_graph_does_the_same(lines):
    found = [text.decode() for text in templates_in_graph(tf.constant(lines)).numpy()]
    assert found == [template_of(line) for line in lines]
