"""The signatures of the SavedModel: beam search inside the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.translation.data import tokenizers
from nlp_rnn.tasks.translation.model import options, search
from nlp_rnn.tasks.translation.settings import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` takes strings and gives translations and scores; `n_best` gives all that the beam found, with
    the tokens `[batch, places]`, `[batch, width, time]` and where each looked, `[batch, width, time, places]`."""
    import tensorflow as tf

    from nlp_rnn.decoding.detokenizing import detokenize_graph
    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.text.ragged import truncate
    from nlp_rnn.text.tokenizer import is_blank

    settings, both = search(options(config)), tokenizers(assets)
    pieces = {name: tf.constant(tokenizer.pieces()) for name, tokenizer in both.items()}

    def features(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"source": truncate(both["source"].encode_graph(text), config.data.longest).to_tensor()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="source")], autograph=False)
    def translate(text: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model.infer(features(text), **settings)
        translation = detokenize_graph(both, text, found["tokens"], found.get("aligned_source"))
        translation = tf.where(is_blank(text), "", translation)
        return {"source": tf.identity(text), "translation": translation, "score": found["score"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="source")], autograph=False)
    def n_best(text: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model.candidates(features(text), **settings)
        shape = tf.shape(found["tokens"])
        names = ("tokens", "aligned_source")
        every = {name: tf.reshape(found[name], [-1, shape[2]]) for name in names if name in found}
        repeated = tf.repeat(text, shape[1])
        texts = detokenize_graph(both, repeated, every["tokens"], every.get("aligned_source"))
        return {
            "source": tf.identity(text),
            "translations": tf.where(is_blank(text)[:, None], "", tf.reshape(texts, shape[:2])),
            "scores": found["score"],
            "source_tokens": tf.gather(pieces["source"], found["source"]),
            "target_tokens": tf.gather(pieces["target"], found["tokens"]),
            "attention": found["attention"],
        }

    about = "All translations that the search found, the best first, with the tokens and where each looked."
    return {
        "serving_default": Signature(translate, "Texts → translations, and the score of each."),
        "n_best": Signature(n_best, about, {"source": ["one"]}),
    }
