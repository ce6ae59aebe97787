"""Labels, texts and file names are shown as text: never as markup, HTML, formulas or commands of a terminal."""

from __future__ import annotations

import io
import json
import math

import pytest

import nlp_rnn
from nlp_rnn.cli.output import print_shown, to_json
from nlp_rnn.display.attention import attention_html, plot_attention
from nlp_rnn.display.console import PlainConsole, visible
from nlp_rnn.display.curves import plot_confusion
from nlp_rnn.display.figures import save_figure
from nlp_rnn.tasks.explaining import Contributions
from nlp_rnn.tasks.ner.predictions import Document, Entity
from nlp_rnn.tasks.sentiment.commands import Explanation
from nlp_rnn.tasks.sentiment.predictions import Sentiment

HOSTILE = [
    "<script>alert(1)</script>",
    "[/x]",
    "[other]",
    "[link=http://x]y[/link]",
    ":smile:",
    "\x1b[31mred",
    "$\\frac$",
]


@pytest.mark.parametrize("label", HOSTILE)
def test_a_console_shows_text(label):
    for is_terminal in (False, True):
        sink = io.StringIO()
        console = PlainConsole(file=sink, force_terminal=is_terminal, color_system=None, width=200)
        console.print(label)
        console.warn(label)
        assert sink.getvalue() == 2 * f"{visible(label)}\n"


def test_control_characters_are_symbols():
    assert visible("a\x00\x07\x1b[2J\x7f\x9b1m\tb\n") == "a␀␇␛[2J␡\ufffd1m\tb\n"
    assert json.loads(to_json("\x1b\x9b\x7f")) == "\x1b\x9b\x7f"
    assert not {"\x1b", "\x9b", "\x7f"} & set(to_json("\x1b\x9b\x7f"))
    assert to_json({"perplexity": math.inf, "all": [math.nan, 1.5]}) == '{"perplexity": null, "all": [null, 1.5]}'


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("label", HOSTILE)
def test_html_of_results_holds_no_tags_of_others(label):
    sentiment = Sentiment(label, label, 0.5, {label: 0.5})
    said = Contributions(label, label, "log-odds", [(0, len(label), 1.0)], 1.0, 0.0, 0.0)
    explanation = Explanation(sentiment, said, [(0, len(label), 1.0)])
    document = Document(label, [Entity(label, label, 0, len(label), 0.5)])
    for html in (explanation._repr_html_(), document._repr_html_(), attention_html([label], [label], [[1.0]])):
        assert "<script" not in html
    for shown in (explanation, document):
        terminal = Terminal()
        print_shown(terminal, shown, label)
        assert "\x1b[31mred" not in terminal.getvalue()


@pytest.mark.parametrize("label", HOSTILE)
def test_figures_write_text(label, tmp_path):
    save_figure(plot_confusion([[1, 0], [0, 1]], [label, "other"]), tmp_path / "confusion.svg")
    save_figure(plot_attention([label], [label], [[1.0]]), tmp_path / "attention.png")
    assert "<script" not in (tmp_path / "confusion.svg").read_text()


def test_a_run_with_hostile_labels(tmp_path, command):
    rows = [{"text": f"{'good' if i % 2 else 'bad'} {i}", "label": HOSTILE[i % len(HOSTILE)]} for i in range(140)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = ("--train.epochs", 1, "--stack.units", 4, "--tokenizer.kind", "byte", "--head.attention_units", 4)
    out = tmp_path / "<b>run"
    data = ("--data", tmp_path / "data.jsonl", "--data.test_fraction", 0.1)
    code, printed, log = command("train", "sentiment", *data, "--out", out, *small)
    assert code == 0, log
    assert "[other]" in log
    assert ":smile:" in log
    assert "\x1b" not in printed + log
    assert sorted(nlp_rnn.load(out).assets.labels) == sorted(HOSTILE)
    card = (out / "card.md").read_text()
    assert "<" not in card
    assert r"\[/x\]" in card
    code, printed, log = command("evaluate", out, "--data", tmp_path / "data.jsonl")
    assert code == 0, log
    assert "· [/x]" in printed
