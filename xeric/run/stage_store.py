"""The folder in which finished stages are kept for the runs that start from them, each under its hash."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from xeric.files import is_file
from xeric.locks import held

__all__ = ["STAGE_FILE", "StageStore"]

STAGE_FILE = "stage.json"
"""The file of a stage's folder that is written last: where it is, the stage is finished."""


class StageStore:
    """A folder of finished stages that several processes share.

    Args:
        root: the folder; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def locks_dir(self) -> Path:
        """Folder of the locks of processes that train a stage now."""
        return self.root / "locks"

    def folder(self, stage: str) -> Path:
        """Return the folder of the stage of a hash."""
        return self.root / stage

    def has(self, stage: str) -> bool:
        """Return whether a stage is finished; its files are then in its folder."""
        return is_file(self.folder(stage) / STAGE_FILE)

    @contextlib.contextmanager
    def training(self, stage: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep others from training a stage as long as the context lasts; it may be finished when the context begins.

        Args:
            stage: its hash.
            waiting: called once, if another process trains it.
        """
        with held(self.locks_dir, stage, waiting=waiting):
            yield
