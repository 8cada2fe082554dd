"""Workers whose machine does not see the study's folder, here without Ray: a node in a thread, with a folder of its own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests.execution.test_paraphrase import OTHER, worded
from tests.execution.test_run_study import QUICK, Told
from xeric.errors import DataError, UserError
from xeric.execution.computing import LockLostError
from xeric.execution.jobs import Jobs
from xeric.execution.node import Node
from xeric.execution.open_study import OpenStudy, StudyRun
from xeric.execution.remote_computer import NodeLostError, RemoteComputer
from xeric.execution.remote_worker import RemoteWorker
from xeric.execution.run_study import run_study
from xeric.execution.transport import file_in
from xeric.execution.watching import Team, Watch
from xeric.execution.worker_events import Order
from xeric.locks import acquire
from xeric.progress import Silent
from xeric.run.stage_store import StageStore
from xeric.studies.config import StudyConfig


class Threads:
    """A link to a node in this process; it breaks where it is told to."""

    def __init__(self) -> None:
        self.node = Node("here", lambda reference: reference)
        self.broken = False
        self.called: list[tuple[str, tuple[Any, ...]]] = []
        self._calls: list[Future[Any]] = []
        self._pool = ThreadPoolExecutor(2)

    def begin(self, method: str, *arguments: Any, **named: Any) -> Future[Any]:
        self.called.append((method, arguments))
        self._calls.append(self._pool.submit(getattr(self.node, method), *arguments, **named))
        return self._calls[-1]

    def wait(self, call: Future[Any], seconds: float) -> bool:
        return self.broken or bool(wait([call], seconds).done)

    def result(self, call: Future[Any]) -> Any:
        if self.broken:
            self.node.leave()
            wait(self._calls)  # the next node lives in this process, too, and draws from the same random generator
            raise NodeLostError("went away")
        return call.result()

    def called_with(self, method: str) -> list[tuple[str, tuple[Any, ...]]]:
        return [call for call in self.called if call[0] == method]


class Breaking(Silent):
    """Progress of a worker, whose machine goes away when a phase begins for the first time."""

    def __init__(self, links: list[Threads], phase: str) -> None:
        self._links, self._phase = links, phase
        self.phases: list[str] = []

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self.phases.append(phase)
        if phase.startswith(self._phase) and len(self._links) == 1:
            self._links[0].broken = True


def carry_out(
    study: StudyConfig, folder: Path, told: Told, progress: Callable[[list[Threads]], Silent] = lambda _: Silent()
) -> tuple[StudyRun, list[Threads]]:
    """Carry a study out by one worker at a time, none of which sees its folder."""
    opened = OpenStudy.of(study, folder, progress=told)
    jobs = Jobs(opened.executor.folder, opened.computer.prepared_data, lambda value: value)
    links: list[Threads] = []

    def start(number: int) -> RemoteWorker:
        links.append(Threads())
        return RemoteWorker(Order(str(folder), number, 0), opened, jobs, links[-1])

    of_worker = progress(links)
    Watch(opened, Team(start, 1, 1), lambda _: of_worker).carry_out()
    return opened.finished(), links


def test_a_study_leaves_the_bytes_of_one_process_though_a_machine_goes_away(
    undisturbed: Path, tasks: Path, base: Path, tmp_path: Path
) -> None:
    told, folder = Told(), tmp_path / "out"
    done, links = carry_out(small.study(tasks, base), folder, told, lambda links: Breaking(links, "train"))
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert len(links) == 2
    # In which run depends on how soon the watching process sees that its training has begun.
    assert [note for note in told.notes if note.startswith("worker 1 went away in ") and "taken up again" in note]
    assert told.position[:2] == (10, 10)
    expected = small.contents(undisturbed)
    expected.pop("results.json", None)
    assert small.contents(folder) == expected
    for link in links:
        link.node.close()


def test_a_stage_that_one_machine_has_trained_goes_to_the_next(tasks: Path, base: Path, tmp_path: Path) -> None:
    stage = ("sources=[two]", "stage={data: {n_train: 20}, train: {max_steps: 2}, method: lora}")
    study = small.study(tasks, base, *QUICK, *stage, "grids={g: {starts: [stage-1]}}")
    alone, watched = run_study(study, tmp_path / "alone"), list[Breaking]()

    def breaking(links: list[Threads]) -> Breaking:
        watched.append(Breaking(links, "decode test"))
        return watched[0]

    done, links = carry_out(study, tmp_path / "out", Told(), breaking)
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert watched[0].phases.count("train stage 1") == 1
    sent = [[arguments[1] for _, arguments in link.called_with("write")] for link in links]
    assert sent[0] == []
    assert sent[1][-1] == "stage.json"
    assert small.contents(done.folder.root) == small.contents(alone.folder.root)


@pytest.mark.parametrize(("keep", "sent"), [("none", False), ("adapter", True)])
def test_an_adapter_is_sent_where_it_is_kept(keep: str, sent: bool, tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(tasks, base, *QUICK, "grids={g: {methods: [lora]}}", f"keep={keep}")
    done, (link,) = carry_out(study, tmp_path / "out", Told())
    assert done.with_status("ok") == [done.plan.runs[0].id]
    names = [arguments[1] for _, arguments in link.called_with("read")]
    assert any(name.startswith("adapter/") for name in names) == sent
    assert names[-1] == "record.json"
    assert not [name for name in names if name.startswith("checkpoint")]


def test_a_finished_run_is_sent_to_be_decoded_under_paraphrases(tasks: Path, base: Path, tmp_path: Path) -> None:
    plain, paraphrased = (small.study(tasks, base, *QUICK, "tasks=[one, two]", *more) for more in ((), (worded(OTHER),)))
    for name in ("alone", "out"):
        run_study(plain, tmp_path / name)
    alone = run_study(paraphrased, tmp_path / "alone")
    done, _ = carry_out(paraphrased, tmp_path / "out", Told())
    assert list(done.folder.root.glob("runs/*/paraphrases/*.jsonl"))
    assert small.contents(done.folder.root) == small.contents(alone.folder.root)


def test_a_base_that_a_machine_does_not_have_ends_the_study(tasks: Path, base: Path, tmp_path: Path) -> None:
    moved, folder = Path(shutil.copytree(base, tmp_path / "base")), tmp_path / "out"
    study = small.study(tasks, moved, *QUICK)
    opened = OpenStudy.of(study, folder, progress=Told())
    jobs = Jobs(opened.executor.folder, opened.computer.prepared_data, lambda value: value)
    run = opened.plan.runs[0]
    job, node = (
        jobs.job(opened.executor.folder.run_folder(run.id), opened.plan.settings(run)),
        Node("10.0.0.7", lambda data: data),
    )
    assert node.run(job._replace(base={"weights": "0", "tokenizer": "0"}), keep_adapter=True)[:4] == [
        "refused",
        "DataError",
        f"the base {moved} has other contents here than where the study was started",
        "node 10.0.0.7",
    ]
    away = job._replace(settings=job.settings | {"base": str(tmp_path / "away")})
    kind, name, what, where, hint = node.run(away, keep_adapter=True)
    assert (kind, name, where) == ("refused", "DataError", "node 10.0.0.7")
    assert what == f"the base {tmp_path / 'away'} cannot be opened here: there is no such file or folder"
    assert "every node" in hint


class Evil:
    """A machine that names files as it likes."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def begin(self, method: str, *_: Any, **__: Any) -> Any:
        return {"run": ["ok"], "files": list(self._names), "read": b"x", "events": []}.get(method)

    def wait(self, call: Any, seconds: float) -> bool:
        return True

    def result(self, call: Any) -> Any:
        return call


