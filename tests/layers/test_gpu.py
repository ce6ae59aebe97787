"""What only a GPU can show: cuDNN serves, and gives what the loop gives."""

from __future__ import annotations

import json
import os
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import GRU, LSTM, RecurrentStack, kernel_of
from tests.training.test_resume import interrupt, start

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="no GPU is visible"),
]
MASK = np.arange(7) < np.array([7, 1, 4])[:, None]
CELLS = {"lstm": LSTM, "gru": GRU}


@pytest.fixture
def policy():
    """Sets the dtype policy of a test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def layers_of(stack):
    return [*stack.forward_layers, *stack.backward_layers]


def results(stack, sequence, mask, state, seed):
    """Outputs, states and gradients of a traced training step, and the operations in its graph."""
    for layer in layers_of(stack):
        if layer.weight_drop:
            layer.weight_drop_seed.state.assign(seed)
    weights = [variable.value for variable in stack.trainable_variables]

    @tf.function(autograph=False)
    def step(sequence, state):
        with tf.GradientTape() as tape:
            tape.watch(sequence)
            outputs, after = stack(sequence, mask=mask, initial_state=state, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
            loss += sum(tf.reduce_sum(tf.cast(one, tf.float32) ** 3) for one in tf.nest.flatten(after))
        return outputs, after, tape.gradient(loss, [sequence, *weights])

    graph = step.get_concrete_function(sequence, state).graph.as_graph_def()
    operations = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    return tf.nest.flatten(step(sequence, state)), operations


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weight_drop", [0.0, 0.5])
def test_cudnn_gives_what_the_loop_gives(cell, bidirectional, masked, weight_drop):
    stack = RecurrentStack(cell, 9, layers=2, bidirectional=bidirectional, weight_drop=weight_drop)
    stack.build((None, None, 5))
    generator = np.random.default_rng(0)
    for variable in stack.trainable_variables:
        variable.assign(generator.normal(0, 0.5, variable.shape))
    sequence = tf.constant(generator.normal(size=(3, 7, 5)), tf.float32)
    parts = (2 if cell == "lstm" else 1) * (2 if bidirectional else 1)
    state = [[tf.constant(generator.normal(size=(3, 9)), tf.float32) for _ in range(parts)] for _ in range(2)]
    mask = tf.constant(MASK) if masked else None
    seeds = np.array([3, 5], "uint32")
    fast, operations = results(stack, sequence, mask, state, seeds)
    assert "CudnnRNNV3" in operations
    for layer in layers_of(stack):
        layer.use_cudnn = False
        assert kernel_of(layer)[0] == "loop"
    slow, operations = results(stack, sequence, mask, state, seeds)
    assert "CudnnRNNV3" not in operations
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_cudnn_and_carries_states(policy, cell, precision):
    policy(precision)
    stack = RecurrentStack(cell, 16, layers=2, bidirectional=False)
    sequence = tf.constant(np.random.default_rng(0).normal(size=(3, 7, 5)), tf.float32)
    half, state = stack(sequence[:, :3])
    rest, _ = stack(sequence[:, 3:], initial_state=state)
    stack.build((None, None, 5))
    _, operations = results(stack, sequence, None, None, 0)
    assert "CudnnRNNV3" in operations
    whole, _ = stack(sequence)
    tolerance = 4e-3 if precision == "mixed_float16" else 4e-2
    np.testing.assert_allclose(
        tf.cast(tf.concat([half, rest], 1), tf.float32), tf.cast(whole, tf.float32), atol=tolerance
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_plain_layers_run_on_cudnn_under_fit_with_masks(cell):
    inputs = keras.Input((None,), dtype="int32")
    vectors = keras.layers.Embedding(20, 6, mask_zero=True)(inputs)
    hidden = keras.layers.Bidirectional(CELLS[cell](8, return_sequences=True))(vectors)
    model = keras.Model(inputs, keras.layers.Dense(1)(CELLS[cell](8)(hidden)))
    model.compile(keras.optimizers.Adam(0.03), "mse")
    ids = np.where(MASK, 3, 0)
    history = model.fit(ids, np.array([1.0, 2.0, 3.0]), epochs=60, verbose=0)
    assert history.history["loss"][-1] < 0.2 * history.history["loss"][0]


TEXT = "\n".join(["the cat sat on the mat", "the dog sat on the cat", "a mat is not a dog"] * 150)
SETTINGS = {
    "--tokenizer.kind": "character",
    "--tokenizer.normalization": "none",
    "--stack.units": 24,
    "--stack.weight_drop": 0.2,
    "--train.epochs": 3,
    "--train.batch_size": 4,
    "--train.bptt": 16,
    "--train.checkpoint_seconds": 0,
}
SERVE = """
import sys, tensorflow as tf
assert not tf.config.list_physical_devices("GPU")
served = tf.saved_model.load(sys.argv[1])
print(float(served.signatures["score"](tf.constant(["the cat sat on the mat"]))["log_probability"][0]))
"""


def nlp_rnn(*arguments):
    """A process of the command."""
    return start([sys.executable, "-m", "nlp_rnn", *map(str, arguments)])


def finish(process):
    """Waits for a process: → what it wrote to standard output and standard error."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return output, errors


@pytest.mark.parametrize("first", ["gpu", "cpu"])
def test_a_run_begun_on_one_device_ends_and_serves_on_the_other(first, tmp_path, monkeypatch, python):
    visible = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "0"), "cpu": "-1"}
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT)
    settings = [part for pair in SETTINGS.items() for part in pair]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible[first])
    process = nlp_rnn("train", "language-modeling", "--data", text, "--out", out, *settings)
    interrupt(process, out, signal.SIGKILL, after=20)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible["cpu" if first == "gpu" else "gpu"])
    assert "Resuming in epoch" in finish(nlp_rnn("train", "language-modeling", "--resume", out))[1]
    measured = []
    for device in visible.values():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", device)
        measured.append(json.loads(finish(nlp_rnn("evaluate", out, "--data", text, "--json"))[0])["perplexity"])
    assert measured[0] == pytest.approx(measured[1], rel=1e-2)  # TensorFloat-32 on the GPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible["gpu"])
    finish(nlp_rnn("export", out, "--out", tmp_path / "served"))
    assert float(python(SERVE, tmp_path / "served")) < 0
