"""A study carried out by workers that are watched: same bytes as one process, workers that die, runs that kill them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests import small_study as small
from tests.execution.test_run_study import QUICK, Told
from xeric.errors import RunError, StorageError, UserError
from xeric.execution import local_workers
from xeric.execution.run_study import run_study
from xeric.execution.watching import DEATHS
from xeric.execution.workers import Workers
from xeric.studies.status import study_status


class Killing(Told):
    """Progress of a worker; kills the process that has the lock of a run as it begins to train it."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self._folder, self._times = folder, times

    def start(self, phase: str, total: int, done: int = 0) -> None:
        held = [path for path in (self._folder / "locks").glob("runs-*") if path.suffix[1:].isdecimal()]
        if phase.startswith("train") and held and self._times:
            self._times -= 1
            os.kill(small.holder_pid(held[0]), signal.SIGKILL)


def test_two_workers_leave_the_bytes_of_one_process_though_one_is_killed(
    undisturbed: Path, tasks: Path, base: Path, tmp_path: Path
) -> None:
    told, folder = Told(), tmp_path / "out"
    killing = Killing(folder, 1)
    done = run_study(small.study(tasks, base), folder, workers=Workers(2, progress=lambda _: killing), progress=told)
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert [note for note in told.notes if "ended by SIGKILL" in note]
    assert told.position[:2] == (10, 10)
    assert sum("ok, chrf" in note for note in told.notes) == 6
    expected = small.contents(undisturbed)
    expected.pop("results.json", None)
    assert small.contents(folder) == expected


def test_workers_train_a_stage_once(tasks: Path, base: Path, tmp_path: Path) -> None:
    phases: list[str] = []

    class Phases(Told):
        def start(self, phase: str, total: int, done: int = 0) -> None:
            phases.append(phase)

    stage = ("sources=[two]", "stage={data: {n_train: 20}, train: {max_steps: 2}}", "grids={g: {starts: [stage-1]}}")
    study = small.study(tasks, base, *QUICK, *stage)
    alone, done = (
        run_study(study, tmp_path / "alone"),
        run_study(study, tmp_path / "out", workers=Workers(2, progress=lambda _: Phases())),
    )
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert phases.count("train stage 1") == 1
    assert small.contents(done.folder.root) == small.contents(alone.folder.root)


def in_workers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let every worker run code before it begins."""
    monkeypatch.setattr(local_workers, "_CODE", local_workers._CODE.replace("from xeric", code + "; from xeric", 1))


def test_a_run_that_kills_every_worker_fails_and_the_others_go_on(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, told = small.study(tasks, base, *QUICK), Told()
    killer = (
        "import os, xeric.execution.computing as e; f = e.execute; "
        "e.execute = lambda c, folder, **more: os.kill(os.getpid(), 9) if 'lora' in folder.name else f(c, folder, **more)"
    )
    with monkeypatch.context() as patch:
        in_workers(patch, killer)
        done = run_study(study, tmp_path / "out", workers=Workers(2), progress=told)
    (failed,) = done.with_status("failed")
    assert "lora" in failed
    assert len(done.with_status("ok")) == 3
    failure = done.states[failed].failure
    assert failure is not None
    assert (
        failure.error
        == f"{DEATHS} workers died in this run; the last one ended by SIGKILL, as the system does when memory is exhausted"
    )
    assert failed in [run.id for run in done.plan.runs if study_status(done.folder).status(run) == "failed"]
    # What has failed is tried again by the next start, in the same way as other failures.
    assert run_study(study, tmp_path / "out", workers=Workers(1)).with_status("failed") == []


def test_workers_that_cannot_start_end_the_study(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_workers(monkeypatch, "sys.exit('no such library')")
    with pytest.raises(RunError, match="outside of any run; the last one left with exit code 1: no such library"):
        run_study(small.study(tasks, base, *QUICK), tmp_path / "out", workers=Workers(1))


def test_an_error_that_concerns_the_study_ends_it(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = (
        "import xeric.execution.computing as e, xeric.errors as r; "
        "e.execute = lambda *a, **k: (_ for _ in ()).throw(r.StorageError('cannot be written', where='x'))"
    )
    in_workers(monkeypatch, full)
    with pytest.raises(StorageError, match="x: cannot be written"):
        run_study(small.study(tasks, base, *QUICK), tmp_path / "out", workers=Workers(1))


@pytest.mark.parametrize(("given", "count", "threads"), [(None, 1, "8"), (None, 3, "2"), (None, 16, "1"), ("5", 2, "5")])
def test_workers_divide_the_cores(given: str | None, count: int, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_workers, "_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert local_workers.environment(0, count)["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize(
    ("visible", "gpus", "seen"),
    [(None, 0, [None, None]), (None, 1, [None, None]), (None, 2, ["0", "1", "0"]), ("3,GPU-5", 2, ["3", "GPU-5", "3"])],
)
def test_workers_take_the_gpus_in_turn(
    visible: str | None, gpus: int, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_workers.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [local_workers.environment(number, 3).get("CUDA_VISIBLE_DEVICES") for number in range(len(seen))] == seen


@pytest.mark.parametrize(
    ("workers", "device", "refused"),
    [
        (Workers(2), "cuda:1", True),
        (Workers(ray="auto"), "cuda:1", True),
        (Workers(2), "cuda:0", False),
        (Workers(2), "cuda", False),
        (Workers(1), "cuda:1", False),
        (None, "cuda:1", False),
    ],
)
def test_a_gpu_that_no_worker_sees_is_refused_before_anything_is_written(
    workers: Workers | None, device: str, refused: bool, tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xeric.execution.run_study.reached", lambda _: contextlib.nullcontext())
    study = small.study(tasks, base, f"run.device={device}")
    with pytest.raises(UserError) as caught:  # there is no GPU here at all
        run_study(study, tmp_path / "out", workers=workers)
    assert (f"none has the device {device}" in caught.value.what) == refused
    assert not (tmp_path / "out").exists()
