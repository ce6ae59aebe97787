"""The signatures of the SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.ner.data import word_features
from nlp_rnn.tasks.ner.settings import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` takes strings, `tokens` takes ids."""
    return {"serving_default": _from_text(config, model, assets), "tokens": _from_tokens(model, assets)}


def _from_text(config: Config, model: keras.Model, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.text.schemes import tag_names
    from nlp_rnn.text.sentences import row_starts
    from nlp_rnn.text.tokenizer import UNKNOWN

    names, featurize = tf.constant(tag_names(assets.labels)), word_features(config, assets)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def from_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = assets.tokenizer.words(text)
        # One more row of one unknown word: there may be no word at all.
        begins = tf.concat([row_starts(words, config.data.max_tokens), [True]], 0)
        splits = tf.concat([tf.where(begins)[:, 0], [tf.size(begins, tf.int64)]], 0)
        tokens, characters, case = featurize(tf.concat([words.words.values, [""]], 0))
        characters = characters.with_values(tf.maximum(characters.values, UNKNOWN))

        def rows(values: tf.Tensor) -> tf.Tensor:
            return tf.RaggedTensor.from_row_splits(values, splits, validate=False).to_tensor()

        features = {"tokens": rows(tokens), "characters": rows(characters), "case": rows(case)}
        outputs = model.infer(features)
        is_word = features["tokens"] != 0

        def by_text(values: tf.Tensor) -> tf.Tensor:
            return words.words.with_values(tf.boolean_mask(values, is_word)[:-1]).to_tensor()

        return {
            "text": tf.identity(text),
            "tokens": words.words.to_tensor(),
            "starts": words.starts.to_tensor(),
            "ends": words.ends.to_tensor(),
            "tags": by_text(tf.gather(names, outputs["tags"])),
            "confidences": by_text(outputs["confidence"]),
        }

    return from_text


def _from_tokens(model: keras.Model, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.text.schemes import tag_names

    names = tf.constant(tag_names(assets.labels))
    inputs = [
        tf.TensorSpec([None, None], tf.int32, "tokens"),
        tf.TensorSpec([None, None, None], tf.int32, "characters"),
        tf.TensorSpec([None, None], tf.int32, "case"),
    ]

    @tf.function(input_signature=inputs, autograph=False)
    def from_tokens(tokens: tf.Tensor, characters: tf.Tensor, case: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model.infer({"tokens": tokens, "characters": characters, "case": case})
        is_word = tokens != 0
        return {
            "tags": tf.where(is_word, tf.gather(names, outputs["tags"]), ""),
            "confidences": tf.where(is_word, outputs["confidence"], 0.0),
        }

    return from_tokens
