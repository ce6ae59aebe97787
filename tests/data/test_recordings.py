"""Recordings and their texts from folders, archives and tables in the forms that are in use; batches that join them."""

from __future__ import annotations

import tarfile
import zipfile

import numpy as np
import pytest
import soundfile

from nlp_rnn.data.batching import Rows
from nlp_rnn.data.recordings import Naming, read_recordings
from nlp_rnn.data.utterances import Changes, Utterances, groups_of
from nlp_rnn.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NLP_RNN_CACHE", str(tmp_path / "kept"))


def sounds(folder, *names):
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(100 + place, 0.1), 8000)


def texts(folder, split="train", **naming):
    found = read_recordings([str(folder)], split, Naming(**naming))
    return None if found is None else [(row["text"], row["speaker"]) for row in found[0]]


def test_names_that_say_it(tmp_path):
    sounds(tmp_path, "7_ann_0.wav", "3_bob_12.wav")
    rows, _ = read_recordings([str(tmp_path)], "train", Naming(pattern="{text}_{speaker}_{take}"))
    assert [(row["text"], row["speaker"], row["take"]) for row in rows] == [("3", "bob", "12"), ("7", "ann", "0")]
    assert texts(tmp_path, "test", pattern="{text}_{speaker}_{take}") is None
    with pytest.raises(InputError, match=r"no name is as data\.pattern says, \{text\}-\{take\}"):
        texts(tmp_path, pattern="{text}-{take}")
    with pytest.raises(InputError, match=r"nothing says what is said in .*put a table beside them"):
        texts(tmp_path)


@pytest.mark.parametrize("pattern", ["{text}_{text}", "{1}_{text}", "{speaker}_{take}", "text"])
def test_a_pattern_that_makes_no_sense_is_refused(pattern):
    with pytest.raises(InputError, match=r"data\.pattern is .*; it must have \{text\}"):
        Naming(pattern=pattern)


def test_texts_beside_recordings(tmp_path):
    sounds(tmp_path, "a.wav", "deep/b.flac")
    (tmp_path / "a.txt").write_text("Hello there.\n")
    (tmp_path / "deep" / "b.lab").write_text("bye")
    assert texts(tmp_path) == [("Hello there.", ""), ("bye", "")]


def test_tables_by_split_as_common_voice_has_them(tmp_path):
    sounds(tmp_path, "clips/a.mp3", "clips/b.mp3")
    (tmp_path / "train.tsv").write_text("client_id\tpath\tsentence\nx\ta.mp3\tHello.\n")
    (tmp_path / "dev.tsv").write_text("client_id\tpath\tsentence\ny\tb.mp3\tBye.\n")
    assert texts(tmp_path) == [("Hello.", "x")]
    assert texts(tmp_path, "validation") == [("Bye.", "y")]
    assert texts(tmp_path, "test") is None


def test_librispeech(tmp_path):
    sounds(tmp_path, "train-clean-100/19/198/19-198-0000.flac", "dev-clean/84/1/84-1-0000.flac")
    (tmp_path / "train-clean-100/19/198/19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n")
    (tmp_path / "dev-clean/84/1/84-1.trans.txt").write_text("84-1-0000 HELLO\n")
    assert texts(tmp_path) == [("NORTHANGER ABBEY", "19")]
    assert texts(tmp_path, "validation") == [("HELLO", "84")]
    (tmp_path / "dev-clean/84/1/84-1.trans.txt").write_text("84-1-0009 HELLO\n")
    with pytest.raises(InputError, match=r"84-1\.trans\.txt, line 1: there is no recording 84-1-0009"):
        texts(tmp_path, "validation")


