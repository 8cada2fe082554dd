"""Two systems on the same rows."""

from __future__ import annotations

import random

import numpy as np
import pytest
import scipy.stats
from rouge_score import rouge_scorer

from xeric.errors import DataError, UnknownNameError, UserError
from xeric.metrics import compare_measured, compare_predictions, measure, quality_metrics, score_measured, score_predictions
from xeric.metrics.base import Metric
from xeric.records import Prediction
from xeric.statistics.resampling import correct

QUALITY = quality_metrics()


WORDS = [f"word{i}" for i in range(50)]


def make(noise: float, n: int = 60, seed: int = 0) -> list[Prediction]:
    text, errors = random.Random("text"), random.Random(f"errors{noise}{seed}")
    rows = []
    for task in ("a", "b"):
        for i in range(n):
            reference = text.choices(WORDS, k=10)
            prediction = [errors.choice(WORDS) if errors.random() < noise else word for word in reference]
            rows.append(
                Prediction(
                    id=str(i),
                    task=task,
                    language="en",
                    input="",
                    prediction=" ".join(prediction),
                    references=(" ".join(reference), "another one"),
                )
            )
    return rows


def test_a_planted_difference_is_found_by_every_metric() -> None:
    a, b = make(0.2), make(0.4)
    report = compare_predictions(a, b, resamples=300)
    assert tuple(report.metrics) == QUALITY
    assert (report.rows, report.tasks) == (120, ("a", "b"))
    for name, metric in report.metrics.items():
        assert metric.a == pytest.approx(score_predictions(a, [name], resamples=0).scores[name].score)
        assert metric.difference == pytest.approx(metric.a - metric.b)
        assert metric.low is not None
        assert metric.high is not None
        assert 0 < metric.low < metric.difference < metric.high
        assert metric.p is not None
        assert metric.p < 1e-6
        assert "macro:2 tasks" in metric.signature
        assert metric.signature.endswith("|ci:95%-t|bs:300|seed:12345")


def test_no_difference_is_not_found() -> None:
    report = compare_predictions(make(0.3, seed=1), make(0.3, seed=2), ["chrf", "rouge_l"], resamples=300)
    for metric in report.metrics.values():
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low < 0 < metric.high
        assert metric.p is not None
        assert metric.p > 0.05


def test_a_system_against_itself() -> None:
    rows = make(0.3, 10)
    bleu = compare_predictions(rows, rows, ["bleu"], resamples=50).metrics["bleu"]
    assert (bleu.difference, bleu.low, bleu.high, bleu.p, bleu.p_corrected) == (0, 0, 0, 1, 1)


def test_order_plays_no_part_and_sides_only_by_sign() -> None:
    a, b = make(0.2, 20), make(0.3, 20)
    one = compare_predictions(a, b, resamples=50)
    assert one == compare_predictions(a[::-1], random.Random(1).sample(b, len(b)), resamples=50)
    other = compare_predictions(b, a, resamples=50)
    for name in QUALITY:
        assert other.metrics[name].difference == pytest.approx(-one.metrics[name].difference)
        assert other.metrics[name].p == one.metrics[name].p


def test_measures_of_a_whole_set_are_compared_but_not_tested() -> None:
    report = compare_predictions(make(0.2, 10), make(0.3, 10), ["distinct_1", "chrf"], resamples=50)
    distinct_1 = report.metrics["distinct_1"]
    assert (distinct_1.low, distinct_1.high, distinct_1.p, distinct_1.p_corrected) == (None, None, None, None)
    assert "ci:" not in distinct_1.signature
    assert report.metrics["chrf"].p_corrected == report.metrics["chrf"].p  # a family of one
    only = compare_predictions(make(0.2, 10), make(0.3, 10), ["distinct_1"])
    assert only.metrics["distinct_1"] == distinct_1


def test_p_values_are_corrected_over_the_metrics_named() -> None:
    report = compare_predictions(make(0.3, 30), make(0.34, 30), resamples=20)
    p_values = [metric.p for metric in report.metrics.values()]
    corrected = [metric.p_corrected for metric in report.metrics.values()]
    assert corrected == pytest.approx(correct([p for p in p_values if p is not None]))


def test_one_row_each_has_no_interval() -> None:
    chrf = compare_predictions(make(0.2, 1), make(0.9, 1), ["chrf"], resamples=20).metrics["chrf"]
    assert (chrf.low, chrf.high, chrf.p, chrf.p_corrected) == (None, None, None, None)


