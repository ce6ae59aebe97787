"""A model learns what another says: by formulas, by results, resumed bit for bit, and what is refused."""

import itertools
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn.errors import InputError
from nlp_rnn.layers import CRF, RecurrentStack, TokenEmbedding
from nlp_rnn.layers.crf import chain_divergence
from nlp_rnn.models import ClassifierHead, SequenceClassifier
from nlp_rnn.models.parts import Lesson
from nlp_rnn.testing import Subject
from nlp_rnn.testing.comparing import assert_same_run
from nlp_rnn.training.distillation import teach
from tests.conftest import slow
from tests.subjects import SUBJECTS, write_reviews

RNG = np.random.default_rng(0)


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def test_the_divergence_of_classes():
    found, taught = RNG.standard_normal((2, 4, 5)).astype("float32")
    p, q = softmax(found / 2.0), softmax(taught / 2.0)
    lesson = Lesson({}, found, taught, None, temperature=2.0)
    np.testing.assert_allclose(lesson.divergence(), 4 * (q * np.log(q / p)).sum(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("native", [True, False])
def test_the_divergence_of_chains_is_that_of_all_their_sequences(native, monkeypatch):
    if not native:
        monkeypatch.setattr("nlp_rnn.layers.crf.native_serves", lambda: False)
    emissions = RNG.standard_normal((2, 2, 4, 3)).astype("float32")
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
    chains = []
    for given in emissions:
        layer = CRF(3)
        layer.build((None, None, 3))
        for variable in layer.weights:
            variable.assign(RNG.standard_normal(variable.shape))
        chains.append(np.asarray(layer(given, mask=mask)))

    def log_p(scores, length):
        paths = itertools.product(range(3), repeat=length)
        totals = np.array([sum(scores[t, p[t - 1] if t else 0, p[t]] for t in range(length)) for p in paths]) / 2.0
        return totals - np.log(np.exp(totals).sum())

    expected = []
    for row, length in enumerate(mask.sum(1)):
        p, q = (log_p(scores[row], length) for scores in chains)
        expected.append(4 * (np.exp(q) * (q - p)).sum())
    np.testing.assert_allclose(chain_divergence(*map(tf.constant, chains), 2.0), expected, rtol=1e-4)
    found, taught = map(tf.constant, chains)
    with tf.GradientTape() as tape:
        tape.watch([found, taught])
        total = tf.reduce_sum(chain_divergence(found, taught))
    gradient, none = tape.gradient(total, [found, taught])
    assert none is None
    step = 1e-2
    for place in ((0, 1, 0, 2), (1, 2, 1, 1), (0, 0, 0, 1)):
        ends = []
        for sign in (1, -1):
            moved = np.array(chains[0])
            moved[place] += sign * step
            ends.append(float(tf.reduce_sum(chain_divergence(tf.constant(moved), taught))))
        np.testing.assert_allclose(gradient.numpy()[place], (ends[0] - ends[1]) / (2 * step), rtol=1e-2, atol=1e-3)


def test_the_loss_is_the_mean_of_both_and_the_teacher_is_no_part_of_the_model():
    def model(units):
        made = SequenceClassifier(TokenEmbedding(20, 4), RecurrentStack("gru", units), ClassifierHead(3, "mean"))
        made.build()
        return made

    student, teacher = model(4), model(8)
    student.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    features, targets = {"tokens": RNG.integers(1, 20, (5, 6))}, np.eye(3)[[0, 1, 2, 0, 1]]
    weights = np.array([1, 2, 1, 0, 1], np.float32)
    count, logits = len(student.weights), student(features)
    alone = float(student.compute_loss(features, targets, logits, weights))
    teach(student, teacher, features, weight=0.3, temperature=2.0)
    lesson = Lesson(features, logits, teacher(features), targets, temperature=2.0)
    apart = (lesson.divergence().numpy() * weights).mean()
    found = float(student.compute_loss(features, targets, logits, weights))
    np.testing.assert_allclose(found, 0.7 * alone + 0.3 * apart, rtol=1e-5)
    assert float(student.compute_loss(features, targets, logits, weights, training=False)) == alone
    assert len(student.weights) == count
    with pytest.raises(ValueError, match="outputs of the shape"):
        teach(
            model(4), SequenceClassifier(TokenEmbedding(20, 4), RecurrentStack("gru", 4), ClassifierHead(2)), features
        )
    with pytest.raises(ValueError, match="does not say how to imitate"):
        teach(keras.Sequential(), teacher, features)


def test_what_the_teacher_says_counts_where_the_data_say_the_opposite(command, reviews, tmp_path):
    data = write_reviews(tmp_path)
    place = tmp_path / "reviews.csv"
    other = {"positive": "negative", "negative": "positive"}
    rows = [line.split(",") for line in place.read_text().splitlines()[1:]]
    place.write_text("\n".join(["text,label", *(f"{text},{other[label]}" for text, label in rows)]) + "\n")
    options = ["--train.teacher", reviews.path, "--train.teacher_weight", 1, "--data", data["train"][0]]
    options += ["--stack.units", 4, "--embedding.size", 8, "--train.batch_size", 8, "--train.learning_rate", 0.05]
    code, _, log = command("train", "sentiment", *options, "--train.epochs", 4, "--out", tmp_path / "run")
    assert code == 0, log
    student = nlp_rnn.load(tmp_path / "run")
    assert student.config.tokenizer.kind == "word"  # of the teacher
    texts = ["a fine film", "a joyless film"]
    assert "was trained on other records" in " ".join(log.split())
    assert student.report["teacher"]["weight"] == 1.0
    assert "learned from another run too" in (tmp_path / "run" / "card.md").read_text()
    assert [found.label for found in student(texts)] == [found.label for found in reviews(texts)]


def test_a_teacher_that_does_not_fit_is_refused(command, reviews, tmp_path):
    def refused(*options, task="sentiment", data=reviews.config.data.train[0]):
        code, _, log = command("train", task, "--data", data, *options, "--out", tmp_path / "run")
        assert code == 2, log
        assert not (tmp_path / "run").exists()
        return " ".join(log.split())

    teacher = ("--train.teacher", reviews.path)
    assert "must be of the same task" in refused(*teacher, task="ner")
    assert "does not exist" in refused("--train.teacher", tmp_path / "nowhere")
    assert "which is the teacher: leave --tokenizer.kind out" in refused(*teacher, "--tokenizer.kind", "byte")
    (tmp_path / "others.csv").write_text("text,label\n" + "\n".join(f"word {i},{'abc'[i % 3]}" for i in range(60)))
    assert "the labels are others" in refused(*teacher, data=tmp_path / "others.csv")


class Taught(Subject):
    """The subject of a task, taught by the run of that task."""

    def __init__(self, task):
        plain = SUBJECTS[task]
        settings = {**plain.settings, "train": {**plain.settings["train"], "epochs": 3}}
        super().__init__(task, settings, plain.write, plain.inputs, plain.environment)

    def __str__(self):
        return f"{self.task}-taught"


@pytest.mark.parametrize("task", [slow("language-modeling"), slow("ner")])
def test_a_run_with_a_teacher_resumes_bit_for_bit(task, tmp_path, command):
    teacher = SUBJECTS[task].path
    assert SUBJECTS[task].run is not None
    subject = Taught(task)
    subject.settings["train"]["teacher"] = str(teacher)
    cut_off = shutil.copytree(subject.cut_off, tmp_path / "run")
    nlp_rnn.trainer.resume(cut_off)
    assert_same_run(subject.path, cut_off)
    changed = shutil.copytree(teacher, tmp_path / "teacher")
    other = nlp_rnn.load(changed)
    other.model.trainable_variables[0].assign_add(np.ones(other.model.trainable_variables[0].shape))
    other.save(changed)
    again = shutil.copytree(subject.cut_off, tmp_path / "again")
    with pytest.raises(InputError, match=r"teacher of .* changed since this run began"):
        nlp_rnn.trainer.resume(again, teacher=str(changed))
    moved = shutil.copytree(teacher, tmp_path / "moved")
    code, _, log = command("train", "--resume", again, "--train.teacher", moved)
    assert code == 0, log
    assert np.array_equal(*(nlp_rnn.load(path).model.get_weights()[0] for path in (subject.path, again)))
