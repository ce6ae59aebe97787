"""Translation from end to end, as a user meets it."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.data.starter.cldr import LANGUAGES, split_pairs
from nlp_rnn.decoding.beam import Beam
from nlp_rnn.layers import Attention, AttentionDecoder, Bridge, RecurrentStack, SoftmaxHead, TokenEmbedding
from nlp_rnn.metrics.translation import translation_report
from nlp_rnn.models import Translator

ENGLISH = ["one cat", "two dogs", "a red house", "one dog", "two cats"]
GERMAN = ["eine Katze", "zwei Hunde", "ein rotes Haus", "ein Hund", "zwei Katzen"]
SMALL = (
    "--tokenizer.kind", "character", "--embedding.size", 32, "--stack.units", 32, "--decoder.units", 48,
    "--decoder.attention_units", 32, "--train.epochs", 30, "--train.batch_size", 8, "--train.learning_rate", 0.01,
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "train.en").write_text("\n".join(ENGLISH * 20) + "\n")
    (folder / "train.de").write_text("\n".join(GERMAN * 20) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(files):
    from nlp_rnn.cli import run_command

    pair = [str(files / "train.en"), str(files / "train.de")]
    arguments = ["train", "--data", *pair, "--data.validation", *pair, "--out", str(files / "run"), *map(str, SMALL)]
    assert run_command("translation", arguments) == 0
    return nlp_rnn.load(files / "run")


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


SOURCE = np.array([[4, 5, 6, 7, 3], [8, 9, 0, 0, 0], [5, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[2, 4, 5, 6], [2, 7, 0, 0], [2, 8, 9, 0]], np.int32)


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("attention", [*Attention.KINDS, "none"])
@pytest.mark.parametrize("input_feeding", [False, True])
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


@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_beams_scores_are_those_of_forced_decoding(input_feeding):
    made = model(input_feeding=input_feeding)
    tokens, scores, attention = made.translate(made.encode(SOURCE), Beam(4, length_penalty=0.0), np.array([6, 6, 6]))
    for rank in range(3):
        said = [row[row != 0] for row in tokens.numpy()[:, rank]]
        for row, ids in enumerate(said):
            features = {"source": SOURCE[row : row + 1], "target": np.array([[2, *ids]], np.int32)}
            nats, weights = made.nats(features, np.array([[*ids, 3]], np.int32))
            assert scores.numpy()[row, rank] == pytest.approx(-float(tf.reduce_sum(nats)), abs=1e-3)
            np.testing.assert_allclose(attention[row, rank, : len(ids)], weights[0, :-1], atol=1e-4)


def test_a_translation_does_not_depend_on_its_batch():
    made = model()
    together = made.infer({"source": SOURCE})
    for row in range(3):
        source = SOURCE[row : row + 1, : int((SOURCE[row] != 0).sum())]
        alone = made.infer({"source": source})
        said = alone["tokens"].numpy()[0]
        np.testing.assert_array_equal(together["tokens"].numpy()[row, : len(said)], said)
        assert float(together["score"][row]) == pytest.approx(float(alone["score"][0]), abs=1e-4)


@pytest.mark.parametrize("input_feeding", [False, True])
def test_gradients_reach_every_weight(input_feeding):
    made = model(input_feeding=input_feeding, shared=True)
    made.compile(keras.optimizers.SGD(0.1))
    targets = np.concatenate([TARGET[:, 1:], np.zeros((3, 1), np.int32)], 1)
    targets[targets == 0] = 3
    before = made.get_weights()
    first = float(made.train_on_batch({"source": SOURCE, "target": TARGET}, targets, np.ones(3, np.float32)))
    for _ in range(20):
        last = float(made.train_on_batch({"source": SOURCE, "target": TARGET}, targets, np.ones(3, np.float32)))
    assert last < first
    assert all(not np.array_equal(old, new) for old, new in zip(before, made.get_weights(), strict=True))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_mixed_precision_trains_and_translates(dtype, input_feeding):
    made = model(input_feeding=input_feeding, dtype=dtype)
    made.compile(keras.optimizers.SGD(0.1))
    targets = np.where(TARGET == 0, 3, TARGET)
    losses = [
        float(made.train_on_batch({"source": SOURCE, "target": TARGET}, targets, np.ones(3, np.float32)))
        for _ in range(10)
    ]
    assert losses[-1] < losses[0]
    exact = model(input_feeding=input_feeding)
    exact.set_weights(made.get_weights())
    scores = made.infer({"source": SOURCE})["score"].numpy()
    np.testing.assert_allclose(scores, exact.infer({"source": SOURCE})["score"], atol=0.1)


def test_it_learns_and_predicts(run, command, tmp_path):
    assert run.metrics["exact_match"] == 1.0
    assert run.metrics["bleu"] > 99 or run.metrics["chrf"] > 99
    assert [p.translation for p in run(ENGLISH)] == GERMAN
    (tmp_path / "in.en").write_text("\n".join(ENGLISH) + "\n")
    code, out, log = command("predict", run.path, "--input", tmp_path / "in.en")
    assert code == 0, log
    assert out.splitlines() == GERMAN
    code, out, _ = command("evaluate", run.path, "--data", tmp_path / "in.en", tmp_path / "in.en", "--json")
    assert json.loads(out)["exact_match"] == 0.0
    assert "13a" in json.loads(out)["bleu_signature"]


def test_saved_model_translates_as_the_run_does(run, python, tmp_path):
    code = """
