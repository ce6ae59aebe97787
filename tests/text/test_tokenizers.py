"""Tokenizers on real and on hostile text."""

from __future__ import annotations

import functools
import random
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.assets import Assets
from nlp_rnn.config.sections import TokenizerConfig
from nlp_rnn.errors import InputError
from nlp_rnn.text.normalization import Normalizer
from nlp_rnn.text.ragged import truncate
from nlp_rnn.text.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    SubwordTokenizer,
    WordTokenizer,
    load_tokenizer,
    train_tokenizer,
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "Sphinx of black quartz, judge my vow! E\u0301t\u00e9 naïve façade.",
    "日本語のテキストと русский текст и ελληνικά",
    "Prices: £3.50, 20 % off — “quoted”, it's ‘fine’.",
] * 20

HOSTILE = [
    "",
    " ",
    "\t\n",
    "e\u0301e\u0323\u0307 q\u0307\u0323",  # combining marks, in both orders
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️",  # joiners, skin tones, flags, variation selectors
    "שלום עולם مرحبا \u202eabc\u202c",  # right to left
    "ﬁ ﬀ ½ ㍿ ﷺ Ⅷ Å",  # one code point that becomes several, and the reverse
    "İstanbul ΣΑΣ ẞ ǅ",  # lower-casing that changes length or depends on its place
    "a\x00b\x00",
    "\ud800 lone \udfff",
    "\ufffe\uffff\U0010ffff",
    "x" * 50_000,
    " lead  and   trail  ",
    "line\r\nbreak\u2028other\u0085",
    "\u1100\u1161\u11a8 각",  # Hangul that composes
]

texts = st.lists(
    st.text(st.characters() | st.sampled_from("e\u0301İﬁ👩\u200dΣ \t▁"), max_size=40), min_size=1, max_size=20
)


PLAIN, FOLDED = Normalizer("none"), Normalizer("nfkc", lowercase=True)
DEFAULT = [("subword", PLAIN), ("subword", FOLDED), ("word", FOLDED), ("character", FOLDED), ("byte", PLAIN)]
# A tokenizer takes what any normalizer gives in the same way, and word tokenizers take seconds to trace: by default
# each kind is tested with one normalizer, and one kind with two.
ALL = [(kind, form) for kind in ("subword", "word", "character", "byte") for form in (PLAIN, Normalizer("nfc"), FOLDED)]
every_tokenizer = pytest.mark.parametrize(
    ("kind", "normalizer"),
    [
        pytest.param(kind, form, id=f"{kind}-{form.form}", marks=[] if (kind, form) in DEFAULT else pytest.mark.slow)
        for kind, form in ALL
    ],
)


@functools.cache
def built(kind: str, normalizer: Normalizer):
    """Kept for all tests: what a tokenizer traces takes seconds."""
    if kind == "subword":
        return SubwordTokenizer.train(CORPUS, 400, normalizer)
    if kind == "word":
        return WordTokenizer.train(CORPUS, 60, normalizer)
    if kind == "character":
        return CharacterTokenizer.train(CORPUS, 60, normalizer)
    return ByteTokenizer(normalizer)


