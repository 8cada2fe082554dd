"""A study whose folder's file system does not answer for a while: it waits, goes on, and ends as if nothing had happened."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from tests import small_study as small
from tests.execution.test_run_study import QUICK, Told
from tests.outages import Outage
from xeric import api
from xeric.analysis.results import StudyResults
from xeric.errors import StorageError, UnreachableError
from xeric.execution import outages, worker_events
from xeric.execution.outages import PATIENCE_SECONDS, Outages
from xeric.execution.run_study import StudyRun, run_study
from xeric.execution.work import work
from xeric.execution.worker_events import Order, carry_out
from xeric.execution.workers import Workers
from xeric.progress import Silent
from xeric.studies.config import StudyConfig

STUDY = (*QUICK, "grids={g: {settings: [zero-shot, instruction], methods: [lora]}}")


@pytest.fixture(scope="module")
def quick(tasks: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Path]:
    """A small study, and its folder where nothing disturbs it."""
    study, folder = small.study(tasks, base, *STUDY), tmp_path_factory.mktemp("quick") / "study"
    run_study(study, folder)
    return study, folder


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between attempts."""
    monkeypatch.setattr(outages, "_PAUSES", (0.0,))


class Clock:
    """Time that passes while one sleeps, and in actions."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Failing:
    """An action that fails so many times, after so many seconds each."""

    def __init__(self, clock: Clock, times: int, error: Exception, seconds: float = 0.0) -> None:
        self._clock, self.left, self._error, self._seconds = clock, times, error, seconds

    def __call__(self) -> str:
        self._clock.now += self._seconds
        if self.left:
            self.left -= 1
            raise self._error
        return "done"


def disconnected() -> OSError:
    return OSError(errno.ENOTCONN, "Transport endpoint is not connected", "/net/study/runs")


def test_what_an_outage_breaks_off_is_begun_anew_and_told_once() -> None:
    clock, told = Clock(), Told()
    assert Outages(told, sleep=clock.sleep, clock=clock).outlast(Failing(clock, 9, disconnected())) == "done"
    assert clock.slept == [1, 2, 5, 10, 20, 30, 30, 30, 30]
    what = "/net/study/runs: cannot be read or written: Transport endpoint is not connected"
    assert told.notes == [f"{what}; trying again for up to 1 h"]


def test_an_outage_without_end_ends_the_study_with_a_sentence_and_is_not_waited_for_again() -> None:
    clock = Clock()
    waiting = Outages(Silent(), sleep=clock.sleep, clock=clock)
    with pytest.raises(StorageError) as ended:
        waiting.outlast(lambda: waiting.outlast(Failing(clock, 10**6, disconnected())))
    assert not isinstance(ended.value, UnreachableError)
    assert str(ended.value).endswith("cannot be read or written: Transport endpoint is not connected, for 1 h by now")
    assert ended.value.exit_code == 1
    assert PATIENCE_SECONDS <= clock.now < PATIENCE_SECONDS + 60


def test_work_between_outages_begins_the_count_anew() -> None:
    clock = Clock()
    action = Failing(clock, 30, UnreachableError("cannot be written: Stale file handle"), seconds=1200.0)
    assert Outages(Silent(), sleep=clock.sleep, clock=clock).outlast(action) == "done"
    assert set(clock.slept) == {1.0}


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), StorageError("cannot be written: Read-only file system"), KeyError("x")],
)
def test_other_errors_are_not_waited_for(error: Exception) -> None:
    clock = Clock()
    with pytest.raises(type(error)):
        Outages(Silent(), sleep=clock.sleep, clock=clock).outlast(Failing(clock, 1, error))
    assert clock.slept == []


class Breaking(Told):
    """Progress that lets an outage begin with a phase, in the run of a method."""

    def __init__(self, outage: Outage, phase: str, refusals: int) -> None:
        super().__init__()
        self._outage, self._phase, self._refusals = outage, phase, refusals

    def start(self, phase: str, total: int, done: int = 0) -> None:
        if self._refusals and phase.startswith(self._phase):
            self._outage.begin(self._refusals)
            self._refusals = 0


def check_outlasted(done: StudyRun, told: Told, undisturbed: Path) -> None:
    """Check that a study waited out an outage, and left what an undisturbed one leaves."""
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert any("trying again for up to" in note for note in told.notes), told.notes
    assert small.contents(done.folder.root) == small.contents(undisturbed)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("number", "phase", "refusals"),
    [(errno.EIO, "train", 3), (errno.ENOTCONN, "train", 60), (errno.ESTALE, "decode", 6), (errno.ETIMEDOUT, "decode", 25)],
)
def test_a_study_outlasts_an_outage_and_ends_with_the_same_bytes(
    number: int, phase: str, refusals: int, quick: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, undisturbed = quick
    folder = tmp_path / "study"
    with monkeypatch.context() as patch:
        told = Breaking(Outage(patch, folder, number), phase, refusals)
        done = run_study(study, folder, progress=told, poll=0.0)
    check_outlasted(done, told, undisturbed)
    assert not list(folder.rglob("failure.json"))


@pytest.mark.usefixtures("at_once")
def test_the_process_that_watches_workers_outlasts_an_outage_and_loses_no_run(
    quick: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, undisturbed = quick
    folder = tmp_path / "study"

    class Cutting(Told):
        outage: Outage | None = None

        def overall(self, done: int, total: int, seconds_left: float | None) -> None:
            super().overall(done, total, seconds_left)
            if self.outage is None:
                self.outage = Outage(monkeypatch, folder, errno.EIO)
                self.outage.begin(7)

    told = Cutting()
    done = run_study(study, folder, workers=Workers(1), progress=told)
    check_outlasted(done, told, undisturbed)
    assert told.position[:2] == (len(done.plan.runs), len(done.plan.runs))


@pytest.mark.usefixtures("at_once")
def test_results_are_made_though_an_outage_breaks_them_off(
    quick: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, undisturbed = quick
    folder, told, write_results = tmp_path / "study", Told(), api.write_results
    shutil.copytree(undisturbed, folder)

    def broken_off(root: Path) -> StudyResults:
        monkeypatch.setattr(api, "write_results", write_results)
        raise OSError(errno.EIO, "Input/output error", str(root / "results.json"))

    monkeypatch.setattr(api, "write_results", broken_off)
    outcome = api.run_study(study, folder, progress=told)
    assert outcome.results is not None
    assert any("results.json: cannot be read or written: Input/output error; trying again" in note for note in told.notes)


@pytest.mark.usefixtures("at_once")
def test_the_empty_folder_that_a_lost_mount_leaves_is_not_written_into(
    quick: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, undisturbed = quick
    folder, elsewhere = tmp_path / "study", tmp_path / "elsewhere"

    class Unmounting(Told):
        def overall(self, done: int, total: int, seconds_left: float | None) -> None:
            if done == 1 and not elsewhere.exists():
                folder.rename(elsewhere)
                folder.mkdir()

        def note(self, text: str) -> None:
            super().note(text)
            if "holds the study no longer" in text:
                assert list(folder.iterdir()) == []
                folder.rmdir()
                elsewhere.rename(folder)

    told = Unmounting()
    work(study, folder, progress=told, poll=0.0)
    assert any("holds the study no longer" in note for note in told.notes)
    expected = small.contents(undisturbed)
    expected.pop("results.json", None)
    assert small.contents(folder) == expected


@pytest.mark.usefixtures("at_once")
def test_a_worker_that_is_started_in_an_outage_waits_for_its_end(
    quick: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, undisturbed = quick
    folder, events = tmp_path / "study", list[list[object]]()
    shutil.copytree(undisturbed, folder)
    with monkeypatch.context() as patch:
        Outage(patch, folder, errno.EIO).begin(5)
        carry_out(Order(str(folder), 0, 0), events.append)
    names = [event[0] for event in events]
    assert "refused" not in names
    assert any(event[0] == "note" and "trying again" in str(event[1]) for event in events)


def test_an_error_of_the_file_system_ends_a_worker_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/net/study/locks")

    monkeypatch.setattr("xeric.execution.work.work", full)
    events = list[list[object]]()
    worker_events.carry_out(Order("/net/study", 0, 0), events.append)
    assert events[-1][:4] == ["refused", "StorageError", "cannot be read or written: No space left on device", "/net/study/locks"]
