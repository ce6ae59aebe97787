"""Texts → ids and back in plain Python, from the folder that a tokenizer is saved in.

It is copied beside exports whose runtimes know no texts, so it imports nothing of this package: words need `regex`,
subwords `sentencepiece`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UNKNOWN, BEGIN, END, FIRST = 1, 2, 3, 4


class Tokens:
    """What a folder says of a tokenizer.

    Args:
        folder: with `tokenizer.json`.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.about = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self.kind, self.pieces, self.ids = self.about["kind"], [], {}
        if self.kind == "subword":
            import sentencepiece

            self.model: Any = sentencepiece.SentencePieceProcessor(model_file=str(folder / "model.spm"))
        elif self.kind != "byte":
            self.pieces = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
            self.ids = {piece: number for number, piece in enumerate(self.pieces, FIRST)}
        if self.kind == "word":
            import regex

            self.pattern = regex.compile(self.about["pattern"])

    def normalized(self, text: str) -> str:
        """A text in its Unicode normal form, in lower case where the model knows no other."""
        form, text = self.about["normalization"], text.replace("\0", "\ufffd")
        text = text if form == "none" else unicodedata.normalize(form.upper(), text)
        return text.lower() if self.about["lowercase"] else text

    def encode(self, text: str) -> list[int]:
        """Ids of a text, at least one."""
        text = self.normalized(text)
        if self.kind == "subword":
            found = self.model.encode(text)
        elif self.kind == "byte":
            found = [FIRST + byte for byte in text.encode()]
        else:
            found = [self.ids.get(p, UNKNOWN) for p in (self.pattern.findall(text) if self.kind == "word" else text)]
        return list(found) or [UNKNOWN]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; the special ones leave no trace."""
        ids = [number for number in ids if number >= FIRST]
        if self.kind == "subword":
            return str(self.model.decode(ids))
        if self.kind == "byte":
            return bytes(number - FIRST for number in ids).decode("utf-8", "replace")
        return (" " if self.kind == "word" else "").join(self.pieces[number - FIRST] for number in ids)
