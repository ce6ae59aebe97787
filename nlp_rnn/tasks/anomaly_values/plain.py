"""How a model of signals in ONNX judges values without TensorFlow: the score of each step, in nats.

    python example.py "[[1.0], [2.0], [1.5]]"

or - for the same from standard input. Needs numpy and onnxruntime.
"""

import json
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import onnxruntime

here = Path(__file__).parent
judge = json.loads((here / "assets/judge.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(here / "windows.onnx")
text = sys.argv[1] if sys.argv[1:] else json.dumps([[5.0] * len(judge["targets"])] * 300)
values = np.array(json.loads(sys.stdin.read() if text == "-" else text), np.float64)
values = values.reshape(len(values), len(judge["targets"]))
steps = np.arange(len(values))
OUTLIER = 30.0  # spreads


def trailing_mean(numbers: np.ndarray, count: int) -> np.ndarray:
    """Of the last `count` steps, or of as many as there are."""
    firsts = np.maximum(steps + 1 - count, 0)
    return np.stack([numbers[first : step + 1].mean(0) for first, step in zip(firsts, steps, strict=True)])


def running_scale(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the spread of the last `count` steps."""
    mean = trailing_mean(numbers - numbers[0], count)
    spread = np.sqrt(np.maximum(trailing_mean((numbers - numbers[0]) ** 2, count) - mean**2, 0))
    mean = mean + numbers[0]
    return mean, np.maximum(spread, np.maximum(max(1e-6, judge["least_spread"]) * np.abs(mean), 1e-30))


def nats(numbers: np.ndarray, normal: list[float]) -> np.ndarray:
    """-log of how often normal data have such a number, or a higher one."""
    known = np.array(normal)
    high = np.quantile(known, 0.9)
    over = known[known > high] - high
    excess = over.mean() if len(over) else max(abs(high) * 0.05, 1e-6)
    above = len(known) - np.searchsorted(known, numbers, "left")
    usual = -np.log(np.maximum((above + 1) / (len(known) + 1), 0.1))
    return np.where(numbers > high, (numbers - high) / excess - np.log(0.1), usual)


before = np.maximum(steps - 1, 0)
mean, spread = running_scale(values, judge["memory"])
near = np.clip(values[1:], (mean - OUTLIER * spread)[:-1], (mean + OUTLIER * spread)[:-1])
mean, spread = running_scale(np.concatenate([values[:1], near]), judge["memory"])
mean, spread = mean[before], spread[before]
places = np.maximum(steps[:, None] + np.arange(-judge["lookback"], 0), 0)
windows = np.clip((values[places] - mean[:, None]) / spread[:, None], -10, 10).astype(np.float32)
quantiles = np.concatenate([session.run(["quantiles"], {"window": window[None]})[0] for window in windows])
deviates = np.array([NormalDist().inv_cdf(level) for level in judge["levels"]])
scaled = np.clip((values - mean) / spread, -10, 10)
place = np.clip((scaled[..., None] >= quantiles).sum(-1) - 1, 0, len(deviates) - 2)[..., None]
width = np.take_along_axis(np.maximum(np.diff(quantiles, axis=-1), 1e-6), place, -1)[..., 0]
low = np.take_along_axis(quantiles, place, -1)[..., 0]
surprise = deviates[place[..., 0]] + np.diff(deviates)[place[..., 0]] * (scaled - low) / width
level = (trailing_mean(values, judge["smooth"]) - mean) / spread
total = np.zeros_like(values)
for name, deviation in (("surprise", surprise), ("level", level)):
    size = np.minimum(np.abs(deviation), 50)
    for channel, normal in enumerate(judge[name]):
        total[:, channel] += np.where(size[:, channel] > 0, nats(size[:, channel], normal), 0)
scores = np.where(steps >= judge["warm_up"], total.max(1), 0)
for step, score in enumerate(scores.tolist()):
    print(json.dumps({"step": step, "score": round(score, 6)}))
