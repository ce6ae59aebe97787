"""What is language modelling's own; what every task does is in tests/test_contract.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.analysis.gradients import loss_by_place
from nlp_rnn.config.values import override
from nlp_rnn.data.lanes import Lanes
from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError
from nlp_rnn.export.savedmodel import portable_copy
from nlp_rnn.tasks.language_modeling import complete, generate, surprise, windows
from tests.subjects import LINES, SUBJECTS


@pytest.fixture(scope="module")
def run():
    """A character model of a text that repeats itself."""
    return SUBJECTS["language-modeling"].run


@pytest.mark.parametrize("window", [1, 7, 100])
def test_perplexity_does_not_depend_on_the_window(run, window, monkeypatch):
    records = Records([{"text": line, "follows": True} for line in LINES])
    expected = run.evaluate(records)
    made = Lanes

    def other(ids, lanes, _, *rest, **options):
        return made(ids, lanes, window, *rest, **options)

    monkeypatch.setattr("nlp_rnn.data.lanes.Lanes", other)
    again = run.evaluate(Records([{"text": line, "follows": True} for line in LINES]))
    assert again["nats_per_unit"] == pytest.approx(expected["nats_per_unit"], rel=1e-5)
    assert again["units"] == expected["units"] == sum(len(line) + 1 for line in LINES)


def test_it_learns(run):
    assert run.metrics["perplexity"] < 2
    assert run.metrics["bits_per_character"] == pytest.approx(run.metrics["nats_per_unit"] / np.log(2))
    assert run.history[0]["val_perplexity"] > run.history[-1]["val_perplexity"]
    assert run.report["best_epoch"] > 1, "less is better"


def test_texts_are_scored_by_themselves(run):
    scores = run(LINES)
    for line, score in zip(LINES, scores, strict=True):
        alone = run(line)
        assert score.text == line
        assert alone.log_probability == pytest.approx(score.log_probability, rel=1e-4)
        assert score.units == len(line) + 1
        assert score.perplexity == pytest.approx(np.exp(-score.log_probability / score.units), rel=1e-4)
    assert run("the cat sat").log_probability > run("tac eht tas").log_probability


@pytest.fixture(scope="module")
def of_words(tmp_path_factory):
    """A word model of the same lines."""
    return small_run(tmp_path_factory.mktemp("words"), {"kind": "word"}, learning_rate=0.03, epochs=2)


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory):
    """A byte model of the same lines."""
    return small_run(tmp_path_factory.mktemp("bytes"), {"kind": "byte"})


def small_run(folder, tokenizer, epochs=1, **train):
    (folder / "text.txt").write_text("\n".join(LINES * 20))
    settings = {"epochs": epochs, "batch_size": 4, "bptt": 8, **train}
    data = {"train": [str(folder / "text.txt")]}
    return nlp_rnn.train(
        "language-modeling", out=folder / "run", data=data, tokenizer=tokenizer, stack={"units": 16}, train=settings
    )


@pytest.mark.parametrize("kind", ["run", "of_words", "of_bytes"])
def test_surprise_is_what_each_token_costs(kind, request):
    run = request.getfixturevalue(kind)
    for text in ["the cat sat", "the cat\n\na mat 🐈"]:
        found = surprise(run, text)
        records = Records([{"text": line, "follows": True} for line in text.split("\n")])
        nats = np.concatenate(run.infer(records)["nats"])
        assert [loss for *_, loss in found.units] == pytest.approx(nats[:-1].tolist(), rel=1e-4)
        if kind != "of_bytes":  # whose bytes within a character have all of its place
            pieces = [unit["text"] for unit in found.as_dict()["units"]]
            assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    assert surprise(run, "").units == []
    assert "rgba" in surprise(run, "the dgo")._repr_html_()


def test_what_does_not_fit_surprises_most(run):
    losses = [loss for *_, loss in surprise(run, "the cat sat on the xat").units]
    assert int(np.argmax(losses[4:])) + 4 == len("the cat sat on the ")


def test_with_more_before_it_a_token_costs_less(run):
    losses = loss_by_place(run.model, windows(run, 20))
    assert losses[0] > losses[10:].mean()


def test_verbs_of_its_own(run, command, at_hand, tmp_path):
    at_hand(run)
    code, out, log = command("gradients", run.path, run.path, "--steps", 12, "--out", tmp_path / "g.png")
    assert code == 0, log
    assert out.startswith("lstm ")
    assert (tmp_path / "g.png").stat().st_size > 2000
    code, out, _ = command("gradients", run.path, "--steps", 12, "--json")
    assert [len(norms) for norms in json.loads(out).values()] == [12]
    code, out, _ = command("surprise", run.path, "the cat", "--json")
    assert "".join(unit["text"] for unit in json.loads(out)["units"]) == "the cat"
    code, out, _ = command("score", run.path, "the cat sat on the mat", "tac eht", "--json")
    first, second = map(json.loads, out.splitlines())
    assert first["log_probability"] > second["log_probability"]
    for arguments, message in [
        (("gradients", run.path, "--steps", 1), "steps is 1; it must be at least 2"),
        (("gradients", run.path, "--steps", 99999), "fewer than 100,000: give fewer --steps"),
        (("gradients", run.path, "--out", "g.txt"), "must end in .png, .svg or .pdf"),
        (("generate", run.path, "--length", 0), "The length is 0; it must be at least 1"),
        (("generate", run.path, "--length", -3), "The length is -3; it must be at least 1"),
        (("generate", run.path, "--prompt", "Ж"), "The prompt contains 'Ж', which is not in the vocabulary"),
    ]:
        code, out, log = command(*arguments)
        assert (code, out) == (2, ""), log
        assert message in " ".join(log.split())


def test_generation_streams_repeats_and_stops(run):
    pieces = list(generate(run, "the d", length=60, temperature=0))
    assert len(pieces) > 20
    text = "".join(pieces)
    assert ("the d" + text).startswith("the dog sat on the cat\n")
    assert "".join(generate(run, "the d", length=60, seed=1)) == "".join(generate(run, "the d", length=60, seed=1))
    assert "".join(generate(run, "the d", length=60, temperature=0, stop=("mat",))) == text[: text.index("mat")]
    assert len("".join(generate(run, "", length=7))) == 7
    together = complete(run, ["the c", "", "a mat"], 30, temperature=0, stop=("\n",))
    assert together == ["".join(generate(run, t, 30, 0, stop=("\n",))) for t in ("the c", "", "a mat")]
    with pytest.raises(InputError, match="length is 0; it must be at least 1"):
        next(generate(run, length=0))
    with pytest.raises(InputError, match=r"The prompt contains 'Ж', which is not in the vocabulary"):
        next(generate(run, "the Ж"))
    with pytest.raises(InputError, match=r"top-p is 1\.5"):
        next(generate(run, top_p=1.5))


def test_half_a_character_is_never_said(of_bytes):
    text = "".join(generate(of_bytes, "🐈", length=300, temperature=2.0, seed=3))
    assert text.encode()
    assert not set(text) & set(map(chr, range(0xD800, 0xE000)))


def test_words_end_lines_with_a_token(of_words, tmp_path):
    (tmp_path / "test.txt").write_text("\n".join(LINES))
    scores = of_words.evaluate(tmp_path / "test.txt")
    assert list(scores)[:2] == ["perplexity", "nats_per_unit"]
    assert scores["units"] == sum(len(line.split()) + 1 for line in LINES), "an empty line is its end alone"
    assert len("".join(generate(of_words, "the cat", length=5)).split(" ")) <= 6


@pytest.fixture(scope="module")
def served():
    """The signatures of the run's SavedModel."""
    return tf.saved_model.load(str(SUBJECTS["language-modeling"].exported)).signatures


