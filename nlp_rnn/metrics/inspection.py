"""What an inspection of a run found, and what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

_VANISHED = 0.5  # of the inputs are longer than what the layers reach
_MUCH = 0.5
_RECURRENT = ("simple_rnn", "gru", "lstm", "layernorm_lstm")
_DEAD, _UNCALIBRATED, _ENOUGH = 0.1, 0.05, 0.99
_EVEN, _OWN = 0.95, 0.9
_FEWEST, _GAIN = 100, 0.02  # records, and what whole inputs gain over one token at least, for a claim about lengths


@dataclass(frozen=True)
class GateUse:
    """How a gate is used: the parts of all units at all steps where it is shut (below 0.05) and open (above 0.95)."""

    layer: str
    gate: str
    mean: float
    shut: float
    open: float


@dataclass(frozen=True)
class UnitUse:
    """How a layer's units are used: the part of those that never change, and of all values that are beyond ±0.95, None
    for layers that may give any."""

    layer: str
    units: int
    dead: float
    saturated: float | None


@dataclass(frozen=True)
class HeadUse:
    """What a head of attention looks at, on average over steps that see two or more: the entropy of its weights as a
    part of that of equal ones, the distance in steps, and the weight on the step itself."""

    layer: str
    head: int
    entropy: float
    distance: float
    own: float


@dataclass(frozen=True)
class Doubt:
    """A label that is likely wrong.

    Args:
        text: of the record.
        label: that it has.
        likely: that it should have.
        probability: of its label, from a model that was not trained on it.
        line: of the record in its file, or its place among the training records, from 1.
    """

    text: str
    label: str
    likely: str
    probability: float
    line: int


@dataclass(frozen=True)
class Doubts:
    """Labels of training data that are likely wrong.

    Args:
        count: how many there are.
        records: among how many records.
        accuracy: how often the models agree with all labels: the weaker they are, the more doubts are their own errors.
        most: the likeliest, the likeliest first.
    """

    count: int
    records: int
    accuracy: float
    most: list[Doubt]


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        task, cell: of the run.
        unit: what the steps of its layers are called.
        records: how many records were looked at, and of which data; and of how many the layers.
        lengths: of their rows.
        reach: by level, "input" first, the norm of the derivative of the last output k steps back, relative to the
            largest.
        memory: by level, the steps after which that stays below 1 %; None where it does not.
        gates, units, heads: how they are used.
        states: of the last layer over one row, `[steps, units]`.
        steps: what stands at each step of that row, where they are tokens.
        attention_by_head: the weights of each head over the first steps of that row.
        neighbours: of frequent tokens, those whose vectors are most alike, with the cosine.
        attention: of each record the part of the largest possible entropy that the attention has.
        calibration: (mean confidence, part that is right, how many) of predictions by confidence.
        needed: (k, quality) where all but the last k tokens of each text are left out.
        looked_with: with how many records.
        pooling: how the head pools the steps, where it does.
        metric: the name of that quality.
        lower_is_better: whether that is better if it is less.
        hardest: the most important errors.
        doubts: labels that are likely wrong; None where they were not looked for.
    """

    task: str
    cell: str
    unit: str
    records: str
    lengths: list[int]
    reach: dict[str, list[float]]
    memory: dict[str, int | None]
    gates: list[GateUse]
    units: list[UnitUse]
    states: list[list[float]]
    steps: list[str]
    heads: list[HeadUse] = field(default_factory=list)
    attention_by_head: dict[str, list[list[float]]] = field(default_factory=dict)
    neighbours: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    attention: list[float] = field(default_factory=list)
    calibration: list[tuple[float, float, int]] = field(default_factory=list)
    needed: list[tuple[int, float]] = field(default_factory=list)
    looked_with: int = 0
    pooling: str = ""
    metric: str = ""
    lower_is_better: bool = False
    hardest: list[str] = field(default_factory=list)
    doubts: Doubts | None = None


def confident_disagreements(probabilities: np.ndarray, given: np.ndarray) -> list[tuple[int, int]]:
    """Places of records whose labels are likely wrong, and which is likely, the likeliest first.

    Confident learning (Northcutt et al. 2021, arXiv:1911.00068): those for which, among the classes that are at least
    as probable as they are on average where they are the label, the most probable is another one, and more probable
    than the label.

    Args:
        probabilities: `[records, classes]`, of models that were not trained on them.
        given: the labels, `[records]`.

    Example:

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
    >>> confident_disagreements(p, np.array([0, 0, 1, 1, 0]))
    [(4, 1)]
    """
    classes = probabilities.shape[1]
    usual = [probabilities[given == k, k].mean() if (given == k).any() else np.inf for k in range(classes)]
    sure = np.where(probabilities >= np.array(usual), probabilities, 0.0)
    own = probabilities[np.arange(len(given)), given]
    wrong = np.flatnonzero((sure.max(1) > own) & (sure.argmax(1) != given))
    return [(int(k), int(sure[k].argmax())) for k in wrong[np.argsort(own[wrong], kind="stable")]]


