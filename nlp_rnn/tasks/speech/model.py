"""The network of speech recognition, its loss, and how its steps become text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Features, Outputs
from nlp_rnn.tasks.speech.settings import Config, Options

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.decoding.ctc import LanguageScores
    from nlp_rnn.layers.ctc import CTCLoss
    from nlp_rnn.models import SpeechRecognizer

_KNOWN = 0.9  # of the tokens, at least, a language model must know


def build(config: Config, assets: Assets) -> SpeechRecognizer:
    """Spectra, recurrent stack and the classes of CTC."""
    import keras

    from nlp_rnn.layers import FrameStacking, LogMel, SpecAugment
    from nlp_rnn.models import SoundEmbedding, SpeechRecognizer
    from nlp_rnn.models.sections import stack_from

    audio, augment, dtype, facts = config.audio, config.augment, config.train.dtype_policy, assets.facts
    mel = LogMel(facts["rate"], audio.mels, audio.window, audio.hop, mean=facts["mean"], spread=facts["spread"])
    masks = augment.bands, augment.width, augment.stretches, augment.stretch
    changes = SpecAugment(*masks, augment.warp, augment.tilt, dtype=dtype)
    stacking = FrameStacking(audio.frames, audio.mels, audio.filters, dtype=dtype)
    model = SpeechRecognizer(
        SoundEmbedding(mel, changes, stacking, audio.dropout, audio.normalization, dtype=dtype, name="embedding"),
        stack_from(config.stack, dtype),
        keras.layers.Dense(assets.tokenizer.size, dtype="float32", name="head"),
        pieces=[piece.decode("utf-8", "replace") for piece in assets.tokenizer.pieces()],
        lookahead=audio.lookahead,
        dtype=dtype,
        name="recognizer",
    )
    model.build()
    bias = model.head.bias
    bias.assign([config.head.blank, *[0.0] * (bias.shape[0] - 1)])
    return model


def fits(model: SpeechRecognizer, assets: Assets) -> bool:
    """Whether a model has the tokens and the rate of the assets."""
    return (model.head.units, model.embedding.mel.rate) == (assets.tokenizer.size, assets.facts["rate"])


def loss(config: Config) -> CTCLoss:
    """-log p of the text, over all ways in which steps can say it."""
    from nlp_rnn.layers import CTCLoss

    return CTCLoss()


def steps_of(config: Config, rate: int, samples: int) -> int:
    """How many steps the recurrent layers make of so many samples."""
    size, hop = round(config.audio.window * rate), round(config.audio.hop * rate)
    frames = max(samples - size, 0) // hop + 1
    return -(-frames // config.audio.frames)


def infer(model: SpeechRecognizer, features: Features, options: Options) -> Outputs:
    """The most probable tokens of each row, int32 `[batch, tokens]`, when each begins and ends, in samples, and its
    probability."""
    import tensorflow as tf

    log_p = tf.nn.log_softmax(model({n: features[n] for n in ("samples", "lengths")}, training=False))
    tokens, first, end, p = recognized(log_p, model.pieces, options)
    size, starts = model.embedding.samples_per_step, tf.cast(features["starts"], tf.int32)[:, None]
    return {
        "tokens": tokens,
        "first": tf.minimum(first * size, features["lengths"][:, None]) + starts,
        "end": tf.minimum(end * size, features["lengths"][:, None]) + starts,
        "probability": p,
        "lengths": features["lengths"][:, None],
    }


def recognized(log_p: tf.Tensor, pieces: list[str], options: Options) -> tuple[tf.Tensor, ...]:
    """Log-probabilities `[batch, steps, classes]` → tokens, their first steps, the steps after their last, and their
    probabilities, `[batch, tokens]`, padded with 0."""
    import tensorflow as tf

    from nlp_rnn.decoding.ctc import PrefixBeam, align, best_path
    from nlp_rnn.text.tokenizer import SPECIAL

    is_written = (tf.range(log_p.shape[-1]) == 0) | (tf.range(log_p.shape[-1]) >= SPECIAL)
    log_p = tf.where(is_written, log_p, -1e9)  # neither what is unknown nor the marks of texts
    if options.beam == 1 and not options.language_model:
        tokens = best_path(log_p)
    else:
        language = language_scores(options.language_model, tuple(pieces)) if options.language_model else None
        weight = options.language_weight if language else 0.0
        tokens = PrefixBeam(max(options.beam, 8 if language else 1), weight, options.bonus).search(log_p, language)[0]
        tokens = tokens[:, 0]
    longest = tf.reduce_max(tf.reduce_sum(tf.cast(tokens > 0, tf.int32), 1))
    tokens = tokens[:, : tf.maximum(longest, 1)]
    return (tokens, *align(log_p, tokens))


@cache
def language_scores(path: str, pieces: tuple[str, ...]) -> LanguageScores:
    """A language model that was trained by itself, as scores of the tokens of a recognizer.

    Raises:
        InputError: it is of another kind of tokens.
    """
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.decoding.ctc import LanguageScores
    from nlp_rnn.run import load
    from nlp_rnn.text.tokenizer import SPECIAL, UNKNOWN, line_begin

    with tf.init_scope():  # it is asked for while a graph is being traced
        run = load(path, "language-modeling")
    model, tokenizer = run.model, run.assets.tokenizer
    theirs = {piece.decode("utf-8", "replace"): place for place, piece in enumerate(tokenizer.pieces())}
    ids = np.array(
        [theirs.get(piece, UNKNOWN) if place >= SPECIAL else UNKNOWN for place, piece in enumerate(pieces)], np.int32
    )
    known = float((ids[SPECIAL:] != UNKNOWN).mean()) if len(ids) > SPECIAL else 0.0
    if known < _KNOWN:
        raise InputError(
            f"{path} knows {known:.0%} of the tokens that this run writes: train a language model of the same kind, "
            f"such as --tokenizer.kind character, on texts spelled alike."
        )
    with tf.init_scope():
        first = line_begin(tokenizer, False)

    def after(tokens: tf.Tensor, state: Any) -> tuple[Any, Any]:
        logits, state = model.advance(tokens[:, None], state)
        return tf.gather(tf.nn.log_softmax(tf.cast(logits[:, 0], tf.float32)), ids, axis=1), state

    return LanguageScores(
        lambda rows: after(tf.fill([rows], first), None),
        lambda tokens, state: after(tf.gather(ids, tokens), state),
    )


@cache
def converter(rate: int) -> Callable[[np.ndarray, int], Any]:
    """A graph that converts samples to a rate."""
    import tensorflow as tf

    from nlp_rnn.audio.resampling import resampled

    signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)]
    return tf.function(lambda samples, own: resampled(samples, own, rate), input_signature=signature, autograph=False)
