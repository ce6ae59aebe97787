"""The starter corpus: five weeks of a ticket shop that does not exist, its requests and the load of its servers every
five minutes, made by a generator with known faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nlp_rnn.data.records import LINE

if TYPE_CHECKING:
    import pandas as pd

DAY = 288
SIZES = {"train": 14 * DAY, "validation": 4 * DAY, "test": 21 * DAY}
"""Steps of each split."""
_BEGIN = np.datetime64("2026-01-05T00:00:00")
Fault = Callable[[np.ndarray, np.ndarray, np.random.Generator], None]


def signals(split: str) -> pd.DataFrame:
    """The rows of a split: timestamp, requests, load, label; "anomaly" only where a fault of the test part is."""
    import pandas as pd

    names = list(SIZES)
    first = sum(SIZES[name] for name in names[: names.index(split)])
    draw = np.random.default_rng([7, names.index(split)])
    places = np.arange(first, first + SIZES[split])
    requests, load = _usual(places, draw)
    labels = np.zeros(len(places), bool)
    if split == "test":
        for number, start in enumerate(range(DAY, len(places) - DAY, int(0.8 * DAY))):
            size = int(draw.integers(6, 40))
            start += int(draw.integers(0, DAY // 2))
            part = slice(start, start + size)
            FAULTS[number % len(FAULTS)](requests[part], load[part], draw)
            labels[part] = True
    times = _BEGIN + places * np.timedelta64(5, "m")
    values = {"requests": requests.round(), "load": load.round(4)}
    frame = pd.DataFrame({"timestamp": times, **values, "label": np.where(labels, "anomaly", "normal")})
    frame[LINE] = range(1, len(frame) + 1)
    return frame


def _usual(places: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Requests by day and week, with a slow drift; and the load that they make, a little later."""
    day = 1 + 0.7 * np.sin(2 * np.pi * (places / DAY - 0.35)) + 0.2 * np.sin(4 * np.pi * places / DAY)
    week = np.where((places // DAY) % 7 >= 5, 1.3, 1.0)
    drift = np.zeros(len(places))
    for step in range(1, len(places)):
        drift[step] = 0.98 * drift[step - 1] + 0.01 * draw.standard_normal()
    requests = draw.poisson(200 * np.maximum(day * week + drift, 0.05)).astype(np.float64)
    before = np.concatenate([requests[:1], requests[:-1]])
    load = 0.05 + 0.0012 * (0.6 * requests + 0.4 * before) + 0.01 * draw.standard_normal(len(places))
    return requests, np.clip(load, 0, 1)


def _spike(requests: np.ndarray, load: np.ndarray, draw: np.random.Generator) -> None:
    requests[:4] *= 2.5
    load[:5] = np.minimum(load[:5] * 2.2, 1)


def _outage(requests: np.ndarray, load: np.ndarray, draw: np.random.Generator) -> None:
    requests[:] = 0
    load[:] = 0.05 + 0.005 * draw.standard_normal(len(load))


def _loop(requests: np.ndarray, load: np.ndarray, draw: np.random.Generator) -> None:
    """A process that never ends: more load, as many requests."""
    load[:] = np.minimum(load + 0.3, 1)


def _stuck(requests: np.ndarray, load: np.ndarray, draw: np.random.Generator) -> None:
    """A sensor that says the same again and again."""
    load[:] = load[0]


def _cache(requests: np.ndarray, load: np.ndarray, draw: np.random.Generator) -> None:
    """A cache that is empty every other minute: load that jumps up and down."""
    load[::2] = np.minimum(load[::2] * 1.6, 1)
    load[1::2] *= 0.6


FAULTS: tuple[Fault, ...] = (_spike, _outage, _loop, _stuck, _cache)
