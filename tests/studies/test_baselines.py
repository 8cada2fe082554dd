"""Trivial baselines answer the very instances of the study's runs, each by its own rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import small_study as small
from xeric.data.baselines import BASELINES, baseline_predictions
from xeric.record_io import read_predictions
from xeric.run.config import run_config
from xeric.run.execute import prepare_run
from xeric.studies.baselines import read_baselines
from xeric.studies.config import ArmKey
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import arm_settings


@pytest.mark.parametrize("part", ["predictions.jsonl", "dev_predictions.jsonl"])
def test_they_answer_the_instances_that_the_runs_answer(part: str, undisturbed: Path) -> None:
    folder = StudyFolder(undisturbed)
    asked = [(row.task, row.id, row.input, row.references) for row in read_predictions(next(folder.runs_dir.iterdir()) / part)]
    assert {task for task, *_ in asked} == {"one", "two"}
    written = {path.name for path in folder.baselines_dir.iterdir() if path.is_dir()}
    assert written == set(BASELINES) - {"cut_input"}, "targets are as long as inputs here, so nothing is cut"
    assert read_baselines(folder).as_input == ("one", "two")
    for name in written:
        rows = read_predictions(folder.baseline(name) / part)
        assert [(row.task, row.id, row.input, row.references) for row in rows] == asked


def test_each_has_its_rule(undisturbed: Path, tasks: Path, base: Path) -> None:
    study = small.study(tasks, base)
    config, _ = run_config(arm_settings(study, ArmKey(base="tiny", method="full"), study.tasks))
    data = prepare_run(config)
    predictions = {name: baseline_predictions(name, data, "test", 0) for name in BASELINES}
    by_task = {task.name: task for task in data.tasks}
    assert all(row.prediction == row.input for row in predictions["copy_input"])
    for row in predictions["copy_demonstration"]:
        assert row.prediction == by_task[row.task].demonstrations[0].output
    outputs = {name: {o for i in (*task.train, *task.dev) for o in i.outputs} for name, task in by_task.items()}
    drawn = predictions["random_training_output"]
    assert all(row.prediction in outputs[row.task] for row in drawn)
    assert len({row.prediction for row in drawn}) > len(drawn) / 2, "drawn for each instance anew"
    assert drawn == baseline_predictions("random_training_output", data, "test", 0)
    assert drawn != baseline_predictions("random_training_output", data, "test", 1)
    folder = StudyFolder(undisturbed)
    assert read_predictions(folder.baseline("random_training_output", 1) / "predictions.jsonl") == baseline_predictions(
        "random_training_output", data, "test", 1
    )
    for row in baseline_predictions("random_training_output", data, "dev", 0):
        assert row.prediction not in row.references, "an instance of dev does not answer itself"
