"""Edits of definitions and demonstrations: phrases in any script, and what each edit makes of them."""

from __future__ import annotations

import random

import pytest

from xeric.data.tasks import Example
from xeric.instructing.candidates import Candidate, added, deleted, exchanged, phrases, reordered, replaced, sentences, swapped
from xeric.instructing.outcome import differences

TEXTS = [
    "Write a title, at most ten words, for the text. Do not end it with a full stop!",
    "You are given a mail without its subject line and you have to write the subject line that its sender would have written",
    "Escribe un título (breve, sin punto final) para el texto.\nNo repitas la primera frase.",
    "पाठ के लिए एक शीर्षक लिखिए। शीर्षक छोटा होना चाहिए, और अंत में पूर्ण विराम नहीं।",
    "请为下面的文章写一个简短的标题，不要超过十个字。标题不要以句号结尾，也不要重复文章的第一句话。",
    "เขียนชื่อเรื่องสั้นๆสำหรับบทความต่อไปนี้โดยไม่ต้องลงท้ายด้วยจุด",
    "x",
]


@pytest.mark.parametrize("text", TEXTS)
def test_phrases_and_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(phrases(text)) == text
    assert "".join(sentences(text)) == text


def test_a_phrase_ends_at_punctuation_or_after_six_words() -> None:
    assert phrases(TEXTS[0])[:3] == ["Write a title, ", "at most ten words, ", "for the text. "]
    assert phrases(TEXTS[1])[0] == "You are given a mail without "
    assert max(len(phrase) for phrase in phrases(TEXTS[5])) <= 24
    assert sentences(TEXTS[0]) == ["Write a title, at most ten words, for the text. ", "Do not end it with a full stop!"]
    assert len(sentences(TEXTS[3])) == 2


def test_edits_of_a_definition() -> None:
    parts = ["Write a title, ", "at most ten words, ", "for the text."]
    seen = {deleted(parts, random.Random(seed)) for seed in range(20)}
    assert seen == {
        ("at most ten words, for the text.", "Write a title,"),
        ("Write a title, for the text.", "at most ten words,"),
        ("Write a title, at most ten words,", "for the text."),
    }
    exchanges = {swapped(parts, random.Random(seed)) for seed in range(20)}
    assert exchanges == {
        "at most ten words, Write a title, for the text.",
        "for the text. at most ten words, Write a title,",
        "Write a title, for the text. at most ten words,",
    }
    assert swapped(["alone"], random.Random(0)) == "alone"
    assert "in Spanish" in added(parts, "in Spanish", random.Random(1))
    assert {len(added(parts, "in Spanish", random.Random(seed)).split()) for seed in range(9)} == {12}
    assert replaced(["One thing. ", "Another."], 0, "Something else.") == "Something else. Another."
    # No blank is put where a script writes none.
    assert replaced(["写标题。", "要短。"], 0, "写一个标题。") == "写一个标题。要短。"


def test_edits_of_demonstrations_keep_their_number() -> None:
    shown = tuple(Example(f"in {n}", f"out {n}") for n in range(3))
    pool = [*shown, Example("in 3", "out 3"), Example("in 4", "out 4")]
    candidate = Candidate("Write.", shown)
    for seed in range(10):
        moved = reordered(candidate, random.Random(seed))
        assert moved.demonstrations != shown
        assert set(moved.demonstrations) == set(shown)
        other = exchanged(candidate, pool, random.Random(seed))
        assert len(set(other.demonstrations)) == 3
        assert len(set(other.demonstrations) - set(shown)) == 1
    assert exchanged(candidate, shown, random.Random(0)).demonstrations == shown


def test_differences_joined_are_both_texts() -> None:
    for before in TEXTS:
        for after in TEXTS:
            parts = list(differences(before, after))
            assert "".join(text for kind, text in parts if kind != "added") == before
            assert "".join(text for kind, text in parts if kind != "removed") == after
