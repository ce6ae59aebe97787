"""The signatures of the SavedModel: scoring, writing, and one step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.language_modeling.data import begin_of, refuse_backward
from nlp_rnn.tasks.language_modeling.further import infer, nats_of, options
from nlp_rnn.tasks.language_modeling.settings import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.layers.base import Nest


_LENGTHS, _MOST_AT_ONCE = (0, 100_000), 1000


def signatures(config: Config, model: keras.Model, assets: Assets) -> Signatures:
    """`serving_default` and `score` take strings and give their log-probabilities; `generate` goes on from prompts, and
    `complete` does with few settings; `begin` and `write` do the same a few tokens at a time; `step` goes on from a
    state, `encode` and `decode` know its ids."""
    from nlp_rnn.decoding.sampling import RANGES
    from nlp_rnn.export.signatures import Signature

    refuse_backward(config, "an export or a server")
    score = Signature(_score(config, model, assets), "Texts → their log-probability and perplexity.")
    generate = _generate(config.newline, model, assets)
    sampling = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 0, "length": 40}
    state = [[[0.0] * model.state_size] * model.state_parts]
    encode, decode = _encode(config.newline, assets), _decode(assets)
    prompts, ranges = {"prompt": ["The "]}, {**RANGES, "length": _LENGTHS}
    begin = begin_of(assets)
    tokens = [[begin, *assets.tokenizer.encode(["The end."]).to_list()[0]]]
    step = f"Ids and a state, zeros at first → logits of what follows, and the next state; texts begin with id {begin}."
    return {
        "serving_default": score,
        "score": Signature(score.function, score.about, {"text": ["The end."]}),
        "generate": Signature(generate, "Goes on from prompts.", {}, {**sampling, "stop": []}, ranges=ranges),
        "complete": Signature(
            *(_complete(generate), "Goes on from prompts, always the same way.", prompts, {"length": 40}),
            ranges={"length": _LENGTHS},
        ),
        **_streaming(config.newline, model, assets),
        "step": Signature(_step(config, model), step, {"tokens": tokens, "state": state}),
        "encode": Signature(encode, "Prompts → ids for `step`, as many as the lengths say.", prompts),
        "decode": Signature(decode, "Ids, padded with 0 → texts.", {"tokens": [[4, 5]]}),
    }


def _complete(generate: Any) -> tf.types.experimental.PolymorphicFunction:
    """The most probable token at each step."""
    import tensorflow as tf

    inputs = [tf.TensorSpec([None], tf.string, "prompt"), tf.TensorSpec([], tf.int32, "length")]

    @tf.function(input_signature=inputs, autograph=False)
    def complete(prompt: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        greedy = (tf.constant(0.0), tf.constant(0), tf.constant(1.0), tf.constant(1.0), tf.constant(0))
        return generate(prompt, tf.zeros([0], tf.string), length, *greedy)

    return complete


def _encode(newline: bool, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.decoding.streaming import prompt_tokens

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "prompt")], autograph=False)
    def encode(prompt: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = prompt_tokens(assets.tokenizer, newline, prompt, begin_of(assets))
        return {"tokens": tokens, "lengths": tf.reduce_sum(tf.cast(tokens != 0, tf.int32), 1)}

    return encode


def _decode(assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.decoding.streaming import joined

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "tokens")], autograph=False)
    def decode(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        prompts = tf.fill([tf.shape(tokens)[0]], "")
        return {"text": joined(assets.tokenizer, tokens, prompts, tf.zeros([0], tf.string))}

    return decode


def _score(config: Config, model: keras.Model, assets: Assets) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    from nlp_rnn.text.ragged import append, by_length, keep, position_in_row, row_ids
    from nlp_rnn.text.tokenizer import END

    begin, newline = begin_of(assets), config.newline

    def measure(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"nats": nats_of(infer(model, features, options(config)))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def score(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = assets.tokenizer.encode_graph(text + "\n" if newline else text)
        if not newline:  # an empty line is its end alone, not an unknown word
            is_empty = tf.strings.regex_full_match(text, r"[\pZ\s\x0b\x1c-\x1f\x85]*")
            ids = append(keep(ids, tf.gather(~is_empty, row_ids(ids))), END)
        before = tf.concat([[begin], ids.values[:-1]], 0)
        flat = {"tokens": tf.where(position_in_row(ids) == 0, begin, before), "targets": ids.values}
        found = by_length(ids.row_splits, flat, measure, {"nats": tf.TensorSpec([], tf.float32)}, of_steps=True)
        nats = ids.with_values(found["nats"])
        count, total = tf.cast(ids.row_lengths(), tf.float32), tf.reduce_sum(nats, 1)
        return {
            "text": tf.identity(text),
            "log_probability": -total,
            "perplexity": tf.exp(total / count),
            "units": tf.cast(count, tf.int32),
        }

    return score


def _step(config: Config, model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    import tensorflow as tf

    state_shape = [None, model.state_parts, model.state_size]
    inputs = [tf.TensorSpec([None, None], tf.int32, "tokens"), tf.TensorSpec(state_shape, tf.float32, "state")]

    @tf.function(input_signature=inputs, autograph=False)
    def step(tokens: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, after = model.advance(tokens, model.grouped(tf.unstack(state, axis=1)))
        return {"logits": logits, "state": tf.stack([tf.cast(s, tf.float32) for s in tf.nest.flatten(after)], 1)}

    return step


def _streaming(newline: bool, model: keras.Model, assets: Assets) -> dict[str, Signature]:
    """`begin` reads prompts, `write` goes on from what it, or `write`, reached."""
    import tensorflow as tf

    from nlp_rnn.decoding.sampling import RANGES, Generator, Sampling
    from nlp_rnn.decoding.streaming import never_written, prompt_tokens, text_pieces
    from nlp_rnn.export.signatures import Signature

    generator, pieces = Generator(model, never_written(newline)), text_pieces(assets.tokenizer)

    def packed(logits: tf.Tensor, state: Nest, seen: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": logits, "state": tf.stack(tf.nest.flatten(state), 1), "seen": seen}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "prompt")], autograph=False)
    def begin(prompt: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = prompt_tokens(assets.tokenizer, newline, prompt, begin_of(assets))
        return {"tokens": tokens, **packed(*generator.read(tokens))}

    reached = begin.get_concrete_function().structured_outputs
    parts = [tf.TensorSpec(reached[n].shape, reached[n].dtype, n) for n in ("logits", "state", "seen")]
    kinds = {"temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32, "repetition_penalty": tf.float32}
    kinds |= {"seed": tf.int32, "number": tf.int32, "count": tf.int32}
    settings = [tf.TensorSpec([], kind, name) for name, kind in kinds.items()]

    @tf.function(input_signature=parts + settings, autograph=False)
    def write(logits: tf.Tensor, state: tf.Tensor, seen: tf.Tensor, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        *sampling, seed, number, count = values
        before = (logits, model.grouped(tf.unstack(state, axis=1)), seen)
        tokens, after = generator.write(before, Sampling(*sampling), seed, number, tf.maximum(count, 1))
        tokens = tf.transpose(tokens)
        return {"tokens": tokens, "pieces": tf.gather(tf.constant(pieces), tokens), **packed(*after)}

    defaults = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 0, "number": 0}
    about = "Goes on from what was reached: tokens, what each adds to the text, and what was reached then."
    return {
        "begin": Signature(begin, "Prompts → what `write` goes on from.", {"prompt": ["The "]}),
        "write": Signature(write, about, {}, {**defaults, "count": 8}, ranges={**RANGES, "count": (1, _MOST_AT_ONCE)}),
    }


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
        reached = generator.read(prompt_tokens(assets.tokenizer, newline, prompt, begin_of(assets)))
        tokens, _ = generator.write(reached, sampling, seed, tf.constant(0), tf.maximum(length, 1))
        written = tf.transpose(tokens)[:, : tf.maximum(length, 0)]
        return {"prompt": tf.identity(prompt), "text": joined(assets.tokenizer, written, prompt, stop)}

    return generate
