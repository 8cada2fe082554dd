"""The side of a worker that runs on a machine without the study's folder: it computes runs in a temporary folder of its own.

It decides nothing. Which run is computed, and who trains a stage, is decided by the process that watches it, which also fetches
the files of what is finished: :mod:`xeric.execution.remote_worker`. Tasks and texts come prepared, so that their files need not
be here. The base must be: by a name or hub id it is fetched, and a folder or file must exist under the same path.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xeric.errors import DataError, UserError, XericError
from xeric.execution.computing import LocalComputer, failure_of
from xeric.execution.transport import file_in, files_to_send, read_piece
from xeric.execution.worker_events import Event, Telling
from xeric.files import writing
from xeric.interruption import Interrupted
from xeric.locks import Holder, this_process
from xeric.records import RECORD_FILE
from xeric.run.config import run_config
from xeric.run.stage_store import StageStore
from xeric.studies.folder import Failure
from xeric.studies.searching import PlannedSearch

__all__ = ["Job", "Node", "Outcome"]

_POLL_SECONDS = 1.0

Outcome = list[Any]
"""``ok``; ``failed``, error, hint; ``refused`` as in :mod:`xeric.execution.worker_events`; or ``left``, as it was asked to."""


class Job(NamedTuple):
    """A run to compute.

    Attributes:
        folder: its folder, as parts below the study's joined by ``/``.
        settings: for :func:`xeric.run.config.run_config`.
        base: SHA-256 of the base's files, as :func:`xeric.bases.loading.base_identity` returns them.
        tasks: key and reference of the prepared tasks; what a reference is, ``fetch`` of :class:`Node` knows.
        stages: references of the data of the stages, by key.
    """

    folder: str
    settings: dict[str, Any]
    base: dict[str, str]
    tasks: tuple[str, Any]
    stages: dict[str, Any]


class Node:
    """Computes runs in a temporary folder; one thread at a time computes, another one calls the other methods meanwhile.

    Args:
        address: of this machine, for errors.
        fetch: returns what a reference in a :class:`Job` stands for.
    """

    def __init__(self, address: str, fetch: Callable[[Any], Any]) -> None:
        self._address, self._fetch = address, fetch
        self._temporary = tempfile.TemporaryDirectory(prefix="xeric-", ignore_cleanup_errors=True)
        self._root = Path(self._temporary.name)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._leaving = threading.Event()
        self._progress = _NodeProgress(self._send)
        self._computer = LocalComputer(_FetchedStages(self._root / "stages", self._ask), self._progress)

    # --- what takes long ----------------------------------------------------------------------------------------------------

    def run(self, job: Job, *, keep_adapter: bool) -> Outcome:
        """Compute a run; see :class:`xeric.execution.computing.Computer`."""
        folder = self._only(job.folder)
        return self._outcome(
            job, lambda settings: self._computer.run(folder, settings, self._progress, keep_adapter=keep_adapter)
        )

    def decode(self, job: Job, paraphrases: Mapping[str, Mapping[str, str]]) -> Outcome:
        """Decode a finished run, whose files are here, under paraphrases by task, by the name of the file in the run's folder."""
        folder = self._only(job.folder)
        undecoded = {file_in(folder, name): by_task for name, by_task in paraphrases.items()}
        return self._outcome(job, lambda settings: self._computer.decode(folder, settings, undecoded, self._progress))

    def search(self, job: Job, search: Mapping[str, Any]) -> Outcome:
        """Search a task's definition; ``search`` holds the fields of a :class:`~xeric.studies.searching.PlannedSearch`."""
        folder, planned = self._only(job.folder), PlannedSearch.model_validate(search)
        return self._outcome(job, lambda settings: self._computer.search(folder, settings, planned, self._progress))

    # --- what is answered at once -------------------------------------------------------------------------------------------

    def holder(self) -> Holder:
        """Return what this process is called."""
        return this_process()

    def events(self) -> list[Event]:
        """Return what happened since the last call; ``ask`` (question and stage) waits for :meth:`answer`."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def answer(self, answer: bool) -> None:
        """Answer the last question."""
        self._answers.put(answer)

    def leave(self) -> None:
        """Let the present run end as that of an interrupted process does."""
        self._leaving.set()

    def has_run(self, folder: str) -> bool:
        """Return whether the files of a finished run are here."""
        return (file_in(self._root, folder) / RECORD_FILE).is_file()

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, in the order of sending."""
        return files_to_send(file_in(self._root, folder))

    def read(self, folder: str, name: str, offset: int) -> bytes:
        """Return a piece of a file."""
        return read_piece(file_in(file_in(self._root, folder), name), offset)

    def write(self, folder: str, name: str, offset: int, content: bytes) -> None:
        """Write a piece of a file; pieces come in order."""
        path = file_in(file_in(self._root, folder), name)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if offset else "wb") as file:
                file.write(content)

    def close(self) -> None:
        """Delete the temporary folder."""
        self._temporary.cleanup()

    # --- within -------------------------------------------------------------------------------------------------------------

    def _only(self, name: str) -> Path:
        """Return the folder of a run; those of other runs are deleted."""
        folder = file_in(self._root, name)
        kept = {folder, *folder.parents}
        for top in (path for path in self._root.iterdir() if path.name != "stages"):
            for path in (*top.glob("*"), *top.glob("*/trial-*")):
                if path not in kept:
                    shutil.rmtree(path, ignore_errors=True)
        return folder

    def _outcome(self, job: Job, compute: Callable[[dict[str, Any]], Failure | None]) -> Outcome:
        # What the run before has asked when it was told to leave.
        self.events()
        while not self._answers.empty():
            self._answers.get()
        self._leaving.clear()
        try:
            self._open(job)
            failure = compute(job.settings)
        except Interrupted:
            self._computer.close_base()
            return ["left"]
        except XericError as error:
            where = f"node {self._address}" + (f", {error.where}" if error.where else "")
            return ["refused", type(error).__name__, error.what, where, error.hint]
        except Exception as error:  # noqa: BLE001 - a base that does not fit into memory, for example: others may
            failure = failure_of(error)
        return ["ok"] if failure is None else ["failed", failure.error, failure.hint]

    def _open(self, job: Job) -> None:
        """Open the base and fetch the files that the run needs, unless that was done before.

        Raises:
            UserError: the base is not here, or is another one.
        """
        key, tasks = job.tasks
        if key not in self._computer.prepared_data:
            self._computer.prepared_data[key] = self._fetch(tasks)
        for stage, data in job.stages.items():
            if stage not in self._computer.stage_data:
                self._computer.stage_data[stage] = self._fetch(data)
        config, _ = run_config(job.settings)
        try:
            base = self._computer.open_base(config)
        except UserError as error:
            hint = "put the base under the same path on every node, or name it by a hub id or a name of `xeric bases list`"
            raise DataError(f"the base {config.base} cannot be opened here: {error.what}", hint=hint) from None
        if base.sha256 != job.base:
            hint = "copy the base that the study was started with to this node"
            raise DataError(f"the base {config.base} has other contents here than where the study was started", hint=hint)

    def _send(self, event: Event) -> None:
        if self._leaving.is_set():
            raise Interrupted(signal.SIGTERM)
        self._events.put(event)

    def _ask(self, question: str, stage: str) -> bool:
        """Return the answer of the process that watches."""
        self._send(["ask", question, stage])
        while True:
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=_POLL_SECONDS)
            if self._leaving.is_set():
                raise Interrupted(signal.SIGTERM)


class _NodeProgress(Telling):
    """Progress of a run that is told to the process that watches, which knows whether the run may go on."""

    def check(self) -> None:
        pass


class _FetchedStages(StageStore):
    """Finished stages that the study's folder holds, fetched when they are needed first."""

    def __init__(self, root: Path, ask: Callable[[str, str], bool]) -> None:
        super().__init__(root)
        self._ask = ask

    def has(self, stage: str) -> bool:
        """Return whether a stage is finished; its files are then here."""
        return super().has(stage) or self._ask("find", stage)

    @contextlib.contextmanager
    def training(self, stage: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Train a stage on behalf of all workers; where the training fails, the process that watches lets others try."""
        told = False
        while not self._ask("take", stage):
            if not told:
                waiting()
                told = True
            time.sleep(_POLL_SECONDS)
        yield
        self._ask("keep", stage)
