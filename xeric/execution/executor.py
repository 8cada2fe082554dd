"""What the runs of a study share in one process: an open base, prepared tasks, locks, and how a run may end.

A run that fails leaves ``failure.json`` and does not stop the others. It is tried again when the study is started again, once
by whichever process comes first.
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
from xeric.files import storage_error
from xeric.json_io import write_json
from xeric.metrics import METRICS
from xeric.metrics.stored import statistics_file
from xeric.progress import StudyProgress
from xeric.run.baselines import KnownScores
from xeric.run.config import RunConfig, run_config
from xeric.run.execute import execute, prepare_run
from xeric.run.locks import Lock, acquire, held
from xeric.run.stages import StageData
from xeric.studies.folder import Failure, RunState, StudyFolder, read_state
from xeric.studies.paraphrases import FOLDER, Paraphrases, not_decoded, prediction_files
from xeric.yaml_io import load_yaml

__all__ = ["RunExecutor"]

_NUMBER = regex.compile(r"\p{N}+(?:[.,]\p{N}+)*")


class _LockLostError(Exception):
    """Another process has taken this run over."""


class _RunProgress:
    """Hands a run's progress on, each remark once per study; stops a run whose lock is lost."""

    def __init__(self, progress: StudyProgress, noted: set[str], lock: Lock) -> None:
        self._progress, self._noted, self._lock = progress, noted, lock

    def note(self, text: str) -> None:
        # The same remark with other numbers (so much memory is free now) is the same remark.
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


