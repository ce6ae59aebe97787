"""Words → sentences and features, inside the graph, so that training, prediction and an exported model agree."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from nlp_rnn.text.lookup import CharacterTokenizer, Words, WordTokenizer
from nlp_rnn.text.ragged import keep, position_in_row, row_ids

# A full stop after these ends no sentence.
_ABBREVIATIONS = (
    "mr|mrs|ms|dr|prof|st|sr|jr|gen|col|lt|sgt|capt|cmdr|adm|maj|rev|hon|sen|rep|gov|pres|vs|v|vol|"
    "jan|feb|apr|jun|jul|aug|sep|sept|oct|nov|dec|approx|dept|univ|mt|ave|blvd"
)
_END = r"[.!?…。！？]+"
_FULL_WIDTH_END = r"[。！？]+"
_CLOSING = "[\"'”’»)\\]]"
_OPENING = r"[\p{Lu}\p{Lt}\p{Lo}\p{N}].*|[\"'“‘«(\[¿¡]"


def sentence_ids(words: Words) -> tf.Tensor:
    """For each word, flat, the number of its sentence within its text, from 0.

    A sentence ends at an empty line (a line break alone may stand anywhere), and after . ! ? … (and the quotes and
    brackets that close behind them) where the next word begins like a sentence does and no abbreviation or initial
    stands before the full stop.
    """
    values, place = words.words.values, position_in_row(words.words)
    ends = tf.strings.regex_full_match(values, _END)
    before = tf.concat([[""], values], 0)[:-1]
    abbreviated = tf.strings.regex_full_match(before, rf"(?i:{_ABBREVIATIONS}|\p{{L}})") & (values == ".") & (place > 0)
    ends = ends & ~abbreviated
    apart = words.starts.values > tf.concat([[0], words.ends.values], 0)[:-1]
    closing = tf.strings.regex_full_match(values, _CLOSING) & ~apart
    for _ in range(2):  # .")
        ends = ends | (closing & _shifted(ends))
    opens = tf.strings.regex_full_match(values, _OPENING) & (
        apart | tf.strings.regex_full_match(before, _FULL_WIDTH_END)
    )
    boundary = ((_shifted(ends) & opens) | words.after_break) & (place > 0)
    count = tf.cumsum(tf.cast(boundary, tf.int64))
    first = tf.gather(tf.concat([count, [0]], 0), tf.gather(words.words.row_splits, row_ids(words.words)))
    return count - first


def row_starts(words: Words, max_tokens: int) -> tf.Tensor:
    """For each word, flat, whether a row begins with it: a sentence, or the next part of one that is too long."""
    sentence = sentence_ids(words)
    is_first = position_in_row(words.words) == 0
    begins = is_first | (sentence != tf.concat([[0], sentence], 0)[:-1])
    # The place in the sentence: what lies behind since the last beginning.
    place = tf.range(tf.size(sentence, tf.int64))
    beginnings = tf.boolean_mask(place, begins)
    since = place - tf.gather(tf.concat([beginnings, [0]], 0), tf.cumsum(tf.cast(begins, tf.int64)) - 1)
    return since % max_tokens == 0


def _shifted(flags: tf.Tensor) -> tf.Tensor:
    """Whether the word before had the flag."""
    return tf.concat([[False], flags], 0)[:-1]


CASES = ("other", "lower", "title", "upper", "mixed", "number", "alphanumeric")
_CASE_PATTERNS = (
    r"[^\p{Lu}\p{Lt}\p{N}]*\p{Ll}[^\p{Lu}\p{Lt}\p{N}]*",
    r"[^\p{L}\p{N}]*[\p{Lu}\p{Lt}][^\p{Lu}\p{Lt}\p{N}]*",
    r"[^\p{L}\p{N}]*\p{Lu}[^\p{Ll}\p{N}]*",
    r"[^\p{N}]*[\p{Lu}\p{Lt}][^\p{N}]*",
    r"[^\p{L}]*\p{N}[^\p{L}]*",
    r".*\p{N}.*",
)


def case_ids(words: tf.Tensor) -> tf.Tensor:
    """How words are written, flat: int32, 1 + the place in `CASES`; 0 is left to padding.

    Example:

    >>> case_ids(tf.constant(["rain", "Ada", "UN", "iPhone", "1,200", "B2", "-"])).numpy().tolist()
    [2, 3, 4, 5, 6, 7, 1]
    """
    found = tf.ones_like(words, tf.int32)
    for number, pattern in reversed(list(enumerate(_CASE_PATTERNS, 2))):
        found = tf.where(tf.strings.regex_full_match(words, pattern), number, found)
    return found


@dataclasses.dataclass(frozen=True)
class WordFeatures:
    """What a tagger sees of words: their ids, their characters, how they are written.

    Args:
        words: looks words up.
        characters: looks characters up.
        max_characters: of longer words the beginning and the end, half each, are seen.
    """

    words: WordTokenizer
    characters: CharacterTokenizer
    max_characters: int = 24

    def __call__(self, words: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor, tf.Tensor]:
        """Flat words → ids, characters `[words, (characters)]`, cases."""
        characters = self.characters.encode_graph(words)
        place = position_in_row(characters)
        from_end = tf.gather(characters.row_lengths(), row_ids(characters)) - place
        head = self.max_characters // 2
        seen = keep(characters, (place < head) | (from_end <= self.max_characters - head))
        return self.words.ids_of(words), seen, case_ids(words)