def readings(found: Inspection) -> list[str]:
    """What the figures mean, in plain sentences, by rules."""
    said = [*_of_memory(found), *_of_gates(found), *_of_units(found), *_of_heads(found)]
    said += [*_of_calibration(found), *_of_needs(found)]
    if found.doubts:
        doubts = found.doubts
        said.append(
            f"Of {doubts.records:,} labels of the training data, {doubts.count:,} contradict what models say that did "
            f"not see them; these agree with {doubts.accuracy:.1%} of all labels, so that some are their own errors."
        )
    return said


def _of_memory(found: Inspection) -> list[str]:
    if not found.lengths or "input" not in found.memory:
        return []
    memory, typical, looked = found.memory["input"], int(np.quantile(found.lengths, 0.95)), len(found.reach["input"])
    if memory is None:
        within = f"Derivatives do not fade within the {looked:,} {found.unit} that were looked at"
        return [f"{within} (95 % of the inputs have at most {typical:,})."]
    said = f"After {memory:,} {found.unit} an input hardly changes the last output of the layers any more"
    longer = float(np.mean(np.asarray(found.lengths) > memory))
    if longer < 0.005:
        return [f"{said}; hardly any input is longer."]
    return [f"{said}; {longer:.0%} of the inputs are longer. {_how_to_reach_further(found)}"]


def _how_to_reach_further(found: Inspection) -> str:
    """What this model has not tried yet."""
    if found.cell == "transformer":
        return "A larger --stack.context reaches further back."
    if found.pooling in ("attention", "mean", "max", "mean+max", "last+mean+max"):
        return f"What matters further back still counts: the head pools all steps ({found.pooling})."
    ways = ["a cell that runs in parallel (--stack.cell mingru)"] if found.cell in _RECURRENT else []
    ways += ["--stack.chrono"] if found.cell in _RECURRENT[1:] else []
    ways += ["an LSTM or GRU"] if found.cell == "simple_rnn" else []
    ways += ["--head.pooling attention"] if found.pooling else []
    return f"If what matters lies further back, try {' or '.join(ways)}." if ways else ""


def _of_gates(found: Inspection) -> list[str]:
    said = []
    for use in found.gates:
        if use.gate == "forget" and use.open > _MUCH:
            said.append(f"The forget gate of {use.layer} is open {use.open:.0%} of the time: it keeps what it has.")
        elif use.shut > _MUCH:
            said.append(f"The {use.gate} gate of {use.layer} is shut {use.shut:.0%} of the time.")
    return said


def _of_units(found: Inspection) -> list[str]:
    said = []
    for use in found.units:
        if use.dead > _DEAD:
            said.append(f"{use.dead:.0%} of the units of {use.layer} never change: fewer would do.")
        if use.saturated is not None and use.saturated > _MUCH:
            said.append(
                f"{use.saturated:.0%} of the values of {use.layer} are beyond 0.95: gradients hardly pass there; a "
                f"lower learning rate or more dropout may help."
            )
    return said


def _of_heads(found: Inspection) -> list[str]:
    even = [f"{use.layer}, head {use.head}" for use in found.heads if use.entropy > _EVEN]
    own = [f"{use.layer}, head {use.head}" for use in found.heads if use.own > _OWN]
    said = [f"All that they see is nearly alike to heads: {'; '.join(even)}."] if even else []
    return said + ([f"Heads that look at little but the step itself: {'; '.join(own)}."] if own else [])


def calibration_error(bins: list[tuple[float, float, int]]) -> float:
    """The mean gap between confidence and accuracy over bins, weighted by how many predictions each has.

    Example:

    >>> calibration_error([(0.9, 0.8, 10), (0.6, 0.6, 30)])
    0.025
    """
    total = sum(count for *_, count in bins)
    return round(sum(abs(sure - right) * count for sure, right, count in bins) / max(total, 1), 6)


def _of_calibration(found: Inspection) -> list[str]:
    if not found.calibration:
        return []
    error, count = calibration_error(found.calibration), sum(count for *_, count in found.calibration)
    if error > _UNCALIBRATED and count >= 100:
        return [f"Confidences are off by {error:.1%} on average: do not read them as probabilities."]
    return [f"Confidences are off by {error:.1%} on average."]


def _of_needs(found: Inspection) -> list[str]:
    """How few of the last tokens are enough for 99 % of what all of them give."""
    if len(found.needed) < 2 or found.looked_with < _FEWEST:
        return []
    whole, floor = found.needed[-1][0], found.needed[0][1]
    gains = [(floor - value) if found.lower_is_better else (value - floor) for _, value in found.needed]
    by_chance = 2 * math.sqrt(0.5 / found.looked_with)  # two standard errors of a difference of accuracies, at most
    if gains[-1] < max(_GAIN, by_chance):  # nothing that inputs tell
        return []
    enough = len(gains) - 1
    while enough and gains[enough - 1] >= _ENOUGH * gains[-1]:
        enough -= 1
    count = found.needed[enough][0]
    return [f"The last {count:,} {found.unit} give the {found.metric} of whole inputs, of up to {whole:,}."]
