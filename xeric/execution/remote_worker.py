"""A worker on a machine that does not see the study's folder.

This process takes the runs in its name, so that workers with and without the folder share one study.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from pathlib import Path

from xeric.errors import XericError
from xeric.execution.executor import RunExecutor
from xeric.execution.jobs import Jobs
from xeric.execution.open_study import OpenStudy
from xeric.execution.remote_computer import NodeLink, NodeLostError, RemoteComputer
from xeric.execution.study_runs import StudyRuns
from xeric.execution.work import by_base
from xeric.execution.worker_events import Event, Order, Telling, refused
from xeric.interruption import Interrupted
from xeric.run.stage_store import StageStore

__all__ = ["RemoteWorker"]

_LEAVE_SECONDS = 20.0


class RemoteWorker:
    """A worker without the study's folder; see :class:`xeric.execution.watching.Worker`.

    Args:
        order: what it is to do.
        opened: the study.
        jobs: of the study.
        link: to its machine.
    """

    def __init__(self, order: Order, opened: OpenStudy, jobs: Jobs, link: NodeLink) -> None:
        self.number = order.number
        self._order, self._opened, self._jobs, self._link = order, opened, jobs, link
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._leaving = threading.Event()
        self._how = ""
        self._thread = threading.Thread(target=self._work, name=f"worker {order.number}", daemon=True)
        self._thread.start()

    def events(self) -> list[Event]:
        """Return what it has told since the last call."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def ended(self) -> str | None:
        """Return how it died, empty where it left by itself; None while it works."""
        return None if self._thread.is_alive() else self._how

    def leave(self) -> None:
        """Ask it to leave."""
        self._leaving.set()

    def stop(self) -> None:
        """Wait until it has gone, but not for ever where its machine does not answer."""
        self._thread.join(2 * _LEAVE_SECONDS)
        with contextlib.suppress(NodeLostError):
            self._link.wait(self._link.begin("close"), _LEAVE_SECONDS)

    def _work(self) -> None:
        try:
            self._events.put(["started", *self._link.result(self._link.begin("holder"))])
            self._carry_out()
        except Interrupted:
            pass
        except NodeLostError as error:
            self._how = str(error)
        except XericError as error:
            self._events.put(refused(error))
        except Exception as error:  # noqa: BLE001 - as with a process, the one that watches says how it died
            self._how = f"ended with {type(error).__name__}: {str(error)[:300]}"

    def _carry_out(self) -> None:
        plan, folder, told = self._opened.plan, self._opened.executor.folder, Telling(self._events.put)
        computer = RemoteComputer(self._link, self._jobs, StageStore(folder.stages_dir), self._leaving, self._lost)
        executor = RunExecutor(folder, computer, told, sleep=self._sleep, retry_before=self._order.retry_before)
        executor.precision = self._opened.executor.precision
        StudyRuns(plan, folder, executor, told).carry_out(by_base(plan.study, plan.runs, self.number), until_taken=True)

    def _sleep(self, seconds: float) -> None:
        if self._leaving.wait(seconds):
            raise Interrupted(signal.SIGTERM)

    def _lost(self, folder: Path) -> None:
        self._events.put(["lost", self._opened.executor.folder.lock_name(folder)])
