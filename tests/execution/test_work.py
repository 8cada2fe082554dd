"""Workers on one folder: what each takes, when it leaves, and that the folder ends as that of one process."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests import small_study as small
from tests.execution.test_run_study import QUICK, Told
from xeric.config import build
from xeric.execution.opening import identify, open_folder
from xeric.execution.run_study import run_study
from xeric.execution.work import by_base, work
from xeric.locks import acquire
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import plan_study
from xeric.yaml_io import dump_yaml

ROOT = Path(__file__).parents[2]
COMMAND = "from xeric.cli import main; main()"


def test_workers_started_at_once_on_a_new_folder_leave_what_one_process_does(
    undisturbed: Path, tasks: Path, base: Path, tmp_path: Path
) -> None:
    file, folder = tmp_path / "study.yaml", tmp_path / "out"
    file.write_text(dump_yaml(small.plain(tasks, base)), encoding="utf-8")
    command = [sys.executable, "-c", COMMAND, "study", "work", str(file), "-o", str(folder)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(*process.communicate(timeout=240), process.returncode) for process in running]
    assert [code for *_, code in ended] == [0, 0], ended
    assert any("6 of 6 runs ok" in output for output, *_ in ended)
    assert not (folder / "results.json").exists(), "results are made by `study run`"
    expected = small.contents(undisturbed)
    expected.pop("results.json", None)
    assert small.contents(folder) == expected


def test_a_folder_that_another_process_begins_at_the_same_moment_is_the_studys(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, read = small.study(tasks, base, *QUICK), StudyFolder.read_identity

    def begun_just_after(folder: StudyFolder) -> str | None:
        existing = read(folder)
        folder.write_study(study, identify(study))
        folder.write_runs([])
        return existing

    monkeypatch.setattr(StudyFolder, "read_identity", begun_just_after)
    folder, identity = open_folder(study, tmp_path / "out")
    assert read(folder) == identity


def test_a_worker_has_nothing_to_do_in_a_finished_folder(undisturbed: Path, tasks: Path, base: Path) -> None:
    before, told = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json*")}, Told()
    left = work(undisturbed, undisturbed, progress=told)
    assert told.begun == []
    assert left.with_status("ok") == [run.id for run in left.plan.runs]
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json*")} == before


def test_a_worker_leaves_a_run_that_another_process_works_on(tasks: Path, base: Path, tmp_path: Path) -> None:
    study, folder = small.study(tasks, base, *QUICK), StudyFolder(tmp_path / "out")
    first, *others = plan_study(study).runs
    lock = acquire(folder.locks_dir, folder.lock_name(folder.run_folder(first.id)))
    assert lock is not None
    assert work(study, folder.root).with_status("missing") == [first.id]
    lock.release()
    told = Told()
    assert work(study, folder.root, progress=told).with_status("ok") == [first.id, *(run.id for run in others)]
    assert told.begun == [first.id]


def test_a_worker_tries_failed_runs_again_only_if_asked(tasks: Path, base: Path, tmp_path: Path) -> None:
    bad = ("methods={bad: {name: lora, targets: [nothing]}}", "grids={g: {}}")
    study, told = small.study(tasks, base, *QUICK, *bad), Told()
    failed = run_study(study, tmp_path / "out").with_status("failed")
    assert work(study, tmp_path / "out", progress=told).with_status("failed") == failed
    assert told.begun == []
    assert work(study, tmp_path / "out", retry_before=None, progress=told).with_status("failed") == failed
    assert told.begun == failed


@pytest.mark.parametrize(("number", "first"), [(0, "tiny"), (1, "other"), (2, "tiny")])
def test_workers_begin_with_different_bases_and_open_each_once(
    number: int, first: str, tasks: Path, base: Path, tmp_path: Path
) -> None:
    data = small.plain(tasks, base)
    data["bases"]["other"] = str(tmp_path / "other")
    plan = plan_study(build(StudyConfig, data))
    bases = [run.arm.key.base for run in by_base(plan.study, plan.runs, number)]
    assert bases[0] == first
    assert sum(before != after for before, after in itertools.pairwise(bases)) == 1
    assert sorted(bases) == sorted(run.arm.key.base for run in plan.runs)
