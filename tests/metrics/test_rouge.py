"""ROUGE-L equals rouge-score's, bit for bit, and its subsequence equals a table filled by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from xeric.metrics.base import Batch
from xeric.metrics.rouge import Rouge, longest_common_subsequence

WORD_LISTS = st.lists(st.sampled_from(["a", "b", "ab", "c", "a\u0301", "वर्षा", "वर्ष", "雨", "1"]), max_size=70)


class Words:
    def tokenize(self, text: str) -> list[str]:
        return Batch.of([text], [[""]], [""], "en", "none").words_or_signs(text)


def table_length(first: list[str], second: list[str]) -> int:
    """The textbook recurrence, one row of the table at a time."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for position, other in enumerate(second):
            row.append(above[position] + 1 if word == other else max(row[-1], above[position + 1]))
        above = row
    return above[-1]


@given(WORD_LISTS, WORD_LISTS)
def test_subsequence_is_that_of_the_table(first: list[str], second: list[str]) -> None:
    assert longest_common_subsequence(first, second) == table_length(first, second)


def test_subsequence_longer_than_a_machine_word() -> None:
    rng = random.Random(0)
    for length in (63, 64, 65, 129, 300):  # rapidfuzz works in blocks of 64
        first = [f"w{rng.randrange(40)}" for _ in range(length)]
        second = [f"w{rng.randrange(40)}" for _ in range(length + rng.randrange(20))]
        assert longest_common_subsequence(first, second) == table_length(first, second) > 0


class Twin(str):
    """A word with the hash of every other."""

    def __hash__(self) -> int:
        return 7


def test_words_with_the_same_hash_are_not_the_same_word() -> None:
    first, second = [Twin("one"), Twin("two")], [Twin("three"), Twin("two")]
    assert longest_common_subsequence(first, second) == 1


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_rouge_score_to_the_last_bit(seed: int) -> None:
    rng = random.Random(seed)
    words = ["Rain", "falls", "on", "a", "dry,", "dry", "field", "again."]
    texts = ["", " ", "!?", *(" ".join(rng.choices(words, k=k)) for k in range(30))]
    rows = [(rng.choice(texts), tuple(rng.choices(texts, k=rng.randint(1, 4)))) for _ in range(200)]
    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    expected = [scorer.score_multi(references, prediction)["rougeL"] for prediction, references in rows]
    counted = Rouge().statistics([row[0] for row in rows], [row[1] for row in rows], [""] * len(rows), "en").rows
    wanted = np.array([[score.fmeasure, score.precision, score.recall, 1.0] for score in expected])
    assert np.array_equal(counted, wanted)
    assert 0 < (wanted[:, 0] == 0).sum() < 100


def test_scores_of_the_golden_cases_are_those_of_rouge_score(cases: dict[str, dict[str, Any]]) -> None:
    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    for case in cases.values():
        rows = Rouge(normalize="none").statistics([case["hypothesis"]], [case["references"]], [""], case["language"]).rows
        best = scorer.score_multi(case["references"], case["hypothesis"])["rougeL"]
        assert rows[0].tolist() == [best.fmeasure, best.precision, best.recall, 1.0]
