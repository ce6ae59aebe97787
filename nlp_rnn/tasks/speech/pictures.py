"""Recognised recordings as pictures, for `predict --plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.tasks.speech.settings import Options

if TYPE_CHECKING:
    from nlp_rnn.display.spectrograms import HeardSound
    from nlp_rnn.run import AnyRun

_LONGEST = 60.0  # seconds that are drawn


def picture(run: AnyRun, given: Any, options: Options) -> HeardSound:
    """A recording with its words, and the posteriors of CTC.

    Args:
        run: of speech recognition.
        given: one recording.
        options: of the search.
    """
    import tensorflow as tf

    from nlp_rnn.display.spectrograms import HeardSound
    from nlp_rnn.tasks.inputs import records_of
    from nlp_rnn.tasks.speech.data import samples_of

    (record,) = records_of(run.task.input, [given])
    rate, model = run.assets.facts["rate"], run.model
    samples = samples_of(record, rate)[0]
    said = run(given, **vars(options))
    part = tf.constant(samples[None, : round(_LONGEST * rate)])
    lengths = tf.constant([part.shape[1]], tf.int32)
    posteriors = tf.nn.softmax(model({"samples": part, "lengths": lengths}, training=False))[0]
    return HeardSound(
        f"{said.audio.rpartition('/')[2]}: {said.text or '(nothing)'}",
        model.embedding.mel.spectra(part)[0].numpy(),
        model.embedding.mel.step / rate,
        [(word.word, word.start, word.end) for word in said.words],
        posteriors.numpy(),
        model.embedding.samples_per_step / rate,
        model.pieces,
    )
