"""Language modelling from end to end, as a user meets it."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import nlp_rnn
from nlp_rnn.config import TokenizerConfig, override
from nlp_rnn.data.lanes import Lanes
from nlp_rnn.data.records import Records
from nlp_rnn.decoding.sampling import Generator, Sampling
from nlp_rnn.decoding.streaming import TextStream, joined
from nlp_rnn.errors import InputError
from nlp_rnn.layers import RecurrentStack, SoftmaxHead, TokenEmbedding
from nlp_rnn.models import LanguageModel
from nlp_rnn.plots.gradients import gradient_reach, loss_by_place
from nlp_rnn.tasks.language_verbs import complete, generate, surprise, windows
from nlp_rnn.text.tokenizers import ByteTokenizer, train_tokenizer

LINES = ["the cat sat on the mat", "the dog sat on the cat", "", "a mat is not a dog 🐈", "  the end"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A character model of a text that repeats itself."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "text.txt").write_text("\n".join(LINES * 40) + "\n")
    settings = {"epochs": 12, "batch_size": 4, "window": 16, "learning_rate": 0.01}
    return nlp_rnn.train(
        "language-modeling",
        out=folder / "run",
        data={"train": [str(folder / "text.txt")]},
        stack={"units": 48, "bidirectional": False},
        train=settings,
    )


def model(cell="lstm", layers=2, size=12, vocabulary=11, tied=True, **options):
    made = LanguageModel(
        TokenEmbedding(vocabulary, size),
        RecurrentStack(cell, 9, layers, bidirectional=False),
        SoftmaxHead(vocabulary, size if tied else 0),
        **options,
    )
    made.build()
    return made


# The text as lanes --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 200),
    st.integers(1, 6),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(0, 5)),
    st.integers(0, 3),
)
def test_lanes_are_parts_of_the_text_in_their_order(size, lanes, window, seed, epoch):
    if size < lanes:
        return
    ids = np.arange(4, 4 + size, dtype=np.int32)
    made = Lanes(ids, lanes, window, seed)
    batches = list(made.epoch(epoch))
    assert len(batches) == made.steps_per_epoch
    tokens = np.concatenate([features["tokens"] for features, _, _ in batches], 1)
    targets = np.concatenate([target for _, target, _ in batches], 1)
    assert all(target.shape[1] > 0 for _, target, _ in batches)
    np.testing.assert_array_equal(targets.reshape(-1), ids[: lanes * (size // lanes)])
    np.testing.assert_array_equal(tokens.reshape(-1)[1:], targets.reshape(-1)[:-1])
    assert tokens[0, 0] == 3
    assert [int(features["reset"][0, 0]) for features, _, _ in batches] == [1] + [0] * (len(batches) - 1)
    later = list(made.epoch(epoch, start=len(batches) // 2))
    for (a, b, _), (c, d, _) in zip(batches[len(batches) // 2 :], later, strict=True):
        np.testing.assert_array_equal(a["tokens"], c["tokens"])
        np.testing.assert_array_equal(b, d)


def test_windows_differ_from_epoch_to_epoch():
    made = Lanes(np.arange(4, 1000, dtype=np.int32), 2, 32, seed=0)
    bounds = [made.bounds(epoch).tolist() for epoch in (0, 0, 1)]
    assert bounds[0] == bounds[1] != bounds[2]
    assert max(np.diff(bounds[0])) > 32


# The model ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("tied", [True, False])
def test_steps_one_by_one_give_what_a_call_gives(cell, tied):
    made = model(cell, tied=tied)
    tokens = np.random.default_rng(0).integers(4, 11, (3, 7)).astype("int32")
    whole = made({"tokens": tokens}).numpy()
    state = None
    for t in range(7):
        logits, state = made.advance(tokens[:, t : t + 1], state)
        np.testing.assert_allclose(logits[:, 0], whole[:, t], atol=1e-5)


def test_a_batch_goes_on_where_the_one_before_it_ended():
    made = model()
    tokens = np.random.default_rng(0).integers(4, 11, (3, 8)).astype("int32")
    begin, go_on = np.ones((3, 1), np.int32), np.zeros((3, 1), np.int32)
    whole = made({"tokens": tokens}).numpy()
    parts = [made({"tokens": tokens[:, :5], "reset": begin}), made({"tokens": tokens[:, 5:], "reset": go_on})]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-5)
    again = made({"tokens": tokens[:, :5], "reset": begin})
    np.testing.assert_allclose(again, whole[:, :5], atol=1e-5, err_msg="reset begins anew")
    assert not [v for v in made.variables if "carried" in v.path]
    assert len(made.carried) == 4


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


def test_penalties_are_added_to_the_loss():
    tokens = np.random.default_rng(0).integers(4, 11, (3, 8)).astype("int32")
    made = model(activation_penalty=2.0, change_penalty=3.0)
    made({"tokens": tokens}, training=True)
    sequence, _ = made.stack(made.embedding(tokens))
    h = sequence.numpy()
    expected = [2 * np.mean(h**2), 3 * np.mean((h[:, 1:] - h[:, :-1]) ** 2)]
    np.testing.assert_allclose([float(loss) for loss in made.losses], expected, rtol=1e-5)
    plain = model()
    plain({"tokens": tokens}, training=True)
    assert plain.losses == []


def test_tied_weights_are_one():
    made = model(tied=True)
    untied = model(tied=False)
    assert made.count_params() == untied.count_params() - 9 * 11 + (9 * 12 + 12), "a projection instead of a table"
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(made({"tokens": np.array([[4]], np.int32)}) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, made.embedding.embeddings.value))
    assert (np.abs(gradient.numpy()).sum(-1) > 0).all(), "every word's vector is compared with the state"


# Choosing -----------------------------------------------------------------------------------------------------------

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32))
NOTHING = np.zeros((1, 4), bool)


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        (Sampling(), [0, 1, 2, 3]),
        (Sampling(top_k=2), [0, 1]),
        (Sampling(top_p=0.5), [0]),
        (Sampling(top_p=0.51), [0, 1]),
        (Sampling(top_p=0.01), [0]),
        (Sampling(top_k=3, top_p=0.9), [0, 1, 2]),
        (Sampling(top_k=99), [0, 1, 2, 3]),
    ],
)
def test_what_may_be_drawn(sampling, left):
    filtered = sampling.filtered(tf.constant(LOGITS), NOTHING).numpy()[0]
    assert np.flatnonzero(filtered > -1e8).tolist() == left
    drawn = {int(sampling.draw(tf.constant(LOGITS), NOTHING, [0, n])[0]) for n in range(200)}
    assert drawn == set(left)


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
    made = model()
    greedy = Sampling(temperature=0)
    generator = Generator(made, banned=(0, 1, 2))
    together = list(itertools.islice(generator(np.array([[5, 6, 7], [8, 0, 0]], np.int32), greedy), 12))
    for row, prompt in enumerate(([5, 6, 7], [8])):
        alone = list(itertools.islice(generator(np.array([prompt], np.int32), greedy), 12))
        assert [int(tokens[row]) for tokens in together] == [int(tokens[0]) for tokens in alone]
    assert not {0, 1, 2} & {int(token) for tokens in together for token in tokens}


# The task -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", ["word", "subword", "character"])
def test_surprise_is_what_each_unit_costs(kind, run, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(LINES * 10))
    if kind != "character":
        run = nlp_rnn.train(
            "language-modeling", out=tmp_path / "r", data={"train": [str(tmp_path / "text.txt")]},
            tokenizer={"kind": kind, "size": 330}, train={"epochs": 1, "batch_size": 2, "window": 8},
        )  # fmt: skip
    for text in ["the cat sat", "the cat\n\na mat 🐈"]:
        found = surprise(run, text)
        records = Records([{"text": line, "follows": True} for line in text.split("\n")])
        nats = np.concatenate(run.infer(records)["nats"])
        assert [loss for *_, loss in found.units] == pytest.approx(nats[:-1].tolist(), rel=1e-4)
        pieces = [unit["text"] for unit in found.as_dict()["units"]]
        assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    assert surprise(run, "").units == []
    assert "rgba" in surprise(run, "the dgo")._repr_html_()
    if kind == "character":
        losses = [loss for *_, loss in surprise(run, "the cat sat on the xat").units]
        assert int(np.argmax(losses[4:])) + 4 == len("the cat sat on the ")


def test_gradients_reach_back_as_differences_say(run):
    made = model("simple_rnn", layers=1)
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
    losses = loss_by_place(run.model, windows(run, 20))
    assert losses[0] > losses[10:].mean(), "with more before it a token costs less"


def test_verbs_of_its_own(run, command, tmp_path):
    code, out, log = command("gradients", run.path, run.path, "--steps", 12, "--out", tmp_path / "g.png")
    assert code == 0, log
    assert out.startswith("lstm ")
    assert (tmp_path / "g.png").stat().st_size > 5000
    code, out, _ = command("gradients", run.path, "--steps", 12, "--json")
    assert [len(norms) for norms in json.loads(out).values()] == [12]
    code, out, _ = command("surprise", run.path, "the cat", "--json")
    assert "".join(unit["text"] for unit in json.loads(out)["units"]) == "the cat"
    code, out, _ = command("score", run.path, "the cat sat on the mat", "tac eht", "--json")
    first, second = map(json.loads, out.splitlines())
    assert first["log_probability"] > second["log_probability"]
    for arguments, message in [
        (("gradients", run.path, "--steps", 1), "--steps is 1; it must be at least 2"),
        (("gradients", run.path, "--steps", 99999), "fewer than 100,000: give fewer --steps"),
        (("gradients", run.path, "--out", "g.txt"), "must end in .png, .svg or .pdf"),
        (("generate", run.path, "--length", 0), "The length is 0; it must be at least 1"),
        (("generate", run.path, "--length", -3), "The length is -3; it must be at least 1"),
        (("generate", run.path, "--prompt", "Ж"), "The prompt has 'Ж', which training never saw"),
    ]:
        code, out, log = command(*arguments)
        assert (code, out) == (2, ""), log
        assert message in " ".join(log.split())


def test_generation_streams_repeats_and_stops(run):
    pieces = list(generate(run, "the c", length=60, temperature=0))
    assert len(pieces) > 20
    text = "".join(pieces)
    assert ("the c" + text).startswith("the cat sat on the mat\n")
    assert "".join(generate(run, "the c", length=60, seed=1)) == "".join(generate(run, "the c", length=60, seed=1))
    assert "".join(generate(run, "the c", length=60, temperature=0, stop=("mat",))) == text[: text.index("mat")]
    assert len("".join(generate(run, "", length=7))) == 7
    together = complete(run, ["the c", "", "a mat"], 30, temperature=0, stop=("\n",))
    assert together == ["".join(generate(run, t, 30, 0, stop=("\n",))) for t in ("the c", "", "a mat")]
    with pytest.raises(InputError, match="length is 0; it must be at least 1"):
        next(generate(run, length=0))
    with pytest.raises(InputError, match=r"The prompt has 'Ж', which training never saw"):
        next(generate(run, "the Ж"))
    with pytest.raises(InputError, match=r"top-p is 1\.5"):
        next(generate(run, top_p=1.5))


def test_half_a_character_is_never_said(run, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(LINES * 10))
    settings = {"epochs": 1, "batch_size": 4, "window": 16}
    data = {"train": [str(tmp_path / "text.txt")]}
    of_bytes = nlp_rnn.train(
        "language-modeling", out=tmp_path / "r", data=data, tokenizer={"kind": "byte"}, train=settings
    )
    text = "".join(generate(of_bytes, "🐈", length=300, temperature=2.0, seed=3))
    assert text.encode() and not set(text) & set(map(chr, range(0xD800, 0xE000)))


@settings(max_examples=60, deadline=None)
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


def test_words_end_lines_with_a_token(tmp_path, command):
    (tmp_path / "text.txt").write_text("\n".join(LINES * 20))
    settings = ("--train.epochs", 1, "--train.batch_size", 4, "--train.window", 8, "--tokenizer.kind", "word")
    code, _, log = command(
        "train", "language-modeling", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *settings
    )
    assert code == 0, log
    (tmp_path / "test.txt").write_text("\n".join(LINES))
    code, out, _ = command("evaluate", tmp_path / "run", "--data", tmp_path / "test.txt", "--json")
    scores = json.loads(out)
    assert list(scores)[:2] == ["perplexity", "nats_per_unit"]
    assert scores["units"] == sum(len(line.split()) + 1 for line in LINES), "an empty line is its end alone"
    code, out, _ = command("generate", tmp_path / "run", "--prompt", "the cat", "--length", 5, "--json")
    assert code == 0
    assert len(json.loads(out)["text"].split(" ")) <= 6


def test_saved_model_scores_as_the_run_does(run, python, tmp_path):
    exported = run.export(tmp_path / "export")
    code = """
