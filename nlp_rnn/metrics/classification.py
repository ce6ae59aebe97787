"""Metrics of classification: accuracy, F1, confusion, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits `[…, classes]` → probabilities, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(-1, keepdims=True)


def confusion_matrix(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts `[classes, classes]`: rows are the true classes, columns the predicted ones.

    Example:

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)


def precision_recall_f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class; what is divided by zero is zero."""
    correct = np.diag(confusion).astype(np.float64)
    precision = correct / np.maximum(confusion.sum(0), 1)
    recall = correct / np.maximum(confusion.sum(1), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return precision, recall, f1


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence (Guo et al. 2017).

    Example:

    >>> expected_calibration_error(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    0.5
    """
    return confidence_error(probabilities.max(-1), probabilities.argmax(-1) == targets, bins)


def confidence_error(confidences: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The same from the confidence of each prediction and whether it is right."""
    bin_of = np.clip((confidences * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(bin_of, correct - confidences, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(confidences), 1))


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-probability of the true class, in nats."""
    chosen = softmax(logits)[np.arange(len(targets)), targets]
    return abs(float(np.log(np.maximum(chosen, 1e-300)).mean()))  # not -0.0


def fit_mixture(parts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The weights, each from 0 to 20, by which logits of several models are added for the least cross-entropy.

    Targets are smoothed as in `fit_temperature`. The loss is convex; L-BFGS finds its minimum.

    Args:
        parts: logits `[models, records, classes]`.
        targets: classes `[records]`.

    Example:

    >>> right, random = np.eye(2)[[0, 1] * 50] * 4, np.random.default_rng(0).normal(size=(100, 2))
    >>> first, second = fit_mixture(np.stack([right, random]), np.array([0, 1] * 50))
    >>> bool(first > 1 and second < 0.1)
    True
    """
    from scipy.optimize import minimize

    parts, smooth = parts.astype(np.float64), _smoothed(targets, parts.shape[2])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        chosen = softmax(np.tensordot(weights, parts, 1))
        value = -(smooth * np.log(np.maximum(chosen, 1e-300))).sum(-1).mean()
        return float(value), np.einsum("mnc,nc->m", parts, chosen - smooth) / len(targets)

    start = np.full(len(parts), 1 / len(parts))
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 20.0)] * len(parts)).x


def _smoothed(targets: np.ndarray, classes: int) -> np.ndarray:
    """One-hot targets as Platt (1999) smooths them."""
    count = len(targets)
    smooth = np.full((count, classes), 1 / (count + 2) / max(classes - 1, 1))
    smooth[np.arange(count), targets] = (count + 1) / (count + 2)
    return smooth


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature in [0.05, 20] that minimises the cross-entropy of `logits / temperature`.

    Targets are smoothed as Platt (1999) smooths them: that of a true class is (n + 1) / (n + 2) for n records. A few
    records without a mistake would otherwise make the model sure of everything. The loss has one minimum in the inverse
    temperature; it is found by golden-section search.
    """
    smooth = _smoothed(targets, logits.shape[1])

    def loss(log_temperature: float) -> float:
        chosen = np.maximum(softmax(logits / np.exp(log_temperature)), 1e-300)
        return float(-(smooth * np.log(chosen)).sum(-1).mean())

    low, high = np.log(0.05), np.log(20.0)
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def classification_report(logits: np.ndarray, targets: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """All of them: the first key, accuracy, is the one to maximise."""
    probabilities = softmax(logits)
    confusion = confusion_matrix(targets, probabilities.argmax(-1), len(labels))
    precision, recall, f1 = precision_recall_f1(confusion)
    return {
        "accuracy": float(np.diag(confusion).sum() / max(len(targets), 1)),
        "macro_f1": float(f1.mean()),
        "ece": expected_calibration_error(probabilities, targets),
        "cross_entropy": cross_entropy(logits, targets),
        "majority": float(confusion.sum(1).max() / max(len(targets), 1)),
        "records": len(targets),
        "precision": {label: float(v) for label, v in zip(labels, precision, strict=True)},
        "recall": {label: float(v) for label, v in zip(labels, recall, strict=True)},
        "f1": {label: float(v) for label, v in zip(labels, f1, strict=True)},
        "confusion": confusion.tolist(),
    }
