"""How a model of signals in ONNX judges values without TensorFlow: the score of each step, in nats.

    python example.py "[[1.0], [2.0], [1.5]]"

or - for the same from standard input. Needs numpy and onnxruntime.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from anomalies import TAIL, Reference
from signals import FARTHEST, MOST, running_scale, tail_deviation, trailing_mean

here = Path(__file__).parent
judge = json.loads((here / "assets/judge.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(here / "windows.onnx")
text = sys.argv[1] if sys.argv[1:] else json.dumps([[5.0] * len(judge["targets"])] * 300)
values = np.array(json.loads(sys.stdin.read() if text == "-" else text), np.float64)
values = values.reshape(len(values), len(judge["targets"]))
steps = np.arange(len(values))
before = np.maximum(steps - 1, 0)
mean, spread = (part[before] for part in running_scale(values, judge["memory"], judge["least_spread"]))
scaled = np.clip((values - mean) / spread, -FARTHEST, FARTHEST)
places = np.maximum(steps[:, None] + np.arange(-judge["lookback"], 0), 0)
windows = np.clip((values[places] - mean[:, None]) / spread[:, None], -FARTHEST, FARTHEST).astype(np.float32)
quantiles = np.concatenate([session.run(["quantiles"], {"window": window[None]})[0] for window in windows])
deviations = {
    "surprise": np.abs(tail_deviation(quantiles, judge["levels"], scaled)),
    "level": np.minimum(np.abs(trailing_mean(values, judge["smooth"]) - mean) / spread, MOST),
}
total = np.zeros_like(values)
for name, deviation in deviations.items():
    for channel, normal in enumerate(judge[name]):
        some = deviation[:, channel]
        total[:, channel] += np.where(some > 0, Reference(normal, tail=TAIL).nats_of(some), 0)
scores = np.where(steps >= judge["warm_up"], total.max(1), 0)
for step, score in enumerate(scores.tolist()):
    print(json.dumps({"step": step, "score": round(score, 6)}))
