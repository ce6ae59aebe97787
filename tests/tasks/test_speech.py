"""Speech: tones that stand for words are recognised, timed, heard as they come; what cannot be is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.models import ensemble_of
from nlp_rnn.tasks.speech import Listener
from nlp_rnn.tasks.speech.data import plain
from nlp_rnn.tasks.speech.explaining import explain
from tests.subjects import LIVE, SUBJECTS, TONES, as_sound, tones

RATE = 4000


@pytest.fixture(scope="module")
def run():
    return SUBJECTS["speech"].run


@pytest.fixture(scope="module")
def live():
    """A run that can listen."""
    return LIVE.run


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A language model of the words that are tones: "low" comes before "high"."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "text.txt").write_text("mid\n" + "low high\nlow high low high\n" * 60)
    settings = {
        "tokenizer": {"kind": "word"},
        "stack": {"units": 16},
        "train": {"epochs": 4, "bptt": 8, "batch_size": 4},
    }
    return nlp_rnn.train(
        "language-modeling", data={"train": [str(folder / "text.txt")]}, out=folder / "run", **settings
    )


def of_words(*words, **how):
    return as_sound(tones(*(TONES[word] for word in words), **how), how.get("rate", RATE))


def test_words_are_recognised_at_any_rate_and_timed(run):
    assert run.metrics["wer"] < 0.1
    for words in (["low"], ["high", "low", "mid"], ["mid", "mid"]):
        found = run(of_words(*words))
        assert found.text.split() == words
        assert [word.word for word in found.words] == words
        for place, word in enumerate(found.words):
            assert place * 0.25 <= word.start < word.end <= (place + 1) * 0.25 + 0.15
        assert found.seconds == pytest.approx(0.05 + 0.25 * len(words), abs=1e-3)
        assert run(of_words(*words, rate=11025)).text.split() == words


def test_a_file_an_array_and_its_bytes_are_the_same(run, tmp_path):
    samples = tones(300, 1200)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    rows = [{"audio": (samples, RATE), "text": "low high"}, {"array": samples, "sampling_rate": RATE, "text": "low"}]
    assert run.evaluate(rows[:1])["wer"] == 0.0
    assert run.evaluate(rows[1:])["wer"] == 1.0
    for given in (tmp_path / "a.wav", str(tmp_path / "a.wav"), (tmp_path / "a.wav").read_bytes(), (samples, RATE)):
        assert run(given).text == "low high"
    assert [one.text for one in run([str(tmp_path / "a.wav"), as_sound(samples)])] == ["low high"] * 2
    assert run(str(tmp_path / "a.wav")).audio == str(tmp_path / "a.wav")


def test_a_long_recording_is_cut_at_pauses_and_put_together_again(run):
    part = np.concatenate([tones(*TONES.values()), np.zeros(RATE // 3, np.float32)])
    copied = nlp_rnn.load(run.path)
    copied.config = override(copied.config, {"data": {"longest": 1.5}})
    records = copied.read([as_sound(np.tile(part, 6))], "predict")
    assert "cut at pauses, since they are long: 1" in copied.batches_of(records).notes
    (found,) = copied.predict(records)
    assert found.text.split() == [*TONES] * 6
    assert found.seconds == pytest.approx(6 * len(part) / RATE)
    for place, word in enumerate(found.words):
        begins = place // 3 * len(part) / RATE + 0.05 + 0.25 * (place % 3)
        assert begins - 0.1 < word.start < word.end < begins + 0.35


def test_what_is_odd_about_recordings_is_counted(run):
    given = [as_sound(np.zeros(3000, np.float32)), of_words("low", rate=2000)]
    notes = run.batches_of(run.read(given, "predict")).notes
    assert "silent: 1" in notes
    assert "of fewer than 4,000 samples a second: 1" in notes
    assert run(given[0]).text == ""
    assert run(given[0]).confidence == 0.0


def test_texts_are_learned_as_they_are_heard():
    assert plain("“It’s — HALF-past 8,” she said.") == "it's half past 8 she said"
    assert plain("'tis o'clock' 東京!") == "tis o'clock 東京"


def test_a_search_agrees_with_the_best_path_on_clear_sound(run):
    words = of_words("high", "low", "mid")
    assert run(words, beam=8).text == run(words).text
    records = run.task.read(run.config, "test")
    assert run.evaluate(records, run.options(beam=8))["wer"] <= run.evaluate(records)["wer"] + 0.02


@pytest.mark.slow  # trains two models
def test_a_language_model_decides_where_its_weight_is_large(run, language):
    heard = of_words("low", "mid")
    assert run(heard).text == "low mid"
    path = str(language.path)
    assert run(heard, beam=8, language_model=path, language_weight=0.0).text == "low mid"
    assert "mid" not in run(heard, beam=8, language_model=path, language_weight=50.0, bonus=50.0).text
    with pytest.raises(InputError, match="knows 0% of the tokens that this run writes"):
        run(heard, language_model=str(SUBJECTS["language-modeling"].path))
    with pytest.raises(InputError, match='is a run of the task "speech", not "language-modeling"'):
        run(heard, language_model=str(run.path))


@pytest.mark.slow  # many steps
def test_listening_hears_what_is_recognised_at_once(live):
    words = ["low", "high", "mid"]
    samples = np.asarray(of_words(*words)["array"], np.float32)
    expected = live(of_words(*words))
    assert expected.text.split() == words
    for size in (37, 500, len(samples)):
        listener = Listener(live)
        found = [w for i in range(0, len(samples), size) for w in listener.push(samples[i : i + size])]
        found += listener.close()
        assert [(w.word, w.start) for w in found] == [(w.word, w.start) for w in expected.words]
        np.testing.assert_allclose([w.confidence for w in found], [w.confidence for w in expected.words], atol=1e-3)
    assert [w.word for w in [*listener.push(samples), *listener.close()]] == words, "a closed one begins anew"


def test_each_step_is_decided_after_those_that_it_waits_for(live):
    """The model's step is what the stack says `lookahead` steps later; at the end it hears silence."""
    model, samples = live.model, tones(300, 1200)
    ahead, lengths = model.lookahead, tf.constant([len(samples)])
    assert ahead == 3
    found = model({"samples": tf.constant(samples[None]), "lengths": lengths})[0].numpy()
    longer = np.pad(samples, (0, ahead * model.embedding.samples_per_step))
    vectors = model.embedding(tf.constant(longer[None]), tf.constant([len(longer)]))
    expected = model.head(model.stack(vectors)[0])[0].numpy()[ahead:]
    assert len(found) == model.embedding.steps_of(len(samples)) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    batch = {"samples": tf.constant(np.stack([longer, 0 * longer])), "lengths": tf.constant([len(samples), 40])}
    np.testing.assert_allclose(model(batch)[0, : len(found)], found, atol=1e-4)
    with pytest.raises(ValueError, match="hear different numbers of steps ahead"):
        ensemble_of([model, SUBJECTS["speech"].run.model])
    assert Listener(live).latency > ahead * Listener(live).seconds_per_step


