"""The signatures of the SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.sentiment.settings import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` takes strings, `tokens` takes ids."""
    import keras
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature, never_of_padding
    from nlp_rnn.text.ragged import by_length, truncate

    labels = tf.constant(list(assets.labels))

    def probabilities_of(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"probabilities": keras.ops.softmax(model(features, training=False))}

    def named(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "label": tf.gather(labels, tf.argmax(probabilities, -1)),
            "probability": tf.reduce_max(probabilities, -1),
            "probabilities": probabilities,
            "labels": tf.tile(labels[None], [tf.shape(probabilities)[0], 1]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def from_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = truncate(assets.tokenizer.encode_graph(text), config.data.longest, config.data.kept_part)
        results = {"probabilities": tf.TensorSpec([len(assets.labels)], tf.float32)}
        found = by_length(ids.row_splits, {"tokens": ids.values}, probabilities_of, results, of_steps=False)
        return {"text": tf.identity(text), **named(found["probabilities"])}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="tokens")], autograph=False)
    def from_tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        return named(probabilities_of({"tokens": never_of_padding(tokens)})["probabilities"])

    ids = assets.tokenizer.encode(["A joyless slog.", "Warm and funny, it never lets go."])[:, : config.data.longest]
    return {
        "serving_default": Signature(from_text, "Texts → labels with probabilities."),
        "tokens": Signature(
            from_tokens, "The same from ids, padded with 0.", {"tokens": ids.to_tensor().numpy().tolist()}
        ),
    }