import json, sys
import tensorflow as tf, tensorflow_text
translate = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
out = translate(source=tf.constant(json.loads(sys.argv[2])))
assert "nlp_rnn" not in sys.modules
print(json.dumps([[t.decode() for t in out["translation"].numpy()], out["score"].numpy().tolist()]))
"""
    texts, scores = json.loads(python(code, run.export(tmp_path / "export"), json.dumps(ENGLISH)).splitlines()[-1])
    assert texts == GERMAN
    assert scores == pytest.approx([p.score for p in run(ENGLISH)], abs=1e-3)


def test_candidates_attention_and_lines_at_the_command_line(run, command, tmp_path):
    code, out, log = command("predict", run.path, "two cats", "--beam", 6, "--n-best", 3, "--json")
    assert code == 0, log
    ranked = [json.loads(line) for line in out.splitlines()]
    assert [found["rank"] for found in ranked] == [1, 2, 3]
    assert ranked[0]["translation"] == "zwei Katzen"
    assert [found["score"] for found in ranked] == sorted((found["score"] for found in ranked), reverse=True)
    assert "".join(ranked[0]["source_tokens"]) == "two·cats"
    assert len(ranked[0]["attention"]) == len(ranked[0]["target_tokens"]) == len("zwei Katzen")
    assert all(sum(row) == pytest.approx(1, abs=0.01) for row in ranked[0]["attention"])
    code, out, log = command("predict", run.path, "two cats", "--attention", tmp_path / "map.png")
    assert code == 0, log
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    code, out, log = command("predict", run.path, "two cats", "--attention", "-")
    assert code == 0, log
    header, *rows = out.splitlines()
    assert header.split() == list("two·cats")
    assert [row[0] for row in rows[:11]] == list("zwei·Katzen")
    assert any(shade in out for shade in "░▒▓█")
    (tmp_path / "in.en").write_text("\n".join(ENGLISH) + "\n")
    code, out, log = command("predict", run.path, "--input", tmp_path / "in.en", "--output", tmp_path / "out.de")
    assert (code, out) == (0, ""), log
    assert (tmp_path / "out.de").read_text().splitlines() == GERMAN
    greedy = command("predict", run.path, "two cats", "--beam", 1)[1].splitlines()
    assert greedy == ["zwei Katzen"]


def test_a_given_translation_is_scored(run, command, files):
    from nlp_rnn.data.records import Records
    from nlp_rnn.tasks.translation_verbs import candidates, score

    plain = candidates(run, ENGLISH, 2, length_penalty=0.0)
    pairs = [{"source": c.source, "target": c.translation} for ranked in plain for c in ranked]
    for forced, found in zip(score(run, Records(pairs)), (c for ranked in plain for c in ranked), strict=True):
        assert forced.log_probability == pytest.approx(found.score, abs=1e-3)
        assert forced.tokens == len(found.target_tokens) + 1
        assert forced.perplexity == pytest.approx(np.exp(-forced.log_probability / forced.tokens), rel=1e-4)
    code, out, log = command("score", run.path, "--data", files / "train.en", files / "train.de", "--json")
    assert code == 0, log
    assert [json.loads(line)["target"] for line in out.splitlines()] == GERMAN * 20


def test_the_second_signature_is_what_candidates_finds(run, tmp_path):
    from nlp_rnn.tasks.translation_verbs import candidates

    served = tf.saved_model.load(str(run.export(tmp_path / "export"))).signatures["n_best"]
    out = {name: value.numpy() for name, value in served(source=tf.constant(ENGLISH)).items()}
    for i, ranked in enumerate(candidates(run, ENGLISH, 3)):
        for j, found in enumerate(ranked):
            assert out["translations"][i, j].decode() == found.translation
            assert out["scores"][i, j] == pytest.approx(found.score, abs=1e-3)
            rows, columns = len(found.target_tokens), len(found.source_tokens)
            np.testing.assert_allclose(out["attention"][i, j, :rows, :columns], found.attention, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one cat", "--beam", 2, "--n-best", 3], "A beam 2 wide finds no 3 translations: give --beam 3 or more."),
        (["one cat", "--beam", 0], "The beam is 0 wide; it must be at least 1."),
        (["one cat", "--n-best", 0], "0 translations of each text were asked for; it must be at least 1."),
        (["one cat", "two", "--attention", "-"], "--attention draws one text: give one as an argument."),
        (["one cat", "--attention", "a.txt"], 'must end in .png, .svg, .pdf, or be "-".'),
    ],
)
def test_bad_options_of_predict(run, command, arguments, message):
    code, out, log = command("predict", run.path, *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(log.split())


def test_a_very_long_source_is_cut_and_translated(run, command):
    code, out, log = command("predict", run.path, "one cat " * 5000)
    assert code == 0, log
    assert len(out.splitlines()) == 1


def test_unknown_words_become_what_was_looked_at():
    from nlp_rnn.decoding.unknown import said
    from nlp_rnn.text.tokenizers import WordTokenizer

    both = {"source": WordTokenizer(["and"]), "target": WordTokenizer(["und", "."])}
    sources = ["Ada and  Böll", "Zoë", ""]
    tokens = [np.array([1, 4, 1, 5, 0]), np.array([1, 5]), np.array([1])]
    looked = [np.array([2, 1, 0, 0, 0]), np.array([0, 0]), np.array([7])]
    assert said(both, sources, tokens, looked) == ["Böll und Ada .", "Zoë .", "�"]
    assert said(both, sources, tokens) == ["� und � .", "� .", "�"]
    assert said(both, [], []) == []


def test_a_word_model_carries_names_over(command, tmp_path):
    generator, verbs = np.random.default_rng(0), [("sees", "sieht"), ("calls", "ruft"), ("likes", "mag")]
    pairs = []
    for i in range(300):
        names = [f"Rare{2 * i + k}" if generator.random() < 0.3 else f"N{generator.integers(12)}" for k in (0, 1)]
        one, other = verbs[i % 3]
        pairs.append((f"{names[0]} {one} {names[1]}", f"dort {other} {names[0]} {names[1]}"))
    for side, language in enumerate(("en", "de")):
        (tmp_path / f"all.{language}").write_text("\n".join(pair[side] for pair in pairs) + "\n")
    files = (tmp_path / "all.en", tmp_path / "all.de")
    code, _, log = command(
        "train", "translation", "--data", *files, "--data.validation", *files, "--out", tmp_path / "run",
        *SMALL, "--tokenizer.kind", "word", "--tokenizer.min_count", 3, "--train.epochs", 12,
    )  # fmt: skip
    assert code == 0, log
    run = nlp_rnn.load(tmp_path / "run")
    said = [p.translation for p in run(["Zuse99 sees N3", "N5 likes Noether"])]
    assert said == ["dort sieht Zuse99 N3", "dort mag N5 Noether"]
    served = tf.saved_model.load(str(run.export(tmp_path / "export"))).signatures
    out = served["serving_default"](source=tf.constant(["Zuse99 sees N3"]))
    assert out["translation"].numpy()[0].decode() == said[0]
    out = served["n_best"](source=tf.constant(["Zuse99 sees N3"]))
    assert out["translations"].numpy()[0, 0].decode() == said[0]
    code, out, log = command("predict", tmp_path / "run", "N5 likes Noether", "--n-best", 2)
    assert out.splitlines()[0].endswith("dort mag N5 Noether"), log
    code, out, log = command(
        "evaluate", tmp_path / "run", "--data", *files, "--json", "--search.replace_unknown", "False"
    )
    plain = json.loads(out)["exact_match"]
    code, out, log = command("evaluate", tmp_path / "run", "--data", *files, "--json", "--search.width", 2)
    assert json.loads(out)["exact_match"] > plain + 0.3, log


def test_long_targets_are_cut_and_counted_and_one_file_for_both_sides_is_noticed(files, command, tmp_path):
    (tmp_path / "long.de").write_text("\n".join([*GERMAN * 19, *GERMAN[:-1], "ein " * 30]) + "\n")
    settings = ["--out", tmp_path / "run", *SMALL, "--train.epochs", 1, "--data.max_tokens", 20, "--data.max_ratio", 0,
                "--data.validation", files / "train.en", files / "train.de"]  # fmt: skip
    code, _, log = command("train", "translation", "--data", files / "train.en", tmp_path / "long.de", *settings)
    assert code == 0, log
    assert "longer than" in log
    run = nlp_rnn.load(tmp_path / "run")
    records = run.task.read(run.config, "train")
    assert run.task.batches(run.config, run.assets, records, None).cut == 1
    settings[1] = tmp_path / "same"
    code, _, log = command("train", "translation", "--data", files / "train.en", files / "train.en", *settings)
    assert code == 0, log
    assert "is given for both sides: is that what you want?" in " ".join(log.split())


def test_bleu_by_length_is_that_of_the_texts_of_the_length():
    short = [("A dog runs .", "A dog runs .")] * 20
    long = [("a " * 12 + "b c d", "a " * 12 + "x y z")] * 20
    report = translation_report(*zip(*(short + long), strict=True))
    alone = translation_report(*zip(*long, strict=True))
    assert report["bleu_words_1_9"] == pytest.approx(100)
    assert report["bleu_words_10_19"] == pytest.approx(alone["bleu_tokenized_lowercase"])
    assert "bleu_words_20_up" not in report


def test_the_other_direction(files, command, tmp_path):
    pair = (files / "train.en", files / "train.de")
    settings = [*SMALL, "--train.epochs", 1]
    code, _, log = command(
        "train", "translation", "--data", *pair, "--data.swap", "True", "--out", tmp_path / "run", *settings
    )
    assert code == 0, log
    config = nlp_rnn.load(tmp_path / "run")
    records = config.task.read(config.config, "train")
    assert (records[0]["source"], records[0]["target"]) in list(zip(GERMAN, ENGLISH, strict=True))


def test_what_is_dropped_is_counted(files, command, tmp_path):
    (tmp_path / "a").write_text("\n".join([*ENGLISH * 10, "", "", "a" * 100, "x"]) + "\n")
    (tmp_path / "b").write_text("\n".join([*GERMAN * 10, "", "leer", "b", ""]) + "\n")
    settings = [*SMALL, "--train.epochs", 1, "--data.validation", files / "train.en", files / "train.de"]
    code, _, log = command(
        "train", "translation", "--data", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "run", *settings
    )
    assert code == 0, log
    run = nlp_rnn.load(tmp_path / "run")
    expected = {
        "both texts empty": 1,
        "one of the texts empty": 2,
        "one text more than 4 times as long as the other": 1,
    }
    assert run.task.read(run.config, "train").dropped == expected
    assert "dropped" in log or "empty" in log


def test_bad_input(files, command, tmp_path):
    (tmp_path / "short.de").write_text("\n".join(GERMAN) + "\n")
    code, out, log = command(
        "train", "translation", "--data", files / "train.en", tmp_path / "short.de", "--out", tmp_path / "run"
    )
    assert (code, out) == (2, "")
    assert "which ends after line 5: parallel files need a line for each line of the other" in " ".join(log.split())
    code, _, log = command(
        "train", "translation", "--tokenizer.joint", "False", "--out", tmp_path / "run", "--train.epochs", 1
    )
    assert code == 2
    assert "One table for both languages needs one vocabulary" in " ".join(log.split())
    code, _, log = command("train", "translation", "--data", files / "train.en", "--out", tmp_path / "run")
    assert code == 2
    assert "train.en holds the lines of one side: give two files" in " ".join(log.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--decoder.attention", "dot", "--decoder.units", 40],
            "make the units of the decoder those of both directions",
        ),
        (
            ["--decoder.attention", "multi_head", "--decoder.attention_units", 30],
            "must be a multiple of heads, 4; it is 30",
        ),
        (["--decoder.units", 0], "decoder.units is 0; it must be at least 1."),
        (["--stack.dropout", 2], "stack.dropout is 2.0; it must be at least 0 and below 1."),
        (["--train.learning_rate", -1], "train.learning_rate is -1.0; it must be above 0."),
        (["--train.clip_norm", "nan"], "train.clip_norm is nan; it must be at least 0."),
        (["--search.width", 0], "search.width is 0; it must be at least 1."),
    ],
)
def test_settings_of_which_no_model_can_be_built(files, command, tmp_path, options, message):
    pair = (files / "train.en", files / "train.de")
    code, _, log = command(
        "train", "translation", "--data", *pair, "--data.validation", *pair, "--out", tmp_path / "run", *SMALL, *options
    )
    assert code == 2, log
    assert message in " ".join(log.split())
    assert "Traceback" not in log


@pytest.mark.parametrize("target", [language for language in LANGUAGES if language != "en"])
def test_no_phrase_of_the_starters_test_is_in_training(target):
    splits = {name: {p["source"] for p in split_pairs(name, "en", target)} for name in ("train", "validation", "test")}
    assert [len(phrases) for phrases in splits.values()] == [8000, 400, 800]
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["validation"]
    assert not splits["validation"] & splits["test"]
    assert all(p["source"].strip() and p["target"].strip() for p in split_pairs("test", "en", target))
