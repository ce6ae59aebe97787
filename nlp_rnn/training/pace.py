"""How long training takes: the steps of a recipe, whatever the size of the data."""

from __future__ import annotations

from dataclasses import replace

from nlp_rnn.config.sections import TrainConfig

_ALIKE = (0.8, 1.25)
_FEWEST_EPOCHS, _MOST_PASSES = 2, 10


def paced(train: TrainConfig, steps_per_pass: int) -> TrainConfig:
    """With as many epochs, of as many passes over the data each, as make about `train.steps` steps.

    Smaller data is passed over several times in an epoch, so that there are about as many validations as the recipe
    has, at least one in ten passes; larger data has fewer epochs, but two at least.

    Args:
        train: the settings; without `steps` they stay as they are.
        steps_per_pass: batches of the training data.

    Example:

    >>> found = paced(TrainConfig(epochs=12, steps=4800), steps_per_pass=34)
    >>> found.passes, found.epochs
    (10, 14)
    """
    if not train.steps:
        return train
    ratio = train.steps / (train.epochs * steps_per_pass)
    if _ALIKE[0] <= ratio <= _ALIKE[1]:
        return replace(train, steps=0)
    passes = min(max(int(ratio), 1), _MOST_PASSES)
    epochs = max(round(train.steps / (passes * steps_per_pass)), min(train.epochs, _FEWEST_EPOCHS))
    return replace(train, steps=0, passes=passes, epochs=epochs)


def pace_note(before: TrainConfig, after: TrainConfig, steps_per_pass: int) -> str:
    """Says what `paced` changed; empty where it changed nothing."""
    if (before.epochs, before.passes) == (after.epochs, after.passes):
        return ""
    steps = after.epochs * after.passes * steps_per_pass
    each = f" of {after.passes} passes over the data" if after.passes > 1 else ""
    return (
        f"The recipe trains for {before.steps:,} steps, and so do these data: {steps:,} steps in {after.epochs} epochs"
        f"{each}. --train.epochs sets the passes instead."
    )
