"""How a language model in ONNX goes on from a prompt without TensorFlow.

    python example.py "A prompt" …

Needs numpy and onnxruntime, for words regex, for subwords sentencepiece. At each step, the most
probable token is taken.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokens import Tokens

here = Path(__file__).parent
tokens, session = Tokens(here / "assets/tokenizer"), onnxruntime.InferenceSession(here / "step.onnx")
about = json.loads((here / "assets.extra/signature.json").read_text(encoding="utf-8"))["signatures"]["step"]
begin = about["example"]["inputs"]["tokens"][0][:1]
for prompt in sys.argv[1:] or ["The "]:
    ids, written = np.array([[*begin, *(tokens.encode(prompt) if prompt else [])]], np.int32), []
    state = np.zeros([1, *about["inputs"]["state"]["shape"][1:]], np.float32)
    for _ in range(40):
        logits, state = session.run(["logits", "next_state"], {"tokens": ids, "state": state})
        logits[0, -1, :3] = -np.inf  # padding, unknown, begin
        ids = logits[:, -1:].argmax(-1).astype(np.int32)
        written.append(int(ids[0, 0]))
    print(json.dumps({"prompt": prompt, "text": tokens.decode(written)}, ensure_ascii=False))
