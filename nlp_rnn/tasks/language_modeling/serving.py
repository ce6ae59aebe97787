"""The signatures of the SavedModel: scoring, writing, and one step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.language_modeling.settings import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` and `score` take strings and give their log-probabilities; `generate` goes on from prompts;
    `step` goes on from a state."""
    score = _score(config.newline, model, assets)
    generate = _generate(config.newline, model, assets)
    return {"serving_default": score, "score": score, "generate": generate, "step": _step(config, model)}


def _score(newline: bool, model: keras.Model, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.text.ragged import append
    from nlp_rnn.text.tokenizer import END

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def score(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = assets.tokenizer.encode_graph(text + "\n" if newline else text)
        targets = (ids if newline else append(ids, END)).to_tensor()
        tokens = tf.concat([tf.fill([tf.shape(targets)[0], 1], END), targets[:, :-1]], 1)
        real = tf.cast(targets != 0, tf.float32)
        nats = model.infer({"tokens": tokens, "targets": targets})["nats"] * real
        count, total = tf.reduce_sum(real, 1), tf.reduce_sum(nats, 1)
        return {
            "text": tf.identity(text),
            "log_probability": -total,
            "perplexity": tf.exp(total / count),
            "units": tf.cast(count, tf.int32),
        }

    return score


def _step(config: Config, model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    state_shape = [None, model.state_parts, config.stack.units]
    inputs = [tf.TensorSpec([None, None], tf.int32, "tokens"), tf.TensorSpec(state_shape, tf.float32, "state")]

    @tf.function(input_signature=inputs, autograph=False)
    def step(tokens: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, after = model.advance(tokens, model.grouped(tf.unstack(state, axis=1)))
        return {"logits": logits, "state": tf.stack([tf.cast(s, tf.float32) for s in tf.nest.flatten(after)], 1)}

    return step


def _generate(newline: bool, model: keras.Model, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.decoding.sampling import Generator, Sampling
    from nlp_rnn.decoding.streaming import joined, never_written, prompt_tokens

    kinds = {"length": tf.int32, "temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32}
    kinds |= {"repetition_penalty": tf.float32, "seed": tf.int32}
    texts = [tf.TensorSpec([None], tf.string, name) for name in ("prompt", "stop")]
    generator = Generator(model, never_written(newline))

    @tf.function(
        input_signature=texts + [tf.TensorSpec([], kind, name) for name, kind in kinds.items()], autograph=False
    )
    def generate(prompt: tf.Tensor, stop: tf.Tensor, *settings: tf.Tensor) -> dict[str, tf.Tensor]:
        length, *sampling_settings, seed = settings
        sampling = Sampling(*sampling_settings)
        reached = generator.read(prompt_tokens(assets.tokenizer, newline, prompt))
        tokens, _ = generator.write(reached, sampling, seed, tf.constant(0), length)
        return {"prompt": tf.identity(prompt), "text": joined(assets.tokenizer, tf.transpose(tokens), prompt, stop)}

    return generate