def test_a_stream_of_something_else_is_refused(live):
    listener = Listener(live)
    for samples in (np.zeros((5, 2)), np.zeros(5, np.int16), np.full(5, np.nan), np.full(5, 2e4)):
        with pytest.raises(InputError):
            listener.push(samples)
    assert [w.word for w in [*listener.push(tones(300)), *listener.close()]] == ["low"]


def test_a_pause_ends_a_word(live):
    listener = Listener(live)
    assert listener.push(np.asarray(of_words("low")["array"], np.float32)) == []
    assert [word.word for word in listener.push(np.zeros(RATE, np.float32))] == ["low"]
    assert len(listener.samples) < RATE
    assert len(listener.frames) < 10, "what was read is not kept"


@pytest.mark.slow  # loads a recognizer
def test_listening_at_the_command_line(live, run, command, tmp_path):
    soundfile.write(tmp_path / "a.wav", tones(300, 1200, rate=8000), 8000)
    _, out, log = command("listen", live.path, tmp_path / "a.wav", "--json")
    assert [json.loads(line)["word"] for line in out.splitlines()] == ["low", "high"], log
    raw = (tones(300, 1200, rate=8000) * 32767).astype("<i2").tobytes()
    listen = [sys.executable, "-m", "nlp_rnn", "listen", live.path, "-", "--rate", "8000"]
    done = subprocess.run(listen, input=raw, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.decode().splitlines()] == ["low", "high"]
    code, _, error = command("listen", run.path, tmp_path / "a.wav")
    assert code == 2
    assert "--stack.bidirectional False --audio.normalization running" in " ".join(error.split())


@pytest.mark.slow  # spectrograms are drawn
def test_predictions_as_pictures_and_as_tables(run, command, tmp_path):
    soundfile.write(tmp_path / "a.wav", tones(300, 1200), RATE)
    code, _, log = command("predict", run.path, tmp_path / "a.wav", "--plot", tmp_path / "a.png")
    assert code == 0, log
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    _, out, _ = command("predict", run.path, tmp_path / "a.wav", "--plot", "-")
    assert out.splitlines()[0] == "a.wav: low high"
    (tmp_path / "all.csv").write_text("audio,id\na.wav,7\n")
    found = command("predict", run.path, "--input", tmp_path / "all.csv", "--keep", "id", "--json")
    assert {k: json.loads(found[1])[k] for k in ("id", "text")} == {"id": "7", "text": "low high"}, found
    lines = command("evaluate", run.path, "--errors", 3)[1]
    assert "wer" in lines


