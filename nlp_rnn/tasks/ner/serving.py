"""The signatures of the SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.ner.data import word_features
from nlp_rnn.tasks.ner.settings import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` takes strings and gives a tag for each word, `spans` gives entities, `tokens` takes ids."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature

    from_text = _from_text(config, model, assets)
    example = {"text": ["Ada met Bob 🐈 in Rome."]}
    sentences = [["Ada", "met", "Bob", "in", "Rome", "."], ["It", "rained", "."]]
    found = [word_features(config, assets)(tf.constant(words)) for words in sentences]
    kinds = dict(zip(("tokens", "characters", "case"), zip(*found, strict=True), strict=True))
    ids = {name: tf.ragged.stack(rows).to_tensor().numpy().tolist() for name, rows in kinds.items()}
    return {
        "serving_default": Signature(from_text, "Texts → their words with places, IOBES tags and confidences."),
        "spans": Signature(_spans(from_text, assets), "Texts → the entities in them, padded with empty ones.", example),
        "tokens": Signature(
            _from_tokens(model, assets),
            "Ids of words, padded with 0 → IOBES tags: 0 is O, then come B, I, E and S of each label.",
            ids,
        ),
    }


def _spans(from_text: Any, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    """Entities from the tags of words: places in code points, and in units of UTF-16, as JavaScript and Java count."""
    import tensorflow as tf

    from nlp_rnn.text.schemes import boundaries, split_tag, tag_names

    names = tag_names(assets.labels)
    labels = tf.constant([split_tag(name)[1] for name in names])
    begins_at, ends_at = (tf.constant(table) for table in boundaries(names))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def spans(text: tf.Tensor) -> dict[str, tf.Tensor]:
        found = from_text(text)
        is_tag = found["tags"][..., None] == tf.constant(names)
        tags = tf.where(found["tags"] == "", len(names), tf.argmax(is_tag, -1, tf.int32))  # padding is no tag
        none = tf.fill([tf.shape(tags)[0], 1], len(names))
        around = tf.concat([none, tags, none], 1)
        pairs = tf.stack([around[:, :-1], around[:, 1:]], -1)
        begins, ends = tf.gather_nd(begins_at, pairs)[:, :-1], tf.gather_nd(ends_at, pairs)[:, 1:]
        firsts, lasts = tf.where(begins), tf.where(ends)  # as many, in the same order
        rows, counts = firsts[:, 0], tf.reduce_sum(tf.cast(begins, tf.int64), 1)
        start, end = tf.gather_nd(found["starts"], firsts), tf.gather_nd(found["ends"], lasts)
        whole = tf.gather(text, rows)
        length = tf.cast(end - start, tf.int32)
        columns = {
            "texts": tf.strings.substr(whole, tf.cast(start, tf.int32), length, unit="UTF8_CHAR"),
            "labels": tf.gather(labels, tf.gather_nd(tags, firsts)),
            "starts": start,
            "ends": end,
            "starts_utf16": start + _astral_before(whole, start),
            "ends_utf16": end + _astral_before(whole, end),
            "confidences": tf.gather_nd(found["confidences"], firsts),
        }
        padded = {
            n: tf.RaggedTensor.from_row_lengths(v, counts, validate=False).to_tensor() for n, v in columns.items()
        }
        return {"text": tf.identity(text), "count": tf.cast(counts, tf.int32), **padded}

    return spans


def _astral_before(texts: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """How many of the code points before a place in a text take two units of UTF-16."""
    import tensorflow as tf

    before = tf.strings.substr(texts, tf.zeros_like(places, tf.int32), tf.cast(places, tf.int32), unit="UTF8_CHAR")
    points = tf.strings.unicode_decode(before, "UTF-8")
    return tf.reduce_sum(tf.cast(points > 0xFFFF, tf.int64), 1)


def _from_text(config: Config, model: keras.Model, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.text.ragged import by_length
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
        spelt = characters.with_values(tf.maximum(characters.values, UNKNOWN)).to_tensor()
        results = {"tags": tf.TensorSpec([], tf.int32), "confidence": tf.TensorSpec([], tf.float32)}
        outputs = by_length(
            splits, {"tokens": tokens, "characters": spelt, "case": case}, model.infer, results, of_steps=True
        )

        def by_text(values: tf.Tensor) -> tf.Tensor:
            return words.words.with_values(values[:-1]).to_tensor()

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

    from nlp_rnn.export.signatures import never_of_padding
    from nlp_rnn.text.schemes import tag_names

    names = tf.constant(tag_names(assets.labels))
    inputs = [
        tf.TensorSpec([None, None], tf.int32, "tokens"),
        tf.TensorSpec([None, None, None], tf.int32, "characters"),
        tf.TensorSpec([None, None], tf.int32, "case"),
    ]

    @tf.function(input_signature=inputs, autograph=False)
    def from_tokens(tokens: tf.Tensor, characters: tf.Tensor, case: tf.Tensor) -> dict[str, tf.Tensor]:
        time, words = tf.shape(tokens)[1], never_of_padding(tokens)
        one_more = {"characters": tf.pad(characters, [[0, 0], [0, 1], [0, 1]]), "case": tf.pad(case, [[0, 0], [0, 1]])}
        outputs = {name: value[:, :time] for name, value in model.infer({"tokens": words, **one_more}).items()}
        is_word = tokens != 0
        return {
            "tags": tf.where(is_word, tf.gather(names, outputs["tags"]), ""),
            "ids": tf.where(is_word, outputs["tags"], -1),
            "confidences": tf.where(is_word, outputs["confidence"], 0.0),
        }

    return from_tokens