class RunExecutor:
    """Carries out single runs of a study.

    Args:
        folder: of the study.
        progress: is told what happens.
        poll: seconds between looks while another process has what is needed.
    """

    def __init__(self, folder: StudyFolder, progress: StudyProgress, *, poll: float = 1.0) -> None:
        self.folder = folder
        self._poll = poll
        self._progress = progress
        self._noted: set[str] = set()
        self._base: tuple[str, Base] | None = None
        self._prepared: dict[str, Prepared] = {}
        self._stage_data: dict[str, StageData] = {}
        self._baseline_scores: KnownScores = {}
        # A failure that stands there at the start is tried again; one that appears later is what came of that.
        self._old_failures = {path: path.stat().st_mtime_ns for path in folder.root.rglob("failure.json")}

    def state(self, place: Path) -> RunState | None:
        """Return what a run folder holds, or None where the run is still to be done, by this process or another.

        Raises:
            DataError: its record is not one of ours.
        """
        path = place / "failure.json"
        try:
            old = self._old_failures.get(path) == path.stat().st_mtime_ns
        except FileNotFoundError:
            old = False
        state = read_state(place)
        return None if state.record is None and (old or state.failure is None) else state

    def run(
        self, place: Path, settings: Mapping[str, Any], *, keep_adapter: bool, paraphrases: Paraphrases = ()
    ) -> RunState | None:
        """Carry out a run if it is still to be done, and return what its folder then holds; None while another process has it.

        Args:
            place: its folder.
            settings: of the run, for :func:`xeric.run.config.run_config`.
            keep_adapter: whether what was trained stays on disk.
            paraphrases: of the tasks' definitions that its test set is decoded under, too. Where that fails there is a remark,
                and it is tried again when the study is started again.

        Raises:
            DataError: the folder's record is not one of ours.
        """
        done = self.state(place)
        if done is not None and not self._litter(place, done, keep_adapter) and not self._owed(place, done, paraphrases):
            return done
        lock = acquire(self.folder.locks_dir, self.folder.lock_name(place))
        if lock is None:
            return None if done is not None and self._owed(place, done, paraphrases) else done
        progress = _RunProgress(self._progress, self._noted, lock)
        try:
            # It may have been done between the look and the lock.
            if self.state(place) is None:
                self._progress.begin(place.name)
                self._compute(place, settings, progress)
            state = read_state(place)
            if self._owed(place, state, paraphrases):
                self._progress.begin(place.name)
                self._decode_paraphrases(place, settings, state, paraphrases, progress)
            # What could not be decoded now can be the next time, as long as the adapter is there.
            kept = keep_adapter or bool(self._owed(place, state, paraphrases))
            for litter in self._litter(place, state, kept):
                shutil.rmtree(litter) if litter.is_dir() else litter.unlink()
            return state
        except _LockLostError:
            self._base = None
            return None
        finally:
            lock.release()

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Let one process at a time do what is inside; the others wait."""
        with held(self.folder.locks_dir, name, poll=self._poll):
            yield

    def wait(self) -> None:
        """Let a moment pass while another process has what is needed."""
        time.sleep(self._poll)

    def refuse(self, place: Path, failure: Failure) -> RunState:
        """Record that a run cannot be carried out, and return that."""
        self._old_failures.pop(place / "failure.json", None)
        write_json(place / "failure.json", failure)
        self._progress.note(f"{place.name} failed: {failure.error}")
        return RunState(None, failure)

    def prepared(self, config: RunConfig) -> Prepared:
        """Return a run's tasks, prepared once for all runs with the same tasks and data settings."""
        mark = digest(config.model_dump(mode="json", include={"tasks", "tasks_dirs", "data", "prompt"}))
        if mark not in self._prepared:
            self._prepared[mark] = prepare_run(config)
        return self._prepared[mark]

    def _compute(self, place: Path, settings: Mapping[str, Any], progress: _RunProgress) -> None:
        (place / "failure.json").unlink(missing_ok=True)
        # Of a run whose record somebody took away, so that it is made again.
        shutil.rmtree(place / FOLDER, ignore_errors=True)
        try:
            config, _ = run_config(settings)
            data = self.prepared(config)
            base = self.open_base(config)
            shared: dict[str, Any] = {"stage_data": self._stage_data, "baseline_scores": self._baseline_scores}
            execute(config, place, base=base, data=data, progress=progress, stages=self.folder.stages_dir, locked=True, **shared)
        except (_LockLostError, StorageError):
            # What cannot be written here cannot be written for the other runs either: the study stops.
            self._base = None
            raise
        except XericError as error:
            self._fail(place, Failure(error=str(error), hint=error.hint))
        except Exception as error:  # noqa: BLE001 - whatever breaks one run must not stop the others
            if (refused := storage_error(error)) is not None:
                raise refused from None
            self._fail(place, _unexpected(error))

    def _owed(self, place: Path, state: RunState, paraphrases: Paraphrases) -> dict[Path, dict[str, str]]:
        """Return the paraphrases that a run can be decoded under, and is not, by the files of the predictions."""
        if state.status != "ok" or not (place / "adapter").is_dir():
            return {}
        return not_decoded(place, paraphrases)

    def _decode_paraphrases(
        self, place: Path, settings: Mapping[str, Any], state: RunState, paraphrases: Paraphrases, progress: _RunProgress
    ) -> None:
        """Decode a finished run under other paraphrases; a failure is no failure of the run."""
        try:
            # The run's own device and precision, whatever the study's would be now; where the base lies may have changed.
            config = build(RunConfig, load_yaml(place / "config.yaml")).model_copy(update={"base": settings["base"]})
            base = self.open_base(config)
            owed = self._owed(place, state, paraphrases)
            metrics = config.metrics or METRICS.names()
            decode_paraphrased(place, base, owed, shared=config.train.shared_prefix, metrics=metrics, progress=progress)
            for stale in {*(place / FOLDER).glob("*.jsonl")} - {*prediction_files(place, paraphrases)}:
                stale.unlink()
                statistics_file(stale).unlink(missing_ok=True)
        except (_LockLostError, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - as with runs
            # Whatever broke in the middle may have left something on the base.
            self._base = None
            failure = Failure(error=str(error), hint=error.hint) if isinstance(error, XericError) else _unexpected(error)
            hint = f" ({failure.hint})" if failure.hint else ""
            self._progress.note(f"{place.name}: not decoded under the other paraphrases: {failure.error}{hint}")

    def _fail(self, place: Path, failure: Failure) -> None:
        # Whatever broke in the middle may have left something on the base.
        self._base = None
        self.refuse(place, failure)

    def open_base(self, config: RunConfig) -> Base:
        """Return a run's base; the one that was opened last stays open."""
        mark = digest([config.base, config.device, config.precision])
        if self._base is None or self._base[0] != mark:
            # The old base goes before the new one comes: two may not fit into memory.
            self._base = None
            gc.collect()
            self._base = (mark, load_base(config.base, device=config.device, precision=config.precision))
        return self._base[1]

    def _litter(self, place: Path, state: RunState, keep_adapter: bool) -> list[Path]:
        """Return what a finished run must not leave: what it needed while it ran, and an adapter that is not kept."""
        if state.record is None:
            return []
        unwanted = [place / "checkpoint"] + ([] if keep_adapter else [place / "adapter"])
        there = [path for path in unwanted if path.exists()]
        # Of a file that a kill left half written; where the folder goes, it goes with it.
        return there + [path for path in place.rglob(".*.part") if not set(path.parents) & set(there)]


def _unexpected(error: Exception) -> Failure:
    """Return the description of an error that nobody foresaw: what, and where in the code."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]} ({Path(place.filename).name}:{place.lineno})"
    full = memory_error(error)
    return Failure(error=text, hint=full.hint if full else None)
