"""Which workers carry a study out: processes on this machine, or actors of a Ray cluster."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xeric.execution.local_workers import LocalWorker, environment
from xeric.execution.open_study import OpenStudy
from xeric.execution.watching import Team
from xeric.execution.worker_events import Order
from xeric.files import full_path, writing
from xeric.progress import Silent, StudyProgress

__all__ = ["Workers", "team_of"]


@dataclass(frozen=True)
class Workers:
    """Which workers carry a study out.

    Attributes:
        count: how many at most at a time.
        progress: gives what is told of the runs of the worker of a number.
    """

    count: int
    progress: Callable[[int], StudyProgress] = lambda _: Silent()


@contextlib.contextmanager
def team_of(workers: Workers, opened: OpenStudy) -> Iterator[Team]:
    """Yield how the workers of a study are started.

    Args:
        workers: which.
        opened: the study.
    """
    folder = opened.executor.folder.root
    retry_before = _now_ns(folder)

    def start(number: int) -> LocalWorker:
        return LocalWorker(Order(full_path(folder), number, retry_before), environment(number, workers.count))

    yield Team(start, workers.count, workers.count)


def _now_ns(folder: Path) -> int:
    """Return the time by the clock of a folder's file system, in nanoseconds since the epoch."""
    with writing(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".part") as file:
        return Path(file.name).stat().st_mtime_ns
