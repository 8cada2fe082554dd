"""Which workers carry a study out: processes on this machine, or actors of a Ray cluster."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xeric.errors import ConfigError, asking_for_train
from xeric.execution.jobs import Jobs
from xeric.execution.local_workers import LocalWorker, environment
from xeric.execution.open_study import OpenStudy
from xeric.execution.watching import Team
from xeric.execution.worker_events import Order
from xeric.files import full_path, writing
from xeric.progress import Silent, StudyProgress
from xeric.studies.plan import Plan

__all__ = ["Workers", "check_device", "reached", "team_of"]

_STARTING = 4
"""Actors that wait for room in a cluster at a time; the next ones wait when these have got it."""


@dataclass(frozen=True)
class Workers:
    """Which workers carry a study out.

    Attributes:
        count: how many at most at a time; None, in a Ray cluster only: as many as it has room for.
        ray: address of the Ray cluster whose nodes they run on; None: processes on this machine.
        gpus: how many each takes in a Ray cluster, parts of one too; None: one where the cluster has any.
        progress: gives what is told of the runs of the worker of a number.
    """

    count: int | None = None
    ray: str | None = None
    gpus: float | None = None
    progress: Callable[[int], StudyProgress] = lambda _: Silent()


def check_device(workers: Workers | None, plan: Plan) -> None:
    """Check that workers see the device of a study's runs.

    Args:
        workers: that carry it out; None for this process alone.
        plan: of the study.

    Raises:
        ConfigError: it is a GPU by its number, and each worker sees one GPU, as number 0.
    """
    device = str(plan.study.run.get("device", "auto"))
    kind, _, number = device.partition(":")
    shared_out = workers is not None and (workers.ray is not None or (workers.count or 1) > 1)
    if shared_out and kind == "cuda" and number not in ("", "0"):
        what = f"each of several workers sees one GPU, so none has the device {device}"
        raise ConfigError(what, where="run.device", hint="use device cuda, and the GPUs are shared out among the workers")


@contextlib.contextmanager
def reached(workers: Workers | None) -> Iterator[None]:
    """Connect to the Ray cluster of workers, if they are in one, for what is inside.

    Raises:
        UserError: there is no such cluster, or Ray is not installed.
    """
    if workers is None or workers.ray is None:
        yield
        return
    with asking_for_train():
        from xeric.execution.ray_workers import cluster
    with cluster(workers.ray):
        yield


@contextlib.contextmanager
def team_of(workers: Workers, opened: OpenStudy) -> Iterator[Team]:
    """Yield how the workers of a study are started.

    Args:
        workers: which.
        opened: the study.

    Raises:
        StorageError: nothing can be written into the study's folder.
    """
    folder = opened.executor.folder.root
    path, retry_before = full_path(folder), _now_ns(folder)
    if workers.ray is not None:
        from xeric.execution.ray_workers import RayWorker, gpus_in_cluster, share, token_in

        gpus = min(1.0, gpus_in_cluster()) if workers.gpus is None else workers.gpus
        jobs = Jobs(opened.executor.folder, opened.computer.prepared_data, share)
        with token_in(folder) as token:
            yield Team(
                lambda number: RayWorker(Order(path, number, retry_before), token, gpus, opened, jobs), workers.count, _STARTING
            )
    else:
        count = workers.count or 1
        yield Team(lambda number: LocalWorker(Order(path, number, retry_before), environment(number, count)), count, count)


def _now_ns(folder: Path) -> int:
    """Return the time by the clock of a folder's file system, in nanoseconds since the epoch."""
    with writing(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".part") as file:
        return Path(file.name).stat().st_mtime_ns
