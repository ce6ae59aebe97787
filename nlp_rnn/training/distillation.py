"""Knowledge distillation: a model learns what another says beside what the data say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from nlp_rnn.models.parts import Lesson

if TYPE_CHECKING:
    from nlp_rnn.layers.base import Nest, Tensor

_TEACHERS: WeakKeyDictionary[Any, keras.Model] = WeakKeyDictionary()


def teach(
    model: keras.Model, teacher: keras.Model, features: Nest, weight: float = 0.5, temperature: float = 1.0
) -> None:
    """Adds to a model's loss how far what it says is from what a teacher says (Hinton et al. 2015, arXiv:1503.02531).

        loss = (1 - weight) · loss of the data + weight · temperature² · KL(teacher ‖ model)

    The model says what the divergence is of: `imitation(lesson)`, of a `nlp_rnn.models.parts.Lesson`.
    What the teacher says is computed in each step without dropout; it is no part of the model, and does not learn.

    Args:
        model: that is to be trained; it may be compiled afterwards.
        teacher: that gives outputs of the same shape.
        features: of a batch, to see whether it does.
        weight: of what the teacher says.
        temperature: that the logits of both are divided by.

    Raises:
        ValueError: the model cannot imitate, or the shapes differ.
    """
    if not hasattr(model, "imitation"):
        raise ValueError(f"a {type(model).__name__} does not say how to imitate another")
    shapes = [tuple(one(features, training=False).shape) for one in (model, teacher)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the model gives outputs of the shape {shapes[0]}, and its teacher {shapes[1]}; heads must be alike"
        )
    of_data = model.compute_loss

    def compute_loss(
        x: Nest = None, y: Nest = None, y_pred: Nest = None, sample_weight: Tensor | None = None, training: bool = True
    ) -> Tensor:
        loss = of_data(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        taught = tf.stop_gradient(teacher(x, training=False))
        lesson = Lesson(x, y_pred, taught, y, sample_weight, temperature)
        return (1 - weight) * loss + weight * model.imitation(lesson)

    model.compute_loss = compute_loss
    _TEACHERS[model] = teacher


def carried_by(model: keras.Model) -> list[tf.Variable]:
    """The state that a model, and its teacher, carry from batch to batch."""
    models = [model, _TEACHERS.get(model)]
    return [variable for one in models for variable in getattr(one, "carried", [])]
