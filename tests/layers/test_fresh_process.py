"""What is saved serves in a process that has imported nothing before, with compiled kernels and without.

One such process answers all that is asked here: it begins without nlp_rnn and without a compiler.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import CRF, GRU, LSTM, CharacterEmbedding, RecurrentStack, TokenEmbedding
from nlp_rnn.layers.native import library
from nlp_rnn.models import ClassifierHead, SequenceClassifier, Tagger, TaggingHead, WordEmbedding

pytestmark = pytest.mark.slow  # a process that begins thrice, and exports
has_native = library().operations is not None
generator = np.random.default_rng(0)
SEQUENCE = generator.normal(size=(3, 6, 3)).astype("float32")
TOKENS = np.array([[5, 6, 7], [8, 0, 0]], np.int32)
CHARACTERS = generator.integers(1, 10, (2, 3, 4)) * (TOKENS != 0)[..., None]
INPUTS = {
    "layers": SEQUENCE,
    "crf": TOKENS,
    "classifier": {"tokens": TOKENS},
    "tagger_crf": {"tokens": TOKENS, "characters": CHARACTERS, "case": (TOKENS != 0) * 2},
    "tagger_softmax": {"tokens": TOKENS, "characters": CHARACTERS, "case": (TOKENS != 0) * 2},
}
OF_LAYERS = ("layers", "crf")  # models of Keras's own classes but for their layers
CHILD = """
import json, os, sys
import numpy as np
import tensorflow as tf
folder, of_layers = sys.argv[1], sys.argv[2].split(",")
given = np.load(folder + "/inputs.npy", allow_pickle=True).item()
found = {"exported": {}, "models": {}, "reasons": {}}
for how in ("export", "saved_model"):
    serve = tf.saved_model.load(f"{folder}/{how}").signatures["serving_default"]
    [name] = serve.structured_input_signature[1]
    [outputs] = serve(**{name: tf.constant(given["layers"])}).values()
    found["exported"][how] = outputs.numpy().tolist()
assert "nlp_rnn" not in sys.modules

def under(environment):
    for name in environment.keys() & os.environ.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if value is not None})

def outputs(names):
    return {name: outputs_of(keras.saving.load_model(f"{folder}/{name}.keras"), name) for name in names}

def outputs_of(model, name):
    kernels = {kernel_of(layer)[0] for layer in model._flatten_layers() if hasattr(layer, "recurrent_weights")}
    infer = getattr(model, "infer", None)
    found = infer(given[name])["confidence" if "tagger" in name else "logits"] if infer else model(given[name])
    return {"kernels": sorted(kernels), "outputs": found.numpy().tolist()}

before = {name: os.environ.get(name) for name in ("PATH", "CXX", "NLP_RNN_NATIVE", "NLP_RNN_CACHE")}
under({"PATH": "/nowhere", "CXX": "", "NLP_RNN_CACHE": folder + "/cache"})
import keras
from nlp_rnn.layers import LSTM, kernel_of, native
layer = LSTM(3)
layer(np.ones((1, 2, 2), "float32"))
found["reasons"]["no compiler"] = kernel_of(layer)
without = outputs(of_layers)
assert "nlp_rnn.models" not in sys.modules
import nlp_rnn.models
without |= outputs(given.keys() - without)
for name, environment in [("it fails", {"CXX": "/bin/false"}), ("turned off", {"NLP_RNN_NATIVE": "0"})]:
    under(environment)
    native.library.cache_clear()
    found["reasons"][name] = kernel_of(layer)
    assert layer(np.ones((1, 2, 2), "float32")).shape == (1, 3)
under(before)
native.library.cache_clear()
found["models"] = {"loop": without, "native": outputs(given)}
json.dump(found, open(folder + "/found.json", "w"))
"""


def models():
    """Small ones, none of whose weights are 0."""
    tokens = keras.Input((None,), dtype="int32")
    scores = keras.layers.Dense(5)(keras.layers.Embedding(10, 4)(tokens))
    sequential = [keras.Input((None, 3)), keras.layers.Bidirectional(LSTM(4, return_sequences=True)), GRU(5)]
    stack = RecurrentStack("gru", 3, layers=2)
    made = {
        "layers": keras.Sequential(sequential),
        "crf": keras.Model(tokens, CRF(5)(scores, mask=tokens != 0)),
        "classifier": SequenceClassifier(TokenEmbedding(20, 4), stack, ClassifierHead(2)),
    }
    for kind in ("crf", "softmax"):
        embedding = WordEmbedding(TokenEmbedding(10, 4), CharacterEmbedding(10, 4, 6), cases=3)
        made[f"tagger_{kind}"] = Tagger(embedding, RecurrentStack("lstm", 5), TaggingHead(5, kind))
    for name in made.keys() - set(OF_LAYERS):
        made[name].build()
    for model in made.values():
        for variable in model.trainable_variables:
            variable.assign(generator.normal(0, 0.5, variable.shape))
    return made


def outputs_of(model, name):
    if isinstance(model, Tagger):
        return model.infer(INPUTS[name])["confidence"].numpy()
    return model(INPUTS[name]).numpy()


@pytest.fixture(scope="module")
def here():
    """The models of this process."""
    return models()


@pytest.fixture(scope="module")
def there(here, tmp_path_factory):
    """What the fresh process found."""
    folder = tmp_path_factory.mktemp("saved")
    for name, model in here.items():
        model.save(folder / f"{name}.keras")
    np.save(folder / "inputs.npy", INPUTS, allow_pickle=True)
    model = here["layers"]
    model.export(str(folder / "export"), verbose=False)
    serve = tf.function(model, input_signature=[tf.TensorSpec([None, None, 3])], autograph=False)
    serve(SEQUENCE)
    tf.saved_model.save(model, str(folder / "saved_model"), signatures=serve)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", CHILD, str(folder), ",".join(OF_LAYERS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("how", ["export", "saved_model"])
def test_what_keras_and_tensorflow_export_loads_where_there_is_no_nlp_rnn(here, there, how):
    np.testing.assert_allclose(there["exported"][how], outputs_of(here["layers"], "layers"), atol=1e-6)


@pytest.mark.skipif(not has_native, reason="no compiled kernels")
def test_outside_of_exports_it_stays_as_fast(here, there):
    model = tf.function(here["layers"], autograph=False)
    graph = model.get_concrete_function(tf.TensorSpec([None, None, 3])).graph
    assert any(node.op.startswith("NlpRnn") for node in graph.as_graph_def().node)


@pytest.mark.parametrize("kernel", ["loop", "native"])
@pytest.mark.parametrize("name", INPUTS)
def test_models_are_exchanged_between_kernels_and_processes(here, there, name, kernel):
    """Those of Keras's own classes load after nlp_rnn.layers alone was imported."""
    found = there["models"][kernel][name]
    uses = [kernel if has_native else "loop"] if name != "crf" else []
    assert found["kernels"] == uses
    expected = outputs_of(here[name], name)
    if name.startswith("tagger"):
        real = TOKENS != 0
        np.testing.assert_allclose(np.array(found["outputs"])[real], expected[real], atol=1e-6)
    else:
        np.testing.assert_allclose(found["outputs"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("no compiler", "there is no C++ compiler"),
        ("it fails", "compiling or loading them failed"),
        ("turned off", "NLP_RNN_NATIVE is 0"),
    ],
)
def test_without_compiled_kernels_the_loop_serves_and_says_why(there, cause, reason):
    kernel, why = there["reasons"][cause]
    assert kernel == "loop"
    assert reason in why
