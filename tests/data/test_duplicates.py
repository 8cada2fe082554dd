from __future__ import annotations

import random

import numpy as np

from tests.data.samples import unlike, varied
from xeric.data.duplicates import deduplicate, near_pairs, same_texts
from xeric.data.shingles import jaccard, shingles


def test_nothing_has_no_duplicates() -> None:
    assert deduplicate([]).instances == ()


def test_near_pairs_are_all_found_and_none_is_invented() -> None:
    rng = random.Random(0)
    texts: list[str] = []
    for first in unlike(60, words=40):
        texts.append(first.input)
        for changes in (1, 2, 3, 4):
            changed = first
            for _ in range(changes):
                changed = varied(rng, changed, "x")
            texts.append(changed.input)
    sets = [shingles(text, "word", 2) for text in [*texts, "", " "]]
    exact = {(i, j) for j in range(len(sets)) for i in range(j) if jaccard(sets[i], sets[j]) >= 0.7}
    pairs = list(near_pairs(sets, 0.7))
    assert {(i, j) for i, j, _ in pairs} == exact
    assert len(exact) > 200
    assert all(similarity == jaccard(sets[i], sets[j]) for i, j, similarity in pairs)
    assert list(near_pairs([], 0.7)) == list(near_pairs([np.empty(0, dtype=np.uint64)] * 3, 0.7)) == []


def test_same_texts_are_long_and_not_formulas() -> None:
    long = "This answer is certainly long enough to tell."
    assert list(same_texts([["Yes."], [long, long.upper()], ["yes"], ["No", long]])) == [(1, 3)]
    assert list(same_texts([[long]] * 6)) == []
