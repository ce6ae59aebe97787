"""An ensemble says the mean of what its members say, wherever a model can be asked."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import (
    AdaptiveSoftmaxHead,
    Attention,
    AttentionDecoder,
    Bridge,
    NgramLogits,
    RecurrentStack,
    SoftmaxHead,
    TokenEmbedding,
)
from nlp_rnn.models import (
    ClassifierHead,
    DeepAR,
    EncoderDecoder,
    LanguageModel,
    SegmentForecaster,
    SequenceClassifier,
    Tagger,
    TaggingHead,
    Translator,
    ensemble_of,
)
from tests.conftest import slow

RNG = np.random.default_rng(0)
IDS = np.array([[5, 7, 9, 11, 3], [4, 6, 0, 0, 0]], np.int32)


def softmax(logits):
    exp = np.exp(np.asarray(logits) - np.max(logits, -1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def strayed(model):
    """Weights far enough from each other that means of logits and of probabilities differ."""
    if not model.built:
        model.build()
    for variable in model.trainable_variables:
        variable.assign_add(0.7 * RNG.standard_normal(variable.shape).astype("float32"))
    return model


def again(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras", compile=False)


def classifier(units, pooling, ngrams=None):
    head = ClassifierHead(3, pooling)
    return strayed(SequenceClassifier(TokenEmbedding(20, 4), RecurrentStack("lstm", units), head, ngrams=ngrams))


def test_classifiers_of_several_sizes(tmp_path):
    members = [classifier(4, "attention"), classifier(6, "last+mean+max")]
    members[0].head.temperature.assign(2.0)
    expected = np.mean([softmax(member({"tokens": IDS})) for member in members], 0)
    joined = again(ensemble_of(members), tmp_path)
    np.testing.assert_allclose(softmax(joined({"tokens": IDS})), expected, atol=1e-5)
    found = joined.infer({"tokens": IDS})
    weights = [member.infer({"tokens": IDS})["weights"] for member in members]
    np.testing.assert_allclose(found["weights"], np.mean(weights, 0), atol=1e-5)
    joined.calibrate({"logits": np.asarray(found["logits"])}, np.eye(3)[[0, 1]])
    assert float(joined.head.temperature) != 1.0


def test_an_ensemble_of_ensembles_is_one_of_all(tmp_path):
    members = [classifier(4, "mean") for _ in range(4)]
    pairs = [ensemble_of(members[:2]), ensemble_of(members[2:])]
    found = again(ensemble_of(pairs), tmp_path)({"tokens": IDS})
    np.testing.assert_allclose(softmax(found), softmax(ensemble_of(members)({"tokens": IDS})), atol=1e-5)


def test_ngrams_are_the_mean_of_the_members():
    members = []
    for weight in (0.5, 2.0):
        ngrams = NgramLogits(3, order=2, buckets=50)
        members.append(classifier(4, "mean", ngrams))
        ngrams.assign(RNG.standard_normal((50, 3)), RNG.standard_normal(3))
        ngrams.weight.assign(weight)
    of_network = np.log(np.mean([softmax(member.infer({"tokens": IDS})["network"]) for member in members], 0))
    of_ngrams = np.mean([float(m.ngrams.weight) * m.infer({"tokens": IDS})["ngrams"] for m in members], 0)
    found = ensemble_of(members)({"tokens": IDS})
    np.testing.assert_allclose(softmax(found), softmax(of_network + of_ngrams), atol=1e-5)


@pytest.mark.parametrize("kind", ["crf", "softmax"])
def test_taggers(kind, tmp_path):
    members = [strayed(Tagger(Words(), RecurrentStack("gru", units), TaggingHead(5, kind))) for units in (4, 6)]
    scores = [np.asarray(member({"tokens": IDS})) for member in members]
    found = np.asarray(ensemble_of(members)({"tokens": IDS}))
    if kind == "crf":  # a product of chains is a chain whose scores are added
        np.testing.assert_allclose(found, np.mean(scores, 0), rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_allclose(softmax(found), np.mean([softmax(s) for s in scores], 0), atol=1e-5)


class Words(TokenEmbedding):
    """Reads the tokens among the features, as the embedding of a tagger does."""

    def __init__(self):
        super().__init__(20, 4)

    def call(self, features, training=False):
        return super().call(features["tokens"], training=training)


def language_model(head=None, tied=True):
    head = head or SoftmaxHead(20, 6 if tied else 0)
    return strayed(LanguageModel(TokenEmbedding(20, 6), RecurrentStack("lstm", 8, 2, bidirectional=False), head))


@pytest.mark.parametrize("head", ["tied", slow("untied"), "adaptive"])
def test_language_models(head, tmp_path):
    def one():
        return language_model(AdaptiveSoftmaxHead(20, cutoffs=(8, 14)) if head == "adaptive" else None, head == "tied")

    members, targets = [one() for _ in range(3)], np.roll(IDS, -1, 1)
    features = {"tokens": IDS, "targets": targets}
    expected = np.mean([softmax(member({"tokens": IDS})) for member in members], 0)
    joined = again(ensemble_of(members), tmp_path)
    np.testing.assert_allclose(softmax(joined({"tokens": IDS})), expected, atol=1e-5)
    nats = -np.log(np.take_along_axis(expected, targets[..., None], -1))[..., 0]
    np.testing.assert_allclose(joined.infer(features)["nats"], nats, rtol=1e-4, atol=1e-4)


def test_a_language_model_goes_on_from_its_state():
    joined = ensemble_of([language_model() for _ in range(2)])
    whole, _ = joined.advance(IDS)
    first, state = joined.advance(IDS[:, :2])
    rest, _ = joined.advance(IDS[:, 2:], joined.grouped(tf.nest.flatten(state)))
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, atol=1e-5)
    reset = {"reset": np.ones((2, 1), np.int32)}
    joined.infer({"tokens": IDS[:, :2], "targets": IDS[:, 1:3], **reset})
    carried = joined.infer({"tokens": IDS[:, 2:4], "targets": IDS[:, 3:], "reset": 0 * reset["reset"]})["nats"]
    log_p = np.log(softmax(whole))[:, 2:4]
    np.testing.assert_allclose(carried, -np.take_along_axis(log_p, IDS[:, 3:, None], -1)[..., 0], atol=1e-4)


def translator(feeds, attention):
    stack = RecurrentStack("gru", 6, 2, bidirectional=False)
    decoder = AttentionDecoder(stack, attention, 5, feeds)
    parts = (TokenEmbedding(20, 4), RecurrentStack("gru", 7), Bridge(6, 2, 1), TokenEmbedding(20, 4), decoder)
    return strayed(Translator(*parts, SoftmaxHead(20)))


@pytest.mark.parametrize(("attention", "feeds"), [slow("additive", True), ("multi_head", False), (None, False)])
def test_translators(attention, feeds, tmp_path):
    members = [translator(feeds, attention and Attention(attention, 8, heads=2)) for _ in range(2)]
    features = {"source": IDS, "target": np.array([[2, 5, 6], [2, 7, 0]], np.int32)}
    expected = np.mean([softmax(member(features)) for member in members], 0)
    joined = again(ensemble_of(members), tmp_path)
    np.testing.assert_allclose(softmax(joined(features)), expected, atol=1e-5)
    memory = joined.encode(IDS)
    state, steps = joined.initial_state(memory), []
    for t in range(3):
        logits, weights, state = joined.step(features["target"][:, t], state, memory)
        steps.append(softmax(logits))
    np.testing.assert_allclose(np.stack(steps, 1), expected, atol=1e-5)
    if attention:
        np.testing.assert_allclose(np.sum(weights, -1), 1, atol=1e-5)
    if feeds:
        assert joined.infer(features, width=3)["tokens"].shape[0] == 2


@pytest.mark.parametrize("kind", [SegmentForecaster, slow(EncoderDecoder), DeepAR])
def test_forecasters(kind, tmp_path):
    members = [strayed(kind(2, 24, 12, units=8)) for _ in range(2)]
    for number, member in enumerate(members):
        member.set_scales({"values_mean": [3.0 + number, 5.0], "values_spread": [2.0, 1.0 + number]})
    history = RNG.standard_normal((3, 24, 2)).astype("float32")
    expected = np.mean([member.infer({"history": history})["quantiles"] for member in members], 0)
    joined = again(ensemble_of(members), tmp_path)
    np.testing.assert_allclose(joined.infer({"history": history})["quantiles"], expected, rtol=1e-4, atol=1e-4)
    loss = joined.compute_loss({"history": history}, history[:, :12], joined({"history": history}))
    assert np.isfinite(float(loss))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (lambda: [classifier(4, "mean"), language_model()], "several kinds"),
        (lambda: [keras.Sequential(), keras.Sequential()], "no parts"),
        (lambda: [language_model(), other_cell()], "states do not stand side by side"),
        (lambda: [SegmentForecaster(1, 24, 12), SegmentForecaster(1, 36, 12)], "differ in lookback"),
        (lambda: [tagger("crf"), tagger("softmax")], "some have a CRF"),
    ],
)
def test_what_does_not_fit_together(members, message):
    with pytest.raises(ValueError, match=message):
        ensemble_of(members())


def other_cell():
    return LanguageModel(TokenEmbedding(20, 6), RecurrentStack("gru", 8, bidirectional=False), SoftmaxHead(20, 6))


def tagger(kind):
    return Tagger(Words(), RecurrentStack("gru", 4), TaggingHead(5, kind))
