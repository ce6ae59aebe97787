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

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.layers.base import Nest


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` takes strings and gives translations and scores; `n_best` gives all that the beam found, with
    the tokens `[batch, places]`, `[batch, width, time]` and where each looked, `[batch, width, time, places]`. `encode`
    and `step` take ids, for searches elsewhere."""
    import tensorflow as tf

    from nlp_rnn.decoding.detokenizing import detokenize_graph
    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.text.ragged import truncate
    from nlp_rnn.text.tokenizer import PAD, is_blank

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
            "attention": tf.where(found["tokens"][..., None] != PAD, found["attention"], 0.0),
        }

    # The search of a batch ends with that of its last row: until then, the others find more.
    about = "All translations that the search found, the best first, with the tokens and where each looked."
    return {
        "serving_default": Signature(translate, "Texts → translations, and the score of each."),
        "n_best": Signature(n_best, about, {"source": ["one"]}, independent=False),
        **_step_by_step(model, features(tf.constant(["A dog runs.", "A man sits on a bench."]))),
    }


def _step_by_step(model: keras.Model, sources: dict[str, tf.Tensor]) -> dict[str, Signature]:
    """`encode`: ids of sources → what `step` needs of them; `step`: ids and a state → logits, and the next state."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.text.tokenizer import BEGIN

    source = tf.TensorSpec([None, None], tf.int32, "source")
    has_fed = model.decoder.input_feeding

    def packed(state: Nest) -> dict[str, tf.Tensor]:
        parts = {"state": tf.stack(tf.nest.flatten(state["layers"]), 1)}
        return {**parts, **({"fed": state["fed"]} if has_fed else {})}

    @tf.function(input_signature=[source], autograph=False)
    def encode(source: tf.Tensor) -> dict[str, tf.Tensor]:
        memory = model.encode(source)
        keys = {"keys": memory["keys"]} if "keys" in memory else {}
        return {"memory": memory["memory"], **keys, **packed(model.initial_state(memory))}

    example = {name: ids.numpy().tolist() for name, ids in sources.items()}
    given = encode(sources["source"])
    shapes = {"memory": (None, None), "keys": (None, None), "state": (None,), "fed": (None,)}
    specs = [tf.TensorSpec((*shapes[n], *v.shape[len(shapes[n]) :]), tf.float32, n) for n, v in given.items()]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "tokens"), source, *specs], autograph=False)
    def step(tokens: tf.Tensor, source: tf.Tensor, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        named = dict(zip(given, values, strict=True))
        memory = {"memory": named["memory"], "mask": source != 0, "keys": named.get("keys")}
        flat = tf.unstack(named["state"], axis=1)
        size = len(flat) // model.decoder.layers
        state = {"layers": [flat[i : i + size] for i in range(0, len(flat), size)]}
        if has_fed:
            state["fed"] = named["fed"]
        logits, attention, after = model.step(tokens, state, memory)
        return {"logits": logits, "attention": attention, **packed(after)}

    about = (
        f"The last token of each translation, {BEGIN} at first, and a state → logits of the next, and the next state."
    )
    values = {name: value.numpy().tolist() for name, value in given.items()}
    return {
        "encode": Signature(encode, "Ids of sources, padded with 0 → what `step` needs of them.", example),
        "step": Signature(step, about, {"tokens": [BEGIN, BEGIN], **example, **values}),
    }
