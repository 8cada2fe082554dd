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
    chosen = examples(results, outputs)
    assert [example.language for example in chosen] == list(dict.fromkeys(results.tasks.values()))
    assert {(example.before_label, example.after_label) for example in chosen} == {("zero-shot", "ours (combined), from stage 1")}
    texts = {output.arm: output.predictions for output in outputs}
    for example in chosen:
        rows = [row for row in texts["combined-stage1"] if row.task == example.task]
        scores = sorted(score_predictions([row], ["chrf"], resamples=0).scores["chrf"].score for row in rows)
        (shown,) = [row for row in rows if row.input == example.input]
        assert (example.after, example.reference) == (shown.prediction, shown.references[0])
        assert score_predictions([shown], ["chrf"], resamples=0).scores["chrf"].score == scores[(len(scores) - 1) // 2]
        assert example.before == next(
            row.prediction for row in texts["zero-shot"] if (row.task, row.id) == (shown.task, shown.id)
        )


def test_nothing_to_compare_is_no_example(study: tuple[Path, StudyResults]) -> None:
    folder, results = study
    outputs = read_outputs(folder, results)
    untrained = ("zero-shot", "few-shot")
    assert examples(results, [output for output in outputs if output.arm not in untrained]) == []
    assert examples(results, [output for output in outputs if output.arm in untrained]) == []
