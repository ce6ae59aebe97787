"""The signatures of a stream: DeepAR goes on from value to value with a state of constant size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from nlp_rnn.assets import Assets
from nlp_rnn.tasks.forecasting.serving import TIMES, features_of, served

if TYPE_CHECKING:
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.models import DeepAR
    from nlp_rnn.models.deepar import Memory
    from nlp_rnn.models.forecaster import Forecaster


def can_stream(model: Forecaster) -> TypeGuard[DeepAR]:
    """Whether the model goes on from a state: one that reads step by step, with recurrent layers."""
    from nlp_rnn.layers.stack import RecurrentStack
    from nlp_rnn.models import DeepAR

    return isinstance(model, DeepAR) and isinstance(model.stack, RecurrentStack)


def stream_signatures(default: Signature, model: DeepAR, assets: Assets) -> dict[str, Signature]:
    """`begin`, which takes what the default signature takes and gives the state too; and `step`, for each next value.

    The scale is that of the history with which a stream begins, for good; the model reads on where `serving_default`
    would begin anew with the last steps.
    """
    import tensorflow as tf

    from nlp_rnn.export.signatures import Signature

    names = [spec.name for spec in default.specs]

    @tf.function(input_signature=default.specs, autograph=False)
    def begin(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        features = features_of(dict(zip(names, values, strict=True)), model)
        memory, known = model.remember(features), model.covariates_of(features)
        known = None if known is None else known[:, model.lookback :]
        quantiles = model.quantiles_after(memory, known, model.horizon)
        return {**served(quantiles, features["time"], model, assets), "state": _packed(memory)}

    specs = {
        "values": tf.TensorSpec([None, model.channels], tf.float32, "values"),
        "time": tf.TensorSpec([None], tf.int64, "time"),
        "state": tf.TensorSpec([None, sum(_sizes(model))], tf.float32, "state"),
    }
    if model.known:
        specs["known"] = tf.TensorSpec([None, 1 + model.horizon, model.known], tf.float32, "known")

    @tf.function(input_signature=list(specs.values()), autograph=False)
    def step(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        given = dict(zip(specs, values, strict=True))
        known = model.covariates_of(given, first=0)
        now, ahead = (None, None) if known is None else (known[:, 0], known[:, 1:])
        nats, memory = model.observe(given["values"], now, _unpacked(given["state"], model))
        quantiles = model.quantiles_after(memory, ahead, model.horizon)
        return {"surprise": nats, **served(quantiles, given["time"], model, assets), "state": _packed(memory)}

    begins = f"{default.about} And the state, from which `step` goes on value by value, in the scale of this history."
    goes_on = (
        "The next values of series, their time, what is known of their step and those that follow, if the model reads "
        "that, and the state before → their surprise in nats (0 for a value that is missing, which is NaN, in JSON "
        "null), the quantiles of the values that follow, and the state for the next step."
    )
    # ONNX has no operation for the gamma function, which a surprise needs, and `begin` alone is of no use.
    first = replace(default, function=begin, about=begins, everywhere=False)
    following = _next_arguments(first, model)
    after = Signature(step, goes_on, following, everywhere=False, ranges={"time": TIMES}, missing=("values",))
    return {"begin": first, "step": after}


def _packed(memory: Memory) -> tf.Tensor:
    """What is kept of series, `[rows, numbers]`."""
    import tensorflow as tf

    rows = tf.shape(memory.last)[0]
    parts = [*memory[:3], *tf.nest.flatten(memory.state)]
    return tf.concat([tf.reshape(tf.cast(part, tf.float32), [rows, -1]) for part in parts], 1)


def _sizes(model: DeepAR) -> list[int]:
    """How many numbers of a row each part has."""
    import tensorflow as tf

    parts = tf.nest.flatten(model.stack.zero_state(model.channels))
    return [model.channels] * 3 + [model.channels * part.shape[-1] for part in parts]


def _unpacked(state: tf.Tensor, model: DeepAR) -> Memory:
    import tensorflow as tf

    from nlp_rnn.models.deepar import Memory

    like = model.stack.zero_state(model.channels)
    shift, spread, last, *parts = tf.split(state, _sizes(model), 1)
    parts = [tf.reshape(part, [-1, part.shape[1] // model.channels]) for part in parts]
    parts = [tf.cast(part, one.dtype) for part, one in zip(parts, tf.nest.flatten(like), strict=True)]
    return Memory(shift, spread, last, tf.nest.pack_sequence_as(like, parts))


def _next_arguments(begin: Signature, model: DeepAR) -> dict[str, Any]:
    """An example of `step`, which follows that of `begin`: what was expected came."""
    found = begin.call()
    arguments = {
        "values": [[round(value, 4) for value in steps[0]] for steps in found["median"]],
        "time": [times[0] for times in found["times"]],
        "state": found["state"],
    }
    if model.known:
        arguments["known"] = [[*rows[-model.horizon :], rows[-1]] for rows in begin.example["known"]]
    return arguments
