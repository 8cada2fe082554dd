"""Scores of predictions by task, and over tasks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from xeric.errors import DataError, UnknownNameError, UserError
from xeric.metrics import METRICS, score_predictions
from xeric.metrics.bleu import Bleu
from xeric.metrics.scoring import within_scale
from xeric.records import Prediction

WORDS = {
    "en": ["the", "cat", "sat", "on", "a", "warm", "mat", "by", "day"],
    "hi": ["बिल्ली", "आज", "घर", "में", "नहीं", "है", "शायद", "बाहर", "गई"],
}


def make(task: str, n: int, language: str = "en", seed: int = 0, references: int = 1) -> list[Prediction]:
    pick = random.Random(f"{task}{seed}")
    words = WORDS.get(language, WORDS["en"])
    return [
        Prediction(
            id=f"{language}-{i}",
            task=task,
            language=language,
            input=" ".join(pick.choices(words, k=6)),
            prediction=" ".join(pick.choices(words, k=7)),
            references=tuple(" ".join(pick.choices(words, k=7)) for _ in range(1 + i % references)),
        )
        for i in range(n)
    ]


def test_scores_of_all_metrics_with_intervals_where_defined() -> None:
    report = score_predictions(make("a", 12) + make("b", 9, "hi", references=3), resamples=200)
    assert list(report.scores) == METRICS.names()
    assert sorted(report.tasks) == ["a", "b"]
    for name, score in report.scores.items():
        assert score.score == pytest.approx(np.mean([report.tasks[task][name].score for task in "ab"]))
        if METRICS.get(name)().resampled:
            assert score.low is not None
            assert score.high is not None
            assert score.low <= score.score <= score.high
            assert score.signature.endswith("|macro:2 tasks|ci:95%-t|bs:200|seed:12345")
        else:
            assert (score.low, score.high) == (None, None)
            assert score.signature.endswith("|macro:2 tasks")
    assert "tok:13a+intl" in report.scores["bleu"].signature
    assert "refs:1+var" in report.scores["bleu"].signature
    assert "tok:intl" in report.tasks["b"]["bleu"].signature
    assert "macro" not in report.tasks["b"]["bleu"].signature


def test_a_task_is_scored_the_same_alone_and_beside_others() -> None:
    alone = score_predictions(make("a", 12), ["chrf", "rouge_l"], resamples=100)
    beside = score_predictions(make("a", 12) + make("b", 5), ["rouge_l", "chrf"], resamples=100)
    assert alone.tasks["a"] == beside.tasks["a"]
    assert alone.scores == alone.tasks["a"]


def test_order_of_predictions_plays_no_part() -> None:
    rows = make("a", 12) + make("b", 9, "hi")
    shuffled = random.Random(0).sample(rows, len(rows))
    assert score_predictions(rows, resamples=50) == score_predictions(shuffled, resamples=50)


def test_macro_interval_averages_tasks_resample_by_resample() -> None:
    rows = make("a", 15) + make("b", 15)
    report = score_predictions(rows, ["chrf"], resamples=2000)
    widths = [score.high - score.low for score in (report.scores["chrf"], *(t["chrf"] for t in report.tasks.values()))]  # type: ignore[operator]
    assert widths[0] == pytest.approx(np.hypot(widths[1], widths[2]) / 2, rel=0.1)


def test_languages_of_a_task_are_scored_apart_and_weighted_by_rows() -> None:
    english, hindi = make("t", 6), make("t", 3, "Hindi")
    report = score_predictions(english + hindi, ["bleu", "rouge_l"], resamples=50)
    apart = [score_predictions(rows, ["bleu", "rouge_l"], resamples=0).scores for rows in (english, hindi)]
    for name in ("bleu", "rouge_l"):
        assert report.scores[name].score == pytest.approx((6 * apart[0][name].score + 3 * apart[1][name].score) / 9)
    assert "tok:13a+intl" in report.scores["bleu"].signature
    assert "languages:en+hi" in report.tasks["t"]["bleu"].signature


def test_languages_of_a_task_keep_their_weight_in_the_interval() -> None:
    wrong = [row.model_copy(update={"prediction": "x"}) for row in make("t", 6)]
    right = [row.model_copy(update={"prediction": row.references[0]}) for row in make("t", 3, "hi")]
    rouge_l = score_predictions(wrong + right, ["rouge_l"], resamples=20).scores["rouge_l"]
    assert (rouge_l.score, rouge_l.low, rouge_l.high) == pytest.approx((100 / 3, 100 / 3, 100 / 3))


def test_names_and_codes_of_a_language_are_one_group() -> None:
    rows = make("t", 4, "hi")
    mixed = [row.model_copy(update={"language": "Hindi"}) if i % 2 else row for i, row in enumerate(rows)]
    assert score_predictions(rows, resamples=20) == score_predictions(mixed, resamples=20)


def test_a_task_of_one_row_has_no_interval_and_so_has_the_mean() -> None:
    report = score_predictions(make("a", 9) + make("b", 1), ["chrf"], resamples=50)
    assert report.tasks["a"]["chrf"].low is not None
    assert report.tasks["b"]["chrf"].low is None
    assert report.scores["chrf"].low is None
    assert "ci:" not in report.scores["chrf"].signature


def test_no_resamples_no_intervals() -> None:
    report = score_predictions(make("a", 9), ["chrf"], resamples=0)
    assert report.scores["chrf"].low is None
    assert "bs:" not in report.scores["chrf"].signature


def test_seeds() -> None:
    rows = make("a", 12)
    zero, again, one = (score_predictions(rows, "chrf", resamples=50, seed=seed).scores["chrf"] for seed in (0, 0, 1))
    assert zero == again
    assert (zero.low, zero.high) != (one.low, one.high)
    assert "seed:0" in zero.signature


def test_metrics_with_settings_of_their_own() -> None:
    rows = make("a", 12)
    plain, other = (score_predictions(rows, [metric], resamples=0).scores["bleu"] for metric in ("bleu", Bleu(smooth="none")))
    assert "smooth:exp" in plain.signature
    assert "smooth:none" in other.signature
    assert "norm:none" in score_predictions(rows, ["bleu"], normalize="none", resamples=0).scores["bleu"].signature


def test_a_perfect_system() -> None:
    rows = [row.model_copy(update={"prediction": row.references[0]}) for row in make("a", 5, "hi") + make("b", 5)]
    scores = score_predictions(rows, resamples=50).scores
    for name in ("bleu", "chrf", "rouge_l", "length_ratio"):
        assert (scores[name].score, scores[name].low, scores[name].high) == pytest.approx((100, 100, 100))


def test_what_cannot_be_scored_is_refused() -> None:
    rows = make("a", 2)
    with pytest.raises(DataError, match="no predictions"):
        score_predictions([])
    with pytest.raises(DataError, match="'en-0' stands twice in task 'a'"):
        score_predictions(rows + rows[:1])
    with pytest.raises(UnknownNameError, match="unknown metric 'blue'") as caught:
        score_predictions(rows, ["blue"])
    assert "bleu" in str(caught.value.hint)
    with pytest.raises(UserError, match="named twice"):
        score_predictions(rows, ["bleu", Bleu(smooth="none")])
    with pytest.raises(UserError, match="no metric"):
        score_predictions(rows, [])
    with pytest.raises(UserError, match="seed"):
        score_predictions(rows, seed=-1)
    with pytest.raises(UserError, match="resamples"):
        score_predictions(rows, resamples=-1)


@pytest.mark.parametrize(("name", "ends"), [("chrf", (0, 100)), ("copy_rate", (0, 100)), ("length_ratio", (0, 104))])
def test_an_interval_ends_where_the_scale_of_its_metric_does(name: str, ends: tuple[float, float]) -> None:
    assert within_scale(METRICS.get(name)(), 98, -2, 104) == ends
