"""How a model of events in ONNX is asked without TensorFlow.

    python example.py "open read close"

or, where it was trained on lines of a log, with the lines of a session as they stand in it.

Needs numpy, onnxruntime and regex.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from templates import template_of
from tokens import Tokens

here = Path(__file__).parent
tokens, session = Tokens(here / "assets/tokenizer"), onnxruntime.InferenceSession(here / "tokens.onnx")
judge = json.loads((here / "assets/judge.json").read_text(encoding="utf-8"))
END = 3
for text in sys.argv[1:] or ["open read close"]:
    lines = [line for line in text.split("\n") if line.strip()]
    events = " ".join(map(template_of, lines)) if judge["lines"] else text
    ids = tokens.encode(events) + [END] * judge["ends"]
    score, p_value, surprises = session.run(["score", "p_value", "surprises"], {"tokens": np.array([ids], np.int32)})
    found = {"score": round(float(score[0]), 6), "p_value": float(p_value[0])}
    print(json.dumps({**found, "surprises": [round(float(one), 6) for one in surprises[0][: len(ids)]]}))
