"""Two systems on the same rows."""

from __future__ import annotations

import random

import pytest

from xeric.errors import DataError, UnknownNameError, UserError
from xeric.metrics import QUALITY, compare_measured, compare_predictions, correct, measure, score_measured, score_predictions
from xeric.metrics.base import Metric
from xeric.records import Prediction

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
    report = compare_predictions(a, b, resamples=300, trials=999)
    assert tuple(report.metrics) == QUALITY
    assert (report.rows, report.tasks) == (120, ("a", "b"))
    for name, found in report.metrics.items():
        assert found.a == pytest.approx(score_predictions(a, [name], resamples=0).scores[name].score)
        assert found.difference == pytest.approx(found.a - found.b)
        assert found.low is not None
        assert found.high is not None
        assert 0 < found.low < found.difference < found.high
        assert found.p == 1 / 1000
        assert found.p_corrected == pytest.approx(4 / 1000)
        assert "macro:2 tasks" in found.signature
        assert found.signature.endswith("|ci:95%-percentile|bs:300|seed:12345|ar:999")


def test_no_difference_is_not_found() -> None:
    report = compare_predictions(make(0.3, seed=1), make(0.3, seed=2), ["chrf", "rouge_l"], resamples=300, trials=999)
    for found in report.metrics.values():
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0 < found.high
        assert found.p is not None
        assert found.p > 0.05


def test_a_system_against_itself() -> None:
    rows = make(0.3, 10)
    found = compare_predictions(rows, rows, ["bleu"], resamples=50, trials=99).metrics["bleu"]
    assert (found.difference, found.low, found.high, found.p, found.p_corrected) == (0, 0, 0, 1, 1)


def test_order_plays_no_part_and_sides_only_by_sign() -> None:
    a, b = make(0.2, 20), make(0.3, 20)
    one = compare_predictions(a, b, resamples=50, trials=99)
    assert one == compare_predictions(a[::-1], random.Random(1).sample(b, len(b)), resamples=50, trials=99)
    other = compare_predictions(b, a, resamples=50, trials=99)
    for name in QUALITY:
        assert other.metrics[name].difference == pytest.approx(-one.metrics[name].difference)
        assert other.metrics[name].p == one.metrics[name].p


def test_measures_of_a_whole_set_are_compared_but_not_tested() -> None:
    report = compare_predictions(make(0.2, 10), make(0.3, 10), ["distinct_1", "chrf"], resamples=50, trials=99)
    found = report.metrics["distinct_1"]
    assert (found.low, found.high, found.p, found.p_corrected) == (None, None, None, None)
    assert "ar:" not in found.signature
    assert report.metrics["chrf"].p_corrected == report.metrics["chrf"].p  # a family of one
    only = compare_predictions(make(0.2, 10), make(0.3, 10), ["distinct_1"])
    assert only.metrics["distinct_1"] == found


def test_p_values_are_corrected_over_the_metrics_named() -> None:
    report = compare_predictions(make(0.3, 30), make(0.34, 30), resamples=20, trials=499)
    p_values = [found.p for found in report.metrics.values()]
    corrected = [found.p_corrected for found in report.metrics.values()]
    assert corrected == pytest.approx(correct([p for p in p_values if p is not None]))


def test_one_row_each_has_no_interval() -> None:
    found = compare_predictions(make(0.2, 1), make(0.9, 1), ["chrf"], resamples=20, trials=99).metrics["chrf"]
    assert found.low is None
    assert found.p is not None


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
        compare_predictions(rows, rows, trials=0)


def test_references_in_another_order_are_the_same() -> None:
    rows = make(0.2, 3)
    turned = [row.model_copy(update={"references": row.references[::-1]}) for row in rows]
    assert compare_predictions(rows, turned, ["chrf"], resamples=20, trials=99).metrics["chrf"].difference == 0


def test_what_was_measured_once_gives_the_same_scores_and_comparisons() -> None:
    a, b = make(0.2, 20), make(0.3, 20)
    measured = measure(a), measure(b)
    assert score_measured(measured[0], resamples=50) == score_predictions(a, resamples=50)
    some = [one.only(QUALITY) for one in measured]
    found = compare_measured(*some, resamples=50, trials=99)
    assert found == compare_predictions(a, b, resamples=50, trials=99)
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
    assert compare_measured(*measured, resamples=20, trials=99).metrics
