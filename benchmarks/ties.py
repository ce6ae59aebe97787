"""How often `compare` tells models apart that are equally good, by how many seeds it has and how much trainings differ.

python benchmarks/ties.py
"""

from __future__ import annotations

import numpy as np

from nlp_rnn.metrics.comparison import Candidate, chance_explains

_PAIRS, _RECORDS, _PARTS = 300, 872, 20


def main() -> None:
    """Prints a line for each number of seeds: the part of pairs told apart, for three sizes of differences."""
    print(f"{'seeds':>5}  " + "  ".join(f"{part:>8}" for part in ("±0", "±1 point", "±2")))
    for seeds in (1, 2, 3, 5):
        apart = [_told_apart(seeds, spread, np.random.default_rng(seeds)) for spread in (0.0, 0.04, 0.08)]
        print(f"{seeds:>5}  " + "  ".join(f"{part:>8.1%}" for part in apart))


def _told_apart(seeds: int, spread: float, draw: np.random.Generator) -> float:
    """Records are more or less hard, for both models alike; each training is somewhat better or worse at all."""
    wrong = 0
    for _ in range(_PAIRS):
        hard = draw.normal(0, 1.2, _RECORDS)
        wrong += not chance_explains(*(_trained(hard, seeds, spread, draw) for _ in range(2)))
    return wrong / _PAIRS


def _trained(hard: np.ndarray, seeds: int, spread: float, draw: np.random.Generator) -> Candidate:
    right = hard + draw.normal(0, 0.7, (seeds, _RECORDS)) < 1.1 + draw.normal(0, spread, (seeds, 1))
    parts = [[float(row[k::_PARTS].mean()) for k in range(_PARTS)] for row in right]
    return Candidate("", right.mean(1).tolist(), parts)


if __name__ == "__main__":
    main()
