"""Linear-chain conditional random fields (Lafferty, McCallum and Pereira 2001), for any Keras model.

A sequence of T steps with K tags has a score for every step from tag i to tag j, and a path y the sum of its steps':

    s(y) = Σ_t S_t[y_{t-1}, y_t]        p(y) = exp(s(y)) / Z        Z = Σ_y exp(s(y))

The layer `CRF` makes such *chain scores* `[batch, time, tags, tags]` from emissions, transitions and mask. They say all
there is to know about the distribution, so that loss, best path and marginals are functions of them alone:

    log Z      α_t[j] = log Σ_i exp(α_{t-1}[i] + S_t[i, j])        log Z = log Σ_j exp(α_T[j])      (forward algorithm)
    best path  the same with max for log Σ exp                                                      (Viterbi)
    marginals  p(y_{t-1} = i, y_t = j) = exp(α_{t-1}[i] + S_t[i, j] + β_t[j] - log Z)               (forward–backward)

Everything is float32 (float64 where it is given) whatever the dtype policy. On a CPU the two algorithms run as one
compiled operation where there is a compiler (`nlp_rnn.layers.native`), elsewhere as a loop of TensorFlow's operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import record

from nlp_rnn.layers import native
from nlp_rnn.layers.base import Nest, SequenceLayer, Shape, Tensor

BLOCKED = -1e4
"""Score of a step that cannot be: its probability is 0 in float32, and sums of it stay finite."""


@keras.saving.register_keras_serializable("nlp_rnn")
class CRF(SequenceLayer):
    """Emissions → scores of a linear chain, with learned transitions, start and end.

        S_1[·, j] = start[j] + e_1[j]        S_t[i, j] = A[i, j] + e_t[j]        + end[j] in the last step

    Train it with `CRFLoss`, and get from its output the best path with `viterbi` and probabilities with `marginals`. No
    custom training step is needed, and the model can be saved and loaded like any other.

    Args:
        tags: K, the number of tags.
        allowed: booleans `[tags, tags]`, whether tag j may follow tag i; others get probability 0.
        allowed_start: booleans `[tags]`, whether a sequence may begin with a tag.
        allowed_end: booleans `[tags]`, whether it may end with it.
        initializer: of transitions, start and end.

    Call arguments:
        emissions: e, `[batch, time, tags]`.
        mask: boolean `[batch, time]`, True for tokens; padding is on the right.

    Returns:
        Chain scores `[batch, time, tags, tags]`, `[b, t, i, j]` for the step from tag i before t to tag j at t. In the
        first step only i = 0 is open. A padded step keeps the tag, at score 0.

    Example:

    >>> from nlp_rnn.layers import LSTM  # or that of Keras
    >>> tokens = keras.Input((None,), dtype="int32")
    >>> mask = tokens != 0
    >>> vectors = keras.layers.Embedding(100, 16)(tokens)
    >>> states = keras.layers.Bidirectional(LSTM(8, return_sequences=True))(vectors, mask=mask)
    >>> scores = CRF(5)(keras.layers.Dense(5)(states), mask=mask)
    >>> model = keras.Model(tokens, scores)
    >>> model.compile("adam", loss=CRFLoss())
    >>> import numpy as np
    >>> ids, tags = np.array([[7, 8, 9], [7, 9, 0]]), np.array([[0, 1, 2], [0, 2, -1]])  # -1 where there is no token
    >>> history = model.fit(ids, tags, epochs=2, verbose=0)
    >>> viterbi(model.predict(ids, verbose=0)).shape
    TensorShape([2, 3])
    """

    OPTIONS = ("tags", "allowed", "allowed_start", "allowed_end")

    def __init__(
        self,
        tags: int,
        allowed: Sequence[Sequence[bool]] | None = None,
        allowed_start: Sequence[bool] | None = None,
        allowed_end: Sequence[bool] | None = None,
        initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # emissions stay as exact as they come
        self.use_native = True
        self.tags = tags
        self.initializer = keras.initializers.get(initializer)
        self.allowed = _as_lists(allowed, (tags, tags), "allowed")
        self.allowed_start = _as_lists(allowed_start, (tags,), "allowed_start")
        self.allowed_end = _as_lists(allowed_end, (tags,), "allowed_end")

    def build(self, emissions_shape: Shape) -> None:
        if emissions_shape[-1] != self.tags:
            raise ValueError(f"The emissions have {emissions_shape[-1]} scores a token; the CRF has {self.tags} tags.")
        options: dict[str, Any] = {"initializer": self.initializer, "dtype": "float32", "autocast": False}
        self.transitions = self.add_weight(name="transitions", shape=(self.tags, self.tags), **options)
        self.start = self.add_weight(name="start", shape=(self.tags,), **options)
        self.end = self.add_weight(name="end", shape=(self.tags,), **options)
        if native_serves():
            self.supports_jit = False  # Keras then leaves XLA aside, which does not know the compiled operation
        self.built = True

    def call(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        emissions = tf.convert_to_tensor(emissions)
        dtype = _precise(emissions.dtype)
        emissions = tf.cast(emissions, dtype)
        batch, time = tf.shape(emissions)[0], tf.shape(emissions)[1]
        start, inner, end = (
            _blocked(tf.cast(tf.convert_to_tensor(weight), dtype), allowed)
            for weight, allowed in (
                (self.start, self.allowed_start),
                (self.transitions, self.allowed),
                (self.end, self.allowed_end),
            )
        )
        mask = tf.ones((batch, time), tf.bool) if mask is None else tf.cast(tf.convert_to_tensor(mask), tf.bool)
        is_last = mask & ~tf.concat([mask[:, 1:], tf.zeros((batch, 1), tf.bool)], 1)
        emissions = emissions + tf.where(is_last[..., None], end, tf.zeros((), dtype))
        # In the first step only row 0 is open; a padded step keeps the tag.
        elsewhere = tf.fill((self.tags - 1, self.tags), tf.constant(BLOCKED, dtype))
        first = tf.concat([start[None], elsewhere], 0)
        steps = tf.concat([first[None], tf.tile(inner[None], [time - 1, 1, 1])], 0)
        stay = tf.eye(self.tags, dtype=tf.bool)
        stay = tf.concat([(stay & (tf.range(self.tags) == 0))[None], tf.tile(stay[None], [time - 1, 1, 1])], 0)
        keep = tf.where(stay, tf.zeros((), dtype), tf.constant(BLOCKED, dtype))
        return tf.where(mask[:, :, None, None], steps + emissions[:, :, None, :], keep)

    def compute_output_shape(self, emissions_shape: Shape, mask_shape: Shape | None = None) -> tuple[int | None, ...]:
        return (*emissions_shape[:2], self.tags, self.tags)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        initializer = keras.initializers.serialize(self.initializer)
        return {**config, "initializer": initializer}


@keras.saving.register_keras_serializable("nlp_rnn")
class CRFLoss(keras.losses.Loss):
    """Negative log-likelihood of tag sequences, -log p(y) in nats a sequence.

    `use_native = False` keeps the compiled operation out, as XLA needs it.

    Call arguments:
        y_true: integer tags `[batch, time]`, -1 where there is no token.
        y_pred: chain scores `[batch, time, tags, tags]`, as `CRF` gives them.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "crf_loss", **kwargs: Any) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.use_native = True

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return log_partition(y_pred, self.use_native) - path_score(y_pred, y_true)


