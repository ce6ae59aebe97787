"""How a model of events in ONNX is asked without TensorFlow.

    python example.py "open read close"

Needs numpy, onnxruntime and regex.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokens import Tokens

here = Path(__file__).parent
tokens, session = Tokens(here / "assets/tokenizer"), onnxruntime.InferenceSession(here / "tokens.onnx")
judge = json.loads((here / "assets/judge.json").read_text(encoding="utf-8"))
END = 3
for text in sys.argv[1:] or ["open read close"]:
    ids = tokens.encode(text) + [END] * judge["ends"]
    mean, surprises = session.run(["mean_surprise", "surprises"], {"tokens": np.array([ids], np.int32)})
    print(
        json.dumps(
            {"mean_surprise": float(mean[0]), "surprises": [round(float(s), 6) for s in surprises[0][: len(ids)]]}
        )
    )
