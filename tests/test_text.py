"""Words, languages, scripts and stemmers."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xeric import text
from xeric.errors import UnknownNameError

GOLDEN = Path(__file__).parent / "metrics" / "golden"


def test_words_are_those_of_another_program() -> None:
    cases = [json.loads(line) for line in (GOLDEN / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
    compared = 0
    for case in cases:
        texts = [case["hypothesis"], *case["references"]]
        for number, sample in enumerate(texts):
            assert text.words(text.normalize(sample).lower()) == tokens["word_nfc"][case["id"]][number].split()
            assert text.words(text.normalize(sample, "none").lower()) == tokens["word_raw"][case["id"]][number].split()
            compared += 1
    assert compared == 72 + 82


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("", []),
        ("… ¿! — 🙂", []),
        ("Don't stop", ["Don", "t", "stop"]),
        ("क्षमा कीजिए।", ["क्षमा", "कीजिए"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("१२,५०० लोग", ["१२", "५००", "लोग"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("今天 2026年", ["今", "天", "2026", "年"]),
        ("コーヒーshop", ["コ", "ー", "ヒ", "ー", "shop"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("ខ្មែរ abc", ["ខ្មែ", "រ", "abc"]),
    ],
)
def test_words(sample: str, expected: list[str]) -> None:
    assert text.words(sample) == expected


@given(st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"])))
def test_words_lose_no_letter(sample: str) -> None:
    def letters(whole: str) -> list[str]:
        return [char for char in whole if unicodedata.category(char)[0] in "LN"]

    found = text.words(sample)
    assert letters("".join(found)) == letters(sample)
    assert all(letters(word[0]) for word in found)


@given(st.text())
def test_graphemes_are_the_whole_text(sample: str) -> None:
    assert "".join(text.graphemes(sample)) == sample


def test_graphemes_keep_vowel_signs_with_their_letter() -> None:
    assert text.graphemes("की न") == ["की", " ", "न"]
    assert text.graphemes("e\u0301a") == ["e\u0301", "a"]


def test_normal_form() -> None:
    assert text.normalize("cancio\u0301n") == "canción"
    assert text.normalize("cancio\u0301n", "none") == "cancio\u0301n"
    assert text.normalize("\u095b") == "\u091c\u093c"  # NFC takes a composed nukta letter apart


def test_script_shares() -> None:
    assert text.script_shares("") == {}
    assert text.script_shares("12 !") == {}
    assert text.script_shares("abcक") == {"Latin": 0.75, "Devanagari": 0.25}
    assert text.script_shares("コーヒー") == {"Katakana": 1.0}
    assert text.script_shares("ᚠᚢ") == {"Other": 1.0}
    assert text.dominant_script("नमस्ते world") == "Devanagari"
    assert text.dominant_script("?") is None


def test_stemmers() -> None:
    assert text.stemmer("english")("running") == "run"
    assert text.stemmer("spanish")("canción") == "cancion"
    assert text.stemmer("hindi")("का") == text.stemmer("hindi")("की")  # why METEOR has an exact twin
    with pytest.raises(UnknownNameError, match="unknown stemmer 'klingon'"):
        text.stemmer("klingon")


def test_stemmers_do_not_depend_on_what_else_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    # With PyStemmer installed, snowballstemmer.stemmer() would be PyStemmer's, whatever its release.
    class Other:
        def __init__(self, algorithm: str) -> None: ...

        def stemWord(self, word: str) -> str:
            return "?"

    other = ModuleType("Stemmer")
    other.Stemmer, other.algorithms = Other, lambda: ["finnish"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "Stemmer", other)
    monkeypatch.delitem(sys.modules, "snowballstemmer", raising=False)
    text.stemmer.cache_clear()
    try:
        assert text.stemmer("finnish")("taloissa") == "talo"
    finally:
        text.stemmer.cache_clear()
