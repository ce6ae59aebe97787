"""ONNX and LiteRT: they give what the model gives, where neither TensorFlow nor this package is."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.errors import ExportDiffers, InputError
from nlp_rnn.export import onnx as onnx_export
from nlp_rnn.export.signatures import Signature
from tests.conftest import all_tasks, slow
from tests.subjects import SUBJECTS

onnxruntime = pytest.importorskip("onnxruntime", reason="it needs the extra `onnx`")
onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module", params=all_tasks("sentiment"))
def exported(request, tmp_path_factory):
    """→ a subject, and its export to ONNX."""
    subject = SUBJECTS[request.param]
    return subject, subject.run.export(tmp_path_factory.mktemp("onnx") / "model", "onnx")


def test_recurrent_layers_are_operators(exported):
    subject, folder = exported
    described = json.loads((folder / "assets.extra" / "signature.json").read_text())
    names = {path.stem for path in folder.glob("*.onnx")}
    assert names == set(described["signatures"])
    found = [node.op_type for name in names for node in onnx.load(folder / f"{name}.onnx").graph.node]
    cell = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "RNN"}[subject.run.config.stack.cell]
    assert cell in found
    assert "Scan" not in found
    loops = {"ner": 3}.get(subject.run.task.name, 0)  # Viterbi there and back, and the marginals
    assert found.count("Loop") == loops


def test_it_gives_what_the_saved_model_gives_for_rows_of_any_length(exported):
    subject, folder = exported
    loaded = tf.saved_model.load(str(subject.exported))
    for path in folder.glob("*.onnx"):
        session = onnxruntime.InferenceSession(path)
        function = loaded.signatures[path.stem]
        about = json.loads((folder / "assets.extra" / "signature.json").read_text())["signatures"][path.stem]
        whole = {n: np.array(v) for n, v in about["example"]["inputs"].items()}
        _, specs = function.structured_input_signature
        for length in (1, 2, 5, 60):
            given = {}
            for name, value in whole.items():
                if value.ndim > 1 and specs[name].shape[1] is None:
                    value = np.resize(np.where(value == 0, 4, value), (value.shape[0], length, *value.shape[2:]))
                given[name] = value.astype(specs[name].dtype.as_numpy_dtype)
            if "tokens" in given and given["tokens"].ndim == 2 and path.stem == "tokens":
                for value in given.values():  # rows of several lengths
                    value[1:, (length + 1) // 2 :] = 0
            found = onnx_export.run_session(session, given)
            for name, expected in function(**{n: tf.constant(v) for n, v in given.items()}).items():
                name = f"next_{name}" if name in given else name
                if name in found:
                    np.testing.assert_allclose(found[name], expected.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)


def test_the_script_beside_it_needs_no_tensorflow(exported):
    subject, folder = exported
    if subject.task == "speech":
        pytest.skip("it reads a file; tests/tasks/test_speech.py gives it one")
    texts = [
        text if isinstance(text, str) else json.dumps(text["values"] if isinstance(text, dict) else text)
        for text in subject.inputs
    ]
    text = next(text for text in texts if 5 < len(text) < 200 and text.isascii())
    code = f"import runpy, sys; sys.argv = ['example.py', {text!r}]; sys.path.insert(0, {str(folder)!r})\n"
    code += f"runpy.run_path({str(folder / 'example.py')!r})\n"
    code += "assert not {'tensorflow', 'keras', 'nlp_rnn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[0])
    if subject.run.task.name == "sentiment":
        assert answer["label"] == subject.run(text).label
        assert answer["probability"] == pytest.approx(subject.run(text).probability, abs=1e-3)
    if subject.run.task.name == "ner":
        assert [word for word, tag in answer if tag != "O"] == [
            w for e in subject.run(text).entities for w in e.text.split()
        ]
    if subject.run.task.name == "anomaly":
        assert answer["score"] == pytest.approx(subject.run(text).score, rel=1e-3)
    if subject.run.task.name == "forecasting":
        expected = subject.run({"values": json.loads(text)})
        assert answer["median"][0] == pytest.approx(expected.median["y"][0], rel=1e-3, abs=1e-3)
    if subject.run.task.name == "translation":
        assert answer["translation"] == subject.run(text, width=1).translation


@pytest.mark.slow  # two conversions
def test_weights_of_8_bits_are_smaller_and_nearly_as_good(tmp_path):
    subject = SUBJECTS["sentiment"]
    whole, small = (subject.run.export(tmp_path / w, "onnx", w) / "tokens.onnx" for w in ("float32", "int8"))
    kinds = [{weight.data_type for weight in onnx.load(path).graph.initializer} for path in (whole, small)]
    assert [onnx.TensorProto.INT8 in kind for kind in kinds] == [False, True]
    ids = np.random.default_rng(0).integers(4, subject.run.assets.tokenizer.size, (50, 12)).astype(np.int32)
    found = [onnxruntime.InferenceSession(path).run(["probabilities"], {"tokens": ids})[0] for path in (whole, small)]
    assert np.abs(found[0] - found[1]).max() < 0.05


@pytest.mark.slow  # a conversion
@pytest.mark.parametrize(
    ("task", "weights"),
    [
        ("sentiment", "float32"),
        slow("sentiment", "int8"),
        slow("ner", "float32"),
        slow("ner", "int8"),
        slow("language-modeling", "float32"),
        slow("language-modeling", "int8"),
    ],
)
def test_litert(task, weights, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="it needs the extra `litert`")
    subject = SUBJECTS[task]
    folder = subject.run.export(tmp_path / "model", "litert", weights)
    model = interpreter.Interpreter(model_path=str(folder / "model.tflite"))
    described = json.loads((folder / "assets.extra" / "signature.json").read_text())["signatures"]
    assert set(model.get_signature_list()) == set(described)
    for name, about in described.items():
        runner = model.get_signature_runner(name)
        given = {n: np.array(v, about["inputs"][n]["dtype"]) for n, v in about["example"]["inputs"].items()}
        for output, value in runner(**given).items():
            expected = np.array(about["example"]["outputs"][output])
            if weights == "float32":
                np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)
            else:
                assert value.shape == expected.shape
                assert output != "probabilities" or np.abs(value - expected).max() < 0.05


@pytest.mark.slow  # loads a translator
def test_what_cannot_be_written_is_said_before_it_is_tried(tmp_path, command):
    run = SUBJECTS["translation"]
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(InputError, match="LiteRT cannot have step, which looks at a memory of any length"):
        run.run.export(tmp_path / "x", "litert")
    for arguments, message in [
        (("--to", "onnx", "--weights", "bfloat16"), '--to onnx has no weights of "bfloat16"; choose float32 or int8.'),
        (("--to", "litert"), "use --to onnx"),
    ]:
        code, _, error = command("export", run.path, "--out", tmp_path / "x", *arguments)
        assert (code, message in error) == (2, True), error
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_differs_is_not_written(tmp_path, monkeypatch):
    subject = SUBJECTS["sentiment"]
    session = onnx_export.run_session
    monkeypatch.setattr(onnx_export, "run_session", lambda *a: {n: v + 0.01 for n, v in session(*a).items()})
    with pytest.raises(ExportDiffers, match=r"tokens\.onnx gives other prob.* than the model; it was not written"):
        subject.run.export(tmp_path / "model", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(InputError, match=r'pip install "nlp-rnn\[onnx\]"'):
        SUBJECTS["sentiment"].run.export(tmp_path / "model", "onnx")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match=r'pip install "nlp-rnn\[litert\]"'):
        SUBJECTS["sentiment"].run.export(tmp_path / "model", "litert")


@pytest.mark.slow  # eight conversions
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn", "layernorm_lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_cell(cell, bidirectional, tmp_path):
    from nlp_rnn.layers import RecurrentStack, TokenEmbedding
    from nlp_rnn.models.classifier import ClassifierHead, SequenceClassifier

    tf.keras.utils.set_random_seed(3)
    activation = {"activation": "relu"} if cell == "simple_rnn" else {}
    stack = RecurrentStack(cell, 7, layers=2, bidirectional=bidirectional, residual=True, **activation)
    model = SequenceClassifier(TokenEmbedding(30, 14 if bidirectional else 7), stack, ClassifierHead(3, "last+max"))
    ids = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]], np.int32)
    model({"tokens": ids})
    for weight in model.weights:
        if "bias" in weight.path:
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))

    def signatures(model):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "tokens")], autograph=False)
        def tokens(tokens):
            return {"logits": model({"tokens": tokens})}

        return {"tokens": Signature(tokens, "", {"tokens": ids.tolist()})}

    from nlp_rnn.assets import Assets

    about = {"labels": [], "task": "x", "input": "text", "settings": {}}
    folder = onnx_export.export_onnx(tmp_path / "model", model, Assets({}), signatures, about)
    (found,) = onnxruntime.InferenceSession(folder / "tokens.onnx").run(["logits"], {"tokens": ids})
    np.testing.assert_allclose(found, model({"tokens": ids}), rtol=1e-4, atol=1e-5)


TEXTS = [
    "Ada met O'Neill's 3.50 dog in the U.N., didn't she? (Yes.)",
    "Ｈｉ ﬁne é é ÇA İstanbul ΣΊΣΥΦΟΣ naïve — “quoted” … 🐈👩‍👩‍👧",
    "漢字かな交じり文 ภาษาไทย 한국어 עברית العربية हिन्दी",
    "tabs\tand\nlines\r\n\x00 nul  two  blanks ",
    "e-mail well-known X-1 a.b.c 10:30 1,000,000 B2B @user #tag http://x.y/z?q=1",
    "",
    " ",
]


@pytest.mark.parametrize("kind", ["unicode", "fine", "treebank", "whitespace", "character", "byte", "subword"])
@pytest.mark.parametrize(("lowercase", "form"), [slow(False, "none"), (True, "nfkc")])
def test_ids_in_plain_python_are_those_of_the_graph(kind, lowercase, form, tmp_path):
    from nlp_rnn.export.tokens import Tokens
    from nlp_rnn.text.normalization import Normalizer
    from nlp_rnn.text.tokenizers import ByteTokenizer, CharacterTokenizer, SubwordTokenizer, WordTokenizer

    normalizer = Normalizer(form, lowercase)
    if kind == "subword":
        tokenizer = SubwordTokenizer.train(TEXTS * 20, 400, normalizer)
    elif kind == "character":
        tokenizer = CharacterTokenizer.train(TEXTS[:3], 60, normalizer)
    elif kind == "byte":
        tokenizer = ByteTokenizer(normalizer)
    else:
        tokenizer = WordTokenizer.train(TEXTS * 2, 60, normalizer, split=kind)
    tokenizer.save(tmp_path)
    plain, expected = Tokens(tmp_path), tokenizer.encode(TEXTS).to_list()
    assert [plain.encode(text) for text in TEXTS] == expected
    for ids in expected:
        known = [number for number in ids if number > 3]
        assert plain.decode(known).lstrip(" ") == tokenizer.decode([known])[0].lstrip(" ")


def test_cases_in_plain_python_are_those_of_the_graph():
    import ast
    from importlib.resources import files

    import regex

    from nlp_rnn.text.sentences import case_ids

    tree = ast.parse((files("nlp_rnn.tasks.ner") / "plain.py").read_text())
    wanted = [one for one in tree.body if isinstance(one, (ast.Assign, ast.FunctionDef))]
    names = {"CASES", "case_of"}
    body = [one for one in wanted if {getattr(one, "name", ""), *map(ast.unparse, getattr(one, "targets", ()))} & names]
    scope = {"regex": regex}
    exec(compile(ast.Module(body, []), "plain.py", "exec"), scope)
    words = ["rain", "Ada", "UN", "iPhone", "1,200", "B2", "-", "é", "ÇA", "漢字", "U.N.", "x1", "McCoy", "'s", "ǅ"]
    assert [scope["case_of"](word) for word in words] == case_ids(tf.constant(words)).numpy().tolist()