@keras.saving.register_keras_serializable("nlp_rnn")
class TokenCrossEntropy(keras.losses.Loss):
    """The same where the tags of a sequence are independent: cross-entropy summed over its tokens, in nats.

    Call arguments:
        y_true: integer tags `[batch, time]`, -1 where there is no token.
        y_pred: logits `[batch, time, tags]`.
    """

    def __init__(
        self, reduction: str = "sum_over_batch_size", name: str = "token_cross_entropy", **kwargs: Any
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        tags = tf.cast(y_true, tf.int32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(tags, 0), y_pred)
        return tf.reduce_sum(tf.where(tags >= 0, losses, 0.0), 1)


def path_score(scores: Tensor, tags: Tensor) -> Tensor:
    """The score s(y) of a path.

    Args:
        scores: chain scores `[batch, time, tags, tags]`.
        tags: integers `[batch, time]`, -1 where there is no token.

    Returns:
        `[batch]`.
    """
    scores, tags = tf.convert_to_tensor(scores), tf.cast(tags, tf.int32)
    count = tf.shape(scores)[-1]
    chosen = tf.maximum(tags, 0)
    before = tf.concat([tf.zeros_like(chosen[:, :1]), chosen[:, :-1]], 1)
    flat = tf.reshape(scores, (tf.shape(scores)[0], tf.shape(scores)[1], count * count))
    steps = tf.gather(flat, before * count + chosen, batch_dims=2)
    return tf.reduce_sum(tf.where(tags >= 0, steps, tf.zeros((), steps.dtype)), 1)


def native_serves() -> bool:
    """Whether the compiled operation may be used: there is one, no GPU, and the graph may hold it."""
    return not tf.config.list_logical_devices("GPU") and not native.unavailable()


def log_partition(scores: Tensor, use_native: bool = True) -> Tensor:
    """Log Z `[batch]` of chain scores `[batch, time, tags, tags]`, by the forward algorithm.

    Its gradient, the marginals, comes from the backward algorithm, which runs together with it.
    """
    scores = _precisely(scores)
    if use_native and native_serves():
        return tf.ensure_shape(native.library().operations.nlp_rnn_chain(scores).total, scores.shape[:1])
    return _log_partition(tf.transpose(scores, (1, 0, 2, 3)))


@tf.RegisterGradient("NlpRnnChain")
def _native_gradient(op: tf.Operation, upstream: Tensor, _: Any) -> Tensor:
    if record.could_possibly_record():  # the gradient may itself be differentiated
        return _differentiable_gradient(op.inputs[0], upstream)
    return op.outputs[1] * upstream[:, None, None, None]


def marginals(scores: Tensor, use_native: bool = True) -> Tensor:
    """Probabilities p(y_{t-1} = i, y_t = j) of the steps of a chain.

    Args:
        scores: chain scores `[batch, time, tags, tags]`.
        use_native: False keeps the compiled operation out.

    Returns:
        `[batch, time, tags, tags]`; summed over i they are the probabilities of the tags at t.

    Example:

    >>> round(float(tf.reduce_sum(marginals(CRF(3)(tf.zeros((1, 4, 3))))[0, 2])), 4)
    1.0
    """
    scores = _precisely(scores)
    if use_native and native_serves() and not record.could_possibly_record():
        return tf.ensure_shape(native.library().operations.nlp_rnn_chain(scores).pairs, scores.shape)
    steps = tf.transpose(scores, (1, 0, 2, 3))
    return tf.transpose(_pairs(steps, *_forward_backward(steps)), (1, 0, 2, 3))


def chain_divergence(found: Tensor, taught: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(q ‖ p) · T² `[batch]` of the distributions of sequences that chain scores stand for.

        KL(q ‖ p) = Σ_t Σ_ij q(y_{t-1} = i, y_t = j) (s^q_tij - s^p_tij) + log Z_p - log Z_q

    Args:
        found: s^p, `[batch, time, tags, tags]`.
        taught: s^q of a teacher, of the same shape; no gradient goes there.
        temperature: T, that both are divided by.

    Example:

    >>> scores = CRF(3)(tf.random.stateless_normal((1, 4, 3), seed=(0, 1)))
    >>> abs(round(float(chain_divergence(scores, scores)[0]), 4))
    0.0
    """
    p, q = _precisely(found) / temperature, _precisely(taught) / temperature
    if native_serves():
        total, pairs = native.library().operations.nlp_rnn_chain(q)
    else:
        steps = tf.transpose(q, (1, 0, 2, 3))
        alphas, betas, total = _forward_backward(steps)
        pairs = tf.transpose(_pairs(steps, alphas, betas, total), (1, 0, 2, 3))
    q, total, pairs = (tf.stop_gradient(part) for part in (q, total, pairs))
    return temperature**2 * (tf.reduce_sum(pairs * (q - p), (1, 2, 3)) + log_partition(p) - total)


def viterbi(scores: Tensor) -> Tensor:
    """The best path of a chain: int32 tags `[batch, time]` from chain scores `[batch, time, tags, tags]`.

    Padded steps repeat the last tag.
    """
    scores = tf.convert_to_tensor(scores)
    steps = tf.transpose(scores, (1, 0, 2, 3))
    time, batch, tags = tf.shape(steps)[0], tf.shape(steps)[1], steps.shape[-1]

    def forward(t: Tensor, best: Tensor, pointers: Tensor) -> Tensor:
        candidates = best[:, :, None] + tf.gather(steps, t)
        pointers = pointers.write(t, tf.argmax(candidates, 1, tf.int32))
        return t + 1, tf.reduce_max(candidates, 1), pointers

    def backward(done: Tensor, tag: Tensor, path: Tensor) -> Tensor:
        came = tf.gather(came_from, time - 1 - done)
        return done + 1, tf.gather(came, tag, batch_dims=1), path.write(done, tag)

    pointers = tf.TensorArray(tf.int32, time, element_shape=(steps.shape[1], tags))
    begin = (tf.constant(0), tf.zeros((batch, tags), steps.dtype), pointers)
    _, best, pointers = tf.while_loop(lambda t, *_: t < time, forward, begin, maximum_iterations=time)
    came_from = pointers.stack()
    path = tf.TensorArray(tf.int32, time, element_shape=(steps.shape[1],))
    begin = (tf.constant(0), tf.argmax(best, 1, tf.int32), path)
    path = tf.while_loop(lambda done, *_: done < time, backward, begin, maximum_iterations=time)[2]
    # Written in the order of the loop, which is how ONNX collects the results of one, and then reversed.
    return tf.reverse(tf.transpose(path.stack()), [1])


@tf.custom_gradient
def _log_partition(steps: Tensor) -> tuple[Tensor, Nest]:
    """Chain scores, time first, → log Z `[batch]`."""
    alphas, betas, total = _forward_backward(steps)

    def gradient(upstream: Tensor) -> Tensor:
        if record.could_possibly_record():  # the gradient may itself be differentiated
            scores = tf.transpose(steps, (1, 0, 2, 3))
            return tf.transpose(_differentiable_gradient(scores, upstream), (1, 0, 2, 3))
        return _pairs(steps, alphas, betas, total) * upstream[:, None, None]

    return total, gradient


def _differentiable_gradient(scores: Tensor, upstream: Tensor) -> Tensor:
    """The gradient of log Z in operations that have gradients themselves."""
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = _log_sum_exp(_sweep(tf.transpose(scores, (1, 0, 2, 3)))[-1], 1)
    return tape.gradient(value, scores, upstream)


def _pairs(steps: Tensor, alphas: Tensor, betas: Tensor, total: Tensor) -> Tensor:
    before = tf.concat([tf.zeros_like(alphas[:1]), alphas[:-1]], 0)
    return tf.exp(before[..., None] + steps + (betas - total[:, None])[:, :, None, :])


def _forward_backward(steps: Tensor) -> tuple[Tensor, Tensor, Nest]:
    """α and β `[time, batch, tags]` and log Z `[batch]`, both directions in one loop.

    The backward algorithm is the forward one over the transposed steps from the last to the first.
    """
    batch = tf.shape(steps)[1]
    there_and_back = tf.concat([steps, tf.reverse(tf.transpose(steps, (0, 1, 3, 2)), (0,))], 1)
    sums = _sweep(there_and_back)
    alphas, back = sums[:, :batch], sums[:-1, batch:]
    betas = tf.concat([tf.reverse(back, (0,)), tf.zeros_like(alphas[:1])], 0)
    return alphas, betas, _log_sum_exp(alphas[-1], 1)


def _sweep(steps: Tensor) -> Tensor:
    """The forward algorithm: α `[time, batch, tags]` from steps `[time, batch, tags, tags]`."""
    time, batch, tags = tf.shape(steps)[0], tf.shape(steps)[1], steps.shape[-1]

    def step(t: Tensor, alpha: Tensor, alphas: Tensor) -> Tensor:
        alpha = _log_sum_exp(alpha[:, :, None] + tf.gather(steps, t), 1)
        return t + 1, alpha, alphas.write(t, alpha)

    alphas = tf.TensorArray(steps.dtype, time, element_shape=(steps.shape[1], tags))
    begin = (tf.constant(0), tf.zeros((batch, tags), steps.dtype), alphas)
    return tf.while_loop(lambda t, *_: t < time, step, begin, maximum_iterations=time)[2].stack()


def _log_sum_exp(x: Tensor, axis: int) -> Tensor:
    """As `tf.reduce_logsumexp`, which also cares for infinities and costs twice as many operations."""
    largest = tf.stop_gradient(tf.reduce_max(x, axis, keepdims=True))
    return tf.math.log(tf.reduce_sum(tf.exp(x - largest), axis)) + tf.squeeze(largest, axis)


def _precise(dtype: tf.DType) -> tf.DType:
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32


def _precisely(scores: Tensor) -> Tensor:
    scores = tf.convert_to_tensor(scores)
    return tf.cast(scores, _precise(scores.dtype))


def _blocked(weights: Tensor, allowed: object) -> Tensor:
    return weights if allowed is None else tf.where(tf.constant(allowed), weights, tf.constant(BLOCKED, weights.dtype))


def _as_lists(values: object, shape: tuple[int, ...], name: str) -> Any:
    """Plain lists, which can be saved."""
    if values is None:
        return None
    found = keras.ops.convert_to_numpy(values).astype(bool)
    if found.shape != shape:
        raise ValueError(f"{name} has the shape {found.shape}; it must be {shape}.")
    return found.tolist()
