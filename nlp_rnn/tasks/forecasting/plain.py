"""How a forecaster in ONNX is asked without TensorFlow.

    python example.py "[1, 2, 3, 4]" 2026-01-31

The last argument is the time of the last value; without it, it is now. Needs numpy and onnxruntime.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
about = json.loads((here / "assets.extra/signature.json").read_text(encoding="utf-8"))["signatures"]["serving_default"]
given = {name: np.array(values, about["inputs"][name]["dtype"]) for name, values in about["example"]["inputs"].items()}
if sys.argv[1:]:
    values = np.array(json.loads(sys.argv[1]), np.float32)
    given["history"] = values.reshape(1, len(values), given["history"].shape[-1])
    given["lengths"] = np.array([len(values)], np.int32)
    last = datetime.fromisoformat(sys.argv[2]) if sys.argv[2:] else datetime.now()
    given["time"] = np.array([last.replace(tzinfo=UTC).timestamp()], np.int64)
session = onnxruntime.InferenceSession(here / "serving_default.onnx")
given = {one.name: given[one.name] for one in session.get_inputs()}
median, times = session.run(["median", "times"], given)
for row, seconds in zip(median[0], times[0], strict=True):
    time = datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)
    print(json.dumps({"time": time.isoformat(), "median": [round(float(value), 6) for value in row]}))
