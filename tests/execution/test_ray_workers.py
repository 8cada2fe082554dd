"""Workers in a Ray cluster of several raylets on this machine: nodes that go and come, with and without the study's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests.execution.test_run_study import QUICK, Told
from xeric.errors import DataError, UserError
from xeric.execution.jobs import Jobs
from xeric.execution.open_study import OpenStudy
from xeric.execution.run_study import run_study
from xeric.execution.worker_events import Order
from xeric.execution.workers import Workers
from xeric.files import full_path
from xeric.progress import Silent
from xeric.yaml_io import dump_yaml

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_hide_folders() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster whose head has no room for workers."""
    from ray.cluster_utils import Cluster

    # Nodes must find this package, wherever the tests run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]) + os.pathsep + os.environ.get("PYTHONPATH", ""))
        raylets = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        yield raylets
        raylets.shutdown()


@pytest.fixture
def cluster(head: Any) -> Iterator[Any]:
    """A cluster to which a test adds nodes of one worker each; they go with the test."""
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node)


class LosingANode(Silent):
    """Progress of a worker: at the first training, the node of the first worker dies and another comes."""

    def __init__(self, cluster: Any, nodes: list[Any]) -> None:
        self._cluster, self._nodes = cluster, nodes

    def start(self, phase: str, total: int, done: int = 0) -> None:
        if phase.startswith("train") and self._nodes:
            self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
            self._cluster.add_node(num_cpus=1)


def test_a_study_outlives_a_node_and_leaves_the_bytes_of_one_process(
    cluster: Any, undisturbed: Path, tasks: Path, base: Path, tmp_path: Path
) -> None:
    nodes, told = [cluster.add_node(num_cpus=1) for _ in range(2)], Told()
    losing = LosingANode(cluster, nodes[:1])
    workers = Workers(ray=cluster.address, progress=lambda _: losing)
    done = run_study(small.study(tasks, base), tmp_path / "out", workers=workers, progress=told)
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert [note for note in told.notes if "died with its process or its node" in note]
    expected = small.contents(undisturbed)
    expected.pop("results.json", None)
    assert small.contents(tmp_path / "out") == expected


def ended(worker: Any) -> list[Any]:
    """What a worker tells until it ends by itself."""
    events: list[Any] = []
    while (how := worker.ended()) is None:
        ray.wait([worker._asked], timeout=10)
        events += worker.events()
    assert how == ""
    return events + worker.events()


class Machine:
    """A node that does not see a folder: its processes have mounts of their own, and they die together."""

    def __init__(self, cluster: Any, hidden: Path) -> None:
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--num-cpus=1", "--block"]
        script = 'mount -t tmpfs none "$1" && shift && exec "$@"'
        self._process = subprocess.Popen(
            [*ALONE, "sh", "-c", script, "sh", str(hidden), *start], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class LosingAMachine(Silent):
    """Progress of a worker: at the first decoding, its machine goes away and another comes."""

    def __init__(self, machines: list[Machine], another: Callable[[], Machine]) -> None:
        self._machines, self._another = machines, another
        self.phases: list[str] = []

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self.phases.append(phase)
        if phase.startswith("decode") and len(self._machines) == 1:
            self._machines[0].kill()
            self._machines.append(self._another())


@pytest.mark.skipif(not can_hide_folders(), reason="a process of this user cannot have mounts of its own")
def test_machines_that_share_no_folder_leave_the_bytes_of_one_process(
    cluster: Any, tasks: Path, base: Path, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    stage = ("sources=[two]", "stage={data: {n_train: 20}, train: {max_steps: 2}}", "grids={g: {starts: [stage-1]}}")
    study = small.study(Path(shutil.copytree(tasks, hidden / "tasks")), base, *QUICK, *stage)
    alone, told = run_study(study, tmp_path / "alone"), Told()
    machines = [Machine(cluster, hidden)]
    losing = LosingAMachine(machines, lambda: Machine(cluster, hidden))
    try:
        workers = Workers(1, ray=cluster.address, progress=lambda _: losing)
        done = run_study(study, hidden / "out", workers=workers, progress=told)
    finally:
        for machine in machines:
            machine.kill()
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert len(machines) == 2
    assert [note for note in told.notes if "died with its process or its node in" in note]
    assert losing.phases.count("train stage 1") == 1
    assert small.contents(done.folder.root) == small.contents(alone.folder.root)


def test_a_worker_that_is_asked_to_leave_gives_its_run_back(cluster: Any, tasks: Path, base: Path, tmp_path: Path) -> None:
    from xeric.execution import ray_workers

    study, folder = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(dump_yaml(small.plain(tasks, base, "tuning=null", "run.train.max_steps=100000")), encoding="utf-8")
    opened = OpenStudy.of(study, folder, progress=Silent())
    jobs = Jobs(opened.executor.folder, {}, ray_workers.share)
    cluster.add_node(num_cpus=1)
    with ray_workers.cluster(cluster.address), ray_workers.token_in(folder) as token:
        worker, phases = ray_workers.RayWorker(Order(full_path(folder), 0, 0), token, 0.0, opened, jobs), list[str]()
        while "train" not in phases:
            ray.wait([worker._asked], timeout=10)
            phases += [phase for name, phase, *_ in worker.events() if name == "start"]
        assert list((folder / "locks").glob("runs-*"))
        worker.leave()
        ended(worker)
        worker.stop()
    assert not list((folder / "locks").glob("runs-*"))


def test_a_node_with_other_software_ends_the_study_in_a_sentence_that_names_both(
    cluster: Any, tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xeric.execution import ray_workers

    cluster.add_node(num_cpus=1)
    here = ray_workers.software()
    monkeypatch.setattr(ray_workers, "software", lambda: {**here, "Xeric": "9.1.0"})
    with pytest.raises(DataError, match=r"node .*: has Xeric .*, and the machine where the study was started has Xeric 9\.1\.0"):
        run_study(small.study(tasks, base, *QUICK), tmp_path / "out", workers=Workers(1, ray=cluster.address))
    assert not list((tmp_path / "out").rglob("record.json"))


def test_an_address_at_which_nothing_answers_is_refused_before_anything_is_written(
    tasks: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"--ray 127\.0\.0\.1:9: there is no Ray cluster that answers"):
        run_study(small.study(tasks, base), tmp_path / "out", workers=Workers(ray="127.0.0.1:9"))
    assert not (tmp_path / "out").exists()
