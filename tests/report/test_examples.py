"""The examples on the screen: one per language, chosen by rule, before and after on the same instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report import made
from xeric.analysis.results import StudyResults
from xeric.metrics import score_predictions
from xeric.report.examples import examples
from xeric.report.reading import read_outputs


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResults]:
    folder = tmp_path_factory.mktemp("study")
    return folder, made.make_study(folder, hostile=False, figures=False)


def test_one_of_each_language_the_median_of_the_best_arm(study: tuple[Path, StudyResults]) -> None:
    folder, results = study
    outputs = read_outputs(folder, results)
    found = examples(results, outputs)
    assert [one.language for one in found] == list(dict.fromkeys(results.tasks.values()))
    assert {(one.before_label, one.after_label) for one in found} == {("zero-shot", "ours (combined), from stage 1")}
    texts = {one.arm: one.predictions for one in outputs}
    for one in found:
        rows = [row for row in texts["combined-stage1"] if row.task == one.task]
        scores = sorted(score_predictions([row], ["chrf"], resamples=0).scores["chrf"].score for row in rows)
        (shown,) = [row for row in rows if row.input == one.input]
        assert (one.after, one.reference) == (shown.prediction, shown.references[0])
        assert score_predictions([shown], ["chrf"], resamples=0).scores["chrf"].score == scores[(len(scores) - 1) // 2]
        assert one.before == next(row.prediction for row in texts["zero-shot"] if (row.task, row.id) == (shown.task, shown.id))


def test_nothing_to_compare_is_no_example(study: tuple[Path, StudyResults]) -> None:
    folder, results = study
    outputs = read_outputs(folder, results)
    untrained = ("zero-shot", "few-shot")
    assert examples(results, [one for one in outputs if one.arm not in untrained]) == []
    assert examples(results, [one for one in outputs if one.arm in untrained]) == []
