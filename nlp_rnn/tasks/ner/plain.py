"""How a tagger in ONNX is asked without TensorFlow.

    python example.py "A sentence."

Needs numpy, onnxruntime and regex. A text is one sentence here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import regex
from tokens import Tokens

CASES = (
    r"[^\p{Lu}\p{Lt}\p{N}]*\p{Ll}[^\p{Lu}\p{Lt}\p{N}]*",
    r"[^\p{L}\p{N}]*[\p{Lu}\p{Lt}][^\p{Lu}\p{Lt}\p{N}]*",
    r"[^\p{L}\p{N}]*\p{Lu}[^\p{Ll}\p{N}]*",
    r"[^\p{N}]*[\p{Lu}\p{Lt}][^\p{N}]*",
    r"[^\p{L}]*\p{N}[^\p{L}]*",
    r".*\p{N}.*",
)


def case_of(word: str) -> int:
    """How a word is written: 2 to 7, or 1 for a sign."""
    return next((number for number, one in enumerate(CASES, 2) if regex.fullmatch(one, word)), 1)


here = Path(__file__).parent
words, characters = (Tokens(here / "assets" / name) for name in ("tokenizer", "characters"))
session = onnxruntime.InferenceSession(here / "tokens.onnx")
about = json.loads((here / "assets.extra/signature.json").read_text(encoding="utf-8"))
names = ["O", *(f"{prefix}-{label}" for label in about["labels"] for prefix in "BIES")]
longest = about["settings"]["embedding"]["max_characters"]  # of longer words the beginning and the end are seen
head, tail = longest // 2, longest - longest // 2
for text in sys.argv[1:] or ["Ada met Bob in Rome."]:
    found = words.pattern.findall(words.normalized(text) if not words.about["lowercase"] else text)
    if not found:
        print("[]")
        continue
    spelt = [characters.encode(word) for word in found]
    spelt = [ids if len(ids) <= longest else ids[:head] + ids[len(ids) - tail :] for ids in spelt]
    width = max(map(len, spelt), default=1)
    features = {
        "tokens": [[words.ids.get(words.normalized(word), 1) for word in found]],
        "characters": [[ids + [0] * (width - len(ids)) for ids in spelt]],
        "case": [[case_of(word) for word in found]],
    }
    (tags,) = session.run(["ids"], {name: np.array(value, np.int32) for name, value in features.items()})
    print(json.dumps(list(zip(found, [names[tag] for tag in tags[0]], strict=True)), ensure_ascii=False))
