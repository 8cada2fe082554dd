"""Carries out single runs of a study; runs in one process share an open base, prepared tasks and locks.

A run that fails leaves ``failure.json`` and does not stop the others. It is tried again, once, when the study is started again.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import regex

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.config import build, digest
from xeric.data.preparing import Prepared
from xeric.errors import StorageError, XericError, memory_error
from xeric.execution.paraphrase import decode_paraphrased
from xeric.files import files_below, modified_ns, remove, storage_error
from xeric.json_io import write_json
from xeric.locks import Lock, acquire, held, is_held
from xeric.metrics import METRICS
from xeric.metrics.stored import statistics_file
from xeric.progress import StudyProgress
from xeric.run.baselines import KnownScores
from xeric.run.config import RunConfig, run_config
from xeric.run.execute import execute, prepare_run
from xeric.run.folder import ADAPTER, leftovers
from xeric.run.stages import StageData
from xeric.studies.folder import Failure, RunState, StudyFolder, read_state
from xeric.studies.paraphrases import FOLDER, Paraphrases, not_decoded, prediction_files
from xeric.yaml_io import load_yaml

__all__ = ["RunExecutor"]

_NUMBER = regex.compile(r"\p{N}+(?:[.,]\p{N}+)*")


class _LockLostError(Exception):
    """Another process has taken over the lock of this run."""


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
        if self._lock.lost:
            raise _LockLostError
        self._progress.advance(units, loss)

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """Take no error inside for one of the run where the lock is lost: its new owner may have removed what was there."""
        try:
            yield
        except Exception:
            if self._lock.lost:
                raise _LockLostError from None
            raise


class RunExecutor:
    """Carries out single runs of a study.

    Args:
        folder: of the study.
        progress: is told what happens.
        poll: seconds between attempts while another process holds a lock that is needed.
        retry_before: runs that failed before this time (nanoseconds of the folder's file system) are tried again; None: before
            now, 0: none.
    """

    def __init__(
        self, folder: StudyFolder, progress: StudyProgress, *, poll: float = 1.0, retry_before: int | None = None
    ) -> None:
        self.folder = folder
        self._poll = poll
        self._progress = progress
        self._noted: set[str] = set()
        self._base: tuple[str, Base] | None = None
        self._prepared: dict[str, Prepared] = {}
        self._stage_data: dict[str, StageData] = {}
        self._baseline_scores: KnownScores = {}
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
        """
        state = self.state(folder)
        undecoded = state is not None and bool(self._undecoded(folder, state, paraphrases))
        if state is not None and not undecoded and not self._leftovers(folder, state, keep_adapter):
            return state
        lock = acquire(self.folder.locks_dir, self.folder.lock_name(folder))
        if lock is None:
            return None if state is not None and self._undecoded(folder, state, paraphrases) else state
        progress = _RunProgress(self._progress, self._noted, lock)
        try:
            # Another process may have finished it before the lock was acquired.
            if self.state(folder) is None:
                self._progress.begin(folder.name)
                self._compute(folder, settings, progress)
            state = read_state(folder)
            if self._undecoded(folder, state, paraphrases):
                self._progress.begin(folder.name)
                self._decode_paraphrases(folder, settings, state, paraphrases, progress)
            # The adapter is kept as long as paraphrases are not decoded yet: the next start tries them again.
            keep = keep_adapter or bool(self._undecoded(folder, state, paraphrases))
            for path in self._leftovers(folder, state, keep):
                remove(path)
            return state
        except _LockLostError:
            self._base = None
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
        time.sleep(self._poll)

    def refuse(self, folder: Path, failure: Failure) -> RunState:
        """Record that a run cannot be carried out, and return its state."""
        self._old_failures.pop(folder / "failure.json", None)
        write_json(folder / "failure.json", failure)
        self._progress.note(f"{folder.name} failed: {failure.error}")
        return RunState(None, failure)

    def prepared(self, config: RunConfig) -> Prepared:
        """Return a run's tasks, prepared once for all runs with the same tasks and data settings."""
        key = digest(config.model_dump(mode="json", include={"tasks", "tasks_dirs", "data", "prompt"}))
        if key not in self._prepared:
            self._prepared[key] = prepare_run(config, self._progress)
        return self._prepared[key]

    def _compute(self, folder: Path, settings: Mapping[str, Any], progress: _RunProgress) -> None:
        (folder / "failure.json").unlink(missing_ok=True)
        # Left by a run whose record was deleted so that it is computed again.
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        try:
            with progress.noticing():
                config, _ = run_config(settings)
                data = self.prepared(config)
                base = self.open_base(config)
                shared: dict[str, Any] = {"stage_data": self._stage_data, "baseline_scores": self._baseline_scores}
                shared |= {"stages": self.folder.stages_dir, "progress": progress}
                execute(config, folder, base=base, data=data, locked=True, **shared)
        except (_LockLostError, StorageError):
            # A storage error would meet the other runs, too: the study stops.
            self._base = None
            raise
        except XericError as error:
            self._fail(folder, Failure(error=str(error), hint=error.hint))
        except Exception as error:  # noqa: BLE001 - an error of one run must not stop the others
            if (storage := storage_error(error)) is not None:
                raise storage from None
            self._fail(folder, _unexpected(error))

    def _undecoded(self, folder: Path, state: RunState, paraphrases: Paraphrases) -> dict[Path, dict[str, str]]:
        """Return the paraphrases that a run is not decoded under yet and can be, by the file of their predictions."""
        if state.status != "ok" or not (folder / "adapter").is_dir():
            return {}
        return not_decoded(folder, paraphrases)

    def _decode_paraphrases(
        self, folder: Path, settings: Mapping[str, Any], state: RunState, paraphrases: Paraphrases, progress: _RunProgress
    ) -> None:
        """Decode a finished run under other paraphrases; a failure here does not make the run a failed one."""
        try:
            # Device and precision of the run itself, not those that the study would choose now; the base may have moved.
            config = build(RunConfig, load_yaml(folder / "config.yaml")).model_copy(update={"base": settings["base"]})
            base = self.open_base(config)
            undecoded = self._undecoded(folder, state, paraphrases)
            metrics = config.metrics or METRICS.names()
            decode_paraphrased(folder, base, undecoded, shared=config.train.shared_prefix, metrics=metrics, progress=progress)
            for stale in {*(folder / FOLDER).glob("*.jsonl")} - {*prediction_files(folder, paraphrases)}:
                stale.unlink()
                statistics_file(stale).unlink(missing_ok=True)
        except (_LockLostError, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - as with runs
            # An interrupted run may have left its method attached to the base.
            self._base = None
            failure = Failure(error=str(error), hint=error.hint) if isinstance(error, XericError) else _unexpected(error)
            hint = f" ({failure.hint})" if failure.hint else ""
            self._progress.note(f"{folder.name}: not decoded under the other paraphrases: {failure.error}{hint}")

    def _fail(self, folder: Path, failure: Failure) -> None:
        # An interrupted run may have left its method attached to the base.
        self._base = None
        self.refuse(folder, failure)

    def open_base(self, config: RunConfig) -> Base:
        """Return a run's base; the base opened last stays open."""
        key = digest([config.base, config.device, config.precision])
        if self._base is None or self._base[0] != key:
            # Free the old base before loading the new one: two may not fit into memory.
            self._base = None
            gc.collect()
            self._base = (key, load_base(config.base, device=config.device, precision=config.precision))
        return self._base[1]

    def _leftovers(self, folder: Path, state: RunState, keep_adapter: bool) -> list[Path]:
        """Return the files that a finished run must not leave: its checkpoint, partial files, an adapter that is not kept."""
        if state.record is None:
            return []
        adapter = folder / ADAPTER
        left = [path for path in leftovers(folder) if keep_adapter or adapter not in path.parents]
        return left if keep_adapter or not adapter.exists() else [*left, adapter]


def _unexpected(error: Exception) -> Failure:
    """Return the failure for an unexpected error: its message, with its type and place in the code, or that memory is short."""
    message = " ".join(str(error).split())[:300]
    if memory := memory_error(error):
        return Failure(error=f"{memory.what}: {message}" if message else memory.what, hint=memory.hint)
    location = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(location.filename).name}:{location.lineno}"
    return Failure(error=f"unexpected {type(error).__name__}: {message} ({where})")
