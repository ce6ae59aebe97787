"""What comes after a chain of tags in a Keras model: a layer that decodes it, and metrics for `compile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.base import SequenceLayer, Shape, Tensor
from nlp_rnn.layers.crf import marginals, viterbi
from nlp_rnn.text.schemes import boundaries


@keras.saving.register_keras_serializable("nlp_rnn")
class CRFDecoder(SequenceLayer):
    """Chain scores → the best tags and the probability of each, so that a model, and what it exports, gives tags.

    The best path is that of Viterbi; a tag's probability is its marginal, by the forward–backward algorithm.

    Call arguments:
        scores: chain scores `[batch, time, tags, tags]`, as `CRF` gives them.
        mask: boolean `[batch, time]`, True for tokens.

    Returns:
        `{"tags", "confidence"}`: int32 and float32 `[batch, time]`; -1 and 0 where the mask is False.

    Example:

    >>> from nlp_rnn.layers import CRF, CRFLoss
    >>> tokens = keras.Input((None,), dtype="int32")
    >>> mask = tokens != 0
    >>> scores = CRF(5)(keras.layers.Embedding(100, 5)(tokens), mask=mask)
    >>> trained = keras.Model(tokens, scores)
    >>> trained.compile("adam", loss=CRFLoss(), metrics=[TokenAccuracy()])
    >>> served = keras.Model(tokens, CRFDecoder()(scores, mask=mask))
    >>> served.predict(np.array([[7, 8, 9], [7, 0, 0]]), verbose=0)["tags"].shape
    (2, 3)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.use_native = True

    def call(self, scores: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        tags = viterbi(scores)
        of_tags = tf.reduce_sum(marginals(scores, self.use_native), 2)
        confidence = tf.minimum(tf.cast(tf.gather(of_tags, tags, batch_dims=2), tf.float32), 1.0)
        if mask is not None:
            mask = tf.cast(mask, tf.bool)
            tags, confidence = tf.where(mask, tags, -1), tf.where(mask, confidence, 0.0)
        return {"tags": tags, "confidence": confidence}

    def compute_output_spec(self, scores: Tensor, mask: Tensor | None = None) -> dict[str, keras.KerasTensor]:
        shape = scores.shape[:2]
        return {"tags": keras.KerasTensor(shape, "int32"), "confidence": keras.KerasTensor(shape, "float32")}

    def compute_output_shape(self, scores_shape: Shape, mask_shape: Shape | None = None) -> dict[str, Shape]:
        return {"tags": scores_shape[:2], "confidence": scores_shape[:2]}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        return config


def _best_tags(scores: Tensor) -> Tensor:
    """The best tags `[batch, time]` by chain scores `[batch, time, tags, tags]`, or by scores `[batch, time, tags]`."""
    return viterbi(scores) if scores.shape.rank == 4 else tf.argmax(scores, -1, tf.int32)


class _TagMetric(keras.metrics.Metric):
    """Counts over the tokens that have a tag. A sequence of weight 0, which only fills a batch, does not count."""

    COUNTS: tuple[str, ...]

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.counts = [self.add_variable((), "zeros", "float32", name=count) for count in self.COUNTS]

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            y_true: integer tags `[batch, time]`, -1 where there is no token.
            y_pred: chain scores `[batch, time, tags, tags]`, or scores `[batch, time, tags]`.
            sample_weight: `[batch]` or `[batch, 1]`; other than 0 for sequences that count.
        """
        tags, scores = tf.cast(y_true, tf.int32), tf.convert_to_tensor(y_pred)
        if sample_weight is not None:
            counts = tf.reshape(tf.cast(sample_weight, tf.float32), [-1, 1]) != 0
            tags = tf.where(counts, tags, -1)
        for variable, count in zip(self.counts, self.count(tags, _best_tags(scores)), strict=True):
            variable.assign_add(tf.cast(count, tf.float32))

    def count(self, tags: Tensor, found: Tensor) -> Sequence[Tensor]:
        """What to add to `COUNTS`."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("nlp_rnn")
class TokenAccuracy(_TagMetric):
    """The part of the tokens whose best tag is right.

    Example:

    >>> metric = TokenAccuracy()
    >>> metric.update_state([[0, 1, -1]], tf.one_hot([[0, 0, 1]], 2))
    >>> float(metric.result())
    0.5
    """

    COUNTS = ("right", "tokens")

    def __init__(self, name: str = "token_accuracy", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)

    def count(self, tags: Tensor, found: Tensor) -> Sequence[Tensor]:
        return tf.math.count_nonzero((tags == found) & (tags >= 0)), tf.math.count_nonzero(tags >= 0)

    def result(self) -> Tensor:
        right, tokens = self.counts
        return tf.math.divide_no_nan(right.value, tokens.value)


@keras.saving.register_keras_serializable("nlp_rnn")
class SpanF1(_TagMetric):
    """F1 of entities that agree exactly in start, end and label, over all sequences, as `conlleval` counts them.

        F1 = 2 · right / (found + wanted)

    Args:
        tags: the name of each tag, such as `["O", "B-PER", "I-PER"]`, in IOB1, IOB2, IOBES or BILOU.

    Example:

    >>> metric = SpanF1(["O", "B-PER", "I-PER"])
    >>> metric.update_state([[1, 2, 0, 1]], tf.one_hot([[1, 2, 0, 0]], 3))
    >>> round(float(metric.result()), 3)
    0.667
    """

    COUNTS = ("right", "found", "wanted")

    def __init__(self, tags: Sequence[str], name: str = "span_f1", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.tags = list(tags)
        self._begins, self._ends = boundaries(self.tags)

    def count(self, tags: Tensor, found: Tensor) -> Sequence[Tensor]:
        none = len(self.tags)
        found = tf.where(tags >= 0, found, none)
        tags = tf.where(tags >= 0, tags, none)
        begins, ends = self._limits(tags)
        begins_too, ends_too = self._limits(found)
        right = begins & begins_too & (ends == ends_too) & self._same_label(tags, found)
        return [tf.math.count_nonzero(flags) for flags in (right, begins_too, begins)]

    def result(self) -> Tensor:
        right, found, wanted = self.counts
        return tf.math.divide_no_nan(2.0 * right.value, found.value + wanted.value)

    def _limits(self, tags: Tensor) -> tuple[Tensor, Tensor]:
        """Where entities begin, boolean `[batch, time]`, and for each place the next one at which an entity ends."""
        none = tf.fill([tf.shape(tags)[0], 1], len(self.tags))
        around = tf.concat([none, tags, none], 1)
        pairs = tf.stack([around[:, :-1], around[:, 1:]], -1)
        begins = tf.gather_nd(tf.constant(self._begins), pairs)[:, :-1]
        ends = tf.gather_nd(tf.constant(self._ends), pairs)[:, 1:]
        time = tf.shape(tags)[1]
        places = tf.sort(tf.where(ends, tf.range(time), time), axis=1)
        before = tf.cumsum(tf.cast(ends, tf.int32), axis=1, exclusive=True)
        return begins, tf.gather(places, tf.minimum(before, time - 1), batch_dims=1)

    def _same_label(self, tags: Tensor, found: Tensor) -> Tensor:
        names = [tag.partition("-")[2] for tag in self.tags] + [""]
        labels = tf.constant([names.index(name) for name in names])
        return tf.gather(labels, tags) == tf.gather(labels, found)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tags": self.tags}
