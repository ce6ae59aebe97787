"""How a classifier in ONNX is asked without TensorFlow.

    python example.py "A text."

Needs numpy, onnxruntime and, for words, regex.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokens import Tokens

here = Path(__file__).parent
tokens, session = Tokens(here / "assets/tokenizer"), onnxruntime.InferenceSession(here / "tokens.onnx")
labels = json.loads((here / "assets.extra/labels.json").read_text(encoding="utf-8"))["labels"]
rows = [tokens.encode(text) for text in sys.argv[1:] or ["A joyless slog."]]
padded = [row + [0] * (max(map(len, rows)) - len(row)) for row in rows]
(probabilities,) = session.run(["probabilities"], {"tokens": np.array(padded, np.int32)})
for row in probabilities:
    print(json.dumps({"label": labels[row.argmax()], "probability": float(row.max())}))