@pytest.fixture
def untraced():
    """Tokenizers of one use run without a graph, which takes seconds to trace."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def check_contract(tokenizer, strings):
    ids = tokenizer.encode(strings).to_list()
    same, starts, ends = (part.to_list() for part in tokenizer.encode_with_offsets(strings))
    assert ids == same
    for text, row, start, end in zip(strings, ids, starts, ends, strict=True):
        assert row, "a text may not encode to nothing"
        assert all(0 < i < tokenizer.size for i in row)
        assert len(row) == len(start) == len(end)
        assert all(0 <= s <= e <= len(text) for s, e in zip(start, end, strict=True))
        assert start == sorted(start)
        assert end == sorted(end)


@every_tokenizer
def test_hostile_text(kind, normalizer):
    check_contract(built(kind, normalizer), HOSTILE)


@every_tokenizer
@given(texts)
def test_any_text(kind, normalizer, strings):
    check_contract(built(kind, normalizer), strings)


@given(texts)
def test_bytes_and_subwords_lose_nothing(strings):
    clean = ["".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in s) for s in strings]
    for tokenizer in (built("byte", PLAIN), built("subword", PLAIN)):
        decoded = tokenizer.decode(tokenizer.encode(strings))
        shown = clean if tokenizer.kind == "byte" else [s.replace("▁", " ").replace("\ufffe", "\ufffd") for s in clean]
        empty = "\ufffd" if tokenizer.kind == "byte" else " ⁇ "
        for text, expected in zip(decoded, shown, strict=True):
            if tokenizer.kind == "subword" and expected.startswith(" "):
                if expected.strip(" "):
                    assert text.lstrip(" ") == expected.lstrip(" "), "only blanks at the beginning may be lost"
            else:
                assert text == (expected or empty)


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\x00"), max_size=30),
        min_size=1,
        max_size=20,
    )
)
def test_normalized_characters_come_from_where_their_offsets_say(strings):
    """Each normalised code point must be made of the source span that it is said to come from.

    Characters that this Python does not know are left out: ICU's Unicode is newer.
    """
    normalized, *offsets = Normalizer("nfkc").with_offsets(tf.constant([text.encode() for text in strings]))
    rows = zip(strings, normalized.numpy(), *(part.to_list() for part in offsets), strict=True)
    for text, found, starts, ends in rows:
        for character, start, end in zip(found.decode(), starts, ends, strict=True):
            assert start < end
            assert character in unicodedata.normalize("NFKC", text[start:end])


def test_lowercase_offsets_survive_a_character_that_grows(untraced):
    tokenizer = WordTokenizer(["i̇stanbul", "x"], Normalizer("nfc", lowercase=True))
    assert tokenizer.tokens(["İstanbul X"]) == [["İstanbul", "X"]]
    assert tokenizer.encode(["İstanbul X"]).to_list() == [[4, 5]]


def test_invalid_bytes_count_as_one_each(untraced):
    tokenizer = CharacterTokenizer(["a", "\ufffd"], Normalizer("none"))
    ids, starts, ends = tokenizer.encode_with_offsets([b"a\xff\xfea"])
    assert ids.to_list() == [[4, 5, 5, 4]]
    assert starts.to_list() == [[0, 1, 2, 3]]
    assert ends.to_list() == [[1, 2, 3, 4]]


def test_words_keep_apostrophes_and_split_signs(untraced):
    tokenizer = WordTokenizer([], Normalizer("nfc"))
    text = "Don't stop—it's 3.50 £, naïve! 日本 rock'n'roll'"
    expected = ["Don't", "stop", "—", "it's", "3", ".", "50", "£", ",", "naïve", "!", "日", "本", "rock'n'roll", "'"]
    assert tokenizer.tokens([text]) == [expected]
    assert WordTokenizer([], Normalizer("nfc"), "whitespace").tokens(["it 's  n't\t."]) == [["it", "'s", "n't", "."]]


def test_subword_pieces_are_the_text(untraced):
    tokenizer = SubwordTokenizer.train(CORPUS, 400)
    for text, pieces in zip(CORPUS[:4], tokenizer.tokens(CORPUS[:4]), strict=True):
        assert unicodedata.normalize("NFC", "".join(pieces)).startswith(unicodedata.normalize("NFC", text[:20]))


def test_the_most_frequent_words_make_the_vocabulary(untraced):
    tokenizer = WordTokenizer.train(["b a a", "c a b"], 6, Normalizer("nfc"))
    assert tokenizer.vocabulary == ["a", "b"]
    assert tokenizer.size == 6
    assert WordTokenizer.train(["b a a"], 100, min_count=2).vocabulary == ["a"]
    assert WordTokenizer.train(["b a a"], 5, extra=["z", "a"]).vocabulary == ["a", "z"]


@every_tokenizer
def test_seeding_tensorflow_leaves_tokenizers_alive(kind, normalizer):
    tokenizer = built(kind, normalizer)
    before = tokenizer.encode(HOSTILE[:8]).to_list()
    tf.random.set_seed(3)
    tf.keras.utils.set_random_seed(4)
    assert tokenizer.encode(HOSTILE[:8]).to_list() == before
    assert tokenizer.decode(before)


@every_tokenizer
def test_saved_tokenizers_load_equal(untraced, kind, normalizer, tmp_path):
    tokenizer = built(kind, normalizer)
    tokenizer.save(tmp_path / "tokenizer")
    again = load_tokenizer(tmp_path / "tokenizer")
    assert again.size == tokenizer.size
    assert again.encode(HOSTILE + CORPUS).to_list() == tokenizer.encode(HOSTILE + CORPUS).to_list()


@every_tokenizer
def test_python_and_graph_agree(kind, normalizer):
    tokenizer = built(kind, normalizer)
    strings = [text for text in HOSTILE if "\ud800" not in text]
    op_by_op = tokenizer.encode_graph(tf.constant([text.encode() for text in strings]))
    assert op_by_op.to_list() == tokenizer.encode(strings).to_list()


def test_special_ids_leave_no_trace_when_decoding(untraced):
    tokenizer = ByteTokenizer(Normalizer("none"))
    assert tokenizer.decode([[2, 108, 109, 3, 0, 0]]) == ["hi"]


def test_training_is_repeatable(untraced, tmp_path):
    random.seed(0)
    one, other = (SubwordTokenizer.train(CORPUS, 350) for _ in range(2))
    assert one.encode(CORPUS).to_list() == other.encode(CORPUS).to_list()
    for place, tokenizer in (("one", one), ("other", other)):
        tokenizer.save(tmp_path / place)
    assert Assets.fingerprint(tmp_path / "one") == Assets.fingerprint(tmp_path / "other")


def test_a_very_long_line_is_learned_from(untraced):
    tokenizer = SubwordTokenizer.train(["zebra " * 20_000], 300)
    assert len(tokenizer.encode(["zebra zebra"]).to_list()[0]) <= 4


@pytest.mark.parametrize(
    ("which", "expected"), [("start", [1, 2, 3, 4, 5]), ("end", [6, 7, 8, 9, 10]), ("both", [1, 2, 8, 9, 10])]
)
def test_truncation_keeps_what_was_asked_for(which, expected):
    rows = tf.ragged.constant([list(range(1, 11)), [1, 2]], tf.int32)
    assert truncate(rows, 5, which).to_list() == [expected, [1, 2]]


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="at least 300"):
        SubwordTokenizer.train(CORPUS, 100)
    with pytest.raises(InputError, match="no text"):
        SubwordTokenizer.train(["", "  "], 400)
    with pytest.raises(InputError, match="no complete tokenizer"):
        load_tokenizer(tmp_path)


def test_a_given_vocabulary_is_taken_as_it_is(untraced, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("cat\t12\nthe\n\ncat\n")
    tokenizer = train_tokenizer(TokenizerConfig(kind="word", vocabulary=str(path)), ["a dog"])
    assert tokenizer.encode(["the cat dog"]).to_list() == [[5, 4, 1]]
    path.write_text("\n")
    for config, message in [
        (TokenizerConfig(kind="word", vocabulary=str(path)), "has no words: one a line is needed"),
        (TokenizerConfig(kind="word", vocabulary=str(tmp_path / "no")), "no cannot be read"),
        (TokenizerConfig(kind="byte", vocabulary=str(path)), 'the kind is "byte", not "word"'),
    ]:
        with pytest.raises(InputError, match=message):
            train_tokenizer(config, ["a dog"])
