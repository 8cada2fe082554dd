"""Computes runs of a study in this process; runs share an open base, prepared tasks and the data of stages.

Which run is computed, and whether it may be, is decided by :mod:`xeric.execution.executor`.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.config import build, digest
from xeric.data.preparing import Prepared
from xeric.errors import StorageError, XericError, memory_error
from xeric.execution.paraphrase import decode_paraphrased
from xeric.execution.search_definition import search_definition
from xeric.files import storage_error
from xeric.metrics import METRICS
from xeric.progress import Progress
from xeric.run.baselines import KnownScores
from xeric.run.config import RunConfig, run_config
from xeric.run.execute import execute, prepare_run
from xeric.run.stage_store import StageStore
from xeric.run.stages import StageData
from xeric.studies.folder import Failure
from xeric.studies.searching import PlannedSearch
from xeric.yaml_io import load_yaml

__all__ = ["Computer", "LocalComputer", "LockLostError", "RunProgress", "data_key", "failure_of"]


class LockLostError(Exception):
    """Another process has taken over the lock of this run."""


class RunProgress(Progress, Protocol):
    """Progress of a run whose folder is locked."""

    def check(self) -> None:
        """Raise where the run may not go on.

        Raises:
            LockLostError: another process has taken over its lock.
        """


class Computer(Protocol):
    """Computes runs whose folders are locked by the caller."""

    def run(self, folder: Path, settings: Mapping[str, Any], progress: RunProgress, *, keep_adapter: bool) -> Failure | None:
        """Compute a run into its folder, the record last, or return why it failed.

        Args:
            folder: of the run; a checkpoint in it may be used.
            settings: for :func:`xeric.run.config.run_config`.
            progress: of the run.
            keep_adapter: whether the adapter is needed once the run is finished; it may be left out if not.

        Raises:
            StorageError: the file system refuses; that would meet other runs, too.
            LockLostError: raised by ``progress``.
        """

    def decode(
        self, folder: Path, settings: Mapping[str, Any], undecoded: Mapping[Path, Mapping[str, str]], progress: RunProgress
    ) -> Failure | None:
        """Decode the test set of a finished run under paraphrases of its tasks' definitions, or return why that failed.

        Args:
            folder: of the run; its adapter is there.
            settings: as for :meth:`run`; where the base lies is taken from them, the rest from the run's own config.
            undecoded: the paraphrases by task, by the file of the predictions.
            progress: of the run.

        Raises:
            StorageError, LockLostError: as :meth:`run`.
        """

    def search(self, folder: Path, settings: Mapping[str, Any], search: PlannedSearch, progress: RunProgress) -> Failure | None:
        """Search a task's definition and write what was found into a folder, or return why that failed.

        Args:
            folder: of the search; what an interrupted one has computed may be there.
            settings: of :func:`xeric.execution.search_definition.search_settings`.
            search: which one it is.
            progress: of the search.

        Raises:
            StorageError, LockLostError: as :meth:`run`.
        """


class LocalComputer:
    """Computes runs in this process; see :class:`Computer`.

    Args:
        stages: keeps the stages that runs start from.
        progress: is told of tasks that are prepared.

    Attributes:
        prepared_data: prepared tasks by :func:`data_key`; entries may be added.
        stage_data: data of stages by :func:`xeric.run.stages.stage_data_key`; entries may be added.
    """

    def __init__(self, stages: StageStore, progress: Progress) -> None:
        self._stages, self._progress = stages, progress
        self._base: tuple[str, Base] | None = None
        self._baseline_scores: KnownScores = {}
        self.prepared_data: dict[str, Prepared] = {}
        self.stage_data: dict[str, StageData] = {}

    def prepared(self, config: RunConfig) -> Prepared:
        """Return a run's tasks, prepared once for all runs with the same tasks and data settings."""
        key = data_key(config)
        if key not in self.prepared_data:
            self.prepared_data[key] = prepare_run(config, self._progress)
        return self.prepared_data[key]

    def open_base(self, config: RunConfig) -> Base:
        """Return a run's base; the base opened last stays open."""
        key = digest([config.base, config.device, config.precision])
        if self._base is None or self._base[0] != key:
            # Free the old base before loading the new one: two may not fit into memory.
            self._base = None
            gc.collect()
            self._base = (key, load_base(config.base, device=config.device, precision=config.precision))
        return self._base[1]

    def run(self, folder: Path, settings: Mapping[str, Any], progress: RunProgress, *, keep_adapter: bool) -> Failure | None:
        """Compute a run into its folder; see :class:`Computer`."""
        try:
            config, _ = run_config(settings)
            data = self.prepared(config)
            base = self.open_base(config)
            shared: dict[str, Any] = {"stage_data": self.stage_data, "baseline_scores": self._baseline_scores}
            execute(config, folder, base=base, data=data, progress=progress, stages=self._stages, locked=True, **shared)
        except Exception as error:  # noqa: BLE001 - an error of one run must not stop the others
            return self._failure(error)
        return None

    def decode(
        self, folder: Path, settings: Mapping[str, Any], undecoded: Mapping[Path, Mapping[str, str]], progress: RunProgress
    ) -> Failure | None:
        """Decode a finished run under paraphrases; see :class:`Computer`."""
        try:
            # Device and precision of the run itself, not those that the study would choose now; the base may have moved.
            config = build(RunConfig, load_yaml(folder / "config.yaml")).model_copy(update={"base": settings["base"]})
            base = self.open_base(config)
            metrics = config.metrics or METRICS.names()
            decode_paraphrased(folder, base, undecoded, shared=config.train.shared_prefix, metrics=metrics, progress=progress)
        except Exception as error:  # noqa: BLE001 - an error of one run must not stop the others
            return self._failure(error)
        return None

    def search(self, folder: Path, settings: Mapping[str, Any], search: PlannedSearch, progress: RunProgress) -> Failure | None:
        """Search a task's definition; see :class:`Computer`."""
        try:
            config, _ = run_config(settings)
            data = self.prepared(config)
            search_definition(folder, self.open_base(config), data, config, search, progress)
        except Exception as error:  # noqa: BLE001 - an error of one search must not stop runs that do without it
            return self._failure(error)
        return None

    def close_base(self) -> None:
        """Give up the open base: a run that was interrupted may have left its method attached to it."""
        self._base = None

    def _failure(self, error: Exception) -> Failure:
        self.close_base()
        return failure_of(error)


def data_key(config: RunConfig) -> str:
    """Return a hash of what a run's tasks are prepared from."""
    return digest(config.model_dump(mode="json", include={"tasks", "tasks_dirs", "data", "prompt"}))


def failure_of(error: Exception) -> Failure:
    """Return an error that concerns one run alone as the run's failure.

    Raises:
        StorageError: it is one, which other runs would meet, too.
        LockLostError: it is one.
    """
    if isinstance(error, (LockLostError, StorageError)):
        raise error
    if isinstance(error, XericError):
        return Failure(error=str(error), hint=error.hint)
    if (storage := storage_error(error)) is not None:
        raise storage from None
    return _unexpected(error)


def _unexpected(error: Exception) -> Failure:
    """Return the failure for an unexpected error: its message, with its type and place in the code, or that memory is short."""
    message = " ".join(str(error).split())[:300]
    if memory := memory_error(error):
        return Failure(error=f"{memory.what}: {message}" if message else memory.what, hint=memory.hint)
    location = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(location.filename).name}:{location.lineno}"
    return Failure(error=f"unexpected {type(error).__name__}: {message} ({where})")
