"""Has runs computed by a machine that does not see the study's folder, and puts their files there.

This process holds the locks of the run and of the stages that the machine trains for it, so that only what is still its own is
written, and other workers see it as taken. The machine's side is :mod:`xeric.execution.node`.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from xeric.errors import DataError
from xeric.execution.computing import RunProgress, failure_of
from xeric.execution.jobs import Jobs
from xeric.execution.node import Outcome
from xeric.execution.transport import PIECE, files_to_send, put, read_piece
from xeric.execution.worker_events import refusal
from xeric.interruption import Interrupted
from xeric.locks import Lock, acquire
from xeric.run.folder import ADAPTER, CHECKPOINT
from xeric.run.stage_store import StageStore
from xeric.studies.folder import Failure
from xeric.studies.paraphrases import FOLDER
from xeric.studies.searching import RESULT_FILE, PlannedSearch

__all__ = ["NodeLink", "NodeLostError", "RemoteComputer"]

_POLL_SECONDS = 0.2
_LEAVE_SECONDS = 20.0
_STAGE_DIGITS = set("0123456789abcdef")


class NodeLostError(Exception):
    """The machine, or the process on it, has gone; the message says how, to be put after "the worker"."""


class NodeLink(Protocol):
    """Calls methods of a :class:`xeric.execution.node.Node` on another machine.

    Every method raises :class:`NodeLostError` where the machine has gone.
    """

    def begin(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method without waiting for it, and return what :meth:`wait` and :meth:`result` take."""

    def wait(self, call: Any, seconds: float) -> bool:
        """Wait until a call has ended, but no longer than this; return whether it has."""

    def result(self, call: Any) -> Any:
        """Wait for a call and return its result."""