def test_a_word_is_explained_by_the_sound_that_is_it(run):
    """What spoke for a word lies within its tone; contributions sum to log p less that of zeros."""
    words = ["low", "mid", "high"]
    samples = of_words(*words)
    found = explain(run, samples)
    assert found.text.split() == words == run(samples).text.split()
    assert [one.word for one in found.words] == run(samples).words
    for one in found.words:
        assert sum(one.values) == pytest.approx(one.score - one.base, rel=0.05)
        assert one.score == pytest.approx(np.log(one.word.confidence), abs=1e-3)
        assert one.base < one.score
    for place, one in enumerate(found.words):  # a tone of 0.2 s each quarter of a second
        assert min(one.end, place * 0.25 + 0.3) - max(one.start, place * 0.25) > 0, (place, one)


@pytest.mark.slow  # several recordings, and a picture
def test_explanations_at_the_command_line(run, command, tmp_path, at_hand):
    at_hand(run)
    for name in ("low", "high"):
        soundfile.write(tmp_path / f"{name}.wav", tones(TONES[name]), RATE)
    code, out, log = command("explain", run.path, tmp_path / "low.wav", "--json", "--plot", tmp_path / "a.png")
    assert code == 0, log
    found = json.loads(out)
    assert (found["audio"].endswith("low.wav"), found["text"]) == (True, "low")
    assert len(found["words"][0]["values"]) > 5
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    two = [tmp_path / "low.wav", tmp_path / "high.wav"]
    code, out, log = command("explain", run.path, *two)
    assert (code, out.count("without the sound")) == (0, 2), log
    code, _, log = command("explain", run.path, *two, "--plot", tmp_path / "b.png")
    assert (code, "--plot draws exactly one recording: give one." in " ".join(log.split())) == (2, True)
    code, _, log = command("explain", run.path)
    assert (code, "There is no recording to explain: give one." in " ".join(log.split())) == (2, True)
    with pytest.raises(InputError, match=r"lasts 40.0 s, and explain takes at most 30 s"):
        explain(run, (np.zeros(40 * RATE, np.float32), RATE))
    nothing = explain(run, (np.zeros(RATE, np.float32), RATE))
    assert (nothing.words, str(nothing)) == ([], "(nothing)")
    assert nothing.plot().axes
    code, _, log = command("explain", run.path, tmp_path / "low.wav", "--plot", "/proc/x.png")
    assert (code, "/proc/x.png cannot be written" in " ".join(log.split())) == (2, True), log
    with pytest.raises(InputError, match="explain needs a recogniser of speech"):
        explain(SUBJECTS["sentiment"].run, "a.wav")


@pytest.mark.slow  # a conversion
@pytest.mark.parametrize("name", ["run", "live"])
def test_the_script_beside_an_onnx_export_reads_wav(name, request, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = request.getfixturevalue(name).export(tmp_path / "model", "onnx")
    soundfile.write(tmp_path / "a.wav", tones(300, 1200), RATE)
    done = subprocess.run([sys.executable, folder / "example.py", tmp_path / "a.wav"], capture_output=True, text=True)
    assert json.loads(done.stdout)["text"] == "low high", done.stderr


def test_the_export_takes_wav_and_goes_on_from_a_state(run, live):
    import tensorflow as tf

    def contents(samples, rate):
        sink = io.BytesIO()
        soundfile.write(sink, samples, rate, format="WAV", subtype="PCM_16")
        return sink.getvalue()

    signatures = run.task.signatures(run.config, run.model, run.assets)
    wavs = [contents(tones(300, 1200), RATE), contents(np.stack([tones(700, rate=8000)] * 2, 1), 8000)]
    found = signatures["wav"](tf.constant(wavs))
    assert [text.decode() for text in found["text"].numpy()] == ["low high", "mid"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="rates go from 1,000 to 768,000 Hz"):
        signatures["serving_default"](tf.zeros([1, 9]), tf.constant([9]), tf.constant([0]))
    assert "step" not in signatures
    copied = nlp_rnn.load(live.path)
    copied.config = override(copied.config, {"audio": {"normalization": "none"}})
    copied.model.embedding.normalization = "none"
    step = copied.task.signatures(copied.config, copied.model, copied.assets)["step"]
    samples = tones(300, 1200)
    assert "of 3 steps before" in step.about
    whole, _ = copied.model.advance(copied.model.embedding.mel(samples[None]))  # without zeros before its beginning
    expected = tf.nn.log_softmax(whole)[0].numpy()
    needed, hop = step.specs[0].shape[1], copied.model.embedding.samples_per_step
    state, found = tf.zeros([1, *step.specs[1].shape[1:]]), []
    for start in range(0, len(samples) - needed + 1, hop):
        outputs = step(samples[None, start : start + needed], state)
        state = outputs["state"]
        found.append(outputs["log_probabilities"][0].numpy())
    assert len(found) > 20
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"test_where": ["take"]}}, r'data\.test_where is "take"; it must be a name and values'),
        ({"data": {"test_where": ["take=9"]}}, r"fits no recording: take=9; there is: speaker \(a, b\)"),
        ({"data": {"test_where": ["speaker=a,b"]}}, "fits every recording"),
        ({"data": {"strings": [3, 1]}}, r"data\.strings is 3 1; the second must be as large as the first"),
        ({"data": {"pauses": [1, 0]}}, r"data\.pauses is 1 0"),
        ({"data": {"pattern": "{speaker}"}}, r"data\.pattern is"),
        ({"audio": {"window": 2.0}}, r"audio\.window is 2\.0; it must be"),
        ({"search": {"language_model": "nowhere"}}, "nowhere does not exist"),
        ({"audio": {"lookahead": 2}}, "hear all that follows: leave --audio.lookahead out"),
        ({"audio": {"rate": 4001}}, r"audio\.rate is 4,001; it must be a multiple of 25"),
        ({"audio": {"window": 0.0001}}, "too few samples"),
        ({"data": {"longest": 0.01}}, r"No recording is left to train on: \d+ longer than 0\.01 seconds"),
        ({"train": {"class_weights": "balanced"}}, "class_weights"),
        ({"train": {"jit": "on"}}, "XLA has no CTC"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message, tmp_path):
    sections = SUBJECTS["speech"].sections
    merged = {name: {**sections.get(name, {}), **part} for name, part in change.items()}
    with pytest.raises(InputError, match=message):
        nlp_rnn.train("speech", out=tmp_path / "run", **{**sections, **merged})


