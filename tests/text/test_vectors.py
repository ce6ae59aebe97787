"""Pre-trained vectors from text files."""

from __future__ import annotations

import gzip

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
