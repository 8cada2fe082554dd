"""A study whose stage 1 is plain text: planned, estimated, computed once, and known by the text's contents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import small_study as small
from tests import tiny
from tests.execution.test_run_study import Told
from xeric.errors import ConfigError
from xeric.execution.opening import check_settings, open_folder
from xeric.execution.preview import estimated, preview
from xeric.execution.run_study import run_study
from xeric.record_io import read_record
from xeric.studies.config import StudyConfig
from xeric.studies.plan import plan_study


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    instances = tiny.task_data("text", instances=40)["Instances"]
    (folder / "some.txt").write_text("\n\n".join(i["output"][0] for i in instances), encoding="utf-8")
    return folder


def study(tasks: Path, base: Path, texts: Path, *overrides: str) -> StudyConfig:
    return small.study(
        tasks,
        base,
        f'stage={{texts: ["{texts}"], corpus: {{window: 16}}, train: {{max_steps: 3}}}}',
        "grids={all: {methods: [lora], starts: [base, stage-1]}}",
        "tuning=null",
        "seeds=[0, 1]",
        *overrides,
    )


def test_settings_and_names_do_not_hang_on_where_the_text_lies(tasks: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    plan = plan_study(study(tasks, base, texts))
    check_settings(plan)
    (stage,) = plan.settings(plan.runs[-1])["stages"]
    expected = {"method": {"name": "full"}, "seed": 0, "texts": [str(texts)], "corpus": {"window": 16}, "train": {"max_steps": 3}}
    assert stage == expected
    moved = tmp_path / "moved"
    shutil.copytree(texts, moved)
    other = study(tasks, base, moved)
    assert [arm.id for arm in plan_study(other).arms] == [arm.id for arm in plan.arms]
    identity = open_folder(plan.study, tmp_path / "out")[1]
    assert open_folder(other, tmp_path / "out")[1] == identity
    (moved / "more.txt").write_text("one document more", encoding="utf-8")
    assert open_folder(other, tmp_path / "out")[1] != identity
    assert open_folder(study(tasks, base, texts, "stage.corpus.window=20"), tmp_path / "out")[1] != identity


def test_mistakes_are_named_by_their_path_in_the_study(tasks: Path, base: Path, texts: Path) -> None:
    for override, where in (
        ("sources=[three]", "stage.texts"),
        ("stage.corpus.windw=9", "stage.corpus.windw"),
        ("stage.data.n_train=20", "stage.data"),
        ("stage.method={name: prefix}", "stage.method"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_settings(plan_study(study(tasks, base, texts, override)))
        assert caught.value.where == where


def test_all_arms_start_from_one_model_of_the_text(tasks: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    chosen, told = study(tasks, base, texts), Told()
    estimate = estimated(preview(chosen, tmp_path / "out", progress=told), progress=Told()).estimate
    assert estimate is not None
    assert estimate.stages > 0
    assert not (tmp_path / "out").exists()
    done = run_study(chosen, tmp_path / "out")
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert len(list((tmp_path / "out" / "stages").rglob("stage.json"))) == 1
    for run in done.plan.runs:
        record = read_record(tmp_path / "out" / "runs" / run.id)
        assert record is not None
        assert [stage["texts"]["documents"] for stage in record.stages] == ([40] if run.arm.key.start == "stage-1" else [])
