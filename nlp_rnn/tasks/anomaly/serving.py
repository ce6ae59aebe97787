"""The signatures of the SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.anomaly.judging import reasons, scored
from nlp_rnn.tasks.anomaly.predictions import END_OF_SESSION, REASONS
from nlp_rnn.tasks.anomaly.settings import Config
from nlp_rnn.tasks.base import Signatures

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.models import EventModel


def signatures(config: Config, model: EventModel, assets: Assets) -> Signatures:
    """`serving_default` takes sessions as texts, `tokens` their ids, `step` goes on from a state, event by event."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature, never_of_padding
    from nlp_rnn.text.tokenizer import BEGIN

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="tokens")], autograph=False)
    def from_tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = never_of_padding(tokens)
        lengths = tf.reduce_sum(tf.cast(tokens != 0, tf.int32), 1)
        found = _in_windows(model, tokens, config.data.window)
        return scored(found["nats"], found["rank"], lengths, assets.judge)

    state = [[[0.0] * model.state_size] * model.state_parts]
    ids = assets.tokenizer.encode([" ".join(assets.tokenizer.vocabulary[:3])]).to_tensor().numpy().tolist()
    about = (
        "Sessions → their score, how often normal ones score as high, how many events they have, how many of them were "
        "not seen in training; the mean surprise of their events in nats, and the surprise of each, padded with 0; and "
        "why: the places of the events that surprised most, from 1, 0 for none, the events, and which were likelier."
    )
    of_ids = "Ids, padded with 0 → score, how often normal sessions score as high, and surprises."
    step = {"last": [BEGIN], "token": [ids[0][0]], "state": state}
    return {
        "serving_default": Signature(_from_text(config, model, assets), about, {"events": [example(assets)]}),
        "tokens": Signature(from_tokens, of_ids, {"tokens": ids}),
        "step": Signature(
            _step(config, model), "An event after another and a state → its surprise, and the next state.", step
        ),
    }


def _from_text(config: Config, model: EventModel, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.text.ragged import append, by_length
    from nlp_rnn.text.templates import templates_in_graph
    from nlp_rnn.text.tokenizer import END, UNKNOWN

    judge, names = assets.judge, [END_OF_SESSION, *assets.tokenizer.vocabulary]
    likely = min(model.expected, len(assets.tokenizer.vocabulary) + 1)  # the end of a session too
    results = {
        "nats": tf.TensorSpec([], tf.float32),
        "rank": tf.TensorSpec([], tf.int32),
        "expected": tf.TensorSpec([likely], tf.int32),
    }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="events")], autograph=False)
    def from_text(events: tf.Tensor) -> dict[str, tf.Tensor]:
        if judge["lines"]:
            parts = tf.strings.split(events, "\n")
            words = parts.with_flat_values(templates_in_graph(parts.flat_values))
            events = tf.strings.reduce_join(words, axis=-1, separator=" ")
        ids, words = assets.tokenizer.encode_with_words(events)
        is_event = tf.cast(words != "", tf.int32)
        counts = {
            "events": tf.reduce_sum(is_event, 1),
            "unknown": tf.reduce_sum(is_event * tf.cast(ids == UNKNOWN, tf.int32), 1),
        }
        if judge["ends"]:
            ids, words = append(ids, END), append(words, END_OF_SESSION)
        flat = by_length(
            ids.row_splits,
            {"tokens": ids.values},
            lambda some: _in_windows(model, some["tokens"], config.data.window),
            results,
            of_steps=True,
        )
        found = {name: ids.with_values(value).to_tensor() for name, value in flat.items()}
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        why = reasons(found, lengths, words.to_tensor(), names, REASONS)
        return {**counts, **scored(found["nats"], found["rank"], lengths, judge), **why}

    return from_text


def _in_windows(model: EventModel, tokens: tf.Tensor, window: int) -> dict[str, tf.Tensor]:
    """What the model infers of rows, each window of them read by itself, as in training: `[rows, time, …]`."""
    import tensorflow as tf

    from nlp_rnn.text.tokenizer import BEGIN

    rows, steps = tf.shape(tokens)[0], tf.shape(tokens)[1]
    before = tf.concat([tf.fill([rows, 1], BEGIN), tokens[:, :-1]], 1)
    size = tf.minimum(window, tf.maximum(steps, 1))
    missing = (size - steps % size) % size

    def apart(ids: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.pad(ids, [[0, 0], [0, missing]]), [-1, size])

    found = model.infer({"tokens": apart(before), "targets": apart(tokens)})
    return {
        name: tf.reshape(value, [rows, steps + missing, *value.shape[2:]])[:, :steps] for name, value in found.items()
    }


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
