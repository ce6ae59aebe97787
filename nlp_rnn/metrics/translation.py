"""Metrics of translations: sacreBLEU's, with their signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LENGTHS = ((1, 9), (10, 19), (20, 0))


def translation_report(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF of translations against one reference each.

    "bleu" is sacreBLEU's with its defaults (Post 2018, arXiv:1804.08771); "bleu_tokenized_lowercase" folds case first,
    as most papers on Multi30k do; "bleu_words_10_19" and the like are the latter for references of so many words, where
    there are 20 of them or more; "chrf" is chrF2 (Popović 2015). All are in percent. chrF comes first, and so decides
    which epoch is best: BLEU is 0 where texts have fewer than four words.

    Args:
        hypotheses: the translations.
        references: what they should be.

    Example:

    >>> round(translation_report(["The cat sat."], ["The cat sat."])["bleu"], 1)
    100.0
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, folded, chrf = BLEU(), BLEU(lowercase=True), CHRF()
    found = {
        "chrf": chrf.corpus_score(list(hypotheses), [list(references)]).score,
        "bleu": bleu.corpus_score(list(hypotheses), [list(references)]).score,
        "bleu_tokenized_lowercase": folded.corpus_score(list(hypotheses), [list(references)]).score,
    }
    words = [sum(len(text.split()) for text in texts) for texts in (hypotheses, references)]
    return {
        **found,
        "exact_match": sum(h == r for h, r in zip(hypotheses, references, strict=True)) / max(len(references), 1),
        "length_ratio": words[0] / max(words[1], 1),
        **_by_length(folded, hypotheses, references),
        "records": len(references),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }


def _by_length(bleu: Any, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    found = {}
    for low, high in _LENGTHS:
        pairs = [
            (h, r) for h, r in zip(hypotheses, references, strict=True) if low <= len(r.split()) <= (high or 10**9)
        ]
        if len(pairs) >= 20:
            name = f"bleu_words_{low}_{high}" if high else f"bleu_words_{low}_up"
            found[name] = bleu.corpus_score([h for h, _ in pairs], [[r for _, r in pairs]]).score
    return found
