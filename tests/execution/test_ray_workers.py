"""Workers in a Ray cluster of several raylets on this machine: nodes that go and come, a folder that a node does not see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests.execution.test_run_study import Told
from xeric.errors import UserError
from xeric.execution.run_study import run_study
from xeric.execution.worker_events import Order
from xeric.execution.workers import Workers
from xeric.files import full_path
from xeric.progress import Silent
from xeric.yaml_io import dump_yaml

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for workers; tests add nodes of one worker each."""
    from ray.cluster_utils import Cluster

    # Nodes must find this package, wherever the tests run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]) + os.pathsep + os.environ.get("PYTHONPATH", ""))
        raylets = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        yield raylets
        raylets.shutdown()


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


def test_a_node_that_does_not_see_the_folder_says_so(cluster: Any, tmp_path: Path) -> None:
    from xeric.execution import ray_workers

    cluster.add_node(num_cpus=1)
    with ray_workers.cluster(cluster.address):
        worker = ray_workers.RayWorker(Order(str(tmp_path), 0, 0), "locks/.not-there", 0.0)
        (refused,) = ended(worker)
        worker.stop()
    assert refused[:2] == ["refused", "UserError"]
    assert "does not see this folder" in refused[2]
    assert refused[3] == str(tmp_path)


def test_a_worker_that_is_asked_to_leave_gives_its_run_back(cluster: Any, tasks: Path, base: Path, tmp_path: Path) -> None:
    from xeric.execution import ray_workers

    study, folder = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(dump_yaml(small.plain(tasks, base, "tuning=null", "run.train.max_steps=100000")), encoding="utf-8")
    run_study(study, folder, shard=(8, 8))  # writes the folder and carries nothing out
    cluster.add_node(num_cpus=1)
    with ray_workers.cluster(cluster.address), ray_workers.token_in(folder) as token:
        worker, phases = ray_workers.RayWorker(Order(full_path(folder), 0, 0), token, 0.0), list[str]()
        while "train" not in phases:
            ray.wait([worker._asked], timeout=10)
            phases += [phase for name, phase, *_ in worker.events() if name == "start"]
        assert list((folder / "locks").glob("runs-*"))
        worker.leave()
        ended(worker)
        worker.stop()
    assert not list((folder / "locks").glob("runs-*"))


def test_an_address_at_which_nothing_answers_is_refused_before_anything_is_written(
    tasks: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"--ray 127\.0\.0\.1:9: there is no Ray cluster that answers"):
        run_study(small.study(tasks, base), tmp_path / "out", workers=Workers(ray="127.0.0.1:9"))
    assert not (tmp_path / "out").exists()
