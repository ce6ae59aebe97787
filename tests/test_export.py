"""What exports say of themselves, and which are refused; that they give what runs do is in the contract of tasks."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.errors import ExportDiffers, InputError
from nlp_rnn.export import savedmodel
from nlp_rnn.export.signatures import Signature, as_signature
from nlp_rnn.layers import native
from nlp_rnn.serving.endpoints import Endpoint
from tests.conftest import EXPORTED, all_tasks, slow
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


@pytest.mark.parametrize(
    ("task", "weights"),
    [("sentiment", "int8"), *(slow(task, w) for task in SUBJECTS for w in ("bfloat16", "int8"))],
)
def test_smaller_weights_give_nearly_the_same(task, weights, tmp_path, monkeypatch):
    """As if these small models were large."""
    monkeypatch.setattr("nlp_rnn.layers.packing._FEWEST", 64)
    monkeypatch.setattr("nlp_rnn.layers.packing._NARROWEST", 4)
    subject = SUBJECTS[task]
    small = subject.run.export(tmp_path / "small", weights=weights)
    about = json.loads((small / "assets.extra" / "signature.json").read_text())
    assert about["weights"] == weights
    kept = tf.train.load_checkpoint(str(small / "variables" / "variables"))
    shapes = kept.get_variable_to_shape_map()
    large = {
        n: t for n, t in kept.get_variable_to_dtype_map().items() if len(shapes[n]) > 1 and np.prod(shapes[n]) > 64
    }
    assert getattr(tf, weights) in large.values()
    example = about["signatures"]["serving_default"]["example"]
    loaded = tf.saved_model.load(str(small)).signatures["serving_default"]
    _, specs = loaded.structured_input_signature
    found = loaded(**{n: tf.constant(v, specs[n].dtype) for n, v in example["inputs"].items()})
    _, whole = described(task)
    for name, expected in whole["signatures"]["serving_default"]["example"]["outputs"].items():
        value, expected = found[name].numpy(), np.array(expected)
        if expected.dtype.kind == "f" and value.shape == expected.shape:
            size = max(np.nanmax(np.abs(expected), initial=0), 1)
            np.testing.assert_allclose(value, expected, atol=0.1 * size, err_msg=name)


@pytest.mark.parametrize("task", all_tasks("sentiment"))
def test_compiled_kernels_give_the_same(task, tmp_path):
    subject = SUBJECTS[task]
    assert not native.unavailable(), "tests need a compiler"
    exported = subject.run.export(tmp_path / "native", kernels="native")
    served = Endpoint.of_export("native", exported)
    assert served.about["libraries"][-1] == "nlp_rnn.layers.native.operations"
    graph = (exported / "saved_model.pb").read_bytes()
    assert b"NlpRnnRecurrentForward" in graph
    assert b"NlpRnnRecurrentForward" not in (subject.exported / "saved_model.pb").read_bytes()
    plain = Endpoint.of_export("plain", subject.exported)
    example = plain.signatures["serving_default"]["example"]["inputs"]
    for name, value in served.answer(example).items():
        expected = plain.answer(example)[name]
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)
        else:
            assert value.tolist() == expected.tolist()


def test_compiled_kernels_that_cannot_be_had_are_refused(tmp_path, monkeypatch, command):
    subject = SUBJECTS["sentiment"]
    for arguments, message in [
        (("--to", "onnx"), "--kernels native is for SavedModels; onnx has kernels of its own."),
        ((), "--kernels native cannot be had here: there is no C++ compiler."),
    ]:
        monkeypatch.setattr(native, "unavailable", lambda: "there is no C++ compiler")
        code, _, error = command("export", subject.path, "--out", tmp_path / "x", "--kernels", "native", *arguments)
        assert (code, message in error) == (2, True), error
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / "elsewhere" / "assets.extra"
    folder.mkdir(parents=True)
    about = {"libraries": ["tensorflow", "nlp_rnn.layers.native.operations"], "signatures": {}, "format": 1}
    (folder / "signature.json").write_text(json.dumps(about))
    (folder.parent / "saved_model.pb").touch()
    monkeypatch.setattr(native, "library", lambda: native.Library(None, "there is no C++ compiler"))
    monkeypatch.delitem(sys.modules, "nlp_rnn.layers.native.operations", raising=False)
    with pytest.raises(InputError, match=r"needs nlp_rnn\.layers\.native\.operations: there is no C\+\+ compiler\."):
        Endpoint.of_export("x", folder.parent)


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