def computed_by(link: Any, opened: OpenStudy, folder: Path, check: Callable[[], None] = lambda: None) -> None:
    class Progress(Silent):
        def check(self) -> None:
            check()

    jobs = Jobs(opened.executor.folder, opened.computer.prepared_data, lambda value: value)
    computer = RemoteComputer(link, jobs, StageStore(opened.executor.folder.stages_dir), threading.Event(), lambda _: None)
    computer.run(folder, opened.plan.settings(opened.plan.runs[0]), Progress(), keep_adapter=True)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "", "a//b", "./evil", "link/evil", "evil\0"])
def test_a_name_that_leads_out_of_the_runs_folder_is_refused(name: str, tasks: Path, base: Path, tmp_path: Path) -> None:
    opened = OpenStudy.of(small.study(tasks, base, *QUICK), tmp_path / "out", progress=Told())
    folder = opened.executor.folder.run_folder("here")
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="leads out of it"):
        computed_by(Evil(name), opened, folder)
    assert sorted(tmp_path.rglob("*")) == before
    assert file_in(folder, "adapter/model.safetensors") == folder / "adapter" / "model.safetensors"


def test_nothing_is_written_once_the_run_is_anothers(tasks: Path, base: Path, tmp_path: Path) -> None:
    opened = OpenStudy.of(small.study(tasks, base, *QUICK), tmp_path / "out", progress=Told())
    folder, checks = opened.executor.folder.run_folder("here"), iter(range(4))

    def check() -> None:
        if next(checks) == 3:
            raise LockLostError

    with pytest.raises(LockLostError):
        computed_by(Evil("config.yaml", "record.json"), opened, folder, check)
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_a_run_is_left_when_its_worker_is_asked_to(tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(tasks, base, *QUICK, "run.train.max_steps=100000")
    opened, link = OpenStudy.of(study, tmp_path / "out", progress=Told()), Threads()
    jobs = Jobs(opened.executor.folder, opened.computer.prepared_data, lambda value: value)
    worker, phases = RemoteWorker(Order(str(tmp_path / "out"), 0, 0), opened, jobs, link), list[str]()
    while "train" not in phases:
        phases += [event[1] for event in worker.events() if event[0] == "start"]
    locks = opened.executor.folder.locks_dir
    assert list(locks.glob("runs-*"))
    worker.leave()
    worker.stop()
    assert worker.ended() == ""
    assert not list(locks.glob("runs-*"))


def test_a_stage_that_another_process_trains_is_waited_for(tasks: Path, base: Path, tmp_path: Path) -> None:
    stages, link = StageStore(tmp_path / "stages"), Evil()
    jobs: Any = None
    computer = RemoteComputer(link, jobs, stages, threading.Event(), lambda _: None)
    progress: Any = Silent()
    lock = acquire(stages.locks_dir, "0a")
    assert lock is not None
    assert not computer._answer("take", "0a", progress, {})
    lock.release()
    claims: dict[str, Any] = {}
    assert computer._answer("take", "0a", progress, claims)
    claims["0a"].release()
    with pytest.raises(UserError, match="a stage with the name"):
        computer._answer("find", "../0a", progress, {})