def test_an_export_writes_what_the_run_does(run, served):
    settings = {"length": 60, "top_k": 5, "top_p": 0.9, "seed": 4}

    def texts(prompts, stop, temperature):
        numbers = {**settings, "temperature": temperature, "repetition_penalty": 1.0}
        given = {name: tf.constant(value) for name, value in numbers.items()}
        out = served["generate"](prompt=tf.constant(prompts), stop=tf.constant(stop, tf.string), **given)
        return [text.decode() for text in out["text"].numpy()]

    assert texts(["the c"], [], 0.0) == ["".join(generate(run, "the c", temperature=0, **settings))]
    drawn = "".join(generate(run, "the c", temperature=0.9, stop=("mat",), **settings))
    assert texts(["the c"], ["mat"], 0.9) == [drawn]
    prompts = ["the c", "", "a\ndog"]
    expected = ["".join(generate(run, text, temperature=0, stop=("mat",), **settings)) for text in prompts]
    assert texts(prompts, ["mat"], 0.0) == expected


def test_an_export_goes_on_from_a_state(run, served):
    step = served["step"]
    tokens = np.array([[3, 5, 6, 7], [3, 8, 5, 4]], np.int32)
    state = np.zeros((2, 2, 48), np.float32)
    expected = run.model({"tokens": tokens}).numpy()
    for t in range(4):
        out = step(tokens=tf.constant(tokens[:, t : t + 1]), state=tf.constant(state))
        state = out["state"].numpy()
        np.testing.assert_allclose(out["logits"][:, 0], expected[:, t], atol=1e-4)


@pytest.mark.slow  # a training of its own
def test_a_text_of_one_very_long_line(tmp_path):
    words = [f"w{number % 97}" for number in range(30_000)]
    (tmp_path / "text.txt").write_text(" ".join(words))
    for kind in ("word", "character"):
        run = nlp_rnn.train(
            "language-modeling",
            out=tmp_path / kind,
            data={"train": [str(tmp_path / "text.txt")]},
            tokenizer={"kind": kind},
            embedding={"size": 8},
            stack={"units": 8},
            train={"epochs": 1, "batch_size": 64, "bptt": 64, "vary_bptt": False},
        )
        records = run.read(tmp_path / "text.txt")
        assert "".join(records.column("text")) == " ".join(words)
        assert max(map(len, records.column("text"))) <= 10_000
        scores = run.evaluate(records)
        assert scores["words"] == len(words)
        assert scores["characters"] == len(" ".join(words)) + 1, "one line has one end"
        assert scores["units"] == (len(words) + 1 if kind == "word" else len(" ".join(words)) + 1)
        assert run.metrics["words"] < len(words) / 5


