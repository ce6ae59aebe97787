"""The signatures of the SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.base import Signatures
from nlp_rnn.tasks.speech.settings import Config

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.layers.base import Nest
    from nlp_rnn.models import SpeechRecognizer

Transcribe: TypeAlias = "Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]"

_EXAMPLE = 0.3  # seconds
# A wav of one sample, for rows of nothing, with which a batch without rows is computed.
_NOTHING = b"RIFF&\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\2\0\0\0\0\0"
_SECONDS = (1, 4, 15)  # of recordings, for runtimes that know fixed shapes only


def example(assets: Assets) -> dict[str, Any]:
    """A short beep, at the rate of the model."""
    import numpy as np

    rate = assets.facts["rate"]
    places = np.arange(int(_EXAMPLE * rate)) / rate
    wave = 0.1 * np.sin(2 * np.pi * 440 * places) * np.hanning(len(places))
    return {"array": wave.round(3).tolist(), "sampling_rate": rate}


def signatures(config: Config, model: SpeechRecognizer, assets: Assets) -> Signatures:
    """`serving_default` takes samples of any rate, `wav` the contents of files; `posteriors` gives what a search of
    one's own needs, and `step` goes on from a state where the model reads in one direction, and normalises nothing."""
    from nlp_rnn.tasks.inputs import SoundInput

    given = SoundInput().serving_arguments([example(assets)])
    by_words = _by_words(config, model, assets)
    found = {
        "serving_default": _of_samples(by_words, assets, given),
        "wav": _of_wav(by_words, assets),
        "posteriors": _posteriors(model, assets, given),
    }
    waits = config.stack.bidirectional or config.audio.normalization != "none"
    return found if waits else {**found, "step": _step(config, model, given["audio"])}


