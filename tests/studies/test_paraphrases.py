"""Other paraphrases of the definitions: what a study file may say of them, and their spread from files made by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from tests import made_study as made
from tests import small_study as small
from xeric.analysis.analyse import analyse, current_results
from xeric.errors import ConfigError
from xeric.json_io import write_jsonl
from xeric.metrics import score_predictions
from xeric.record_io import read_predictions
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.studies.paraphrases import paraphrases_of, prediction_files
from xeric.studies.plan import load_study, plan_study
from xeric.yaml_io import dump_yaml

OTHER = {"one": ["Say it again.", "Shuffle."], "two": ["What comes next?", "Go on."]}


def worded(paraphrases: dict[str, list[str]]) -> str:
    return f"paraphrases={json.dumps(paraphrases)}"


WORDS = {"mail_en": ("a", "b"), "poem_es": ("c", "d"), "title_hi": ("e", "f")}


def written(root: Path, study: StudyConfig, *, numbers: tuple[int, ...] = (1, 2)) -> Path:
    """A made study whose runs of the first seed were decoded under other paraphrases, each worse than the one before."""
    made.write_study(root, study)
    reword(root, study, numbers)
    return root


def reword(root: Path, study: StudyConfig, numbers: tuple[int, ...]) -> None:
    folder = StudyFolder(root)
    for run in made.planned_cells(study):
        paths = prediction_files(folder.run_folder(run.id), paraphrases_of(study, run))
        for number, path in enumerate(paths, 1):
            if number in numbers:
                rows = made.predictions(run.tasks, "test", 12, 0.7 - 0.2 * number, run.id, base=run.arm.key.base)
                write_jsonl(path, rows)


@pytest.mark.parametrize("prompt", [{"definition": "shuffled"}, {"definitions": {"mail_en": "Another."}}])
def test_paraphrases_are_none_of_definitions_that_no_run_shows(prompt: dict[str, object]) -> None:
    paraphrased = made.changed(paraphrases=WORDS)
    control = made.changed(paraphrases=WORDS, run={**made.STUDY.run, "prompt": prompt})
    run = made.planned_cells(paraphrased)[0]
    assert len(paraphrases_of(paraphrased, run)) == 2
    assert paraphrases_of(control, run) == ()


@pytest.mark.parametrize("method", [{"name": "picture"}, {"name": "combined", "picture": {"length": 4}}])
def test_arms_that_see_pictures_have_none(method: dict[str, object]) -> None:
    study = made.small(paraphrases=WORDS, methods={**made.STUDY.methods, "lora": method})
    counts = {run.arm.key.method: len(paraphrases_of(study, run)) for run in made.planned_cells(study) if run.seed == 0}
    assert counts == {"full": 2, "lora": 0}


@pytest.mark.parametrize("joint", [True, False])
def test_the_spread_over_paraphrases_is_that_of_the_means_over_tasks(joint: bool, tmp_path: Path) -> None:
    grids = {"g": made.Grid(bases=("multi",), methods=("lora",), settings=("instruction", "zero-shot"))}
    study = made.changed(grids=grids, tables={}, figures={}, claims={}, tuning=None, joint=joint, paraphrases=WORDS)
    results = analyse(written(tmp_path / "study", study))
    definitions = results.stability["definitions"]
    assert set(definitions) == {"multi-lora", "multi-zero-shot"}
    for arm in definitions:
        places = [path for path in sorted((tmp_path / "study" / "runs").iterdir()) if path.name.startswith(f"{arm}-s0")]
        runs = [[path for folder in places for path in [folder / "predictions.jsonl"]]]
        runs += [[path for folder in places for path in folder.glob(f"paraphrases/{number}-*.jsonl")] for number in (1, 2)]
        for metric in ("bleu", "chrf", "rouge_l", "meteor"):
            means = [
                score_predictions([row for path in run for row in read_predictions(path)], [metric], resamples=0)
                .scores[metric]
                .score
                for run in runs
            ]
            sd = np.std(means, ddof=1)
            low, high = (sd * np.sqrt(2 / chi2.ppf(p, 2)) for p in (0.975, 0.025))
            expected = {"sd": sd, "low": low, "high": high, "paraphrases": 3.0}
            assert definitions[arm][metric] == pytest.approx(expected)
    assert results.stability["seeds"].keys() == {"multi-lora"}


def test_wordings_that_are_missing_are_not_counted(tmp_path: Path) -> None:
    grids = {"g": made.Grid(bases=("multi",), methods=("lora", "full"))}
    study = made.changed(grids=grids, tables={}, figures={}, claims={}, tuning=None, paraphrases=WORDS)
    root = written(tmp_path / "study", study, numbers=(2,))
    shutil.rmtree(root / "runs" / "multi-full-s0" / "paraphrases")
    first = current_results(root)
    assert {arm: definition["chrf"]["paraphrases"] for arm, definition in first.stability["definitions"].items()} == {
        "multi-lora": 2.0
    }
    reword(root, study, (1, 2))
    assert current_results(root).stability["definitions"]["multi-full"]["chrf"]["paraphrases"] == 3.0, "a new file is seen"


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ([worded({"one": ["a"], "tow": ["b"]})], "paraphrases", "unknown task 'tow'"),
        ([worded({"one": ["a"]})], "paraphrases", "leaves out the task 'two'"),
        ([worded({"one": ["a", "b"], "two": ["c"]})], "paraphrases.two", "has 1 paraphrases, and 'one' has 2"),
        ([worded({"one": [], "two": []})], "paraphrases.one", "is empty"),
        ([worded({"one": ["a", " \n"], "two": ["c", "d"]})], "paraphrases.one.1", "has no words"),
        ([worded({"one": ["a", "b"], "two": ["c", "c"]})], "paraphrases.two.1", "repeats a paraphrase"),
        ([worded(OTHER), "run.prompt.definition=false"], "paraphrases", "no prompt shows a definition"),
    ],
)
def test_wordings_that_do_not_fit_the_study_are_refused(
    changes: list[str], path: str, says: str, tasks: Path, base: Path
) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        plan_study(small.study(tasks, base, *changes))
    assert error.value.where == path
    assert error.value.hint or path.endswith(".1")


def test_other_tasks_by_override_take_their_paraphrases_with_them(tasks: Path, base: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.study(tasks, base, worded(OTHER))), encoding="utf-8")
    fewer, remarks = load_study(file, ["tasks=[two]"])
    assert fewer.paraphrases == {"two": tuple(OTHER["two"])}
    assert remarks == []
    other, remarks = load_study(file, ["tasks=[two, three]"])
    assert other.paraphrases == {}
    assert len(remarks) == 1
    assert "'three'" in remarks[0]
    with pytest.raises(ConfigError, match="unknown task 'one'"):
        load_study(file, ["tasks=[two]", worded({"one": ["Again."], "two": ["Go on."]})])
