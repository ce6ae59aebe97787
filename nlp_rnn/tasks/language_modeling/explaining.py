"""The verb `explain`: which tokens of a text made the next one likely, and which unlikely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.errors import InputError
from nlp_rnn.tasks.explaining import Contributions, contributions
from nlp_rnn.tasks.language_modeling.data import begin_of, refuse_others

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.layers.base import Tensor
    from nlp_rnn.run import AnyRun


def explain(run: AnyRun, text: str, following: str = "") -> Contributions:
    """What each token of a text contributed to log p of the token that follows it.

    Args:
        run: of a language model.
        text: what has been read.
        following: what follows; its first token is explained. By default the likeliest token.

    Raises:
        InputError: there is no text, or the run is of another task.
    """
    import tensorflow as tf

    from nlp_rnn.analysis.attribution import integrated_gradients
    from nlp_rnn.text.tokenizer import UNKNOWN

    refuse_others(run, "explain")
    if not text:
        raise InputError("There is no text to explain: give one.")
    model, tokenizer = run.model, run.assets.tokenizer
    ids, starts, ends = (part.to_list()[0] for part in tokenizer.encode_with_offsets([text + following]))
    count = next((place for place, start in enumerate(starts) if start >= len(text)), len(ids))
    read = [begin_of(run.assets), *ids[:count]]
    vectors = tf.cast(model.embedding(tf.constant([read]))[0], tf.float32)

    def log_probabilities(vectors: Tensor) -> tf.Tensor:
        sequence, _ = model.stack(vectors)
        logits = model.head.logits(model.head.states(sequence[:, -1:], False), model.table)
        return tf.nn.log_softmax(tf.cast(logits[:, 0], tf.float32))

    if following:
        if count == len(ids):
            raise InputError(f'"{following}" adds no token to the text: give more of it.')
        target = ids[count]
    else:
        target = int(tf.argmax(log_probabilities(vectors[None])[0]))
    begin = tf.concat([vectors[:1], tf.zeros_like(vectors[1:])], 0)  # which stays where the text is gone
    found = integrated_gradients(lambda vectors: log_probabilities(vectors)[:, target], vectors, begin)
    piece = tokenizer.pieces()[target].decode("utf-8", "replace")
    said = "next: a token that the vocabulary lacks" if target == UNKNOWN else f"next: {piece!r}"
    return contributions(text, said, "log p", list(zip(starts[:count], ends[:count], strict=True)), found)
