"""Metrics of translations: sacreBLEU's, with their signatures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacrebleu import BLEU

_UNSPACED = (
    ("han", 0x3400, 0x9FFF),
    ("han", 0xF900, 0xFAFF),
    ("han", 0x20000, 0x3FFFF),
    ("kana", 0x3041, 0x30FF),
    ("kana", 0x31F0, 0x31FF),
    ("other", 0x0E00, 0x0EFF),  # Thai, Lao
    ("other", 0x1000, 0x109F),  # Myanmar
    ("other", 0x1780, 0x17FF),  # Khmer
)
_LENGTHS = ((1, 9), (10, 19), (20, 0))


def translation_report(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF of translations against one reference each.

    "bleu" is sacreBLEU's with its defaults (Post 2018, arXiv:1804.08771); "bleu_tokenized_lowercase" folds case first,
    as most papers on Multi30k do, both with the tokenizer that fits the script of the references: "13a", but "zh" for
    Chinese, and for Japanese "ja-mecab" where MeCab is installed, else "char", as for Thai, Lao, Khmer and Burmese;
    "bleu_words_10_19" and the like are the latter for references of so many words, where there are 20 of them or more;
    "chrf" is chrF2 (Popović 2015). All are in percent. chrF comes first, and so decides which epoch is best: BLEU is 0
    where texts have fewer than four words.

    Args:
        hypotheses: the translations.
        references: what they should be.

    Example:

    >>> round(translation_report(["The cat sat."], ["The cat sat."])["bleu"], 1)
    100.0
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    tokenizer = _tokenizer_for(references)
    bleu, folded, chrf = BLEU(tokenize=tokenizer), BLEU(tokenize=tokenizer, lowercase=True), CHRF()
    found = {
        "chrf": chrf.corpus_score(list(hypotheses), [list(references)]).score,
        "bleu": bleu.corpus_score(list(hypotheses), [list(references)]).score,
        "bleu_tokenized_lowercase": folded.corpus_score(list(hypotheses), [list(references)]).score,
    }
    units = str.split if tokenizer == "13a" else list[str]
    words = [sum(len(units(text)) for text in texts) for texts in (hypotheses, references)]
    return {
        **found,
        "exact_match": sum(h == r for h, r in zip(hypotheses, references, strict=True)) / max(len(references), 1),
        "length_ratio": words[0] / max(words[1], 1),
        **(_by_length(folded, hypotheses, references) if tokenizer == "13a" else {}),
        "records": len(references),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }


def _tokenizer_for(references: Sequence[str]) -> str:
    """Which of sacreBLEU's tokenizers parts texts of this script into words."""
    kinds: Counter[str] = Counter()
    for character, count in Counter("".join(references)).items():
        kinds[_script(character)] += count * character.isalpha()
    unspaced = kinds["han"] + kinds["kana"] + kinds["other"]
    if unspaced < 0.3 * kinds.total() or not unspaced:
        return "13a"
    if kinds["kana"] > 0.05 * unspaced:
        return "ja-mecab" if find_spec("MeCab") and find_spec("ipadic") else "char"
    return "zh" if kinds["han"] > kinds["other"] else "char"


def _script(character: str) -> str:
    """Of the scripts that put no blanks between words: "han", "kana", or "other" for those of South-East Asia."""
    return next((name for name, low, high in _UNSPACED if low <= ord(character) <= high), "")


def _by_length(bleu: BLEU, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    found = {}
    for low, high in _LENGTHS:
        pairs = [
            (h, r) for h, r in zip(hypotheses, references, strict=True) if low <= len(r.split()) <= (high or 10**9)
        ]
        if len(pairs) >= 20:
            name = f"bleu_words_{low}_{high}" if high else f"bleu_words_{low}_up"
            found[name] = bleu.corpus_score([h for h, _ in pairs], [[r for _, r in pairs]]).score
    return found
