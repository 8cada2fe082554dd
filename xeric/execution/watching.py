"""Watches the workers of a study: shows what they do, starts them again where they die, and ends when nothing is left.

It computes nothing itself. Workers take runs by their locks, so that workers of other kinds may work in the same folder. A run in
which a worker has died several times is recorded as failed, with the reason, and the others go on.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from xeric.errors import RunError
from xeric.execution.open_study import OpenStudy
from xeric.execution.worker_events import Event, refusal
from xeric.locks import Holder, acquire, held_by
from xeric.progress import StudyProgress
from xeric.studies.folder import Failure

__all__ = ["DEATHS", "Team", "Watch", "Worker"]

DEATHS = 3
"""So many workers may die in a run, or outside of any run one after the other; then it is given up."""

_LOOK_SECONDS = 5.0


class Worker(Protocol):
    """A worker as the process that watches it sees it."""

    number: int

    def events(self) -> list[Event]:
        """Return what it has told since the last call."""

    def ended(self) -> str | None:
        """Return how it died, empty where it left by itself; None while it works or waits for its start."""

    def leave(self) -> None:
        """Ask it to leave; no error where it has gone already."""

    def stop(self) -> None:
        """Wait until it has gone, and end it where that takes too long."""


@dataclass(frozen=True)
class Team:
    """How workers are started.

    Attributes:
        start: starts the worker of a number.
        size: how many there are at most at a time; None: as many as there are runs.
        starting: how many of them may be about to start at a time.
    """

    start: Callable[[int], Worker]
    size: int | None
    starting: int


@dataclass
class _Watched:
    """A worker, and what it has told: its process, whether it has begun a run, the locks that were held for it when it died."""

    worker: Worker
    progress: StudyProgress
    holder: Holder | None = None
    begun: bool = field(default=False)
    lost: set[str] = field(default_factory=set)


class Watch:
    """Carries out a study by workers.

    Args:
        opened: the study.
        team: how workers are started.
        progress: gives what is told of the runs of the worker of a number.
        poll: seconds between looks at what workers tell.
    """

    def __init__(self, opened: OpenStudy, team: Team, progress: Callable[[int], StudyProgress], *, poll: float = 0.2) -> None:
        self._opened, self._team, self._of_worker, self._poll = opened, team, progress, poll
        self._progress = opened.progress
        self._folder, self._outlast = opened.executor.folder, opened.executor.outages.outlast
        self._watched: list[_Watched] = []
        self._unfinished: list[Path] = []
        self._deaths: Counter[Path] = Counter()
        self._deaths_outside = 0
        self._noted: set[str] = set()

    def carry_out(self) -> None:
        """Have every run carried out that is not finished; then see to it that each has what a finished one has.

        Raises:
            XericError: a worker met what concerns the whole study, such as a full disk.
            RunError: workers die outside of any run.
        """
        runs = self._opened.runs
        self._outlast(partial(runs.expect, self._opened.plan.runs))
        self._outlast(self._look)
        looked = time.monotonic()
        try:
            while self._unfinished or any(watched.holder for watched in self._watched):
                if self._hear() or time.monotonic() - looked > _LOOK_SECONDS:
                    self._outlast(self._look)
                    looked = time.monotonic()
                time.sleep(self._poll)
        finally:
            for watched in self._watched:
                watched.worker.leave()
            for watched in self._watched:
                watched.worker.stop()
        runs.complete()

    def _look(self) -> None:
        """Check which runs are finished, and start workers for those that no process works on."""
        before = len(self._unfinished)
        processes = sum(watched.begun for watched in self._watched)
        self._unfinished = self._opened.runs.unfinished(processes=max(1, processes))
        if len(self._unfinished) < before:
            self._deaths_outside = 0
        free = (folder for folder in self._unfinished if not self._opened.executor.is_taken(folder))
        starting = sum(not watched.begun for watched in self._watched)
        wanted = sum(1 for _ in itertools.islice(free, self._team.starting)) - starting
        numbers = {watched.worker.number for watched in self._watched}
        size = len(self._unfinished) if self._team.size is None else self._team.size
        unused = (number for number in range(size) if number not in numbers)
        for number in itertools.islice(unused, max(0, wanted)):
            self._watched.append(_Watched(self._team.start(number), self._of_worker(number)))

    def _hear(self) -> bool:
        """Pass on what workers tell; return whether one has finished a run, or has ended."""
        changed = False
        for watched in list(self._watched):
            how = watched.worker.ended()
            for event in watched.worker.events():
                changed = self._take(watched, event) or changed
            if how is not None:
                watched.worker.stop()
                self._watched.remove(watched)
                changed = True
                if how:
                    self._mourn(watched, how)
        return changed

    def _take(self, watched: _Watched, event: Event) -> bool:
        name, *arguments = event
        match name:
            case "started":
                watched.holder = Holder(*arguments)
            case "lost":
                watched.lost.update(arguments)
            case "refused":
                raise refusal(*arguments)
            case "overall":
                return True
            case "note":
                # Every worker reads the same study and says the same of it.
                if arguments[0] not in self._noted:
                    self._noted.add(arguments[0])
                    self._progress.note(arguments[0])
            case "begin" | "start" | "advance":
                watched.begun = True
                getattr(watched.progress, name)(*arguments)
        return False

    def _mourn(self, watched: _Watched, how: str) -> None:
        """Count a death, and give up what too many workers have died of."""
        holder = watched.holder
        names = watched.lost | (self._outlast(partial(held_by, self._folder.locks_dir, holder)) if holder else set())
        folders = [folder for folder in self._unfinished if self._folder.lock_name(folder) in names]
        number = watched.worker.number + 1
        if not folders:
            self._deaths_outside += 1
            if self._deaths_outside >= DEATHS:
                message = f"{DEATHS} workers died one after the other outside of any run; the last one {how}"
                raise RunError(message, hint="without --workers the study runs in one process and shows more")
            self._progress.note(f"worker {number} {how}")
        for folder in folders:
            self._deaths[folder] += 1
            if self._deaths[folder] < DEATHS:
                self._progress.note(f"worker {number} {how} in {folder.name}, which is taken up again")
            else:
                self._outlast(partial(self._give_up, folder, how))

    def _give_up(self, folder: Path, how: str) -> None:
        """Record that a run cannot be carried out.

        Also where another worker has taken it over meanwhile: if that one finishes it, its record counts; if it dies, too, nobody
        takes the run again.
        """
        hint = "if memory is short, take fewer workers, or lower train.micro_batch_size; the next start tries the run again"
        lock = acquire(self._folder.locks_dir, self._folder.lock_name(folder))
        try:
            if self._opened.executor.state(folder) is None:
                error = f"{self._deaths[folder]} workers died in this run; the last one {how}"
                self._opened.executor.refuse(folder, Failure(error=error, hint=hint))
        finally:
            if lock is not None:
                lock.release()
