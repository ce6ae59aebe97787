"""Pre-trained vectors from text files."""

from __future__ import annotations

import gzip
import pickle

import numpy as np
import pytest

from nlp_rnn.config.sections import EmbeddingConfig, TokenizerConfig
from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.sentiment import TASK
from nlp_rnn.text.vectors import extra_words, read_vectors
from tests.subjects import SUBJECTS

LINES = "good 1 2 3\nbad -1 -2 -3\nsoup 0.5 0 0\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(LINES)
    return path


def test_only_wanted_words_are_read(glove):
    vectors = read_vectors(glove, ["soup", "good", "absent"])
    assert vectors.words == ["good", "soup"]
    np.testing.assert_array_equal(vectors.matrix, [[1, 2, 3], [0.5, 0, 0]])
    settings = EmbeddingConfig(vectors=str(glove), extra_words=2)
    assert extra_words(settings, TokenizerConfig(kind="word")) == ["good", "bad"]


def test_header_and_gzip_and_trailing_blanks(tmp_path):
    path = tmp_path / "w2v.vec.gz"
    path.write_bytes(gzip.compress(b"2 3\ngood 1 2 3 \nbad 4 5 6\n"))
    assert read_vectors(path, ["bad"]).matrix.tolist() == [[4, 5, 6]]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("suffix", ["bin", "bin.gz"])
def test_binary_files_of_word2vec(tmp_path, monkeypatch, suffix, end):
    monkeypatch.setattr("nlp_rnn.text.vectors._READ", 100)
    words = ["</s>", "good", "b\u00e4d", *(f"w{i}" for i in range(50))]
    matrix = np.random.default_rng(0).standard_normal((len(words), 7)).astype("<f4")
    parts = [word.encode() + b" " + row.tobytes() + end for word, row in zip(words, matrix, strict=True)]
    content = f"{len(words)} 7\n".encode() + b"".join(parts)
    path = tmp_path / f"vectors.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    found = read_vectors(path, ["b\u00e4d", "w49", "absent"])
    assert found.words == ["b\u00e4d", "w49"]
    np.testing.assert_array_equal(found.matrix, matrix[[2, 52]])
    assert extra_words(EmbeddingConfig(vectors=str(path), extra_words=2), TokenizerConfig(kind="word")) == words[:2]
    path.write_bytes(gzip.compress(content[:-20]) if suffix.endswith("gz") else content[:-20])
    with pytest.raises(InputError, match="ends after 52 of 53 words"):
        read_vectors(path, ["absent"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((793712314).to_bytes(4, "little") + b"\x0c\0\0\0", "is a model of fastText: give the file of its vectors"),
        (pickle.dumps({"class": "gensim.models.keyedvectors"}), "was saved by gensim: load it there"),
    ],
)
def test_files_of_other_programs_are_named(tmp_path, content, message):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_vectors(tmp_path / "model", ["good"])


def test_table_draws_what_is_missing_like_the_rest(glove):
    table, coverage = read_vectors(glove, ["good", "bad"]).table(["bad", "absent", "good"], seed=0)
    assert coverage == pytest.approx(2 / 3)
    np.testing.assert_array_equal(table[[0, 2]], [[-1, -2, -3], [1, 2, 3]])
    assert np.abs(table[1]).max() < 20
    assert np.abs(table[1]).min() > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [("good 1 2 3\nbad 1 2\n", "line 2: 2 dimensions where the lines before have 3"), ("", "holds no vectors")],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "glove.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_vectors(path, ["good", "bad"])
    with pytest.raises(InputError, match="does not exist"):
        read_vectors(tmp_path / "absent.txt", ["good"])


def test_a_model_starts_from_the_vectors(glove):
    glove.write_text(LINES + "film 7 8 9\n")
    settings = {
        "data": SUBJECTS["sentiment"].data,
        "tokenizer": {"kind": "word", "lowercase": True},
        "embedding": {"vectors": str(glove), "size": 3, "trainable": False, "extra_words": 3},
        "stack": {"units": 4},
    }
    config = override(TASK.Config(), settings)
    reviews = TASK.read(config, "train")
    assets = TASK.assets(config, reviews)
    embedding = TASK.build(config, assets).embedding
    ids = assets.tokenizer.encode(["soup film"]).to_tensor()  # only the second is a word of the reviews
    np.testing.assert_array_equal(embedding(ids)[0], [[0.5, 0, 0], [7, 8, 9]])
    assert embedding.trainable_variables == [], "frozen"
    with pytest.raises(InputError, match=r"embedding\.size 3"):
        TASK.assets(override(config, {"embedding": {"size": 4}}), reviews)
