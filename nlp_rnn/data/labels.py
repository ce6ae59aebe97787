"""Labels of records against those that a model knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from nlp_rnn.data.records import Records
from nlp_rnn.errors import InputError, did_you_mean


def check_label(label: str, labels: Collection[str], line: int | None) -> None:
    """A label of records must be one of the model's.

    Raises:
        InputError: it is not.
    """
    if label not in labels:
        where = f" (line {line})" if line else ""
        raise InputError(
            f'The label "{label}"{where} does not occur in the training data.{did_you_mean(label, labels)} '
            f"Rename it with --data.labels VALUE NAME."
        )


def class_targets(records: Records, labels: Sequence[str]) -> np.ndarray:
    """The labels of records as one-hot rows, float32 `[records, classes]`; zeros where a record has none.

    Raises:
        InputError: a label is none of the model's.

    Example:

    >>> class_targets(Records([{"label": "good", "line": 1}, {"label": None, "line": 2}]), ["bad", "good"]).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    targets, places = np.zeros((len(records), len(labels)), np.float32), {name: i for i, name in enumerate(labels)}
    for row, (label, line) in zip(targets, records.columns("label", "line"), strict=True):
        if label is not None:
            check_label(label, places, line)
            row[places[label]] = 1.0
    return targets


def is_normal(value: object, normal: Collection[str]) -> bool:
    """Whether a label is one of what is normal, in any case, or is missing; 0 and 0.0 are the same, as are False and 0.

    >>> is_normal(0.0, ("0",)), is_normal(False, ("0",)), is_normal("Outlier", ("normal",)), is_normal(None, ())
    (True, True, False, True)
    """
    if value is None or value != value:
        return True
    text = str(value).strip().lower()
    forms = {text, text.removesuffix(".0"), {"false": "0", "true": "1"}.get(text, text)}
    return any(name.lower() in forms for name in normal)
