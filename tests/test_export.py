"""What exports say of themselves, and which are refused; that they give what runs do is in the contract of tasks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.errors import ExportDiffers
from nlp_rnn.export import savedmodel
from nlp_rnn.export.signatures import Signature, as_signature
from tests.conftest import EXPORTED, all_tasks
from tests.subjects import SUBJECTS


def described(task):
    folder = SUBJECTS[task].exported
    return folder, json.loads((folder / "assets.extra" / "signature.json").read_text())


@pytest.mark.parametrize("task", all_tasks(*EXPORTED))
def test_every_signature_is_described_with_an_example_that_holds(task):
    folder, about = described(task)
    loaded = tf.saved_model.load(str(folder))
    assert about["task"] == task
    assert about["input"] in about["signatures"]["serving_default"]["inputs"]
    assert about["libraries"][0] == "tensorflow"
    assert set(about["signatures"]) == set(loaded.signatures)
    for name, signature in about["signatures"].items():
        function = loaded.signatures[name]
        assert signature["about"]
        _, specs = function.structured_input_signature
        assert {n: (s.dtype.name, s.shape.as_list()) for n, s in specs.items()} == {
            n: (i["dtype"], i["shape"]) for n, i in signature["inputs"].items()
        }
        outputs = function.structured_outputs
        assert {n: s.dtype.name for n, s in outputs.items()} == {n: o["dtype"] for n, o in signature["outputs"].items()}
        if "example" not in signature:
            continue
        given = {n: tf.constant(v, specs[n].dtype) for n, v in signature["example"]["inputs"].items()}
        for output, value in function(**given).items():
            expected = np.array(signature["example"]["outputs"][output])
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(value.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_spans_are_the_entities_of_the_run_in_both_ways_of_counting():
    subject = SUBJECTS["ner"]
    texts = [*subject.inputs, "🐈🐈 Ada met Bob\u0301 🐈 in New York . Ada", "🐈"]
    loaded = tf.saved_model.load(str(subject.exported))
    found = {name: value.numpy() for name, value in loaded.signatures["spans"](text=tf.constant(texts)).items()}
    total = 0
    for row, (text, document) in enumerate(zip(texts, subject.run(texts), strict=True)):
        count = found["count"][row]
        assert count == len(document.entities)
        assert all(label == b"" for label in found["labels"][row, count:])
        for place, entity in enumerate(document.entities):
            total += 1
            one = {name: found[name][row, place] for name in found if name not in ("text", "count")}
            assert (one["starts"], one["ends"]) == (entity.start, entity.end)
            assert (one["labels"].decode(), one["texts"].decode()) == (entity.label, entity.text)
            assert one["confidences"] == pytest.approx(entity.confidence, abs=1e-4)
            units = text.encode("utf-16-le")[2 * one["starts_utf16"] : 2 * one["ends_utf16"]]
            assert units.decode("utf-16-le") == entity.text
    assert total > 6


def test_ids_of_a_language_model_are_known_to_its_export():
    subject = SUBJECTS["language-modeling"]
    loaded = tf.saved_model.load(str(subject.exported))
    encode, step, decode, complete = (loaded.signatures[n] for n in ("encode", "step", "decode", "complete"))
    ids = encode(prompt=tf.constant(["the cat", "a"]))
    assert ids["lengths"].numpy().tolist() == [8, 2]
    state = tf.zeros([1, subject.run.model.state_parts, subject.run.config.stack.units])
    found = step(tokens=ids["tokens"][:1], state=state)
    written = []
    for _ in range(12):
        token = tf.argmax(found["logits"][:, -1:], -1, tf.int32)
        written.append(int(token[0, 0]))
        found = step(tokens=token, state=found["state"])
    text = decode(tokens=tf.constant([written]))["text"].numpy()[0]
    assert text == complete(prompt=tf.constant(["the cat"]), length=tf.constant(12))["text"].numpy()[0]


@pytest.mark.slow  # an export of its own; test_formats has one that differs too
def test_an_export_that_differs_is_not_written(reviews, tmp_path, monkeypatch):
    folder = tmp_path / "export"
    reviews.export(folder)
    before = (folder / "saved_model.pb").read_bytes()
    signatures = reviews.task.signatures

    def wrong(config, model, assets):
        found = {name: as_signature(value) for name, value in signatures(config, model, assets).items()}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
        def other(text):
            given = found["serving_default"].function(text)
            return {**given, "probability": given["probability"] * 0.9}

        return {**found, "serving_default": Signature(other)}

    task = reviews.task
    import dataclasses

    reviews.task = dataclasses.replace(task, signatures=wrong)
    try:
        with pytest.raises(
            ExportDiffers, match="serving_default of the SavedModel gives other probability than the mod"
        ):
            reviews.export(folder)
    finally:
        reviews.task = task
    assert (folder / "saved_model.pb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]

    load = tf.saved_model.load

    class Damaged:
        def __init__(self, path):
            self.loaded = load(path)
            function = self.loaded.signatures["tokens"]

            def changed(**given):
                return {n: v + 0.01 if v.dtype == tf.float32 else v for n, v in function(**given).items()}

            self.signatures = {**self.loaded.signatures, "tokens": changed}

    monkeypatch.setattr(savedmodel.tf.saved_model, "load", Damaged)
    with pytest.raises(ExportDiffers, match="The signature tokens of the SavedModel gives other"):
        reviews.export(folder)


@pytest.mark.slow  # an export
def test_the_command_says_that_an_export_differs(reviews, command, at_hand, monkeypatch, tmp_path):
    at_hand(reviews)

    def differs(*_):
        raise ExportDiffers(
            "The signature tokens of the SavedModel gives other label than the model; it was not written."
        )

    monkeypatch.setattr(savedmodel, "_compare", differs)
    code, out, error = command("export", reviews.path, "--out", tmp_path / "x")
    assert (code, out) == (1, "")
    assert "it was not written" in error


@pytest.mark.parametrize("task", all_tasks(*EXPORTED))
def test_tensorflow_serving_warms_up_with_the_examples(task):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="it knows the messages")
    folder, about = described(task)
    records = list(tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests")))
    found = {}
    for record in records:
        request = logs.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == folder.name
        found[request.model_spec.signature_name] = request.inputs
    assert set(found) == {name for name, signature in about["signatures"].items() if "example" in signature}
    loaded = tf.saved_model.load(str(folder))
    for name, inputs in found.items():
        given = {n: tf.constant(tf.make_ndarray(tensor)) for n, tensor in inputs.items()}
        expected = about["signatures"][name]["example"]["outputs"]
        for output, value in loaded.signatures[name](**given).items():
            assert np.array(expected[output]).shape == value.shape


def test_the_vocabularies_are_beside_the_graph():
    folder, _ = described("language-modeling")
    vocabulary = json.loads((folder / "assets.extra" / "assets" / "tokenizer" / "vocabulary.json").read_text())
    assert vocabulary == SUBJECTS["language-modeling"].run.assets.tokenizer.vocabulary