@pytest.mark.slow  # a training of its own
def test_nothing_need_be_held_out_for_testing(tmp_path):
    sections = SUBJECTS["speech"].sections
    settings = {**sections, "data": {**sections["data"], "test_fraction": 0.0}, "train": {"epochs": 1}}
    found = nlp_rnn.train("speech", out=tmp_path / "run", **settings)
    assert set(found.report["metrics"]) == {"validation"}


@pytest.mark.parametrize("value", [None, 5, "", [0.1, 0.2], np.zeros(5), {"array": [0.1]}])
def test_what_is_no_recording_is_refused_in_python(run, value):
    with pytest.raises(InputError, match="recording"):
        run(value)


def test_texts_of_nothing_are_refused_and_unknown_letters_counted(run, tmp_path):
    soundfile.write(tmp_path / "a.wav", tones(300), RATE)
    (tmp_path / "all.csv").write_text("audio,text\n" + "a.wav,!?\n" * 5)
    with pytest.raises(InputError, match="All texts are empty"):
        nlp_rnn.train("speech", data={"train": [str(tmp_path / "all.csv")]}, out=tmp_path / "run")
    (tmp_path / "all.csv").write_text("audio,text\na.wav,low\na.wav,never\na.wav,\n")
    records = run.read(str(tmp_path / "all.csv"))
    assert "recordings without a text, left out: 1" in records.notes
    assert "with words or letters that training lacks: 1" in run.batches_of(records).notes
    assert run.evaluate(records)["wer"] == 0.5


def test_speakers_can_be_held_out(tmp_path):
    sections = SUBJECTS["speech"].sections
    config = override(nlp_rnn.trainer.settings_for("speech", "starter"), sections)
    config = override(config, {"data": {"test_where": ["speaker=b"], "measured_strings": [2, 3]}})
    task = SUBJECTS["speech"].run.task
    train, test = (task.read(config, split) for split in ("train", "test"))
    assert {row["speaker"] for row in train} == {"a"}
    assert {row["speaker"] for row in test} == {"b"}
    strings = [row for row in test if isinstance(row["audio"], tuple)]
    assert strings
    assert all(2 <= len(row["audio"]) <= 3 for row in strings)
    assert test.fingerprint() == task.read(config, "test").fingerprint()


@pytest.mark.parametrize("arguments", [("nowhere.wav",), ("--input", "nowhere.csv"), ("text.wav",)])
def test_files_that_are_none_are_named(run, command, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.wav").write_text("no sound")
    code, out, error = command("predict", run.path, *arguments)
    assert (code, out) == (2, "")
    assert arguments[-1] in error
    assert len(error.strip().splitlines()) <= 2


@pytest.mark.slow  # two minutes of training
def test_the_starter_learns_to_spell_digits_of_voices_it_never_heard(tmp_path):
    found = nlp_rnn.train("speech", out=tmp_path / "run")
    assert found.metrics["wer"] < 0.05
