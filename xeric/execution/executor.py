"""Carries out single runs of a study: takes a run by its lock, has it computed, and deletes what a finished run must not leave.

A run that fails leaves ``failure.json`` and does not stop the others. It is tried again, once, when the study is started again.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import regex

from xeric.errors import StorageError, UnreachableError
from xeric.execution.computing import Computer, LockLostError, RunProgress
from xeric.execution.outages import Outages
from xeric.files import files_below, is_file, modified_ns, remove
from xeric.json_io import write_json
from xeric.locks import Lock, acquire, held, is_held
from xeric.metrics.stored import statistics_file
from xeric.progress import StudyProgress
from xeric.run.folder import ADAPTER, leftovers
from xeric.studies.folder import Failure, RunState, StudyFolder, read_state
from xeric.studies.paraphrases import FOLDER, Paraphrases, not_decoded, prediction_files
from xeric.studies.searching import PlannedSearch, SearchResult, read_search

__all__ = ["RunExecutor"]

_NUMBER = regex.compile(r"\p{N}+(?:[.,]\p{N}+)*")


class _RunProgress:
    """Passes a run's progress on, each remark once per study; stops a run whose lock is lost."""

    def __init__(self, progress: StudyProgress, noted: set[str], lock: Lock) -> None:
        self._progress, self._noted, self._lock = progress, noted, lock

    def note(self, text: str) -> None:
        # Remarks that differ in numbers alone (bytes of free memory) count as the same.
        without_numbers = _NUMBER.sub("#", text)
        if without_numbers not in self._noted:
            self._noted.add(without_numbers)
            self._progress.note(text)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self._progress.start(phase, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        self.check()
        self._progress.advance(units, loss)

    def check(self) -> None:
        if self._lock.lost:
            raise LockLostError


class RunExecutor:
    """Carries out single runs of a study.

    Args:
        folder: of the study.
        computer: computes the runs.
        progress: is told what happens.
        poll: seconds between attempts while another process holds a lock that is needed.
        sleep: waits so many seconds.
        retry_before: runs that failed before this time (nanoseconds of the folder's file system) are tried again; None: before
            now, 0: none.

    Attributes:
        outages: waits where the folder's file system does not answer.
        precision: of runs whose settings leave it to the machine; None leaves it there.
    """

    def __init__(
        self,
        folder: StudyFolder,
        computer: Computer,
        progress: StudyProgress,
        *,
        poll: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
        retry_before: int | None = None,
    ) -> None:
        self.folder = folder
        self._computer = computer
        self._poll, self._sleep = poll, sleep
        self._progress = progress
        self.outages = Outages(progress, sleep=sleep)
        self.precision: str | None = None
        self._noted: set[str] = set()
        # A failure from before this start is tried again; one that appears later is the result of trying again.
        failures = {path: modified_ns(path) for path in files_below(folder.root) if path.name == "failure.json"}
        if retry_before is not None:
            failures = {path: modified for path, modified in failures.items() if modified is not None and modified < retry_before}
        self._old_failures = failures

    def state(self, folder: Path) -> RunState | None:
        """Return the state of a run's folder, or None where the run is not finished yet, in this process or another.

        Raises:
            DataError: its record cannot be read.
        """
        path = folder / "failure.json"
        modified = modified_ns(path)
        old = modified is not None and self._old_failures.get(path) == modified
        state = read_state(folder)
        return None if state.record is None and (old or state.failure is None) else state

    def run(
        self, folder: Path, settings: Mapping[str, Any], *, keep_adapter: bool, paraphrases: Paraphrases = ()
    ) -> RunState | None:
        """Carry out a run if it is not finished, and return the state of its folder; None while another process works on it.

        Args:
            folder: its folder.
            settings: of the run, for :func:`xeric.run.config.run_config`.
            keep_adapter: whether the trained adapter stays on disk.
            paraphrases: of the tasks' definitions that its test set is decoded under, too. A failure of that is a remark, and it
                is tried again when the study is started again.

        Raises:
            DataError: the folder's record cannot be read.
            UnreachableError: the file system of the study's folder does not answer, or is mounted there no longer.
        """
        settings = self._settled(settings)
        state = self.state(folder)
        undecoded = state is not None and bool(self._undecoded(folder, state, paraphrases))
        if state is not None and not undecoded and not self._leftovers(folder, state, keep_adapter):
            return state
        lock = self._acquired(folder)
        if lock is None:
            return None if state is not None and self._undecoded(folder, state, paraphrases) else state
        progress = _RunProgress(self._progress, self._noted, lock)
        try:
            # Another process may have finished it before the lock was acquired.
            if self.state(folder) is None:
                self._progress.begin(folder.name)
                self._compute(folder, settings, progress, keep_adapter=keep_adapter or bool(paraphrases))
            state = read_state(folder)
            if self._undecoded(folder, state, paraphrases):
                self._progress.begin(folder.name)
                self._decode_paraphrases(folder, settings, state, paraphrases, progress)
            # The adapter is kept as long as paraphrases are not decoded yet: the next start tries them again.
            keep = keep_adapter or bool(self._undecoded(folder, state, paraphrases))
            for path in self._leftovers(folder, state, keep):
                remove(path)
            return state
        except LockLostError:
            return None
        finally:
            lock.release()

    def search_state(self, folder: Path) -> SearchResult | Failure | None:
        """Return what a search found or why it failed; None where it is not finished yet, in this process or another.

        Raises:
            DataError: its result cannot be read.
        """
        if (result := read_search(folder)) is not None:
            return result
        state = self.state(folder)
        return None if state is None else state.failure

    def search(self, folder: Path, settings: Mapping[str, Any], search: PlannedSearch) -> SearchResult | Failure | None:
        """Carry out a search if it is not finished, and return its outcome; None while another process works on it.

        Args:
            folder: its folder.
            settings: of :func:`xeric.execution.search_definition.search_settings`.
            search: which one it is.

        Raises:
            DataError: its result cannot be read.
            UnreachableError: as for :meth:`run`.
        """
        if (state := self.search_state(folder)) is not None:
            return state
        lock = self._acquired(folder)
        if lock is None:
            return None
        progress = _RunProgress(self._progress, self._noted, lock)
        try:
            if self.search_state(folder) is None:
                self._progress.begin(f"search-{folder.name}")
                (folder / "failure.json").unlink(missing_ok=True)
                settled = self._settled(settings)
                self._attempt(folder, lambda: self._computer.search(folder, settled, search, progress), progress)
            return self.search_state(folder)
        except LockLostError:
            return None
        finally:
            lock.release()

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Let one process at a time run the body; the others wait."""
        with held(self.folder.locks_dir, name, poll=self._poll):
            yield

    def is_taken(self, folder: Path) -> bool:
        """Return whether another process works on a run now."""
        return is_held(self.folder.locks_dir, self.folder.lock_name(folder))

    def wait(self) -> None:
        """Sleep while another process holds a lock that is needed."""
        self._sleep(self._poll)

    def refuse(self, folder: Path, failure: Failure) -> RunState:
        """Record that a run cannot be carried out, and return its state."""
        self._old_failures.pop(folder / "failure.json", None)
        write_json(folder / "failure.json", failure)
        self._progress.note(f"{folder.name} failed: {failure.error}")
        return RunState(None, failure)

    def _settled(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return settings with the precision of the study's other runs, whatever would be faster on this machine."""
        if self.precision is None or settings.get("precision", "auto") != "auto":
            return settings
        return {**settings, "precision": self.precision}

    def _acquired(self, folder: Path) -> Lock | None:
        """Return the lock of a folder, or None while another process has it.

        Raises:
            UnreachableError: the study's folder is the study's no longer: what a lost mount leaves must not be written into.
        """
        if not is_file(self.folder.study_file):
            hint = "if it lies on a network file system, mount that again"
            raise UnreachableError("holds the study no longer", where=str(self.folder.root), hint=hint)
        return acquire(self.folder.locks_dir, self.folder.lock_name(folder))

    def _compute(self, folder: Path, settings: Mapping[str, Any], progress: RunProgress, *, keep_adapter: bool) -> None:
        (folder / "failure.json").unlink(missing_ok=True)
        # Left by a run whose record was deleted so that it is computed again.
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        self._attempt(folder, lambda: self._computer.run(folder, settings, progress, keep_adapter=keep_adapter), progress)

    def _attempt(self, folder: Path, compute: Callable[[], Failure | None], progress: RunProgress) -> None:
        """Compute what belongs into a folder whose lock is held, and record why that failed where it did."""
        try:
            failure = compute()
        except StorageError:
            progress.check()
            raise
        if failure is not None:
            # No failure of the run where the lock is lost: its new owner may have removed what was there.
            progress.check()
            self.refuse(folder, failure)

    def _undecoded(self, folder: Path, state: RunState, paraphrases: Paraphrases) -> dict[Path, dict[str, str]]:
        """Return the paraphrases that a run is not decoded under yet and can be, by the file of their predictions."""
        if state.status != "ok" or not (folder / "adapter").is_dir():
            return {}
        return not_decoded(folder, paraphrases)

    def _decode_paraphrases(
        self, folder: Path, settings: Mapping[str, Any], state: RunState, paraphrases: Paraphrases, progress: RunProgress
    ) -> None:
        """Decode a finished run under other paraphrases; a failure here does not make the run a failed one."""
        failure = self._computer.decode(folder, settings, self._undecoded(folder, state, paraphrases), progress)
        if failure is not None:
            hint = f" ({failure.hint})" if failure.hint else ""
            self._progress.note(f"{folder.name}: not decoded under the other paraphrases: {failure.error}{hint}")
            return
        for stale in {*(folder / FOLDER).glob("*.jsonl")} - {*prediction_files(folder, paraphrases)}:
            stale.unlink()
            statistics_file(stale).unlink(missing_ok=True)

    def _leftovers(self, folder: Path, state: RunState, keep_adapter: bool) -> list[Path]:
        """Return the files that a finished run must not leave: its checkpoint, partial files, an adapter that is not kept."""
        if state.record is None:
            return []
        adapter = folder / ADAPTER
        left = [path for path in leftovers(folder) if keep_adapter or adapter not in path.parents]
        return left if keep_adapter or not adapter.exists() else [*left, adapter]
