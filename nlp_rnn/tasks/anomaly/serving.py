"""The signatures of the SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly.settings import Config
from nlp_rnn.tasks.base import Signatures

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.models import EventModel


def signatures(config: Config, model: EventModel, assets: Assets) -> Signatures:
    """`serving_default` takes sessions as texts, `tokens` their ids, `step` goes on from a state, event by event."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature, never_of_padding
    from nlp_rnn.text.ragged import append, by_length
    from nlp_rnn.text.templates import templates_in_graph
    from nlp_rnn.text.tokenizer import BEGIN, END

    lines = assets.judge["lines"]

    def surprises_of(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens = features["tokens"]
        before = tf.concat([tf.fill([tf.shape(tokens)[0], 1], BEGIN), tokens[:, :-1]], 1)
        return {"surprises": _in_windows(model, before, tokens, config.data.window)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="events")], autograph=False)
    def from_text(events: tf.Tensor) -> dict[str, tf.Tensor]:
        if lines:
            parts = tf.strings.split(events, "\n")
            words = parts.with_flat_values(templates_in_graph(parts.flat_values))
            events = tf.strings.reduce_join(words, axis=-1, separator=" ")
        ids = assets.tokenizer.encode_graph(events)
        ids = append(ids, END) if assets.judge["ends"] else ids
        results = {"surprises": tf.TensorSpec([], tf.float32)}
        found = by_length(ids.row_splits, {"tokens": ids.values}, surprises_of, results, of_steps=True)["surprises"]
        return scored(ids.with_values(found).to_tensor(), tf.cast(ids.row_lengths(), tf.int32))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="tokens")], autograph=False)
    def from_tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = never_of_padding(tokens)
        lengths = tf.reduce_sum(tf.cast(tokens != 0, tf.int32), 1)
        return scored(surprises_of({"tokens": tokens})["surprises"], lengths)

    state = [[[0.0] * model.state_size] * model.state_parts]
    ids = assets.tokenizer.encode([" ".join(assets.tokenizer.vocabulary[:3])]).to_tensor().numpy().tolist()
    about = "Sessions → the mean surprise of their events in nats, and the surprise of each, padded with 0."
    step = {"last": [BEGIN], "token": [ids[0][0]], "state": state}
    return {
        "serving_default": Signature(from_text, about, {"events": [example(assets)]}),
        "tokens": Signature(from_tokens, "The same from ids, padded with 0.", {"tokens": ids}),
        "step": Signature(
            _step(config, model), "An event after another and a state → its surprise, and the next state.", step
        ),
    }


def scored(surprises: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
    """The mean of the surprises of each row, and they themselves, 0 where padding is."""
    import tensorflow as tf

    surprises = tf.where(tf.sequence_mask(lengths, tf.shape(surprises)[1]), surprises, 0)
    count = tf.cast(tf.maximum(lengths, 1), tf.float32)
    return {"mean_surprise": tf.reduce_sum(surprises, 1) / count, "surprises": surprises}


def _in_windows(model: EventModel, before: tf.Tensor, tokens: tf.Tensor, window: int) -> tf.Tensor:
    """The surprises of rows, each window of them read by itself, as in training: `[rows, time]`."""
    import tensorflow as tf

    rows, steps = tf.shape(tokens)[0], tf.shape(tokens)[1]
    size = tf.minimum(window, tf.maximum(steps, 1))
    missing = (size - steps % size) % size

    def apart(ids: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.pad(ids, [[0, 0], [0, missing]]), [-1, size])

    found = model.infer({"tokens": apart(before), "targets": apart(tokens)})["nats"]
    return tf.reshape(found, [rows, steps + missing])[:, :steps]


def _step(config: Config, model: EventModel) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    inputs = [
        tf.TensorSpec([None], tf.int32, "last"),
        tf.TensorSpec([None], tf.int32, "token"),
        tf.TensorSpec([None, model.state_parts, model.state_size], tf.float32, "state"),
    ]

    @tf.function(input_signature=inputs, autograph=False)
    def step(last: tf.Tensor, token: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = model.grouped(tf.unstack(state, axis=1))
        found, after = model.go_on(last, token[:, None], parts)
        after = [tf.cast(part, tf.float32) for part in tf.nest.flatten(after)]
        return {"surprise": found["nats"][:, 0], "state": tf.stack(after, 1)}

    return step


def example(assets: Assets) -> str:
    """A session of the commonest events."""
    from nlp_rnn.text.templates import BLANK

    words = [word.replace(BLANK, " ") for word in assets.tokenizer.vocabulary[:4]]
    return ("\n" if assets.judge["lines"] else " ").join(words)
