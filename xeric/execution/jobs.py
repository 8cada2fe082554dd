"""What a machine without the study's folder and files needs to compute a run of it; made once for all such machines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xeric.bases.loading import base_identity
from xeric.data.preparing import Prepared
from xeric.execution.computing import LocalComputer, data_key
from xeric.execution.node import Job
from xeric.progress import Silent
from xeric.run.config import RunConfig, run_config
from xeric.run.stage_store import StageStore
from xeric.run.stages import stage_data, stage_data_key
from xeric.studies.folder import StudyFolder

__all__ = ["Jobs"]


class Jobs:
    """Makes the jobs of a study's runs; several threads may ask for them.

    Args:
        folder: of the study.
        prepared: its prepared tasks so far, by :func:`xeric.execution.computing.data_key`.
        share: puts a value where all machines can fetch it, and returns a reference to it.
    """

    def __init__(self, folder: StudyFolder, prepared: Mapping[str, Prepared], share: Callable[[Any], Any]) -> None:
        self._folder, self._share = folder, share
        self._computer = LocalComputer(StageStore(folder.stages_dir), Silent())
        self._computer.prepared_data.update(prepared)
        self._bases: dict[str, dict[str, str]] = {}
        self._references: dict[str, Any] = {}
        self._lock = threading.Lock()

    def name(self, folder: Path) -> str:
        """Return the name of a folder below the study's, its parts joined by ``/``."""
        return folder.relative_to(self._folder.root).as_posix()

    def job(self, folder: Path, settings: Mapping[str, Any]) -> Job:
        """Return the job of a run.

        Args:
            folder: of the run.
            settings: for :func:`xeric.run.config.run_config`.

        Raises:
            UserError: the settings, a task, a text or the base cannot be used.
        """
        with self._lock:
            config, _ = run_config(settings)
            if config.base not in self._bases:
                self._bases[config.base] = base_identity(config.base, Silent())
            prepared = self._computer.prepared(config)
            tasks = (data_key(config), self._reference(data_key(config), prepared))
            return Job(self.name(folder), dict(settings), self._bases[config.base], tasks, self._stages(config, prepared))

    def _stages(self, config: RunConfig, prepared: Prepared) -> dict[str, Any]:
        references = {}
        for stage in config.stages:
            key = stage_data_key(stage, config, prepared)
            if key not in self._computer.stage_data:
                self._computer.stage_data[key] = stage_data(stage, config, prepared)
            references[key] = self._reference(key, self._computer.stage_data[key])
        return references

    def _reference(self, key: str, value: Any) -> Any:
        if key not in self._references:
            self._references[key] = self._share(value)
        return self._references[key]
