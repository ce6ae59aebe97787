"""Trials of a sweep, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Args:
        number: in the study, from 0.
        state: "finished", "pruned" (ended early, being worse than others were by then), "failed" or "running".
        settings: what was varied, by dotted name.
        value: the metric on the validation data; of a pruned trial the last one; None where there is none.
        epochs: that were measured.
        seconds: from begin to end; None where it has not ended.
        reason: why it failed.
    """

    number: int
    state: str
    settings: dict[str, Any]
    value: float | None
    epochs: int
    seconds: float | None
    reason: str = ""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Args:
        task, metric, lower_is_better: what was measured, on validation data.
        trials: all of the study.
        importance: by setting, the share of what it decides (PED-ANOVA, Watanabe et al. 2023); empty before ten
            trials are finished.
    """

    task: str
    metric: str
    lower_is_better: bool
    trials: list[Trial] = field(default_factory=list)
    importance: dict[str, float] = field(default_factory=dict)

    def ranked(self) -> list[Trial]:
        """The finished trials, the best first."""
        sign = 1 if self.lower_is_better else -1
        finished = [trial for trial in self.trials if trial.state == "finished" and trial.value is not None]
        return sorted(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    def names(self) -> list[str]:
        """Of what was varied."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.settings))


def conclusions(sweep: Sweep) -> list[str]:
    """What the trials say, in sentences."""
    states = [trial.state for trial in sweep.trials]
    counts = [f"{states.count(state)} {state}" for state in ("finished", "pruned", "failed", "running")]
    found = [f"{len(states)} trials: {', '.join(count for count in counts if not count.startswith('0 '))}."]
    if not sweep.ranked():
        return [*found, "None is finished: there is no best one."]
    if sweep.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in sweep.importance.items())
        found.append(f"What decides, by share: {shares}.")
    edges = _at_the_edge(sweep)
    if edges:
        found.append(f"The best trials lie at the end of the range of {' and '.join(edges)}: widen it.")
    found.append(
        f"The {sweep.metric} of the best of many trials flatters, for chance helped to choose it: train it with other "
        f"seeds, and measure it on data that chose nothing."
    )
    return found


def _at_the_edge(sweep: Sweep) -> list[str]:
    """Settings of numbers whose best three trials lie within the outer twentieth of what was tried."""
    found, best = [], sweep.ranked()[:3]
    for name in sweep.names():
        tried = [trial.settings[name] for trial in sweep.trials if is_number(trial.settings.get(name))]
        if len(best) < 3 or len(set(tried)) < 5:
            continue
        ranks = [sum(value < trial.settings[name] for value in tried) / len(tried) for trial in best]
        above = [sum(value > trial.settings[name] for value in tried) / len(tried) for trial in best]
        if max(ranks) < 0.05 or max(above) < 0.05:
            found.append(name)
    return found


def is_number(value: Any) -> bool:
    """Whether a value is a number and no yes or no."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
