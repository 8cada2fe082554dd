from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xeric.data.shingles import comparable, fold, jaccard, shingles
from xeric.text import words


def compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


@given(st.text(st.characters(max_codepoint=0x250), max_size=40))
def test_fold_is_words_without_case(text: str) -> None:
    assert fold(text) == words(compatible(compatible(text).casefold()))
    assert fold(text) == fold(compatible(text.upper().lower())) or not text.isascii()


@settings(max_examples=80)
@given(st.lists(st.sampled_from("abcdé"), max_size=14), st.lists(st.sampled_from("abcdé"), max_size=14), st.integers(1, 5))
def test_similarity_is_that_of_the_window_sets(left: list[str], right: list[str], n: int) -> None:
    def windows(tokens: list[str]) -> set[tuple[str, ...]]:
        size = min(n, len(tokens)) or 1
        return {tuple(tokens[k : k + size]) for k in range(len(tokens) - size + 1)}

    a, b = windows(left), windows(right)
    expected = len(a & b) / len(a | b) if a | b else 0.0
    assert jaccard(shingles(" ".join(left), "word", n), shingles(" ".join(right), "word", n)) == pytest.approx(expected)


def test_windows_of_characters_cross_words() -> None:
    assert len(shingles("Ab, cd!", "char", 3)) == 3  # "ab ", "b c", " cd" and nothing of the punctuation
    assert jaccard(shingles("abc", "char", 5), shingles("ABC.", "char", 5)) == 1.0
    assert shingles("", "char", 5).size == shingles("?!", "word", 2).size == 0


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Ｐａｒｉｓ２０２６", "paris2026"),
        ("ﾗｰﾒﾝをﾀﾍﾞﾙ", "ラーメンをタベル"),
        ("كِتَابٌ جَمِيلٌ", "كتاب جميل"),
        ("كتـــاب", "كتاب"),
        ("שָׁלוֹם", "שלום"),
        ("ﬁnal ﬂight", "final flight"),
        ("cafe\u0301", "café"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_other_forms_of_a_text_are_the_same(left: str, right: str) -> None:
    assert fold(left) == fold(right) != []


@pytest.mark.parametrize(("left", "right"), [("हिंदी", "हदी"), ("pêche", "péché"), ("ไม่", "ไม้"), ("🐸", "🐙")])
def test_other_words_and_signs_stay_apart(left: str, right: str) -> None:
    assert comparable(left) != comparable(right)
