"""Length ratio, copy rate, wrong-script rate."""

from __future__ import annotations

import pytest

from xeric.metrics.base import Metric
from xeric.metrics.validity import CopyRate, LengthRatio, WrongScriptRate


def scores(metric: Metric, rows: list[tuple[str, list[str], str]], language: str = "en") -> tuple[float, list[float]]:
    statistics = metric.statistics([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], language)
    return metric.score(statistics), metric.per_example(statistics).tolist()


def test_length_ratio_sums_words_before_it_divides() -> None:
    rows = [("one two three", ["one"], ""), ("one", ["one two three four five"], "")]
    assert scores(LengthRatio(), rows) == (pytest.approx(100 * 4 / 6), [300, 20])


def test_length_ratio_takes_the_closest_reference_and_the_shorter_of_two() -> None:
    assert scores(LengthRatio(), [("a b c", ["a", "a b c d", "a b c d e f"], "")])[0] == 75
    assert scores(LengthRatio(), [("a b c", ["a b c d", "a b"], "")])[0] == 150


def test_length_ratio_where_there_is_nothing_to_divide_by() -> None:
    assert scores(LengthRatio(), [("", [""], ""), ("a b", ["…"], "")]) == (200, [0, 200])


def test_length_ratio_counts_graphemes_where_there_are_no_spaces() -> None:
    assert scores(LengthRatio(), [("今天", ["今天早上"], "")], "zh")[0] == 50


@pytest.mark.parametrize(
    ("prediction", "given", "share"),
    [
        ("The quick brown fox jumps", "see: the QUICK brown, fox!", 50),
        ("The quick brown fox", "the quick brown fox jumps", 100),
        ("quick fox", "the quick brown fox", 0),  # both words stand there, but not in a row
        ("brown fox", "the quick brown fox", 100),
        ("fox", "the quick brown fox", 100),
        ("", "the quick brown fox", 0),
        ("the quick brown fox", "", 0),
        ("…", "…", 0),
    ],
)
def test_copy_rate(prediction: str, given: str, share: float) -> None:
    assert scores(CopyRate(), [(prediction, ["x"], given)]) == (share, [share])


def test_copy_rate_is_the_mean_of_rows() -> None:
    assert scores(CopyRate(), [("a b c d", ["x"], "a b c d"), ("e f g h i j k l", ["x"], "a b c d")])[0] == 50


@pytest.mark.parametrize(
    ("language", "prediction", "wrong"),
    [
        ("hi", "नमस्ते दुनिया", 0),
        ("hi", "hello world", 100),
        ("hi", "नमस्ते hello क्या हाल है", 0),
        ("hi", "नमस्ते hello world again", 100),
        ("hi", "", 0),
        ("hi", "१२३ 456 !", 0),
        ("ja", "コーヒー", 0),
        ("ja", "漢字とかな", 0),
        ("ko", "안녕하세요", 0),
        ("sr", "Добар дан", 0),
        ("sr", "Dobar dan", 0),
        ("en", "Добрый день", 100),
        ("th", "สวัสดี", 0),
    ],
)
def test_wrong_script_rate(language: str, prediction: str, wrong: float) -> None:
    assert scores(WrongScriptRate(), [(prediction, ["x"], "")], language)[0] == wrong