class RemoteComputer:
    """Computes runs on another machine; see :class:`xeric.execution.computing.Computer`.

    Args:
        link: to the machine.
        jobs: of the study.
        stages: of the study.
        leaving: is set when the present run is to be left.
        lost: is called with the folder of the run in which the machine was lost.
    """

    def __init__(
        self, link: NodeLink, jobs: Jobs, stages: StageStore, leaving: threading.Event, lost: Callable[[Path], None]
    ) -> None:
        self._link, self._jobs, self._stages, self._leaving, self._lost = link, jobs, stages, leaving, lost

    def run(self, folder: Path, settings: Mapping[str, Any], progress: RunProgress, *, keep_adapter: bool) -> Failure | None:
        """Have a run computed, and put its files into its folder, the record last."""
        with self._telling_loss(folder):
            try:
                job = self._jobs.job(folder, settings)
            except Exception as error:  # noqa: BLE001 - as where this process computes the run
                return failure_of(error)
            failure = self._carry_out(progress, "run", job, keep_adapter=keep_adapter)
            if failure is None:
                names = self._call("files", job.folder)
                wanted = [name for name in names if keep_adapter or name.partition("/")[0] != ADAPTER]
                self._fetch(job.folder, folder, wanted, progress)
            return failure

    def decode(
        self, folder: Path, settings: Mapping[str, Any], undecoded: Mapping[Path, Mapping[str, str]], progress: RunProgress
    ) -> Failure | None:
        """Have a finished run decoded under paraphrases, and put the predictions into its folder."""
        with self._telling_loss(folder):
            try:
                job = self._jobs.job(folder, settings)
            except Exception as error:  # noqa: BLE001 - as where this process decodes
                return failure_of(error)
            if not self._call("has_run", job.folder):
                self._send(folder, job.folder, progress)
            by_name = {path.relative_to(folder).as_posix(): dict(by_task) for path, by_task in undecoded.items()}
            failure = self._carry_out(progress, "decode", job, by_name)
            # Also after a failure: the first ones may have been decoded.
            names = [name for name in self._call("files", job.folder) if name.partition("/")[0] == FOLDER]
            self._fetch(job.folder, folder, names, progress)
            return failure

    def search(self, folder: Path, settings: Mapping[str, Any], search: PlannedSearch, progress: RunProgress) -> Failure | None:
        """Have a task's definition searched, and put what was found into a folder."""
        with self._telling_loss(folder):
            try:
                job = self._jobs.job(folder, settings)
            except Exception as error:  # noqa: BLE001 - as where this process searches
                return failure_of(error)
            failure = self._carry_out(progress, "search", job, search.model_dump())
            if failure is None:
                self._fetch(job.folder, folder, [RESULT_FILE], progress)
            return failure

    # --- a call that takes long ---------------------------------------------------------------------------------------------

    def _carry_out(self, progress: RunProgress, method: str, *arguments: Any, **named: Any) -> Failure | None:
        call = self._link.begin(method, *arguments, **named)
        claims: dict[str, Lock] = {}
        try:
            outcome = self._attend(call, progress, claims)
        except NodeLostError:
            raise
        except BaseException:
            # The run is another process's now, or everything ends: the machine must not go on with it.
            self._call("leave")
            if not self._link.wait(call, _LEAVE_SECONDS):
                raise NodeLostError("does not leave its run") from None
            raise
        finally:
            for lock in claims.values():
                lock.release()
        return _failure(outcome)

    def _attend(self, call: Any, progress: RunProgress, claims: dict[str, Lock]) -> Outcome:
        """Pass on what the machine tells, and answer what it asks, until the call has ended."""
        while True:
            ended = self._link.wait(call, _POLL_SECONDS)
            for event in self._call("events"):
                match event:
                    case ["ask", question, stage]:
                        self._call("answer", self._answer(question, stage, progress, claims))
                    case ["note" | "start" | "advance" as name, *arguments]:
                        getattr(progress, name)(*arguments)
            if ended:
                outcome: Outcome = self._link.result(call)
                return outcome
            progress.check()
            if self._leaving.is_set():
                raise Interrupted(signal.SIGTERM)

    def _answer(self, question: str, stage: str, progress: RunProgress, claims: dict[str, Lock]) -> bool:
        """Answer a question about a stage: whether it is finished (then it is sent), whether the machine may train it."""
        if not stage or set(stage) - _STAGE_DIGITS:
            raise DataError(f"a worker has asked for a stage with the name {stage[:40]!r}", where=str(self._stages.root))
        if question == "find":
            if is_there := self._stages.has(stage):
                self._send(self._stages.folder(stage), f"stages/{stage}", progress)
            return is_there
        if question == "take":
            if (lock := acquire(self._stages.locks_dir, stage)) is not None:
                claims[stage] = lock
            return lock is not None
        lock = claims.pop(stage)
        try:
            if not lock.lost and not self._stages.has(stage):
                self._keep_stage(stage, lock, progress)
        finally:
            lock.release()
        return True

    def _keep_stage(self, stage: str, lock: Lock, progress: RunProgress) -> None:
        """Put a stage that the machine has trained into the store, unless another process has taken that over meanwhile."""
        folder, there = self._stages.folder(stage), f"stages/{stage}"
        with contextlib.suppress(_StageLostError):

            def check() -> None:
                progress.check()
                if lock.lost:
                    raise _StageLostError

            put(folder, self._call("files", there), lambda name, offset: self._read(there, name, offset), check)
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)  # of a process that trained it before and was killed

    # --- files --------------------------------------------------------------------------------------------------------------

    def _fetch(self, there: str, folder: Path, names: list[str], progress: RunProgress) -> None:
        put(folder, names, lambda name, offset: self._read(there, name, offset), progress.check)

    def _read(self, there: str, name: str, offset: int) -> bytes:
        content: bytes = self._call("read", there, name, offset)
        return content

    def _send(self, folder: Path, there: str, progress: RunProgress) -> None:
        """Send a folder's files to the machine."""
        for name in files_to_send(folder):
            offset, ended = 0, False
            while not ended:
                progress.check()
                content = read_piece(folder / name, offset)
                self._call("write", there, name, offset, content)
                offset += len(content)
                ended = len(content) < PIECE

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._link.result(self._link.begin(method, *arguments))

    @contextlib.contextmanager
    def _telling_loss(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except NodeLostError:
            self._lost(folder)
            raise


class _StageLostError(Exception):
    """Another process has taken over the training of a stage."""


def _failure(outcome: Outcome) -> Failure | None:
    match outcome:
        case ["failed", error, hint]:
            return Failure(error=error, hint=hint)
        case ["refused", *error]:
            raise refusal(*error)
        case ["left"]:
            raise NodeLostError("left its run")
    return None
