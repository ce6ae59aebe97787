"""How a translator in ONNX is asked without TensorFlow.

    python example.py "A text."

Needs numpy and onnxruntime, for words regex, for subwords sentencepiece. At each step, the most
probable token is taken.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokens import BEGIN, END, Tokens

here = Path(__file__).parent
encoder, decoder = (onnxruntime.InferenceSession(here / name) for name in ("encode.onnx", "step.onnx"))
source, target = (Tokens(here / "assets" / name) for name in ("source", "target"))
names = [output.name for output in decoder.get_outputs()]
for text in sys.argv[1:] or ["A dog runs."]:
    ids = np.array([source.encode(text)], np.int32)
    given = dict(
        zip([output.name for output in encoder.get_outputs()], encoder.run(None, {"source": ids}), strict=True)
    )
    written = [BEGIN]
    while written[-1] != END and len(written) < 10 + 3 * ids.shape[1] // 2:
        token = np.array(written[-1:], np.int32)
        found = dict(zip(names, decoder.run(names, {"tokens": token, "source": ids, **given}), strict=True))
        found["logits"][0, :3] = -np.inf  # padding, unknown, begin
        written.append(int(found["logits"].argmax()))
        given |= {name.removeprefix("next_"): value for name, value in found.items() if name.startswith("next_")}
    print(json.dumps({"source": text, "translation": target.decode(written)}, ensure_ascii=False))
