"""distinct-n and self-BLEU."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from xeric.metrics.base import Metric
from xeric.metrics.diversity import Distinct, SelfBleu

sentences = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f,", "."]), max_size=9).map(" ".join)


def score(metric: Metric, predictions: list[str], language: str = "en") -> float:
    n = len(predictions)
    return metric.score(metric.statistics(predictions, [[""]] * n, [""] * n, language))


def test_distinct() -> None:
    predictions = ["The cat sat", "the cat ran", ""]
    assert score(Distinct(n=1), predictions) == pytest.approx(100 * 4 / 6)
    assert score(Distinct(n=2), predictions) == pytest.approx(100 * 3 / 4)
    assert score(Distinct(n=3), predictions) == 100
    assert score(Distinct(n=4), predictions) == 0


def test_distinct_within_each_row() -> None:
    metric = Distinct(n=1)
    statistics = metric.statistics(["a a a b", "a b"], [["x"], ["x"]], ["", ""], "en")
    assert list(metric.per_example(statistics)) == [50, 100]
    assert metric.score(statistics) == pytest.approx(100 * 2 / 6)


@given(st.lists(sentences, min_size=2, max_size=7))
@settings(max_examples=60, deadline=None)
def test_self_bleu_equals_sacrebleu_against_the_others(predictions: list[str]) -> None:
    metric = SelfBleu()
    statistics = metric.statistics(predictions, [["x"]] * len(predictions), [""] * len(predictions), "en")
    scorer = BLEU(effective_order=True)
    for row, score in enumerate(metric.per_example(statistics)):
        others = [prediction for number, prediction in enumerate(predictions) if number != row and prediction]
        expected = scorer.sentence_score(predictions[row], others).score if others else 0.0
        assert score == pytest.approx(expected, abs=1e-9)


def test_self_bleu_of_the_same_text_again_and_again_is_100() -> None:
    assert score(SelfBleu(), ["the same old song"] * 5) == pytest.approx(100)
    assert score(SelfBleu(), ["नदी के पार जंगल है।"] * 3, "hi") == pytest.approx(100)
    assert score(SelfBleu(), ["one two three four", "five six seven eight"]) == 0
    assert score(SelfBleu(), ["alone in the world"]) == 0


def test_self_bleu_takes_no_more_others_than_it_says() -> None:
    predictions = ["the same old song"] * 3 + [f"w{i} x{i} y{i} z{i}" for i in range(30)]
    inputs = [str(i) for i in range(len(predictions))]
    few = SelfBleu(others=5)
    statistics = few.statistics(predictions, [["r"]] * len(inputs), inputs, "en")
    assert "others:5" in str(statistics.signature)
    assert statistics.rows.shape == (33, 2)
    order = np.random.default_rng(0).permutation(len(inputs))
    again = few.statistics([predictions[i] for i in order], [["r"]] * len(inputs), [inputs[i] for i in order], "en")
    np.testing.assert_array_equal(again.rows, statistics.rows[order])


def test_self_bleu_is_linear_in_the_rows() -> None:
    rng = np.random.default_rng(0)
    predictions = [" ".join(f"w{i}" for i in rng.integers(0, 500, 30)) for _ in range(2000)]
    start = time.perf_counter()
    score(SelfBleu(), predictions)
    assert time.perf_counter() - start < 10  # about 1 s; every row against every other would take minutes
