"""How a recognizer in ONNX is asked without TensorFlow.

    python example.py recording.wav

The recording must be a wav of 16 bits, of the rate that the model reads. Needs numpy and onnxruntime.
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
rate = json.loads((here / "assets/facts.json").read_text(encoding="utf-8"))["rate"]
about = json.loads((here / "assets/tokenizer/tokenizer.json").read_text(encoding="utf-8"))
names = json.loads((here / "assets/tokenizer/vocabulary.json").read_text(encoding="utf-8"))
if sys.argv[1:]:
    with wave.open(sys.argv[1]) as sound:
        if (sound.getframerate(), sound.getsampwidth()) != (rate, 2):
            sys.exit(f"{sys.argv[1]} must have {rate:,} samples of 16 bits a second.")
        content = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, sound.getnchannels())
    samples = (content.mean(1) / 32768).astype(np.float32)
else:
    samples = np.zeros(rate, np.float32)
session = onnxruntime.InferenceSession(here / "posteriors.onnx")
given = {"samples": samples[None], "lengths": np.array([len(samples)], np.int32)}
(log_p,) = session.run(["log_probabilities"], given)
path = log_p[0].argmax(-1)
tokens = [k for k, before in zip(path, [0, *path[:-1]], strict=True) if k and k != before]
pieces = {k: names[k - 4] for k in tokens if k > 3}
text = (" " if about["kind"] == "word" else "").join(pieces.get(k, "\ufffd") for k in tokens)
print(json.dumps({"text": " ".join(text.split())}, ensure_ascii=False))