def _by_words(config: Config, model: SpeechRecognizer, assets: Assets) -> Transcribe:
    """(samples at the rate of the model, their lengths) → text, words and times."""
    import tensorflow as tf

    from nlp_rnn.tasks.speech.model import recognized

    rate, pieces = assets.facts["rate"], tf.constant(assets.tokenizer.pieces())
    search = replace(config.search, language_model="")  # whose weights are not this model's

    def transcribed(samples: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        log_p = tf.nn.log_softmax(model({"samples": samples, "lengths": lengths}, training=False))
        tokens, first, end, p = recognized(log_p, model.pieces, search)
        size = tf.cast(model.embedding.samples_per_step, tf.float32) / rate
        seconds = tf.cast(lengths, tf.float32) / rate
        starts, ends = (tf.minimum(tf.cast(steps, tf.float32) * size, seconds[:, None]) for steps in (first, end))
        return {**_words(tokens, starts, ends, p, pieces), "seconds": seconds}

    return transcribed


def _of_samples(by_words: Transcribe, assets: Assets, given: dict[str, object]) -> Signature:
    import tensorflow as tf

    from nlp_rnn.audio.resampling import resampled_rows
    from nlp_rnn.audio.sounds import HIGHEST_RATE, LOWEST_RATE
    from nlp_rnn.export.signatures import Signature

    numbers = [tf.TensorSpec([None], tf.int32, name) for name in ("lengths", "rate")]
    inputs = [tf.TensorSpec([None, None], tf.float32, "audio"), *numbers]

    @tf.function(input_signature=inputs, autograph=False)
    def from_samples(audio: tf.Tensor, lengths: tf.Tensor, rates: tf.Tensor) -> dict[str, tf.Tensor]:
        sense = ((rates >= LOWEST_RATE) & (rates <= HIGHEST_RATE)) | (lengths <= 1)  # of nothing, any
        refused = tf.debugging.Assert(tf.reduce_all(sense), [f"rates go from {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz"])
        with tf.control_dependencies([refused]):
            lengths = tf.clip_by_value(lengths, 1, tf.maximum(tf.shape(audio)[1], 1))
        return by_words(*resampled_rows(audio, lengths, rates, assets.facts["rate"]))

    about = (
        "Samples from -1 to 1, padded on the right, how many each recording has, and how many a second has → the text, "
        "its words with their times in seconds, padded with empty ones."
    )
    ranges = {"rate": (LOWEST_RATE, HIGHEST_RATE)}
    return Signature(from_samples, about, given, everywhere=False, ranges=ranges, counts={"lengths": "audio"})


def _of_wav(by_words: Transcribe, assets: Assets) -> Signature:
    import tensorflow as tf

    from nlp_rnn.audio.resampling import resampled_rows
    from nlp_rnn.export.signatures import Signature

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav")], autograph=False)
    def from_wav(wav: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = (tf.RaggedTensorSpec([None], tf.float32, 0), tf.TensorSpec([], tf.int32))
        rows, rates = tf.map_fn(_decoded, wav, fn_output_signature=spec)
        lengths = tf.maximum(tf.cast(rows.row_lengths(), tf.int32), 1)
        samples = tf.pad(rows.to_tensor(), [[0, 0], [0, 1]])
        return by_words(*resampled_rows(samples, lengths, rates, assets.facts["rate"]))

    about = 'The contents of wav files of 16 bits, in JSON {"b64": "UklGR…"} → the same.'
    return Signature(from_wav, about, everywhere=False, binary=("wav",))


def _posteriors(model: SpeechRecognizer, assets: Assets, given: dict[str, object]) -> Signature:
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature

    rate = assets.facts["rate"]
    inputs = [tf.TensorSpec([None, None], tf.float32, "samples"), tf.TensorSpec([None], tf.int32, "lengths")]

    @tf.function(input_signature=inputs, autograph=False)
    def posteriors(samples: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = model({"samples": samples, "lengths": lengths}, training=False)
        steps = tf.cast(model.embedding.steps_of(lengths), tf.int32)
        return {"log_probabilities": tf.nn.log_softmax(logits), "steps": steps}

    about = f"Samples, {rate:,} a second → log-probabilities of the tokens at each step, of which 0 is the blank."
    shown = {"samples": given["audio"], "lengths": given["lengths"]}
    seconds = tuple(seconds * rate for seconds in _SECONDS)
    return Signature(posteriors, about, shown, lengths=seconds, counts={"lengths": "samples"})


def _decoded(content: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
    import tensorflow as tf

    samples, rate = tf.audio.decode_wav(tf.where(content == "", _NOTHING, content))
    mixed = tf.reduce_mean(samples, 1)
    return tf.RaggedTensor.from_tensor(mixed[None])[0], rate


def _words(
    tokens: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, p: tf.Tensor, pieces: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Tokens `[rows, labels]` put together to words, as `predictions.words_of` does."""
    import tensorflow as tf

    said = tokens > 0
    piece = tf.gather(pieces, tokens)
    bare = tf.strings.strip(piece)
    before = tf.pad(piece[:, :-1], [[0, 0], [1, 0]], constant_values=" ")
    counts = said & (bare != "")
    begins = tf.strings.regex_full_match(piece, r"(?s) .*") | tf.strings.regex_full_match(before, r"(?s).* ")
    place = tf.cumsum(tf.cast(counts & begins, tf.int32), 1)
    rows, most = tf.shape(tokens)[0], tf.maximum(tf.reduce_max(tf.pad(place, [[0, 0], [0, 1]])), 1)
    total = rows * most
    segment = tf.where(counts & (place > 0), tf.range(rows)[:, None] * most + place - 1, total)  # the last is no word
    flat = tf.reshape(segment, [-1])
    words = tf.strings.unsorted_segment_join(tf.reshape(tf.where(begins, bare, piece), [-1]), flat, total + 1)
    words = tf.reshape(tf.strings.unicode_transcode(words[:-1], "UTF-8", "UTF-8"), [rows, most])
    is_word = words != ""

    def reduced(reduce: Any, values: tf.Tensor) -> tf.Tensor:
        return tf.where(is_word, tf.reshape(reduce(tf.reshape(values, [-1]), flat, total + 1)[:-1], [rows, most]), 0.0)

    logs = tf.math.log(tf.maximum(p, 1e-30))
    count = tf.reduce_sum(tf.cast(said, tf.float32), 1)
    mean = tf.math.divide_no_nan(tf.reduce_sum(tf.where(said, logs, 0.0), 1), count)
    text = tf.strings.strip(tf.strings.reduce_join(words, 1, separator=" "))
    return {
        "text": text,
        "confidence": tf.where(count > 0, tf.exp(mean), 0.0),
        "words": words,
        "starts": reduced(tf.math.unsorted_segment_min, starts),
        "ends": reduced(tf.math.unsorted_segment_max, ends),
        "confidences": reduced(tf.math.unsorted_segment_prod, p),
    }


def _step(config: Config, model: SpeechRecognizer, samples: tf.Tensor) -> Nest:
    """Some steps more of a recording that is still going on."""
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature

    embedding = model.embedding
    frames = embedding.stacking.factor + 2 * embedding.stacking.context
    needed = (frames - 1) * embedding.mel.step + embedding.mel.size
    kept = needed - embedding.samples_per_step
    inputs = [
        tf.TensorSpec([None, needed], tf.float32, "samples"),
        tf.TensorSpec([None, model.state_parts, model.state_size], tf.float32, "state"),
    ]

    @tf.function(input_signature=inputs, autograph=False)
    def step(samples: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, after = model.advance(embedding.mel(samples), model.grouped(tf.unstack(state, axis=1)))
        after = [tf.cast(part, tf.float32) for part in tf.nest.flatten(after)]
        return {"log_probabilities": tf.nn.log_softmax(logits)[:, 0], "state": tf.stack(after, 1)}

    ahead = f", of {model.lookahead} steps before," if model.lookahead else ","
    about = (
        f"{needed:,} samples, of which the last {kept:,} come first again in the next call, and a state, zeros at the "
        f"beginning → log-probabilities of the tokens at one step{ahead} and the next state."
    )
    given = (samples[0] * (needed // len(samples[0]) + 1))[:needed]
    return Signature(step, about, {"samples": [given], "state": [[[0.0] * model.state_size] * model.state_parts]})