def test_a_mean_over_rows_is_tested_as_by_students_paired_t() -> None:
    """Independent computation: scipy's t test and interval on the scores of single rows, to the noise of the bootstrap."""
    for n in (8, 40, 150):
        a, b = ([row for row in make(noise, n) if row.task == "a"] for noise in (0.3, 0.4))
        paired = compare_predictions(a, b, ["rouge_l"], resamples=5_000).metrics["rouge_l"]
        values = [100 * np.array(rouge_l(rows)) for rows in (a, b)]
        expected = scipy.stats.ttest_rel(*values)
        interval = expected.confidence_interval()
        assert (paired.low, paired.high) == pytest.approx(
            (interval.low, interval.high), abs=0.03 * (interval.high - interval.low)
        )
        assert paired.p == pytest.approx(expected.pvalue, rel=0.25)


def rouge_l(rows: list[Prediction]) -> list[float]:
    """ROUGE-L of each row by another program."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    return [max(scorer.score(reference, row.prediction)["rougeL"].fmeasure for reference in row.references) for row in rows]


def test_interval_and_test_never_contradict_each_other() -> None:
    """Small sets, near differences, several tasks: 0 is outside just when p is below 5%."""
    outside = 0
    for trial in range(24):
        n = 3 + trial % 12
        a, b = make(0.3, n, seed=trial), make(0.36 + 0.01 * (trial % 9), n, seed=-trial)
        for name, metric in compare_predictions(a, b, resamples=200, seed=trial).metrics.items():
            assert metric.low is not None, name
            assert metric.high is not None
            assert metric.p is not None
            assert (metric.low > 0 or metric.high < 0) == (metric.p < 0.05), (trial, name)
            outside += metric.p < 0.05
    assert 12 < outside < 84, "both happen often, or nothing is tested"


def test_what_is_alike_is_called_different_one_time_in_twenty() -> None:
    """For BLEU, which is no mean over rows, and for ROUGE-L: two systems with the same errors, 100 times."""
    below = dict.fromkeys(("bleu", "rouge_l"), 0)
    for trial in range(100):
        a, b = make(0.3, 15, seed=2 * trial), make(0.3, 15, seed=2 * trial + 1)
        for name, metric in compare_predictions(a, b, tuple(below), resamples=100).metrics.items():
            assert metric.p is not None
            below[name] += metric.p < 0.05
    assert all(count <= 12 for count in below.values()), below


def test_a_handful_of_rows_tells_nothing_at_five_per_cent() -> None:
    """Of n rows with one outcome each, exchanging them shows nothing rarer than 2 ** (1 - n)."""
    for n, p in ((2, 0.5), (4, 0.125), (5, 0.0625), (6, 0.03125), (7, 0.015625)):
        good = [row for row in make(0.0, n) if row.task == "a"]
        bad = [row.model_copy(update={"prediction": ""}) for row in good]
        rouge_l = compare_predictions(good, bad, ["rouge_l"]).metrics["rouge_l"]
        assert (rouge_l.difference, rouge_l.p) == (pytest.approx(100), p)
        assert (rouge_l.low is None) == (p > 0.05)


def test_rows_on_which_a_metric_says_nothing_do_not_make_it_sure() -> None:
    good = [row for row in make(0.0, 4) if row.task == "a"]
    bad = [row.model_copy(update={"prediction": "word1 word2"}) for row in good]
    titles = [
        row.model_copy(update={"task": "titles", "prediction": "rain", "references": ("rain",)}) for row in make(0.0, 50)[:50]
    ]
    alone = compare_predictions(good, bad, ["bleu"]).metrics["bleu"]
    beside = compare_predictions([*good, *titles], [*bad, *titles], ["bleu"]).metrics["bleu"]
    assert (alone.low, alone.p) == (None, 0.125)
    assert (beside.difference, beside.low, beside.p) == (alone.difference, None, 0.125)


def threads(rng: random.Random, *, grouped: bool = True) -> list[Prediction]:
    """20 threads of 5 rows that are right or wrong together."""
    right = [rng.random() < 0.5 for _ in range(20)]
    return [
        Prediction(
            id=f"{number:03}",
            task="t",
            language="en",
            input="",
            prediction="one two three four" if right[number // 5] else "no",
            references=("one two three four",),
            group=f"thread {number // 5}" if grouped else None,
        )
        for number in range(100)
    ]


def test_rows_of_a_group_are_drawn_together() -> None:
    """Systems of equal worth are called different one time in twenty, though the rows of a thread share their fate."""
    called = 0
    for trial in range(60):
        rng = random.Random(trial)
        # The groups may stand on one side alone: predictions of other programs do not name them.
        p = (
            compare_predictions(threads(rng), threads(rng, grouped=trial % 2 == 0), ["rouge_l"], resamples=200)
            .metrics["rouge_l"]
            .p
        )
        assert p is not None
        called += p < 0.05
    assert called <= 6
    one_group = [row.model_copy(update={"group": "g"}) for row in threads(random.Random(0))]
    assert score_predictions(one_group, ["rouge_l"]).scores["rouge_l"].low is None


def test_what_cannot_be_paired_is_refused() -> None:
    rows = make(0.2, 3)
    with pytest.raises(DataError, match="the second set has no prediction for the id '2' of task 'b'"):
        compare_predictions(rows, rows[:-1])
    with pytest.raises(DataError, match="the first set has no prediction for the id '0' of task 'a'"):
        compare_predictions(rows[1:], rows)
    changed = [rows[0].model_copy(update={"references": ("other",)}), *rows[1:]]
    with pytest.raises(DataError, match="the references of the id '0' of task 'a' differ"):
        compare_predictions(rows, changed)
    changed = [rows[0].model_copy(update={"language": "Finnish"}), *rows[1:]]
    with pytest.raises(DataError, match="the language of the id '0' of task 'a' differs: 'en' and 'fi'"):
        compare_predictions(rows, changed)
    with pytest.raises(DataError, match="stands twice"):
        compare_predictions([*rows, rows[0]], rows)
    with pytest.raises(DataError, match="no predictions"):
        compare_predictions([], [])
    with pytest.raises(UserError, match="resamples"):
        compare_predictions(rows, rows, resamples=1)


def test_references_in_another_order_are_the_same() -> None:
    """Also where no reference has anything of a prediction, and sacrebleu charges the first."""
    rows = [
        row.model_copy(
            update={"references": ("one", "another and longer one"), "prediction": row.prediction if number % 3 else ""}
        )
        for number, row in enumerate(make(0.2, 12))
    ]
    turned = [row.model_copy(update={"references": row.references[::-1]}) for row in rows]
    compared = compare_predictions(rows, turned, resamples=20).metrics
    assert {name: comparison.difference for name, comparison in compared.items()} == dict.fromkeys(compared, 0)


def test_languages_of_one_row_do_not_make_a_difference_certain() -> None:
    """Systems of equal worth on 2 English rows and one in each of 20 languages: rarely called different."""
    languages = [
        "en",
        "en",
        *["es", "fr", "de", "it", "pt", "nl", "sv", "da", "fi", "pl", "cs", "sk", "hu", "ro", "bg", "ru", "uk", "el", "tr", "id"],
    ]
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]
    called = 0
    for trial in range(40):
        rng = random.Random(trial)

        def system(rng: random.Random = rng) -> list[Prediction]:
            return [
                Prediction(
                    task="t",
                    id=str(n),
                    language=code,
                    input="",
                    references=("a b c d",),
                    prediction=" ".join(rng.choices(words, k=4)),
                )
                for n, code in enumerate(languages)
            ]

        p = compare_predictions(system(), system(), ["rouge_l"], resamples=200).metrics["rouge_l"].p
        assert p is not None
        called += p < 0.05
    assert called <= 5


def test_what_was_measured_once_gives_the_same_scores_and_comparisons() -> None:
    a, b = make(0.2, 20), make(0.3, 20)
    measured = measure(a), measure(b)
    assert score_measured(measured[0], resamples=50) == score_predictions(a, resamples=50)
    some = [system.only(QUALITY) for system in measured]
    compared = compare_measured(*some, resamples=50)
    assert compared == compare_predictions(a, b, resamples=50)
    with pytest.raises(UnknownNameError, match="'bleu_5'"):
        measured[0].only(["bleu_5"])
    with pytest.raises(DataError, match="measured differently: 'bleu'"):
        compare_measured(some[0], measure(b, QUALITY, normalize="none"))
    with pytest.raises(DataError, match="measured differently: 'rouge_l'"):
        compare_measured(some[0], some[1].only(["chrf", "bleu", "meteor"]))


def test_comparing_what_was_measured_reads_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = measure(make(0.2, 20)), measure(make(0.3, 20))

    def fail(*_: object) -> None:
        raise AssertionError("a text was read")

    monkeypatch.setattr(Metric, "statistics", fail)
    monkeypatch.setattr("xeric.text.words", fail)
    assert score_measured(measured[0], resamples=20).scores
    assert compare_measured(*measured, resamples=20).metrics