def test_metadata_as_datasets_has_it(tmp_path):
    sounds(tmp_path, "train/a.wav", "test/b.wav")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,transcription\na.wav,hello\n")
    (tmp_path / "test" / "metadata.csv").write_text("file_name,transcription\nb.wav,bye\n")
    assert (texts(tmp_path), texts(tmp_path, "test")) == ([("hello", "")], [("bye", "")])


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_archives_are_unpacked_once(tmp_path, suffix):
    inside, archive = tmp_path / "inside", tmp_path / "data" / f"all{suffix}"
    sounds(inside, "1_ann_0.wav")
    archive.parent.mkdir()
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(inside / "1_ann_0.wav", "deep/1_ann_0.wav")
    else:
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(inside, "deep")
    for place in (archive, archive.parent):
        assert texts(place, pattern="{text}_{speaker}_{take}") == [("1", "ann")]
    assert len(list((tmp_path / "kept" / "archives").iterdir())) == 1
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(InputError, match=r"cannot be unpacked"):
        texts(archive)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("audio,text\nnowhere.wav,hello\n", r"line 2: there is no recording nowhere\.wav"),
        ("audio,text\n,hello\n", r'line 2: "audio" is empty'),
        ("sound,text\na.wav,hello\n", "has no column of the audio; it has: sound, text"),
        ("audio,words\na.wav,hello\n", "has no column of the text; it has: audio, words"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, table, message):
    sounds(tmp_path, "a.wav")
    (tmp_path / "all.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        texts(tmp_path / "all.csv")


def test_a_damaged_recording_is_named_with_its_place_in_the_table(tmp_path):
    sounds(tmp_path, "a.wav")
    (tmp_path / "b.wav").write_bytes(b"no sound at all " * 10)
    (tmp_path / "all.csv").write_text("audio,text\na.wav,hello\nb.wav,hello\n")
    records, _ = read_recordings([str(tmp_path / "all.csv")], "train", Naming())
    with pytest.raises(InputError, match=r"b\.wav \(.*all\.csv, line 3\) is no sound that can be read"):
        records[1]["audio"].decoded()


def test_columns_by_name(tmp_path):
    sounds(tmp_path, "a.wav")
    (tmp_path / "all.csv").write_text("x,y,z\na.wav,hello,ann\n")
    assert texts(tmp_path / "all.csv", columns={"audio": "x", "text": "y", "speaker": "z"}) == [("hello", "ann")]
    with pytest.raises(InputError, match='has no column "w"'):
        texts(tmp_path / "all.csv", columns={"audio": "x", "text": "w"})


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no recordings"):
        texts(tmp_path)


# Batches --------------------------------------------------------------------------------------------------------------


def utterances(strings=(1, 3), changes=Changes(speed=0.1, gain=6, noise=0.5, pauses=(0.0, 0.01)), count=40):  # noqa: B008
    rng = np.random.default_rng(0)
    rows = Rows.of([rng.integers(-9000, 9000, 100 + 5 * i) for i in range(count)], np.int16)
    ids = [np.array([4 + i]) for i in range(count)]
    return Utterances(rows, ids, [3], ["ab"[i % 2] for i in range(count)], 8000, 4, 7, strings, changes)


def test_each_epoch_reads_each_recording_once_and_joins_one_speaker():
    batches, seen = utterances(), []
    for epoch in (0, 1):
        examples = batches.examples(epoch)
        clips = [clip for one in examples for clip in one.clips]
        assert sorted(clips) == list(range(40))
        assert all(len({clip % 2 for clip in one.clips}) == 1 for one in examples)
        seen.append([one.clips for one in examples])
    assert seen[0] != seen[1]
    assert {len(one) for one in seen[0]} == {1, 2, 3}


def test_an_epoch_is_the_same_from_wherever_it_begins():
    whole, later = list(utterances().epoch(3)), list(utterances().epoch(3, start=2))
    assert len(whole) == utterances().steps_per_epoch
    for one, other in zip(whole[2:], later, strict=True):
        for name in one[0]:
            np.testing.assert_array_equal(one[0][name], other[0][name])
        np.testing.assert_array_equal(one[1], other[1])


def test_targets_and_samples_are_of_the_same_recordings():
    batches = utterances(changes=Changes())
    for features, targets, weights in batches.epoch(0):
        assert weights.sum() == pytest.approx(4)
        for samples, length, ids in zip(features["samples"], features["lengths"], targets, strict=True):
            clips = [k - 4 for k in ids if k > 3]
            parts = [batches.rows.values[batches.rows.starts[c] : batches.rows.starts[c + 1]] for c in clips]
            np.testing.assert_allclose(samples[:length], np.concatenate(parts) / 32767, atol=1e-6)
            assert [k for k in ids if k] == [k for c in clips for k in (3, c + 4)][1:]
            assert not samples[length:].any()


def test_changes_are_of_the_size_that_they_say():
    plain, changed = utterances((1, 1), Changes()), utterances((1, 1), Changes(speed=0.2))
    ratio = changed.lengths / plain.lengths
    assert 0.8 < 1 / ratio.max() < 0.9
    assert 1.1 < 1 / ratio.min() < 1.21
    loud = next(utterances((1, 1), Changes(gain=20)).epoch(0))[0]["samples"]
    assert np.abs(loud).max() <= 1


def test_strings_of_one_are_the_recordings():
    ((members, sizes),) = groups_of(["a", "b", "a"], (1, 1), 0)
    assert (members.tolist(), sizes.tolist()) == ([0, 1, 2], [1, 1, 1])