import json, sys
import tensorflow as tf, tensorflow_text
out = tf.saved_model.load(sys.argv[1]).signatures["serving_default"](text=tf.constant(json.loads(sys.argv[2])))
assert "nlp_rnn" not in sys.modules
print(json.dumps(out["log_probability"].numpy().tolist()))
"""
    there = json.loads(python(code, exported, json.dumps(LINES)).splitlines()[-1])
    assert there == pytest.approx([score.log_probability for score in run(LINES)], rel=1e-3)


def test_saved_model_writes_what_the_run_does(run, python, tmp_path):
    exported = run.export(tmp_path / "export")
    code = r"""
import json, sys
import tensorflow as tf, tensorflow_text
write = tf.saved_model.load(sys.argv[1]).signatures["generate"]
settings = dict(length=60, top_k=5, top_p=0.9, repetition_penalty=1.0, seed=4)
def texts(prompts, stop, temperature):
    given = {k: tf.constant(v) for k, v in {**settings, "temperature": temperature}.items()}
    out = write(prompt=tf.constant(prompts), stop=tf.constant(stop, tf.string), **given)
    return [text.decode() for text in out["text"].numpy()]
several = texts(["the c", "", "a\ndog"], ["mat"], 0.0)
print(json.dumps([texts(["the c"], [], 0.0), texts(["the c"], ["mat"], 0.9), several]))
"""
    greedy, drawn, several = json.loads(python(code, exported).splitlines()[-1])
    options = {"length": 60, "top_k": 5, "top_p": 0.9, "seed": 4}
    assert greedy == ["".join(generate(run, "the c", temperature=0, **options))]
    assert drawn == ["".join(generate(run, "the c", temperature=0.9, stop=("mat",), **options))]
    expected = [
        "".join(generate(run, text, temperature=0, stop=("mat",), **options)) for text in ("the c", "", "a\ndog")
    ]
    assert several == expected


def test_saved_model_goes_on_from_a_state(run, tmp_path):
    step = tf.saved_model.load(run.export(tmp_path / "export")).signatures["step"]
    tokens = np.array([[3, 5, 6, 7], [3, 8, 5, 4]], np.int32)
    state = np.zeros((2, 2, 48), np.float32)
    expected = run.model({"tokens": tokens}).numpy()
    for t in range(4):
        out = step(tokens=tf.constant(tokens[:, t : t + 1]), state=tf.constant(state))
        state = out["state"].numpy()
        np.testing.assert_allclose(out["logits"][:, 0], expected[:, t], atol=1e-4)


def test_a_text_of_one_very_long_line(tmp_path, command):
    words = [f"w{number % 97}" for number in range(30_000)]
    (tmp_path / "text.txt").write_text(" ".join(words))
    settings = ("--train.epochs", 1, "--train.batch_size", 16, "--train.window", 32, "--stack.units", 8)
    for kind in ("word", "character"):
        out = tmp_path / kind
        code, _, log = command(
            "train", "language-modeling", "--data", tmp_path / "text.txt", "--out", out,
            "--tokenizer.kind", kind, *settings,
        )  # fmt: skip
        assert code == 0, log
        report = json.loads((out / "report.json").read_text())["metrics"]["validation"]
        records = nlp_rnn.load(out).read(tmp_path / "text.txt")
        assert "".join(records.column("text")) == " ".join(words)
        assert max(map(len, records.column("text"))) <= 10_000
        scores = nlp_rnn.load(out).evaluate(records)
        assert scores["words"] == len(words)
        assert scores["characters"] == len(" ".join(words)) + 1, "one line has one end"
        assert scores["units"] == (len(words) + 1 if kind == "word" else len(" ".join(words)) + 1)
        assert report["words"] < len(words) / 5


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


def test_an_adaptive_softmax_end_to_end(tmp_path, command, python):
    generator = np.random.default_rng(0)
    words = [" ".join(f"w{int(w)}" for w in generator.zipf(1.4, 12) % 300) for _ in range(400)]
    (tmp_path / "text.txt").write_text("\n".join(words))
    arguments = ("--tokenizer.kind", "word", "--tokenizer.size", 400, "--head.kind", "adaptive", "--train.epochs", 2)
    code, _, log = command(
        "train", "language-modeling", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *arguments,
        "--head.cutoffs", 50, 120, "--train.window", 16, "--train.learning_rate", 0.01,
    )  # fmt: skip
    assert code == 0, log
    run = nlp_rnn.load(tmp_path / "run")
    assert type(run.model.head).__name__ == "AdaptiveSoftmaxHead"
    assert run.metrics["perplexity"] < 100
    line = "w1 w2 w3"
    code = "import sys, tensorflow as tf, tensorflow_text\n" + (
        "print(*tf.saved_model.load(sys.argv[1]).signatures['score'](text=tf.constant([sys.argv[2]]))"
        "['log_probability'].numpy())"
    )
    there = float(python(code, run.export(tmp_path / "export"), line).splitlines()[-1])
    assert there == pytest.approx(run(line).log_probability, rel=1e-3)
    assert len("".join(generate(run, "w1", length=8)).split()) <= 8
    for cutoffs, message in [((120, 50), "head.cutoffs must rise"), ((50, 5000), "lie within the vocabulary of")]:
        code, _, log = command(
            "train", "language-modeling", "--data", tmp_path / "text.txt", "--out", tmp_path / "no", *arguments,
            "--head.cutoffs", *cutoffs,
        )  # fmt: skip
        assert code == 2
        assert message in " ".join(log.split())


def test_a_loss_that_is_no_number_ends_training_with_what_was_good(run, command, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES * 40) + "\n")
    settings = ("--train.optimizer", "sgd", "--train.learning_rate", "1e30", "--train.clip_norm", 0)
    code, _, log = command(
        "train", "language-modeling", "--data", text, "--out", tmp_path / "run", "--train.window", 16, *settings
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
        ("a b\n", (), "There is no validation data: name some"),
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
