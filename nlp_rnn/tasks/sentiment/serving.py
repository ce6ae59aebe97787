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

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.text.ragged import truncate

    labels = tf.constant(list(assets.labels))

    def classify(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = keras.ops.softmax(model({"tokens": tokens}, training=False))
        best = tf.argmax(probabilities, -1)
        return {
            "label": tf.gather(labels, best),
            "probability": tf.reduce_max(probabilities, -1),
            "probabilities": probabilities,
            "labels": tf.tile(labels[None], [tf.shape(tokens)[0], 1]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def from_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = truncate(assets.tokenizer.encode_graph(text), config.data.longest, config.data.kept_part)
        return {"text": tf.identity(text), **classify(ids.to_tensor())}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="tokens")], autograph=False)
    def from_tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(tokens)

    return {
        "serving_default": Signature(from_text, "Texts → labels with probabilities."),
        "tokens": Signature(from_tokens, "The same from ids, padded with 0.", {"tokens": [[4, 5, 6]]}),
    }