def test_a_row_with_several_lines_is_those_lines(run, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in ("\n".join(LINES[:2]), *LINES[2:])))
    both = [run.evaluate(tmp_path / name) for name in ("lines.txt", "rows.jsonl")]
    assert both[0] == both[1]


def test_lines_can_be_measured_by_themselves(run, command, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n")
    code, out, log = command("evaluate", run.path, "--data", tmp_path / "lines.txt", "--data.carry", "False", "--json")
    assert code == 0, log
    expected = -sum(score.log_probability for score in run(LINES))
    assert json.loads(out)["nats_per_unit"] * json.loads(out)["units"] == pytest.approx(expected, rel=1e-4)
    assert run.evaluate(tmp_path / "lines.txt")["nats_per_unit"] != json.loads(out)["nats_per_unit"]


@pytest.fixture(scope="module")
def rare_words(tmp_path_factory):
    """A text of words of which most are rare."""
    generator = np.random.default_rng(0)
    lines = [" ".join(f"w{int(w)}" for w in generator.zipf(1.4, 12) % 300) for _ in range(200)]
    path = tmp_path_factory.mktemp("rare") / "text.txt"
    path.write_text("\n".join(lines))
    return path


def adaptive(path, out, cutoffs):
    return nlp_rnn.train(
        "language-modeling",
        out=out,
        data={"train": [str(path)]},
        tokenizer={"kind": "word", "size": 400},
        embedding={"size": 32},
        stack={"units": 32},
        head={"kind": "adaptive", "cutoffs": cutoffs},
        train={"epochs": 3, "bptt": 16, "vary_bptt": False, "batch_size": 8, "learning_rate": 0.02},
    )


@pytest.mark.slow  # trains and exports
def test_an_adaptive_softmax_end_to_end(rare_words, tmp_path):
    run = adaptive(rare_words, tmp_path / "run", [50, 120])
    assert type(run.model.head).__name__ == "AdaptiveSoftmaxHead"
    assert run.metrics["perplexity"] < 100
    line = "w1 w2 w3"
    score = run.task.signatures(run.config, portable_copy(run.model), run.assets)["score"]
    found = float(score(tf.constant([line]))["log_probability"][0])
    assert found == pytest.approx(run(line).log_probability, rel=1e-3)
    assert len("".join(generate(run, "w1", length=8)).split()) <= 8


@pytest.mark.parametrize(
    ("cutoffs", "message"), [([120, 50], "cutoffs must increase"), ([50, 5000], "lie within the vocabulary of")]
)
def test_clusters_that_cannot_be(rare_words, tmp_path, cutoffs, message):
    with pytest.raises(InputError, match=message):
        adaptive(rare_words, tmp_path / "run", cutoffs)


def test_a_loss_that_is_no_number_ends_training_with_what_was_good(run, command, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES * 40) + "\n")
    settings = ("--train.optimizer", "sgd", "--train.learning_rate", "1e30", "--train.clip_norm", 0)
    code, _, log = command(
        "train", "language-modeling", "--data", text, "--out", tmp_path / "run", "--train.bptt", 16, *settings
    )
    assert code == 1
    assert "in epoch 1, batch" in " ".join(log.split())
    assert "try a lower --train.learning_rate" in " ".join(log.split())
    assert list((tmp_path / "run" / "checkpoints").glob("step-*")), "the checkpoint before it is kept"


def test_evaluating_with_another_tokenizer_is_refused(run, command, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    arguments = ("--data", tmp_path / "lines.txt", "--tokenizer.kind", "word")
    code, out, log = command("evaluate", run.path, *arguments)
    assert (code, out) == (2, "")
    assert "--tokenizer.kind" in log


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("a\nb\nc\n", (), "too few for 4 lanes of at least 2"),
        ("\n\n\n", (), "there is nothing to predict"),
        ("", (), "text.txt is empty"),
        ("a b\n", (), "There is no validation data: give some"),
        ("abc\n" * 50, ("--stack.bidirectional", "True"), "A language model reads in one direction"),
    ],
)
def test_bad_input(content, arguments, message, command, tmp_path):
    (tmp_path / "text.txt").write_text(content)
    code, out, log = command(
        "train", "language-modeling", "--data", tmp_path / "text.txt", "--out", tmp_path / "run",
        "--train.batch_size", 4, "--data.validation_fraction", 0.2, *arguments,
    )  # fmt: skip
    assert code == 2, log
    assert out == ""
    assert message in " ".join(log.split())


def test_one_device_only(run):
    config = override(run.config, {"train": {"devices": "0,1"}})
    with pytest.raises(InputError, match="A language model carries its state on one device"):
        run.task.assets(config, Records([{"text": "ab"}]))
